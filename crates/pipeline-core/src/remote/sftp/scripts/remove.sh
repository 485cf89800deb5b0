cd "$r" || exit
u=$(id -u) blind= denied=
# Processes of others may not be looked into, but by root; nor may those that have more rights than we. A search that was
# killed may not have come to them.
case $(find /proc/[0-9]*/fd -type l -perm -200 -exec stat -L -c %d:%i {} + 2>&1 > /dev/null || [ "$?" -lt 126 ] || echo 'Permission denied') in
  *ermission' 'denied*) denied=1 ;;
esac
# In a namespace of users, that goes for all processes outside of it: nobody found does not mean nobody.
read -r first outside number < /proc/self/uid_map
[ "$first $outside $number" = '0 0 4294967295' ] || blind=$denied
export u blind denied
exec xargs -0 -n 32 sh -c 'eval "$P"; eval "$I"' sh

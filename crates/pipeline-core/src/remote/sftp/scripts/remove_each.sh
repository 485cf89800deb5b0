# Who has what open for writing: the owner's permissions on these links are those that the file was opened with.
# This file of ours is among them, and the search was not killed: whoever overlooks us would overlook others, and sees nobody.
exec 9> /dev/null
w=" $({
  find /proc/[0-9]*/fd -type l -perm -200 -exec stat -L -c %d:%i {} + 2> /dev/null
  [ "$?" -lt 126 ] || echo killed
} | tr '\n' ' ')"
case $w in
  *' killed '*) blind=1 ;;
  *" $(stat -L -c %d:%i /dev/null) "*) ;;
  *) blind=1 ;;
esac
while [ $# -gt 1 ]; do
  wanted=$1 f=./$2
  shift 2
  i=${wanted#* }
  if line=$(whats "$f" 2> /dev/null); then
    join $line
    if [ "$j" != "$wanted" ] || [ -L "$f" ] || [ ! -f "$f" ]; then echo c
    elif case $w in *" ${wanted%% *}:${i%% *} "*) ;; *) false ;; esac; then echo b
    elif [ -n "$blind" ]; then echo n
    elif [ ! -O "$f" ] && [ "$u$denied" != 0 ]; then echo u
    # RACE: between whats and rm, a few milliseconds.
    elif x=$(rm -f "$f" 2>&1); then echo r
    else echo "f ${x##*: }"
    fi
  elif missing "$f"; then echo g
  else echo 'f permission denied'
  fi
done

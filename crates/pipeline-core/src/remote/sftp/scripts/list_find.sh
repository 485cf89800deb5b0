cd "$r" 2> /dev/null || { printf 'E cd\0\0'; exit; }
find . -ignore_readdir_race -xdev \
  -type d ! \( -readable -executable \) -printf 'u %D %i %s %T@ %C@\0%P\0' -o -printf '%y %D %i %s %T@ %C@\0%P\0'
printf 'E %s\0\0' $?

cd "$r" 2> /dev/null || { printf 'E cd\0\0'; exit; }
find . -xdev -exec sh -c 'eval "$P"; eval "$I"' sh {} +
printf 'E %s\0\0' $?

cd "$r" || exit
exec xargs -0 -n 4 sh -c 'eval "$P"; eval "$I"' sh

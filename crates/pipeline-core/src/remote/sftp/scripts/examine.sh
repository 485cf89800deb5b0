cd "$r" || exit
exec xargs -0 -n 3 sh -c 'eval "$P"; eval "$I"' sh

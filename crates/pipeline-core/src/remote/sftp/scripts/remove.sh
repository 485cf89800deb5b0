cd "$r" || exit
u=$(id -u)
export u
exec xargs -0 -n 32 sh -c 'eval "$P"; eval "$I"' sh

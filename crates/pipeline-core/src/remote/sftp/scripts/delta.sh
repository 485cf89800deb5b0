cd "$r" || exit
f=./$(dd bs=1 count="$n" 2> /dev/null; echo .)
f=${f%.}
[ -f "$f" ] && [ ! -L "$f" ] && exec rdiff delta - "$f"

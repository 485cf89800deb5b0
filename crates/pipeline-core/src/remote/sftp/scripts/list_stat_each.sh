say() {
  if [ -L "$2" ]; then t=l
  elif [ -f "$2" ]; then t=f
  elif [ ! -d "$2" ]; then t=s
  elif [ -r "$2" ] && [ -x "$2" ]; then t=d
  else t=u
  fi
  join $1
  p=${2#.}
  printf '%s %s\0%s\0' "$t" "$j" "${p#/}"
}
# One stat for many files. Where one of them has vanished, one by one.
if lines=$(whats "$@" 2> /dev/null); then
  for f; do IFS= read -r line; say "$line" "$f"; done <<END
$lines
END
else
  for f; do
    if line=$(whats "$f" 2> /dev/null); then say "$line" "$f"
    elif ! missing "$f"; then printf 'u 0 0 0 0 0\0%s\0' "${f#./}"
    fi
  done
fi

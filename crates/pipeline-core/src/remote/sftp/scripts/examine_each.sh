# look SECOND [BYTES DIGEST]..., with the file as standard input. Opened once: whatever its path leads to meanwhile is of no consequence.
look() {
  # Not before that second of the clock; for a while only, since clocks may be set back.
  for x in 1 2 3 4 5; do
    if [ "$1" = 0 ] || [ "$(date +%s)" -ge "$1" ]; then break; fi
    sleep 1
  done
  shift
  line=$(opened) || return
  join $line; before=$j
  size=${before#* * }; size=${size%% *}
  beat= digest=
  # Reading a large file must not look like silence.
  if [ "$size" -gt 33554432 ]; then
    while sleep 2 && echo w; do :; done < /dev/null &
    beat=$!
  fi
  while [ $# -gt 1 ]; do
    d=$(head -c "$1" < /proc/self/fd/0 | sha256sum)
    if [ "${d%% *}" != "$2" ]; then
      [ -z "$beat" ] || kill "$beat"
      echo 'p 0'
      return 0
    fi
    [ "$1" != "$size" ] || digest=$2
    shift 2
  done
  echo 'p 1'
  if [ -n "$digest" ] || digest=$(sha256sum 2>&1 < /proc/self/fd/0); then ok=1; else ok=0; fi
  [ -z "$beat" ] || kill "$beat"
  if [ "$ok" = 0 ]; then echo "f ${digest##*: }"; return 0; fi
  line=$(opened)
  join $line
  echo "e $before;${digest%% *};$j"
}
f=./$3
if missing "$f"; then echo g
elif [ -L "$f" ] || { [ -e "$f" ] && [ ! -f "$f" ]; }; then echo c
elif [ ! -r "$f" ]; then echo 'f permission denied'
else look "$1" $2 < "$f" || echo 'f it can not be opened'
fi 2> /dev/null

# missing FILE: there is none, as far as can be told. What lies in a directory that may not be searched can't be told.
missing() {
  if [ -e "$1" ] || [ -L "$1" ]; then return 1; fi
  d=${1%/*}
  while [ ! -e "$d" ] && [ "$d" != . ]; do d=${d%/*}; done
  [ ! -d "$d" ] || [ -x "$d" ]
}
# whats FILE...: a line for each. opened: the same for standard input.
whats() { stat -c "$format" "$@"; }
opened() { stat -L -c "$format" /proc/self/fd/0; }

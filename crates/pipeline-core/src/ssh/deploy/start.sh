# Starts the agent, and takes it first where it is missing. A device's shell runs this at every visit.
#
# Given: k, what every answer begins with; r, the source; m, what kind of machine this is; n, the file name of the agent for it,
# empty where we know none. The lines are joined to one, so each ends as a command may; none holds a single quote, a backslash
# or an exclamation mark, which login shells read differently.

d=${HOME:-}/.cache/pipeline;

say() { echo "$k" "$@"; };

run() { say start; exec "$d/$n" serve --root "$r"; };

# What a tool says is part of the answer: stderr travels apart from it, and may come later.
fail() { rm -f "$t"; set -f; say failed "$1" $w; exit 1; };

# Takes the agent from stdin, checks it, and removes others once it is in place.
# busybox's head may read more than it was asked for: nothing may be sent after the agent before it has started.
# Another collector may be doing the same: what a living shell writes, which is named in it, stays.
# RACE: a number that was given to another process keeps an abandoned file for one more time.
take() (
  LC_ALL=C; export LC_ALL; umask 077; t=$d/.upload.$$; w=;
  w=$({ mkdir -p "$d" && chmod 700 "$d" && : > "$t"; } 2>&1) || fail directory;
  w=$({ head -c "$sent" | $unpack > "$t"; } 2>&1) || fail write;
  [ $(wc -c < "$t") -eq "$bytes" ] || fail size;
  if command -v sha256sum > /dev/null; then s=$(sha256sum < "$t"); [ "${s%% *}" = "$digest" ] || fail digest; fi;
  w=$(chmod 700 "$t" 2>&1) || fail chmod;
  [ -x "$t" ] || fail noexec;
  sync "$t" 2> /dev/null || sync;
  w=$(mv -f "$t" "$d/$n" 2>&1) || fail rename;
  sync "$d" 2> /dev/null || sync;
  for o in "$d"/pipeline-agent-* "$d"/.upload.*; do [ "$o" = "$d/$n" ] || kill -0 "${o##*/.upload.}" 2> /dev/null || rm -f "$o"; done
);

# A file with that name has the right content: it got its name after its digest was checked.
if [ -n "$n" ] && [ -s "$d/$n" ]; then run; fi;
[ -d "${HOME:-}" ] || { say homeless; exit; };

unpack=cat; z=; if command -v gzip > /dev/null; then unpack="gzip -dc"; z=gzip; fi;
say missing "$m" $z;

# One line says what follows it. None, where there is nothing for this machine.
read -r n bytes digest sent || exit 0;
take || exit 1;
run

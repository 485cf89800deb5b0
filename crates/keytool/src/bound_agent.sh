# Copies $f to $p, both below the home directory, whole or not at all. Answers `done`, `kept` where it lies there, or `failed`.
umask 077
LC_ALL=C; export LC_ALL
h=${HOME:-}
t=
leave() {
    [ -z "$t" ] || rm -f "$t"
    echo "=keytool= $1"
    exit 0
}
[ -n "$h" ] && [ -d "$h" ] || leave failed
p=$h/$p
d=${p%/*}
cmp -s "$h/$f" "$p" && leave kept
mkdir -p "$d" || leave failed
rm -f "$d"/.pipeline-agent.*
t=$d/.pipeline-agent.$$
cat "$h/$f" > "$t" && chmod 700 "$t" || leave failed
sync "$t" 2> /dev/null || sync
mv -f "$t" "$p" || leave failed
sync "$d" 2> /dev/null || sync
leave done

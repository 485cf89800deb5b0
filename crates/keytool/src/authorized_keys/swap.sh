# Puts one content in the place of another: on stdin come $o bytes that the file must hold, and the $n bytes that it is to hold.
# With $a the file must not be there yet. Answers `done`, `changed` where it holds something else, or `failed STEP`.
umask 077
LC_ALL=C; export LC_ALL
t=; i=
leave() {
    [ -z "$t" ] || rm -f "$t" "$i"
    echo "=keytool= $1"
    exit 0
}
h=${HOME:-}
[ -n "$h" ] && [ -d "$h" ] || leave "failed home"
d=$h/.ssh
[ -d "$d" ] || mkdir "$d" || leave "failed directory"
f=$d/authorized_keys
# Its name in that place may be a link; what it leads to is what others edit.
if [ -L "$f" ]; then
    l=$(readlink -f "$f") || {
        # busybox says nothing of a link that leads to what is not there yet.
        l=$(readlink "$f") || leave "failed link"
        case $l in /*) ;; *) l=$d/$l ;; esac
    }
    f=$l
fi
d=${f%/*}
[ -d "$d" ] && [ -r "$d" ] || leave "failed directory"

# One of us at a time. RACE: without flock, two that come between each other's comparing and renaming lose one of two lines;
# each looks again afterwards.
if command -v flock > /dev/null; then
    exec 9< "$d"
    s=0
    while :; do
        flock -n 9 2> /dev/null && break
        [ $? -eq 1 ] || break
        s=$((s + 1))
        [ "$s" -le 20 ] || leave "failed busy"
        sleep 1
    done
fi
# What one of us left that was killed.
rm -f "$d"/.authorized_keys.keytool.*

i=$d/.authorized_keys.keytool.$$.in
t=$d/.authorized_keys.keytool.$$
cat > "$i" || leave "failed write"
[ "$(wc -c < "$i")" -eq $((o + n)) ] || leave "failed write"
m=600
if [ -n "$a" ]; then
    [ -e "$f" ] && leave changed
else
    [ -f "$f" ] || leave changed
    head -c "$o" "$i" | cmp -s - "$f" || leave changed
    # A file that another user looks after is not taken from him.
    [ "$(stat -c %u "$f")" = "$(id -u)" ] || leave "failed owner"
    # Nor is one parted from its second name without a word.
    [ "$(stat -c %h "$f")" -le 1 ] || leave "failed links"
    m=$(stat -c %a "$f") || leave "failed mode"
fi
tail -c "+$((o + 1))" "$i" > "$t" || leave "failed write"
[ "$(wc -c < "$t")" -eq "$n" ] || leave "failed write"
# Where others may write, sshd does not look.
chmod "$m" "$t" && chmod go-w "$t" || leave "failed mode"
sync "$t" 2> /dev/null || sync
rm -f "$i"
mv -f "$t" "$f" || leave "failed rename"
sync "$d" 2> /dev/null || sync
chmod go-w "$h/.ssh" 2> /dev/null
leave done

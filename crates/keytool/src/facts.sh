# Answers `facts`, and then a line for each thing that is known: a word and what it says.
LC_ALL=C; export LC_ALL
say() {
    [ -z "$2" ] || printf "%s %s\n" "$1" "$2"
}
# What the firmware says ends with NUL.
firmware() {
    [ -r "/proc/device-tree/$1" ] && head -c 256 "/proc/device-tree/$1" 2> /dev/null | tr "\000" " "
}
echo "=keytool= facts"
say hostname "$(head -c 256 /proc/sys/kernel/hostname 2> /dev/null || uname -n)"
say model "$(firmware model)"
s=$(firmware serial-number)
[ -n "$s" ] || s=$(sed -n "s/^Serial[[:space:]]*:[[:space:]]*//p" /proc/cpuinfo 2> /dev/null | head -c 256)
say serial "$s"
# Hardware has a device below it; what containers add has none.
for i in /sys/class/net/*; do
    [ -e "$i/device" ] || continue
    say interface "${i##*/} $(head -c 64 "$i/address" 2> /dev/null)"
done
exit 0

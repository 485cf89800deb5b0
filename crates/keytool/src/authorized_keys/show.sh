# Of the file whose name ends with $s. Answers `absent`, or `file BYTES` and after that line the content, or `failed STEP`.
LC_ALL=C; export LC_ALL
failed() { echo "=keytool= failed $1"; exit 0; }
h=${HOME:-}
[ -n "$h" ] && [ -d "$h" ] || failed home
f=$h/.ssh/authorized_keys$s
if [ -e "$f" ]; then
    [ -f "$f" ] || failed kind
    [ -r "$f" ] || { cat "$f" > /dev/null; failed read; }
    n=$(wc -c < "$f")
    [ "$n" -le 1048576 ] || failed large
    echo "=keytool= file $((n))"
    cat "$f"
else
    echo "=keytool= absent"
fi

# The reverse tunnel of @DEVICE@, made by `keytool tunnel`. Run it on the Pi as root:
#
#     sudo sh FILE            everything
#     sudo sh FILE key        the account and its key, whose public half it prints
#     sudo sh FILE unit       the rest: known_hosts, unit, start
#
# DESTDIR=/media/card in front of `sh` sets up a Pi's card that is mounted there. It can be run again at any time, and does what
# is missing. The private key is made here and stays here. Each line that it prints begins with a word for programs.
set -eu
umask 022
PATH=${PATH:-/bin}:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

device='@DEVICE@'
account='@ACCOUNT@'
replace='@REPLACE@'
ssh='@SSH@'
root=${DESTDIR-}
etc=$root@ETC@
dir=$etc/$account
id=$dir/$device
unit=$etc/systemd/system/$account.service

known_hosts() {
    cat <<'END'
@KNOWN_HOSTS@
END
}

unit() {
    cat <<'END'
@UNIT@
END
}

fail() {
    printf '%s: %s\n' "$account" "$*" >&2
    exit 1
}

# Brings FILE.new into the place of FILE as a whole. A power cut leaves the one or the other.
settle() {
    sync "$1.new" 2>/dev/null || sync
    mv -f "$1.new" "$1"
    sync "${1%/*}" 2>/dev/null || sync
}

# Nobody's tunnel is taken away by mistake: on a card that was cloned this would be another device's.
look() {
    [ -e "$unit" ] || return 0
    was=$(sed -n 's/^Description=Reverse tunnel of \([^ ]*\) .*/\1/p' "$unit")
    if [ "$was" != "$device" ] && [ -z "$replace" ]; then
        echo "other ${was:-unit}"
        fail "$unit is ${was:-not ours}${was:+ already}"
    fi
}

# Each device's key has its name, so that a cloned card does not go on with the key that it was born with.
key() {
    if ! grep -q "^$account:" "$etc/passwd"; then
        useradd ${root:+--prefix "$root"} --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$account"
    fi
    owner=$(sed -n "s/^$account:[^:]*:\([0-9]*:[0-9]*\):.*/\1/p" "$etc/passwd")
    [ -n "$owner" ] || fail "no account $account in $etc/passwd"
    mkdir -p "$dir"
    if [ ! -s "$id" ]; then
        rm -f "$id.new" "$id.new.pub"
        ssh-keygen -q -t ed25519 -N '' -C "tunnel of $device" -f "$id.new"
        rm -f "$id.new.pub"
        chown "$owner" "$id.new"
        settle "$id"
    fi
    public=$(ssh-keygen -y -P '' -f "$id")
    printf '%s\n' "$public" >"$id.pub.new"
    settle "$id.pub"
    echo "key $public"
}

# Whether the jump host lets the key in. Its command there is /bin/false; 255 is ssh's own word for "no".
log_in() {
    code=0
    said=$($ssh -T '@HOSTNAME@' true 2>&1 >/dev/null) || code=$?
    login=done
    if [ "$code" = 255 ]; then
        login=refused
        echo "login refused $(printf '%s' "$said" | tail -n 1)"
    else
        echo "login done"
    fi
}

# Keeps a unit that is not ours, or not this device's.
put_aside() {
    if [ -e "$unit" ] && ! grep -q "^Description=Reverse tunnel of $device " "$unit"; then
        cp -p "$unit" "$unit.old"
    fi
}

service() {
    [ -s "$id" ] || fail "there is no key yet"
    known_hosts >"$dir/known_hosts.new"
    settle "$dir/known_hosts"
    mkdir -p "${unit%/*}"
    unit >"$unit.new"
    verb=start
    if ! cmp -s "$unit.new" "$unit"; then
        verb=restart
    fi
    if [ -n "$root" ]; then
        put_aside
        settle "$unit"
        systemctl --root="$root" enable "$account.service" >/dev/null
        echo "service enabled"
        return
    fi
    log_in
    # The tunnel that runs may be the only way to this Pi: it goes only for one that is known to work.
    if [ "$verb $login" = "restart refused" ] && systemctl is-active --quiet "$account.service"; then
        rm -f "$unit.new"
        echo "service kept"
        return
    fi
    put_aside
    settle "$unit"
    systemctl daemon-reload
    systemctl enable "$account.service" >/dev/null
    # Not waited for: it may carry the connection that we came by.
    systemctl --no-block "$verb" "$account.service"
    echo "service ${verb}ed"
}

main() {
    if [ "$(id -u)" != 0 ]; then
        fail "must be run as root"
    fi
    look
    case ${1-all} in
    key) key ;;
    unit) service ;;
    all)
        key
        service
        ;;
    *) fail "no such step: $1" ;;
    esac
}

main "$@" </dev/null

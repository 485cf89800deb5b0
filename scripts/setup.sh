#!/bin/sh
# Makes sure that what `make` needs is there: Rust, and system packages for the build and the tests.
# Says nothing when it is. Installs packages with apt as root or by passwordless sudo, and otherwise names them.
# `setup.sh NAME:PACKAGE...` asks for further packages, each wanted only when there is no program NAME.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Runs as root. A freshly installed openssh-server would start and listen on port 22; the tests only need the program.
# policy-rc.d is what maintainer scripts ask before they start a service (101: no). They enable it for the next boot all
# the same, so that is taken back when, and only when, the server was not there before.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    server=absent
    [ ! -x /usr/sbin/sshd ] || server=present
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # One broken third-party source must not stand in the way.
    said=$(apt-get update -qq 2>&1) || true
    said="$said
$(apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" </dev/null 2>&1)" || {
        printf '%s\n' "$said" >&2
        exit 1
    }
    if [ "$server" = absent ] && command -v systemctl >/dev/null; then
        systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || true
    fi
}

if [ "${1:-}" = --install ]; then
    shift
    install_packages "$@"
    exit
fi

need=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
found=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
printf '%s\n' "$need" "${found:-0}" | sort -V -C ||
    fail "Rust $need or newer is needed, found ${found:-none}: install it from https://rustup.rs"

missing=
want() {
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
for pair in make:make pkg-config:pkg-config ssh:openssh-client sshd:openssh-server strace:strace sha256sum:coreutils "$@"; do
    want "${pair%%:*}" "${pair#*:}"
done
# A compiler without the C library's headers is of no use.
echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1 || missing="$missing libssl-dev"
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || fail "please install what these Debian packages hold:$missing"
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "please run: sudo apt-get install --no-install-recommends$missing"
    sudo="sudo -n"
fi
printf 'setup: installing%s\n' "$missing"
# shellcheck disable=SC2086
$sudo "$(pwd)/scripts/setup.sh" --install $missing || fail "apt could not install:$missing"

#!/bin/bash
# Builds pipeline-agent for every kind of device, `agents.sh [ARCH...]`, into dist/agents/pipeline-agent-ARCH; ARCH is what
# `uname -m` says on the device. Beside them, THIRD-PARTY-LICENSES.txt says what is linked into them and the other programs.
#
# The agents are static: they run on any Linux of that architecture, whatever its C library. They are linked with glibc by
# Debian's cross compilers rather than with musl, because those bring a C compiler (zstd needs one), its headers and a linker
# that fit each other, and because the same recipe then serves two sources of Rust's standard library:
#   1. rustup, where it can add a target;
#   2. Debian's rustc, the installed one or else the newest, unpacked below target/agents together with the standard library
#      of the foreign architecture. Nothing is installed, and apt's settings stay as they are.
# AGENTS_RUST=debian takes the second even where the first would do. The Rust that Debian 12 came out with, 1.85, is too old for the
# agent alone, too: sha2 needs 1.88. Its security archive has a newer one.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
build=$PWD/target/agents

fail() {
    printf 'agents: %s\n' "$*" >&2
    exit 1
}

# Sets target, debian (architecture), cc and packages for an architecture.
describe() {
    case $1 in
    x86_64) target=x86_64-unknown-linux-gnu debian=amd64 cc=x86_64-linux-gnu-gcc packages="gcc-x86-64-linux-gnu" ;;
    aarch64) target=aarch64-unknown-linux-gnu debian=arm64 cc=aarch64-linux-gnu-gcc packages="gcc-aarch64-linux-gnu" ;;
    armv7l) target=armv7-unknown-linux-gnueabihf debian=armhf cc=arm-linux-gnueabihf-gcc packages="gcc-arm-linux-gnueabihf" ;;
    *) fail "$1 is not one of x86_64, aarch64, armv7l" ;;
    esac
    packages="$packages libc6-dev-$debian-cross"
    if [ "$target" = "$host" ]; then
        cc=cc packages=gcc
    fi
}

has_std() {
    compgen -G "$1/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null
}

# Sets sysroot to where the target's standard library is, and rust to the directory of the compiler that it fits where that is not
# the one in PATH, after getting them if need be.
find_std() {
    rust='' notices='' sysroot=$(rustc --print sysroot)
    if [ "${AGENTS_RUST:-}" != debian ]; then
        ! has_std "$sysroot" || return 0
        if command -v rustup >/dev/null && [[ $sysroot == "$(rustup show home)"/* ]]; then
            ! rustup --quiet target add "$target" || return 0
            echo "agents: rustup could not add $target: taking Debian's Rust"
        fi
    fi
    find_debian_std
}

find_debian_std() {
    local package version real
    command -v apt-get >/dev/null || fail "no standard library for $target: please install Rust from https://rustup.rs"
    real=$(readlink -f "$(command -v rustc)")
    if package=$(dpkg-query -S "$real" 2>/dev/null | cut -d : -f 1); then
        version=$(dpkg-query -W -f '${Version}' "$package")
        package=${package/#rustc/libstd-rust}-dev
    else
        package=libstd-rust-web-dev
        version=$(apt-cache madison "$package" | awk 'NR == 1 { print $3 }')
        [ -n "$version" ] || fail "no standard library for $target: please install Rust from https://rustup.rs"
        unpack_compiler "$version"
    fi
    sysroot=$build/std-$version
    notices=$sysroot/unpacked/usr/share/doc/$package/copyright
    has_std "$sysroot" && return 0
    echo "agents: unpacking $package $version for $debian"
    scripts/foreign-deb.sh "$debian" "$sysroot/unpacked" "$package=$version" ||
        fail "Debian's Rust for $debian is not at $version on the mirror yet: try later, or install Rust from https://rustup.rs"
    mkdir -p "$sysroot/lib/rustlib"
    ln -sfn "$(echo "$sysroot"/unpacked/usr/lib*/rustlib/"$target")" "$sysroot/lib/rustlib/$target"
    has_std "$sysroot" || fail "$package for $debian does not hold the standard library for $target"
}

# Unpacks Debian's rustc of this version, which runs from there: nothing of it is looked for at a fixed place. The cargo at hand
# drives it.
unpack_compiler() {
    local need release=${1%%+*} root=$build/rust-$1 own
    need=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    printf '%s\n' "$need" "$release" | sort -V -C || fail "Rust $need is needed, and Debian has $release"
    own=$(dpkg --print-architecture)
    if [ ! -x "$root/usr/bin/rustc" ]; then
        echo "agents: unpacking Debian's Rust $release"
        scripts/foreign-deb.sh "$own" "$root" "rustc-web=$1" "libstd-rust-web-dev=$1" "libstd-rust-web-${release%.*}=$1" \
            $(apt-cache depends "libstd-rust-web-${release%.*}=$1" | awk '/Depends: libllvm/ { print $2 }')
    fi
    rust=$root/usr
    # Its own standard library, for build scripts and macros, stands beside the foreign one.
    mkdir -p "$build/std-$1/lib/rustlib"
    ln -sfn "$(echo "$root"/usr/lib*/rustlib/"$host")" "$build/std-$1/lib/rustlib/$host"
}

build_agent() {
    local flags linker='' out upper program=$build/$target/agent/pipeline-agent
    flags="-C target-feature=+crt-static --remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    # Kernels with 16 or 64 KiB pages load only what is aligned to them.
    flags="$flags -C link-arg=-Wl,-z,max-page-size=65536"
    [ "$sysroot" = "$(rustc --print sysroot)" ] || flags="$flags --sysroot $sysroot"
    upper=${target^^}
    # Not for this machine's own: it would be the linker of build scripts as well, and all be built anew when it is another's turn.
    [ "$target" = "$host" ] || linker="CARGO_TARGET_${upper//-/_}_LINKER=$cc"
    # CARGO_ENCODED_RUSTFLAGS and RUSTFLAGS would replace the target's flags.
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS ${rust:+"RUSTC=$rust/bin/rustc" "LD_LIBRARY_PATH=$rust/lib/${host/unknown-/}"} \
        "CC_${target//-/_}=$cc" ${linker:+"$linker"} "CARGO_TARGET_${upper//-/_}_RUSTFLAGS=$flags" \
        cargo build --locked -p pipeline-agent --profile agent --target "$target" --target-dir "$build"
    # No interpreter and no shared library, or it would not start on another system.
    ! readelf -ld "$program" | grep -qE 'INTERP|\(NEEDED\)' || fail "$program is not static"
    out=dist/agents/pipeline-agent-$1
    install -D -m 755 "$program" "$out"
    echo "$out: $(stat -c %s "$out") bytes, by ${rust:+Debian }$(LD_LIBRARY_PATH=${rust:+$rust/lib/${host/unknown-/}} "${rust:+$rust/bin/}rustc" --version)"
}

[ $# -gt 0 ] || set -- x86_64 aarch64 armv7l
compilers=()
for arch; do
    describe "$arch"
    compilers+=("$cc")
    scripts/setup.sh "$cc:$packages"
    find_std
    build_agent "$arch"
done
scripts/licenses.sh dist/agents/THIRD-PARTY-LICENSES.txt "$notices" "${compilers[@]}"

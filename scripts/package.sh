#!/bin/bash
# Builds the Debian packages, `package.sh [ARCH...]` with amd64 and arm64, into dist/pipeline_VERSION_ARCH.deb.
#
# Two builds of one commit with the same compilers are the same, byte for byte, wherever the sources lie: paths of this machine are
# mapped away, and all times are that of the commit (SOURCE_DATE_EPOCH).
#
# PACKAGE_MAINTAINER ("Name <address>") is who publishes; the default is nobody's address, and says so.
# PACKAGE_VERSION is that of the workspace with revision 1.
# PACKAGE_AGENTS=built takes the agents in dist/agents as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C TZ=UTC
host=$(rustc -vV | sed -n 's/^host: //p')
build=$PWD/target/package
tree=$build/tree
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# For all targets at once: were the linker of build scripts and macros another for each architecture, all would be built anew each time.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
maintainer=${PACKAGE_MAINTAINER:-The fleet pipeline authors <set-PACKAGE_MAINTAINER@example.invalid>}
version=${PACKAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-1}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

fail() {
    printf 'package: %s\n' "$*" >&2
    exit 1
}

# Sets target, gcc, multiarch and libraries for an architecture of Debian.
describe() {
    case $1 in
    amd64) target=x86_64-unknown-linux-gnu multiarch=x86_64-linux-gnu packages=gcc-x86-64-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu multiarch=aarch64-linux-gnu packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
    *) fail "$1 is not one of amd64, arm64" ;;
    esac
    gcc=$multiarch-gcc libraries=$build/libraries-$1
}

# Unpacks the libraries that the programs are linked with. Also for this machine's own architecture: so both are made alike, and what
# else is installed here makes no difference.
find_libraries() {
    [ ! -e "$libraries/done" ] || return 0
    local openssl link
    # Its name says the version of its interface, and differs between releases.
    openssl=$(apt-cache depends libssl-dev | awk '/Depends: libssl/ { print $2; exit }')
    echo "package: unpacking libraries for $1"
    rm -rf "$libraries"
    scripts/foreign-deb.sh "$1" "$libraries" libssl-dev "${openssl:-libssl3}" zlib1g-dev zlib1g libc6 libgcc-s1
    # An absolute link means a file of this machine, or none; the linker would then take the static library.
    find "$libraries" -type l -lname '/*' | while read -r link; do
        ln -sfn "$libraries$(readlink "$link")" "$link"
    done
    touch "$libraries/done"
}

build_programs() {
    # With these, libz-sys finds out that there is a zlib, by a program that it compiles and links; else it would bring its own.
    local c=("-I$libraries/usr/include/$multiarch" "-L$libraries/usr/lib/$multiarch") lower=${target//-/_} map rust=() upper
    upper=${lower^^}
    for map in "$PWD=." "$cargo_home=cargo"; do
        rust+=("--remap-path-prefix=$map")
        c+=("-ffile-prefix-map=$map")
    done
    # CARGO_ENCODED_RUSTFLAGS and RUSTFLAGS would replace the target's flags.
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS \
        "CARGO_TARGET_${upper}_RUSTFLAGS=${rust[*]}" "CC_$lower=$gcc" "CFLAGS_$lower=${c[*]}" \
        PKG_CONFIG_ALLOW_CROSS=1 "PKG_CONFIG_LIBDIR=$libraries/usr/lib/$multiarch/pkgconfig" "PKG_CONFIG_SYSROOT_DIR=$libraries" \
        CARGO_PROFILE_RELEASE_STRIP=symbols \
        cargo build --release --locked -p pipeline-cli -p keytool --target "$target" --target-dir "$build"
}

# Lays out what `make install` installs, as Debian has it.
make_tree() {
    local doc=$tree/usr/share/doc/pipeline
    rm -rf "$tree"
    # The manual comes from programs that run here.
    make --no-print-directory --silent install DESTDIR="$tree" PREFIX=/usr BUILT="$build/$target/release" RUNS="$build/$host/release"
    # On Debian this directory belongs to packages, and the other to the administrator.
    mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
    # packaging/copyright has the one, and names where Debian has the others.
    rm "$doc"/LICENSE-{MIT,APACHE,librsync}
    cat >"$build/changelog" <<CHANGELOG
pipeline ($version) unstable; urgency=medium

  * See changelog.gz, beside this file.

 -- $maintainer  $(date --rfc-email --date "@$SOURCE_DATE_EPOCH")
CHANGELOG
}

# cargo-deb has dpkg-shlibdeps find out what the package depends on, and that must look among the libraries of the architecture.
make_shlibdeps() {
    mkdir -p "$build/bin"
    cat >"$build/bin/dpkg-shlibdeps" <<WRAPPER
#!/bin/sh
PATH=\${PATH#*:}
exec dpkg-shlibdeps "-S$libraries" "\$@"
WRAPPER
    chmod 755 "$build/bin/dpkg-shlibdeps"
}

# Holds the list of dependencies to what the programs ask the loader for: where dpkg-shlibdeps fails, cargo-deb only warns.
check_dependencies() {
    local depends library package
    depends=", $(dpkg-deb --field "$1" Depends), "
    for library in $(readelf --dynamic "$tree"/usr/bin/* | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u); do
        package=$(awk -v library="$library" '$1 == library { print $2; exit }' "$libraries/DEBIAN/symbols")
        [ -n "$package" ] || fail "no package is known that brings $library"
        [[ $depends == *", $package"[,\ ]* ]] || fail "$1 does not depend on $package, which brings $library"
    done
}

[ $# -gt 0 ] || set -- amd64 arm64
[ "${PACKAGE_AGENTS:-}" = built ] || scripts/agents.sh
# The programs of this machine make the manual of every package.
for arch in $(printf '%s\n' "$(dpkg --print-architecture)" "$@" | awk '!seen[$0]++'); do
    describe "$arch"
    scripts/setup.sh "$gcc:$packages" dpkg-shlibdeps:dpkg-dev
    compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null || rustup --quiet target add "$target" ||
        fail "no standard library for $target: please install Rust from https://rustup.rs"
    find_libraries "$arch"
    build_programs
done
for arch; do
    describe "$arch"
    package=dist/pipeline_${version}_$arch.deb
    make_tree
    make_shlibdeps
    PATH="$build/bin:$PATH" scripts/tool.sh cargo-deb --manifest-path crates/pipeline-cli/Cargo.toml --no-build --no-strip --no-dbgsym --locked --quiet \
        --target "$target" --deb-version "$version" --maintainer "$maintainer" --output "$package"
    check_dependencies "$package"
    echo "$package: $(stat -c %s "$package") bytes"
done

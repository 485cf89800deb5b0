#!/bin/bash
# Writes the licences of what is linked into the programs into a file, `licenses.sh FILE STD-NOTICES C-COMPILER...`: the crates, for
# all targets that there are packages or agents for; the C libraries that some of them bring; Rust's standard library, where STD-NOTICES
# is empty that of the compiler in PATH; and the C library and the compiler's own that each of the C compilers links into an agent. Fails
# where there is no text for one of them, so that none goes out without.
#
# A text that several share is printed once. A crate's own "LICENSE-*" are all printed where its terms leave a choice.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 std=$2
shift 2

fail() {
    printf 'licenses: %s\n' "$*" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/texts" "$work/users"

# Takes a text that somebody is under.
take() {
    local user=$1 file=$2 key
    key=$(tr -d '\r' <"$file" | sha256sum | cut -d ' ' -f 1)
    [ -e "$work/texts/$key" ] || tr -d '\r' <"$file" >"$work/texts/$key"
    [ -e "$work/users/$key" ] || echo "$key" >>"$work/order"
    grep -qxF -- "$user" "$work/users/$key" 2>/dev/null || echo "$user" >>"$work/users/$key"
}

# What the packages of this workspace hold, for targets: `linked PACKAGE... -- TARGET...`. Macros run while a program is compiled, and are
# not linked in.
linked() {
    local packages=() target
    while [ "$1" != -- ]; do
        packages+=(-p "$1")
        shift
    done
    shift
    for target; do
        cargo tree --locked "${packages[@]}" -e normal,no-proc-macro --target "$target" --prefix none --no-dedupe --format '{p}|{l}'
    done | grep . | sed 's, (/[^)]*),,' | sort -u
}

# Takes the texts of a crate that is under these terms.
take_crate() {
    local name=$1 version=$2 license=$3 dir file found=
    dir=$(grep -F "/$name-$version/Cargo.toml" "$work/manifests" | head -n 1) || fail "cargo does not know where $name $version is"
    dir=${dir%/*}
    # zstd may be had under the GPL as well (COPYING); it is taken under the other.
    for file in "$dir"/LICEN[CS]E* "$dir"/COPYRIGHT* "$dir"/NOTICE* "$dir"/UNLICENSE* "$dir"/{librsync,libssh2}/COPYING "$dir"/zstd/LICENSE; do
        [ -f "$file" ] || continue
        found=1
        take "$name $version" "$file"
    done
    # The Apache licence is the same text for all, and the one taken of a choice.
    case "$found,$license" in
    1,*) ;;
    ,*"OR Apache-2.0"* | ,*"Apache-2.0 OR"* | ,Apache-2.0) take "$name $version" LICENSE-APACHE ;;
    *) fail "$name $version brings no text of its licence ($license)" ;;
    esac
}

cargo metadata --locked --format-version 1 | grep -o '"manifest_path":"[^"]*"' | cut -d '"' -f 4 >"$work/manifests"
linked pipeline-agent -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf >"$work/agent"
linked pipeline-cli keytool -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu >"$work/programs"
while IFS='|' read -r package license; do
    name=${package% v*} version=${package##* v}
    case $name in
    # Ours.
    pipeline-* | keytool | program | block-sums | libssh2-cipher)
        for file in LICENSE-MIT LICENSE-APACHE; do take "$name $version" "$file"; done
        ;;
    *) take_crate "$name" "$version" "$license" ;;
    esac
done < <(sort -u "$work/agent" "$work/programs")

# As text: the page is a list of plain paragraphs.
page=$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html
if [ -n "$std" ]; then
    cp "$std" "$work/std"
elif [ -f "$page" ]; then
    sed -e 's/<[^>]*>//g' -e 's/[[:space:]]*$//' -e 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&#x27;/'"'"'/g; s/&#x2F;/\//g; s/&amp;/\&/g' "$page" |
        cat -s >"$work/std"
elif package=$(dpkg-query -S "$(readlink -f "$(command -v rustc)")" 2>/dev/null | cut -d : -f 1) &&
    [ -f "/usr/share/doc/$package/copyright" ]; then
    # Debian's own, installed.
    cp "/usr/share/doc/$package/copyright" "$work/std"
else
    fail "$(rustc --version) brings no copyright notices of its standard library"
fi
take "the standard library of Rust" "$work/std"

# What a C compiler links besides, and what Debian says of it. Packages for several architectures say the same.
for cc; do
    for library in libc.a libgcc_eh.a; do
        file=$(readlink -f "$("$cc" -print-file-name="$library")")
        package=$(dpkg-query -S "$file" 2>/dev/null | cut -d : -f 1) || package=
        [ -f "/usr/share/doc/${package:-none}/copyright" ] || fail "no package tells the licence of $file"
        take "$library of $package $(dpkg-query -W -f '${Version}' "$package")" "/usr/share/doc/$package/copyright"
    done
done
# Debian refers to this one by its place.
take "libc.a, as its notices say" LICENSE-librsync

mkdir -p "$(dirname "$out")"
{
    cat <<'TEXT'
What is linked into the programs, and under which licences

In pipeline-agent, which is static: Rust's standard library, the GNU C library, and

TEXT
    sed 's/^\(.*\) v\([^|]*\)|/  \1 \2: /' "$work/agent"
    cat <<'TEXT'

librsync is not among them: an agent computes deltas by itself. The GNU C library is under the LGPL 2.1 or later. To link an agent with
another one, build it from its sources, which are those of this project, with a C compiler that has the other: see "Linking with
another library" in docs/licenses.md.

In pipeline and keytool: Rust's standard library, and what follows. The crate librsync-sys brings librsync, which is under the LGPL 2.1 or
later; libssh2-sys brings libssh2, zstd-sys brings zstd, and libsqlite3-sys brings SQLite, which is in the public domain.

TEXT
    sed 's/^\(.*\) v\([^|]*\)|/  \1 \2: /' "$work/programs"
    echo
    while read -r key; do
        printf '%s\n' "================================================================================"
        sed 's/^/For /' "$work/users/$key"
        printf '%s\n\n' "================================================================================"
        cat "$work/texts/$key"
        echo
    done <"$work/order"
} >"$work/out"
install -D -m 644 "$work/out" "$out"
echo "$out: $(sort -u "$work/agent" "$work/programs" | wc -l) crates, $(wc -l <"$work/order") texts, $(stat -c %s "$out") bytes"

#!/bin/bash
# Gets Debian packages of another architecture and unpacks them, `foreign-deb.sh ARCH DIR PACKAGE[=VERSION]...`. Nothing is
# installed, and apt's settings stay as they are: it gets lists of its own for that architecture alone, below target/agents.
# DIR/DEBIAN/symbols says which package brings which symbol of their libraries, where dpkg-shlibdeps looks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1 dir=$2
shift 2
apt=$PWD/target/agents/apt-$arch
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$dir"
cat >"$apt/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
CONF
export APT_CONFIG=$apt/apt.conf
# A source that lacks the architecture fails the update; what matters is whether the package is there afterwards.
apt-get update -qq >/dev/null 2>&1 || true
debs=$(mktemp -d -p "$apt")
trap 'rm -rf "$debs"' EXIT
(cd "$debs" && apt-get download -qq "$@" >/dev/null) ||
    { echo "foreign-deb: apt has no $* for $arch" >&2 && exit 1; }
mkdir -p "$dir/DEBIAN"
for deb in "$debs"/*.deb; do
    dpkg -x "$deb" "$dir"
    dpkg-deb --info "$deb" symbols 2>/dev/null || true
done >"$dir/DEBIAN/symbols"

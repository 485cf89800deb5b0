#!/bin/sh
# Runs a tool of the project, `tool.sh NAME ARGUMENT...`, from target/tools; builds it there first when it is missing.
# The versions are fixed so that lint says the same everywhere, and are the newest that the workspace's Rust can build.
set -eu
cd "$(dirname "$0")/.."
name=$1
shift
case $name in
cargo-deny) version=0.20.2 ;;
cargo-machete) version=0.9.2 ;;
cargo-deb) version=3.8.0 ;;
*)
    echo "tool: $name is not known" >&2
    exit 2
    ;;
esac

bin=target/tools/bin/$name
if [ "$("$bin" --version 2>/dev/null | sed 's/.* //')" != "$version" ]; then
    echo "==> installing $name $version into target/tools (once)"
    # They run for a second or two: a quick build is worth more than a quick program.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --force --root target/tools "$name@$version" ||
        {
            echo "tool: $name $version can't be installed; it is fetched from crates.io, is there a network?" >&2
            exit 1
        }
fi
exec "$bin" "$@"

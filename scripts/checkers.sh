#!/bin/sh
# Programs of other people that some tests ask what they think of ours.
# `checkers.sh fetch` gets what is small into target/tools; `checkers.sh tell` says loudly what is missing, since a test whose
# checker is missing passes without it.
set -eu
cd "$(dirname "$0")/.."

# The reference implementation of BagIt is one file, and Debian has no package of it.
bagit=target/tools/bagit
bagit_version=1.9.0
bagit_sha256=9455006c2d1df88be95ec1fccabc5ea623389589ea4c85b3d85bd256f29d7656

fetch() {
    [ ! -e "$bagit/bagit.py" ] || return 0
    echo "==> fetching bagit.py $bagit_version into target/tools (once)"
    rm -rf "$bagit"
    mkdir -p target/tools
    wanted=$(mktemp)
    echo "bagit==$bagit_version --hash=sha256:$bagit_sha256" >"$wanted"
    python3 -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 10 --no-deps --no-compile \
        --target "$bagit" --require-hashes --requirement "$wanted" 2>/dev/null ||
        rm -rf "$bagit"
    rm -f "$wanted"
}

missing() {
    printf 'NOT TESTED: %s, since %s\n' "$1" "$2"
}

tell() {
    [ -e "$bagit/bagit.py" ] || python3 -c 'import bagit' 2>/dev/null ||
        missing "what bagit.py says of our bags" "it can't be fetched from PyPI; is there a network?"
    found=
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        ! command -v "$name" >/dev/null || found=$name
    done
    [ -n "$found" ] || missing "how a browser shows the report" "no Chromium is installed (Debian: chromium)"
    command -v promtool >/dev/null ||
        missing "what promtool says of metrics and alert rules" "it is not installed (Debian: prometheus)"
}

case ${1:-} in
fetch) fetch ;;
tell) tell ;;
*)
    echo "checkers: fetch or tell" >&2
    exit 2
    ;;
esac

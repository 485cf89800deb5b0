#!/bin/sh
# Everything a machine can say of the code without running it. Stops at the first complaint.
set -eu
cd "$(dirname "$0")/.."

step() {
    echo "==> $*"
    "$@"
}
fail() {
    printf 'lint: %s\n' "$*" >&2
    exit 1
}

if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    rustup component add rustfmt clippy 2>/dev/null || fail "rustfmt and clippy are missing: rustup component add rustfmt clippy"
fi

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings

# The arrows between the rooms: the engine stands without SSH, and the agent without SSH and SQLite.
step cargo clippy --locked -p pipeline-core --no-default-features --features agent -- -D warnings
step cargo clippy --locked -p pipeline-core --no-default-features --features collector -- -D warnings
step cargo clippy --locked -p pipeline-agent -- -D warnings
heavy=$(cargo tree --locked -p pipeline-agent --edges normal,build --prefix none --format '{p}' |
    grep -E '^(openssl|libssh2|ssh2|libsqlite3|rusqlite|serde_yaml)' | sort -u | tr '\n' ' ')
[ -z "$heavy" ] || fail "the agent depends on what a device must not carry: $heavy"

# Private items too: most of what is written down here is for those who change it.
echo "==> cargo doc (warnings denied)"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --workspace --no-deps --document-private-items --quiet

# Advisories are left to `make audit`: they change overnight and need the network, and a change should not fail for what
# somebody else published.
step scripts/tool.sh cargo-deny --log-level error --locked check bans licenses sources
step scripts/tool.sh cargo-machete --with-metadata
step scripts/check-docs.sh
step scripts/check-units.sh
echo "lint: all clean"

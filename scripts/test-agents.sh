#!/bin/bash
# Builds the agents for every kind of device and tests them on machines that qemu pretends to be.
# The shells of those machines are Debian's static busybox for their architecture, unpacked below target/agents.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh unshare:util-linux readelf:binutils qemu-aarch64-static:qemu-user-static
scripts/agents.sh
for pair in arm64:aarch64 armhf:armv7l; do
    shell=target/agents/shells/busybox-${pair#*:}
    if [ ! -x "$shell" ]; then
        unpacked=target/agents/busybox-${pair%:*}
        scripts/foreign-deb.sh "${pair%:*}" "$unpacked" busybox-static
        install -D -m 755 "$unpacked/bin/busybox" "$shell"
    fi
done
cargo build -p pipeline-cli
# Where `make test` passes the tests over, this must not: it is asked for nothing else.
said=$(mktemp)
trap 'rm -f "$said"' EXIT
cargo test -p e2e --test foreign_machines -- --nocapture 2>&1 | tee "$said"
! grep -q '^not tested: ' "$said" || { echo "test-agents: this machine can't pretend to be an ARM machine: see above" >&2 && exit 1; }

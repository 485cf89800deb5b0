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
cargo test -p e2e --test foreign_machines

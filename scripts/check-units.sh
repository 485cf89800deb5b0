#!/bin/bash
# Holds the systemd units to what they promise: systemd understands every line, with the drop-ins and without, and grants little
# (`systemd-analyze security`, at most 2.0).
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C SYSTEMD_PAGER= SYSTEMD_COLORS=0
most=2.0
status=0
complain() {
    printf 'check-units: %s\n' "$*" >&2
    status=1
}

command -v systemd-analyze >/dev/null || {
    echo "check-units: there is no systemd-analyze here: the units are not checked"
    exit 0
}

units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
cp -r systemd/pipeline-* systemd/device/*.service "$units"
# What they start is not installed here.
sed -i 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' "$units"/*.service
verify() {
    # Keys that came with systemd 254, and that older ones pass over, as the unit says.
    said=$(SYSTEMD_UNIT_PATH="$units:" systemd-analyze verify --man=no --recursive-errors=one "$units"/*.timer "$units"/*.service 2>&1 |
        grep -vE "Unknown key '(RestartSteps|RestartMaxDelaySec)'" || true)
    [ -z "$said" ] || complain "$1: $said"
}
verify "the units with their drop-ins"
rm -r "$units"/*.d
verify "the units as they are shipped"

# What must differ from machine to machine is in the drop-ins, and nowhere else.
! grep -nE '^(RequiresMountsFor|ReadWritePaths|BindPaths|BindReadOnlyPaths)=' systemd/*.service || complain "a unit names somebody's storage"

for unit in systemd/*.service systemd/device/*.service; do
    # Whatever this version of systemd has to say of single keys is said above.
    level=$(systemd-analyze security --offline=yes --no-pager "$unit" 2>/dev/null | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
    [ -n "$level" ] || complain "$unit: systemd-analyze says nothing of it"
    awk -v level="${level:-10}" -v most="$most" 'BEGIN { exit !(level <= most) }' || complain "$unit: exposure $level, more than $most"
done
exit "$status"

#!/bin/bash
# Times `pipeline sync` beside rsync at the same job: pull a Pi's files through the jump host and free the Pi. Both go over the
# real SSH servers of the local fleet, so there is no distance: what is compared is work, not waiting. pipeline also
# verifies, syncs to disk and catalogues what it pulls; rsync does not.
#
# `bench.sh [WORKLOAD...]` with small, photos and big; BENCH_RUNS (3) is how often, and the median counts.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rsync:rsync
export LC_ALL=C
bin=$PWD/target/release
runs=${BENCH_RUNS:-3}

fail() {
    printf 'bench: %s\n' "$*" >&2
    exit 1
}

cargo build --quiet --release -p pipeline-cli -p local-fleet
# By itself: built together with the rest it would get their features.
cargo build --quiet --release -p pipeline-agent

scratch=$(mktemp -d)
fleet=
cleanup() {
    if [ -n "$fleet" ]; then
        kill "$fleet" 2>/dev/null || true
        # It takes its directory with it.
        tail --pid="$fleet" -f /dev/null
    fi
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The second Pi: on the first, a logger goes on writing.
exec 3< <(exec "$bin/local-fleet" up --pis 2)
fleet=$!
root=
while [ -z "$root" ] && read -r line <&3; do
    case $line in "The fleet is up, in "*) root=${line#The fleet is up, in } ;; esac
done
[ -n "$root" ] || fail "the local fleet did not start"
pi=raspberry2
source=$root/$pi/home/pi/beephotos

# Half of it compresses well, half not at all.
mixed() {
    for ((i = 0; i < $1 / 8; i++)); do
        head -c 4M /dev/urandom
        (yes "2026-11-21T12:00:00,hive-$i,21.5,412.7,ok" || true) | head -c 4M
    done
}

# Fills the current directory with a workload; all times lie in the past, so that no file counts as being written.
generate() {
    case $1 in
    small)
        mkdir day{00..39}
        awk 'BEGIN {
            srand(1)
            for (file = 0; file < 20000; file++) {
                name = sprintf("day%02d/rec%05d.csv", file / 500, file)
                for (line = 20 + int(rand() * 180); line > 0; line--)
                    printf "%d,hive-%d,%.2f,%.1f,ok\n", file * 60 + line, line % 7, 10 + rand() * 30, rand() * 2000 > name
                close(name)
            }
        }'
        ;;
    photos) head -c 300000000 /dev/urandom | split -b 1500000 -d -a 4 --additional-suffix=.jpg - bee ;;
    big) mixed 512 >recording.bin ;;
    *) fail "$1 is not one of small, photos, big" ;;
    esac
    find . -exec touch -d '2026-01-01 12:00:00' {} +
}

with_rsync() {
    rsync --archive --compress --remove-source-files -e "ssh -F $root/ssh/config" "$pi:$source/" "$scratch/storage/$pi"
}
with_pipeline() {
    "$bin/pipeline" --config "$scratch/pipeline.yaml" sync --quiet
}

# Prints the seconds that one run takes; fails unless every file arrived whole and left the Pi.
measure() {
    rm -rf "$source" "$scratch/storage" "$scratch/state"
    cp -a "$scratch/golden" "$source"
    mkdir "$scratch/storage"
    if [ "$1" = pipeline ]; then
        "$bin/pipeline" --config "$scratch/pipeline.yaml" init >"$scratch/log" 2>&1 || fail "$(cat "$scratch/log")"
    fi
    sync
    local start=$EPOCHREALTIME
    "with_$1" >"$scratch/log" 2>&1 || fail "$1: $(tail -n 5 "$scratch/log")"
    local end=$EPOCHREALTIME
    diff -rq "$scratch/golden" "$scratch/storage/$pi" >"$scratch/log" || fail "$1 stored something else: $(head -n 3 "$scratch/log")"
    [ -z "$(find "$source" -type f -print -quit)" ] || fail "$1 left files on the Pi"
    awk -v start="$start" -v end="$end" 'BEGIN { print end - start }'
}

median() {
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

cat >"$scratch/pipeline.yaml" <<YAML
hosts: [$pi]
source: $source
storage: $scratch/storage
ssh_config: $root/ssh/config
state_dir: $scratch/state
YAML

[ $# -gt 0 ] || set -- small photos big
printf '%-8s %7s %6s %10s %12s %14s\n' workload files MB 'rsync (s)' 'pipeline (s)' 'rsync/pipeline'
for workload; do
    rm -rf "$scratch/golden"
    mkdir "$scratch/golden"
    (cd "$scratch/golden" && generate "$workload")
    : >"$scratch/rsync"
    : >"$scratch/pipeline"
    for ((run = 0; run < runs; run++)); do
        # In turn, so that whatever else the computer does hits both.
        for tool in rsync pipeline; do
            seconds=$(measure "$tool")
            echo "$seconds" >>"$scratch/$tool"
        done
    done
    files=$(find "$scratch/golden" -type f | wc -l)
    bytes=$(find "$scratch/golden" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
    awk -v name="$workload" -v files="$files" -v bytes="$bytes" -v rsync="$(median <"$scratch/rsync")" \
        -v pipeline="$(median <"$scratch/pipeline")" \
        'BEGIN { printf "%-8s %7d %6.0f %10.2f %12.2f %13.1fx\n", name, files, bytes / 1e6, rsync, pipeline, rsync / pipeline }'
done

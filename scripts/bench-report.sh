#!/bin/bash
# Times `pipeline report` on a made catalog: a year of fifty devices, a run each minute and a reading each hour.
#
# `bench-report.sh [DEVICES [DAYS]]`; BENCH_RUNS (5) is how often, and the median counts.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
runs=${BENCH_RUNS:-5}

cargo build --quiet --release -p pipeline-cli
cargo build --quiet --release -p e2e --bin past
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

target/release/past "$scratch" "$@"
for ((run = 0; run < runs; run++)); do
    start=$EPOCHREALTIME
    target/release/pipeline --config "$scratch/pipeline.yaml" report --quiet --output "$scratch/page.html"
    awk -v start="$start" -v end="$EPOCHREALTIME" 'BEGIN { print end - start }'
done | sort -n >"$scratch/seconds"
awk -v catalog="$(stat -c %s "$scratch/state/catalog.db")" -v page="$(stat -c %s "$scratch/page.html")" '
    { value[NR] = $1 }
    END { printf "report   %.0f MB of catalog to %.0f kB of page in %.2f s\n", catalog / 1e6, page / 1e3, value[int((NR + 1) / 2)] }
' "$scratch/seconds"

#!/usr/bin/env bash
# Fuzzing: builds the targets of fuzz/ once, replays the corpus and fuzzes each target for SECONDS (20).
#
#   tests/fuzz.sh [--keep] [SECONDS] [TARGET ...]
#
# A crash, an input that takes over 5 s or memory over 1 GB fails, and stays in fuzz/artifacts/TARGET. With
# --keep, what reached something new is packed into fuzz/corpus/TARGET.tar.xz. Needs a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=
if [ "${1:-}" = --keep ]; then
    keep=1
    shift
fi
seconds=${1:-20}
shift || true
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"|\1|p' fuzz/Cargo.toml)
fi
host=$(rustc -vV | sed -n 's/^host: //p')

# The flags of `cargo fuzz build --sanitizer none --release`. With a target named, they are not for
# build scripts and macros.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$flags" cargo build --quiet --release --target "$host" --manifest-path fuzz/Cargo.toml

python3 fuzz/seeds.py
# For the files that targets read; in memory where it can be.
MOBILENS_FUZZ_DIR=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
export MOBILENS_FUZZ_DIR
trap 'rm -rf "$MOBILENS_FUZZ_DIR"' EXIT
limits=(-timeout=5 -rss_limit_mb=1024 -max_len=65536)

# Fuzzes one target and leaves its executions and exit status in fuzz/artifacts/TARGET.result.
fuzz() {
    local target=$1 status=0 runs covered merged
    local binary=fuzz/target/$host/release/$target
    local corpus=fuzz/corpus/$target
    local log=fuzz/artifacts/$target.log
    mkdir -p "$corpus" "fuzz/artifacts/$target"
    local dictionary=()
    [ -f "fuzz/dictionaries/$target.dict" ] && dictionary=("-dict=fuzz/dictionaries/$target.dict")
    "$binary" "${limits[@]}" "${dictionary[@]}" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "$corpus" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
    if [ "$status" = 0 ] && [ -n "$keep" ]; then
        merged=$(mktemp -d)
        "$binary" "${limits[@]}" -merge=1 "$merged" "$corpus" >>"$log" 2>&1
        tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$merged" -cJf "$corpus.tar.xz" .
        rm -r "$merged"
    fi
    echo "${runs:-0} $status" >"fuzz/artifacts/$target.result"
    echo "$target: ${runs:-?} executions, ${covered:-cov: ?}"
}

# As in a Rust program, which libFuzzer's own `main` is not: a client that has gone is an error of the write.
trap '' PIPE

# As many targets at a time as there are processors.
rm -f fuzz/artifacts/*.result
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n || true
    done
    fuzz "$target" &
done
wait

total=0
failed=()
for target in "${targets[@]}"; do
    read -r runs status <"fuzz/artifacts/$target.result" || status=1
    total=$((total + ${runs:-0}))
    if [ "$status" != 0 ]; then
        failed+=("$target")
        tail -25 "fuzz/artifacts/$target.log"
    fi
done
echo "$total executions"
if [ ${#failed[@]} != 0 ]; then
    echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts"
    exit 1
fi

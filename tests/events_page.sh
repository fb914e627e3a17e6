#!/usr/bin/env bash
# The Events view of the web page in a headless browser, clicked and typed through: filters, pages, the clip, keep,
# delete, keyboard alone, a phone's width; contrast and names of controls. Screenshots go to target/events_page.
# Needs chromium and python3; MOBILENS names the binary (default: the dev build).
set -euo pipefail
cd "$(dirname "$0")/.."
mobilens=$(realpath -m "${MOBILENS:-target/debug/mobilens}")
if ! command -v chromium >/dev/null; then
    echo "SKIPPED: chromium is not installed"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
dir=$(mktemp -d)
run=''
cleanup() {
    if [ -n "$run" ]; then
        kill "$run" 2>/dev/null || true
        wait "$run" || true
    fi
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The clip, from which its events come with pictures and clips ...
store="{store: {path: $dir/events.db, keep_days: 100000}}"
clips="{clips: {dir: $dir/clips, before_ms: 1000, after_ms: 500}}"
"$mobilens" pipelines/ssd_counting.yaml --headless --pace fast --set stream=web_security --output "$dir/records.jsonl" \
    --set "sinks.1=$store" --set "sinks.2=$clips" 2>"$dir/said" || { cat "$dir/said"; exit 1; }
# ... and on five days, today among them, without.
for days in 0 1 2 3 4; do
    "$mobilens" analyze "$dir/records.jsonl" pipelines/ssd_counting.yaml --store "$dir/events.db" \
        --began "$(date -d "-$days days" +%Y-%m-%dT00:00)"
done
# A camera that sees nothing: what is there stays the same.
"$mobilens" pipelines/web_security.yaml --set 'sinks.0={web: {bind: "127.0.0.1:0"}}' --set "sinks.1=$store" \
    --set "sinks.2=$clips" --set detect.score_threshold=1 --set 'source.camera={device: /dev/nowhere}' \
    --output /dev/null 2>"$dir/said" &
run=$!
for _ in $(seq 1200); do
    grep -q 'watch at' "$dir/said" && break
    kill -0 "$run" 2>/dev/null || { cat "$dir/said"; exit 1; }
    sleep 0.1
done
mkdir -p target/events_page
python3 tests/events_page.py "$(sed -n 's/.*watch at \(.*\)/\1/p' "$dir/said")" "$dir/profile" target/events_page

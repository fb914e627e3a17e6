#!/usr/bin/env bash
# AP of the shipped SSDLite on COCO Tiny (160 pictures with official annotations): at least .276.
#
#   tests/coco_ap.sh [BINARY]        (default: target/debug/mobilens)
#
# Needs ../shared/data/coco_tiny beside the checkout (MOBILENS_SHARED names another folder than
# ../shared) and pycocotools; without the pictures the test is skipped, and says so, or fails under
# MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
data=${MOBILENS_SHARED:-../shared}/data/coco_tiny
if [ ! -d "$data" ]; then
    echo "SKIPPED tests/coco_ap.sh: $data does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/pictures"
cp "$data"/train2017/*.jpg "$data"/val2017/*.jpg "$work/pictures/"
"$binary" pipelines/ssd_replay.yaml --headless --input "$work/pictures" --format coco \
    --output "$work/results.json" --set detect.score_threshold=0.001 --set 'detect.classes={}' 2>/dev/null
python3 models/import/coco_ap.py "$work/results.json" "$data"/annotations/instances_*.json | tee "$work/ap.txt"
awk '/Average Precision.*0.50:0.95.*= *all/ { ap = $NF } END {
    print (ap >= 0.276 ? "1 passed, 0 failed" : "0 passed, 1 failed"); exit !(ap >= 0.276) }' "$work/ap.txt"

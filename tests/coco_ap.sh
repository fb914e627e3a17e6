#!/usr/bin/env bash
# AP of the shipped SSDLite on COCO Tiny (160 pictures with official annotations): in int8 at least .276, at 300 and
# 556 pixels together .318; in float32 .279.
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
failed=0
while read -r model scales least; do
    "$binary" pipelines/ssd_replay.yaml --headless --input "$work/pictures" --format coco \
        --output "$work/results.json" --set "model=../models/$model.yaml" --set detect.score_threshold=0.001 \
        --set 'detect.classes={}' --set "gating.scales=$scales" 2>/dev/null
    echo "$model $scales"
    python3 models/import/coco_ap.py "$work/results.json" "$data"/annotations/instances_*.json | tee "$work/ap.txt"
    awk -v least="$least" '/Average Precision.*0.50:0.95.*= *all/ { ap = $NF } END { exit !(ap >= least) }' \
        "$work/ap.txt" || failed=1
done <<'LIST'
ssdlite_mobilenet_v2_coco_int8 [] 0.276
ssdlite_mobilenet_v2_coco_int8 [300,556] 0.318
ssdlite_mobilenet_v2_coco [] 0.279
LIST
[ "$failed" = 0 ] && echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; exit 1; }

#!/usr/bin/env bash
# Mean IoU of the shipped DeepLab models on COCO Tiny (160 pictures with official annotations): in int8 at
# least .600 at output stride 8 and .590 at 16, in float32 .590 at 16, by `mobilens eval`, and within .002 of
# what pycocotools makes of the mask files of a run.
#
#   tests/voc_miou.sh [BINARY]       (default: target/debug/mobilens)
#
# Needs ../shared/data/coco_tiny beside the checkout (MOBILENS_SHARED names another folder than
# ../shared), pycocotools and pillow; without the pictures the test is skipped, and says so, or fails
# under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
data=${MOBILENS_SHARED:-../shared}/data/coco_tiny
if [ ! -d "$data" ]; then
    echo "SKIPPED tests/voc_miou.sh: $data does not exist"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/pictures"
cp "$data"/train2017/*.jpg "$data"/val2017/*.jpg "$work/pictures/"
failed=0
while read -r model stride least; do
    choice=(--set "model={card: ../models/$model.yaml, input_px: 513, output_stride: $stride}")
    "$binary" pipelines/deeplab_replay.yaml --input "$work/pictures" "${choice[@]}" \
        --set "sinks=[{masks: {dir: $work/$model}}]" 2>/dev/null
    "$binary" eval segmentation pipelines/deeplab_replay.yaml "${choice[@]}" --json \
        --images "$work/pictures" --instances "$data/annotations/instances_train2017.json" \
        --instances "$data/annotations/instances_val2017.json" > "$work/ours.json"
    python3 models/import/voc_miou.py "$work/$model" "$data"/annotations/instances_*.json | tail -1 > "$work/theirs"
    python3 - "$work" "$model" "$least" <<'PY' || failed=1
import json, sys
work, model, least = sys.argv[1:]
ours = json.load(open(f"{work}/ours.json"))
theirs = float(open(f"{work}/theirs").read().split()[2].rstrip(","))
print(f"{model}: mean IoU {ours['mean_iou']:.4f}, by pycocotools {theirs:.4f}, {ours['pictures']} pictures")
sys.exit(not (ours["pictures"] == 160 and ours["mean_iou"] >= float(least) and abs(ours["mean_iou"] - theirs) <= 0.002))
PY
done <<'LIST'
deeplabv3_mobilenet_v2_voc_os8_int8 8 0.600
deeplabv3_mobilenet_v2_voc_os16_int8 16 0.590
deeplabv3_mobilenet_v2_voc_os16 16 0.590
LIST
[ "$failed" = 0 ] && echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; exit 1; }

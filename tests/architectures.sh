#!/usr/bin/env bash
# Exports the architectures of docs/models.md by both of PyTorch's exporters, and holds what comes of them to
# ONNX Runtime. Takes 1.6 GB of packages in target/torch and 1.3 GB of models in target/architectures.
#
#   tests/architectures.sh            both
#   tests/architectures.sh export     only the exports, which the next call then finds
set -euo pipefail
cd "$(dirname "$0")/.."
here=tests/architectures out=target/architectures
mkdir -p $out
tests/torch_venv.sh
venv=target/torch
if [ ! $out/exported -nt $here/export.py ]; then
    # The newer exporter takes longer than all the rest: one processor each.
    OMP_NUM_THREADS=1 $venv/bin/python $here/export.py $out/newer --exporter dynamo >$out/newer.log 2>&1 &
    newer=$!
    OMP_NUM_THREADS=1 $venv/bin/python $here/export.py $out/older --exporter torchscript >$out/older.log 2>&1 ||
        { cat $out/older.log; exit 1; }
    wait $newer || { cat $out/newer.log; exit 1; }
    touch $out/exported
fi
[ "${1:-}" != export ] || exit 0
cargo build --quiet -p mobilens-nn --example raw_outputs
[ -x target/debug/mobilens ] || cargo build --quiet
failed=0
$venv/bin/python $here/check.py $out/older || failed=1
$venv/bin/python $here/check.py $out/newer || failed=1
exit $failed

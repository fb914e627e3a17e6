#!/usr/bin/env bash
# Makes target/torch: PyTorch without CUDA, torchvision, timm, the ONNX tools and pytest, for tests/architectures.sh and
# tests/train.sh. 1.6 GB; done once.
set -euo pipefail
cd "$(dirname "$0")/.."
here=tests/architectures venv=target/torch
stamp=$(cat $here/requirements*.txt train/tests/requirements.txt | sha256sum | cut -c1-16)
[ "$(cat $venv/made 2>/dev/null)" = "$stamp" ] && exit
python3 -m venv $venv
$venv/bin/pip install -q --no-deps -r $here/requirements-torch.txt
$venv/bin/pip install -q -r $here/requirements.txt -r train/tests/requirements.txt
$venv/bin/python $here/torch_without_cuda.py
echo "$stamp" > $venv/made

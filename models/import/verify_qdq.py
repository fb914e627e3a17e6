#!/usr/bin/env python3
"""Compares the quantised SSD, run by ONNX Runtime, with LiteRT running the package's own file.

    python3 models/import/verify_qdq.py MODEL.onnx

Each head before the layers are joined, in codes, on three pictures resized to 300x300.
Needs: npm, and `pip install -r models/import/requirements-golden.txt`.
"""
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

import packages

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ("astronaut", "chelsea", "coffee")
# LiteRT rounds its sums otherwise than ONNX Runtime; over some fifty layers that adds up.
MOST_CODES, MOST_MEAN = 16, 1.5


def main():
    with zipfile.ZipFile(packages.fetch(packages.QUANTIZED)) as archive:
        data = archive.read(packages.QUANTIZED_FILE)
    litert = Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    litert.allocate_tensors()
    tensors = {tensor["name"]: tensor for tensor in litert.get_tensor_details()}
    session = onnxruntime.InferenceSession(sys.argv[1])
    worst, worst_mean = 0, 0.0
    for picture in PICTURES:
        image = Image.open(ROOT / "tests" / "data" / "pictures" / f"{picture}.png").convert("RGB")
        pixels = np.array(image.resize((300, 300), Image.BILINEAR))[None]
        litert.set_tensor(litert.get_input_details()[0]["index"], pixels)
        litert.invoke()
        x = (pixels.astype(np.float32) - 128) / 128
        outputs = session.run(["boxes", "scores"], {"input": x.transpose(0, 3, 1, 2)})
        for output, kind in zip(outputs, ("BoxEncoding", "Class")):
            first = 0
            for level in range(6):
                tensor = tensors[f"BoxPredictor_{level}/{kind}Predictor/BiasAdd"]
                scale, zero = tensor["quantization"]
                expected = litert.get_tensor(tensor["index"]).astype(int).reshape(-1, output.shape[2])
                got = np.round(output[0, first:first + len(expected)] / scale) + zero
                off = np.abs(got - expected)
                first += len(expected)
                worst, worst_mean = max(worst, int(off.max())), max(worst_mean, float(off.mean()))
                print(f"{picture:10s} {kind:11s} {level}: at most {int(off.max())} codes, mean {off.mean():.3f}, "
                      f"equal {(off == 0).mean():.3f}")
    sys.exit(worst > MOST_CODES or worst_mean > MOST_MEAN)


if __name__ == "__main__":
    main()

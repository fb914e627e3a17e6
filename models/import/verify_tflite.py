#!/usr/bin/env python3
"""Converts TensorFlow Lite files with from_tflite.py and compares ONNX Runtime's outputs with LiteRT's on a picture.

    python3 models/import/verify_tflite.py MODEL.tflite [...]

Float outputs must agree within 1e-3 of the largest value. Quantised ones are compared in codes: LiteRT rounds sums
otherwise than ONNX Runtime, which adds up over the layers; the worst and the mean are printed and limited. Class maps:
the share of equal pixels. What LiteRT has no kernel for, MediaPipe's Convolution2DTransposeBias and a sigmoid after it,
is computed here by its definition. Needs: `pip install -r models/import/requirements-verify.txt`.
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

import from_tflite

ROOT = Path(__file__).resolve().parent.parent.parent
# Of the largest value; codes at most and in the mean; share of equal pixels of a class map.
FLOAT, MOST_CODES, MEAN_CODES, EQUAL = 1e-3, 16, 1.5, 0.99


def picture(shape, name="astronaut"):
    """A picture of the tests at the size of an input [1, rows, columns, 3], as codes of 0 to 255."""
    image = Image.open(ROOT / "tests" / "data" / "pictures" / f"{name}.png").convert("RGB")
    return np.array(image.resize((int(shape[2]), int(shape[1])), Image.BILINEAR))[None]


def without_tail(data):
    """The file up to its first Convolution2DTransposeBias, and that operator's input; the file itself without one."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    codes = [code.customCode for code in model.operatorCodes]
    for i, operator in enumerate(graph.operators):
        if codes[operator.opcodeIndex] == b"Convolution2DTransposeBias":
            from flatbuffers import Builder
            kept, tail = graph.operators[:i], operator
            graph.operators, graph.outputs = kept, [int(tail.inputs[0])]
            # Without what only the tail reads, as its code would still be looked up.
            builder = Builder(len(data))
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output()), tail
    return data, None


def litert(data, codes):
    """Inputs in real units and every output, with its scale and zero point, of LiteRT."""
    cut, tail = without_tail(data)
    runtime = Interpreter(model_content=cut)
    runtime.allocate_tensors()
    (detail,) = runtime.get_input_details()
    scale, zero = detail["quantization"]
    if detail["dtype"] == np.float32:
        x = codes.astype(np.float32) / 127.5 - 1
        runtime.set_tensor(detail["index"], x)
    else:
        x = (codes.astype(np.float32) - zero) * np.float32(scale)
        runtime.set_tensor(detail["index"], codes.astype(detail["dtype"]))
    runtime.invoke()
    outputs = [(d["name"], runtime.get_tensor(d["index"]), d["quantization"]) for d in runtime.get_output_details()]
    return x, outputs, tail


def transpose_bias(x, weight, bias):
    """2x2 with a stride of 2: every pixel becomes four, then the sigmoid. `weight` is [1, 2, 2, channels]."""
    n, h, w, _ = x.shape
    out = np.einsum("nhwc,oijc->nhiwjo", x, weight).reshape(n, h * 2, w * 2, 1) + bias
    return 1 / (1 + np.exp(-out))


def compare(path):
    data = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / (path.stem + ".onnx")
        converter = from_tflite.convert(data, target)
        session = onnxruntime.InferenceSession(str(target))
        size = target.stat().st_size
    shape = converter.sub.Tensors(int(converter.sub.Inputs(0))).ShapeAsNumpy()
    if converter.cut:
        data = without_postprocess(data)
    x, outputs, tail = litert(data, picture(shape))
    wanted = session.get_inputs()[0]
    names = [o.name for o in session.get_outputs()]
    got = dict(zip(names, session.run(names, {wanted.name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})))
    fine = True
    for name, (theirs, expected, (scale, zero)) in zip(names, outputs):
        ours = got[name] if name in got else None
        if tail is not None:
            weight = converter.array(int(tail.inputs[1])).astype(np.float64)
            expected = transpose_bias(expected, weight, converter.array(int(tail.inputs[2])))
        if expected.ndim == 4:
            expected = expected.transpose(0, 3, 1, 2)
        if ours.shape != expected.shape:
            raise SystemExit(f"{path.name} {name}: {ours.shape}, LiteRT's {expected.shape} of {theirs}")
        if np.issubdtype(expected.dtype, np.integer) and not scale:
            equal = float((ours == expected).mean())
            fine &= equal >= EQUAL
            print(f"{path.name} {name}: {equal:.4%} of the pixels have LiteRT's class ({len(np.unique(expected))} classes)")
        elif scale:
            off = np.abs(np.round(ours / scale) + zero - expected.astype(int))
            fine &= off.max() <= MOST_CODES and off.mean() <= MEAN_CODES
            print(f"{path.name} {name}: at most {int(off.max())} codes of {int(expected.max()) - int(expected.min())}, "
                  f"mean {off.mean():.3f}, equal {(off == 0).mean():.3f}")
        else:
            off = float(np.abs(ours - expected).max() / np.abs(expected).max())
            fine &= off <= FLOAT
            print(f"{path.name} {name}: {off:.1e} of the largest value ({np.abs(expected).max():.3g}), {size} bytes")
    return fine


def without_postprocess(data):
    """The file with the boxes and scores that TFLite_Detection_PostProcess gets as its outputs."""
    from flatbuffers import Builder
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    codes = [code.customCode for code in model.operatorCodes]
    at = next(i for i, o in enumerate(graph.operators) if codes[o.opcodeIndex] == b"TFLite_Detection_PostProcess")
    graph.outputs = [int(i) for i in graph.operators[at].inputs[:2]]
    graph.operators = graph.operators[:at]
    builder = Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    sys.exit(0 if all([compare(path) for path in parser.parse_args().files]) else 1)


if __name__ == "__main__":
    main()

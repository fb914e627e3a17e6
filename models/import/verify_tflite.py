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

import flatbuffers
import numpy as np
import onnxruntime
import tflite
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


def cut(data, custom, outputs):
    """The file up to its first operator of the name `custom`, and that operator; the file itself without one.
    `outputs` of the operator's inputs become the file's outputs."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    codes = [code.customCode for code in model.operatorCodes]
    for i, operator in enumerate(graph.operators):
        if codes[operator.opcodeIndex] == custom:
            graph.operators = graph.operators[:i]
            graph.outputs = [int(t) for t in operator.inputs[:outputs]]
            builder = flatbuffers.Builder(len(data))
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output()), operator
    return data, None


def run(data, x):
    """Every output with its scale and zero point, of LiteRT, and the operator that it ends before."""
    data, _ = cut(data, b"TFLite_Detection_PostProcess", 2)
    data, tail = cut(data, b"Convolution2DTransposeBias", 1)
    runtime = Interpreter(model_content=data)
    runtime.allocate_tensors()
    runtime.set_tensor(runtime.get_input_details()[0]["index"], x)
    runtime.invoke()
    outputs = [(d["name"], runtime.get_tensor(d["index"]), d["quantization"]) for d in runtime.get_output_details()]
    return outputs, tail


def transpose_bias(x, weight, bias):
    """2x2 with a stride of 2: every pixel becomes four, then the sigmoid. `weight` is [1, 2, 2, channels]."""
    n, h, w, _ = x.shape
    x = x.astype(np.float64)
    out = np.einsum("nhwc,oijc->nhiwjo", x, weight).reshape(n, h * 2, w * 2, 1) + bias
    return 1 / (1 + np.exp(-np.clip(out, -100, 100)))


def rounding(converter, output):
    """Scale and zero point of what a last DEQUANTIZE reads; zeros without one."""
    producer = converter.file.producer.get(int(converter.sub.Outputs(output)))
    if producer is None or converter.file.kind(producer) != tflite.BuiltinOperator.DEQUANTIZE:
        return 0, 0
    quantization = converter.quantization(int(producer.Inputs(0)))
    return (quantization[0][0], quantization[1][0]) if quantization else (0, 0)


def compare(path):
    data = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / (path.stem + ".onnx")
        converter = from_tflite.convert(data, target)
        session = onnxruntime.InferenceSession(str(target))
        size = target.stat().st_size
    shape = converter.sub.Tensors(int(converter.sub.Inputs(0))).ShapeAsNumpy()
    codes, quantized = picture(shape), converter.quantization(int(converter.sub.Inputs(0)))
    kind = converter.sub.Tensors(int(converter.sub.Inputs(0))).Type()
    if kind == tflite.TensorType.UINT8:
        scale, zero, _ = quantized
        x, given = (codes.astype(np.float32) - np.float32(zero[0])) * scale[0], codes
    else:
        x = given = codes.astype(np.float32) / 127.5 - 1
    outputs, tail = run(data, given)
    wanted = session.get_inputs()[0]
    names = [o.name for o in session.get_outputs()]
    got = dict(zip(names, session.run(names, {wanted.name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})))
    fine = True
    for name, (theirs, expected, (scale, zero)) in zip(names, outputs):
        ours = got[name] if name in got else None
        if tail is not None:
            weight = converter.array(int(tail.inputs[1])).astype(np.float64)
            expected = transpose_bias(expected, weight, converter.array(int(tail.inputs[2])))
        if not scale and expected.dtype == np.float32:
            scale, zero = rounding(converter, names.index(name))
            expected = np.round(expected / scale) + zero if scale else expected
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    sys.exit(0 if all([compare(path) for path in parser.parse_args().files]) else 1)


if __name__ == "__main__":
    main()

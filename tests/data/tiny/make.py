#!/usr/bin/env python3
"""Makes tiny.onnx: a detector with one anchor that sees "bright" as soon as a picture is bright.

    python3 tests/data/tiny/make.py

It has the heads of an SSD and none of its cost, for tests of everything around the network. The
second file, wrong_shape.onnx, has one box too many for its card. quantised.onnx is a QDQ file of a few
convolutions with random weights: its detections mean nothing, but every rounding shows in them.
"""
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent


def make(path, boxes):
    constants = [
        # Mean of the normalised channels, in [-1, 1], times 10: bright is a high logit.
        numpy_helper.from_array(np.array([[0, 0, 0], [3, 3, 4]], np.float32).reshape(2, 3, 1, 1), "weight"),
        numpy_helper.from_array(np.array([1, 1, 2], np.int64), "scores_shape"),
        numpy_helper.from_array(np.zeros((1, boxes, 4), np.float32), "zero_boxes"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Conv", ["mean", "weight"], ["logits"]),
        helper.make_node("Reshape", ["logits", "scores_shape"], ["scores"]),
        helper.make_node("ReduceMean", ["mean"], ["one"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["one", "zero"], ["nothing"]),
        helper.make_node("Add", ["zero_boxes", "nothing"], ["boxes"]),
    ]
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tiny", [info("input", [1, 3, 16, 16])],
                              [info("boxes", [1, boxes, 4]), info("scores", [1, 1, 2])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))


def make_quantised(path):
    rng = np.random.default_rng(14)
    nodes, constants = [], []

    def constant(value, dtype):
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(constants)}"))
        return constants[-1].name

    def node(op, *inputs, **attributes):
        nodes.append(helper.make_node(op, list(inputs), [f"n{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def round_to_codes(x, scale, zero_point):
        params = [constant(scale, np.float32), constant(zero_point, np.uint8)]
        return node("DequantizeLinear", node("QuantizeLinear", x, *params), *params)

    def conv(x, scale, outputs, inputs, kernel, **attributes):
        """Weights of int8 with a scale for each output, a bias in the units of the sums."""
        shape = (outputs, inputs, kernel, kernel)
        codes = rng.integers(-127, 128, shape)
        scales = (2.5 / 127 / np.sqrt(inputs * kernel * kernel) * rng.uniform(0.5, 1.5, outputs)).astype(np.float32)
        bias = rng.integers(-3000, 3000, outputs)
        zeros = constant(np.zeros(outputs), np.int8)
        w = node("DequantizeLinear", constant(codes, np.int8), constant(scales, np.float32), zeros, axis=0)
        b = node("DequantizeLinear", constant(bias, np.int32), constant(scales * np.float32(scale), np.float32), axis=0)
        return node("Conv", x, w, b, kernel_shape=[kernel, kernel], **attributes)

    x = round_to_codes("input", 1 / 127.5, 127)
    x = node("Relu", conv(x, 1 / 127.5, 16, 3, 3, strides=[2, 2], pads=[0, 0, 1, 1]))
    x = round_to_codes(x, 0.02, 0)
    x = node("Relu", conv(x, 0.02, 16, 1, 3, group=16, pads=[1, 1, 1, 1]))
    before = round_to_codes(x, 0.02, 0)
    x = round_to_codes(conv(before, 0.02, 16, 16, 1), 0.04, 128)
    x = round_to_codes(node("Add", x, before), 0.04, 100)
    x = round_to_codes(node("GlobalAveragePool", x), 0.01, 128)
    for name, channels in [("boxes", 4), ("scores", 2)]:
        y = conv(x, 0.01, channels, 16, 1)
        nodes.append(helper.make_node("Reshape", [y, constant([1, 1, channels], np.int64)], [name]))
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "quantised", [info("input", [1, 3, 16, 16])],
                              [info("boxes", [1, 1, 4]), info("scores", [1, 1, 2])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))


make_quantised(HERE / "quantised.onnx")
make(HERE / "tiny.onnx", 1)
make(HERE / "wrong_shape.onnx", 2)

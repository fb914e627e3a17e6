#!/usr/bin/env python3
"""Makes tiny.onnx: a detector with one anchor that sees "bright" as soon as a picture is bright.

    python3 tests/data/tiny/make.py

It has the heads of an SSD and none of its cost, for tests of everything around the network. The
second file, wrong_shape.onnx, has one box too many for its card.
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


make(HERE / "tiny.onnx", 1)
make(HERE / "wrong_shape.onnx", 2)

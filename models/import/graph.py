"""A static convolutional network between its package and its ONNX file.

Both readers (tfjs.py, tflite.py) build a Graph; write() makes the ONNX file of it. Tensors are NCHW
with a batch of 1. Convolutions hold their weights as OIHW; batch norm is folded into them by the
readers.
"""
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
# Rounding the first layers and the depthwise ones to float16 moves the outputs by up to 1 %; the
# many weights of the large layers stand it, and are most of the file.
HALF_FROM = 100_000


@dataclass
class Node:
    """One operator. `shape` is [channels, height, width] of its output."""

    op: str
    name: str
    inputs: list
    shape: tuple
    weight: np.ndarray = None
    bias: np.ndarray = None
    stride: int = 1
    dilation: int = 1
    groups: int = 1


@dataclass
class Graph:
    size: int
    nodes: dict = field(default_factory=dict)

    def __post_init__(self):
        self.nodes["input"] = Node("input", "input", [], (3, self.size, self.size))

    def add(self, node):
        self.nodes[node.name] = node
        return node.name

    def shape(self, name):
        return self.nodes[name].shape

    def conv(self, name, x, weight, bias, stride=1, dilation=1, groups=1):
        _, h, w = self.shape(x)
        shape = (weight.shape[0], -(-h // stride), -(-w // stride))
        return self.add(Node("conv", name, [x], shape, weight, bias, stride, dilation, groups))

    def pool(self, name, x):
        """The mean over all positions."""
        return self.add(Node("pool", name, [x], (self.shape(x)[0], 1, 1)))

    def simple(self, op, name, *inputs):
        """relu, relu6, add: the shape stays."""
        return self.add(Node(op, name, list(inputs), self.shape(inputs[0])))


def same_pads(size, kernel, stride, dilation):
    """TensorFlow's SAME padding of one axis: what is odd goes to the end."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


class Writer:
    """Collects ONNX nodes; large weights are stored as float16 and cast when they are loaded."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, name, array):
        full, half = array.astype(np.float32), array.astype(np.float16)
        if array.size < HALF_FROM and np.any(half.astype(np.float32) != full):
            return self.constant(name, full)
        self.constant(name + ".f16", half)
        return self.op("Cast", name, [name + ".f16"], to=TensorProto.FLOAT)

    def op(self, kind, name, inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def body(self, graph):
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))
        for name, n in graph.nodes.items():
            if n.op == "conv":
                _, h, w = graph.shape(n.inputs[0])
                k = n.weight.shape[2]
                top, bottom = same_pads(h, k, n.stride, n.dilation)
                left, right = same_pads(w, k, n.stride, n.dilation)
                inputs = [n.inputs[0], self.weight(name + ".weight", n.weight),
                          self.constant(name + ".bias", n.bias.astype(np.float32))]
                self.op("Conv", name, inputs, kernel_shape=[k, k], strides=[n.stride] * 2,
                        dilations=[n.dilation] * 2, group=n.groups, pads=[top, left, bottom, right])
            elif n.op == "relu6":
                self.op("Clip", name, [n.inputs[0], "zero", "six"])
            elif n.op == "relu":
                self.op("Relu", name, n.inputs)
            elif n.op == "add":
                self.op("Add", name, n.inputs)
            elif n.op == "pool":
                self.op("GlobalAveragePool", name, n.inputs)

    def ssd_head(self, graph, output, layers, depth):
        """[1, A * depth, h, w] of each layer to one [1, anchors, depth]."""
        rows, total = [], 0
        for i, name in enumerate(layers):
            c, h, w = graph.shape(name)
            count = c * h * w // depth
            nhwc = self.op("Transpose", f"{output}.{i}.nhwc", [name], perm=[0, 2, 3, 1])
            shape = self.constant(f"{output}.{i}.shape", np.array([1, count, depth], np.int64))
            rows.append(self.op("Reshape", f"{output}.{i}", [nhwc, shape]))
            total += count
        self.op("Concat", output, rows, axis=1)
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, total, depth])

    def save(self, size, name, outputs, path):
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])
        g = helper.make_graph(self.nodes, name, [x], outputs, self.initializers)
        model = helper.make_model(g, opset_imports=[helper.make_opsetid("", OPSET)],
                                  producer_name="mobilens models/import", ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        with open(path, "wb") as f:
            f.write(model.SerializeToString(deterministic=True))


def write_ssd(graph, name, box_layers, score_layers, channels, path):
    w = Writer()
    w.body(graph)
    outputs = [w.ssd_head(graph, "boxes", box_layers, 4),
               w.ssd_head(graph, "scores", score_layers, channels)]
    w.save(graph.size, name, outputs, path)


def write_classifier(graph, name, classes, path):
    w = Writer()
    w.body(graph)
    w.op("Flatten", "logits", [classes], axis=1)
    shape = [1, graph.shape(classes)[0]]
    w.save(graph.size, name, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)], path)


def write_deeplab(graph, name, logits, path):
    w = Writer()
    w.body(graph)
    w.op("Identity", "logits", [logits])
    shape = [1, *graph.shape(logits)]
    w.save(graph.size, name, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)], path)

"""Reads TensorFlow.js graph models: a GraphDef as JSON beside shards of weights. Reader is for those of convert.py."""
import base64
import json
from pathlib import Path

import numpy as np

from graph import Graph, Node


class TfModel:
    """Nodes by name, and the constants' values."""

    def __init__(self, nodes, constants):
        self.nodes, self.constants = nodes, constants

    def attribute(self, node, key, default=None):
        value = node.get("attr", {}).get(key)
        if not value:
            if default is None:
                raise SystemExit(f"{node['name']}: the attribute {key} of {node['op']} is missing")
            return default
        if "list" in value:
            items = value["list"]
            return [self.text(s) for s in items["s"]] if items.get("s") else [int(i) for i in items.get("i", [])]
        if "s" in value:
            return self.text(value["s"])
        if "i" in value:
            return int(value["i"])
        return next(iter(value.values()))

    @staticmethod
    def text(s):
        return (bytes(s) if isinstance(s, (list, bytes)) else base64.b64decode(s)).decode()


class TfjsModel(TfModel):
    """Of a TensorFlow.js graph model: the folder of its model.json, or the path of that file."""

    def __init__(self, path):
        path = Path(path)
        path = path / "model.json" if path.is_dir() else path
        model = json.loads(path.read_text())
        nodes = (model.get("modelTopology") or {}).get("node") if isinstance(model, dict) else None
        if not nodes:
            raise SystemExit("not a graph model of TensorFlow.js: modelTopology.node is missing (a layers model?)")
        super().__init__({n["name"]: n for n in nodes}, {})
        self.signature = model.get("signature") or model.get("userDefinedMetadata", {}).get("signature") or {}
        read_weights(model["weightsManifest"], path.parent, self.constants)


def read_weights(manifest, folder, constants):
    """The weights of a manifest by name, from the shards in `folder`."""
    known = dict(float32=np.float32, int32=np.int32, bool=np.bool_, float16=np.float16, uint8=np.uint8, uint16=np.uint16)
    for group in manifest:
        data = b"".join((folder / p).read_bytes() for p in group["paths"])
        at = 0
        for w in group["weights"]:
            quantized = w.get("quantization")
            kind = quantized["dtype"] if quantized else w["dtype"]
            if kind not in known:
                raise SystemExit(f"{w['name']}: weights of the type {kind} are not known")
            count = int(np.prod(w["shape"], dtype=np.int64))
            array = np.frombuffer(data, known[kind], count, at).reshape(w["shape"])
            at += array.nbytes
            if quantized and "scale" in quantized:
                array = array * np.float32(quantized["scale"]) + np.float32(quantized["min"])
            constants[w["name"]] = array.astype(known[w["dtype"]]) if quantized else array


class Reader:
    """Walks back from an output to the network's input and builds a Graph on the way."""

    def __init__(self, model, input_name, size, stride_of=None, dilation_of=None):
        self.model, self.input_name = model, input_name
        self.graph = Graph(size)
        self.names = {input_name: "input"}
        # Overrides by layer name, for another output stride of the same weights.
        self.stride_of, self.dilation_of = stride_of or {}, dilation_of or {}

    def constant(self, name):
        return self.model.constants.get(name)

    def read(self, name):
        """The Graph's name of the tensor `name`."""
        if name not in self.names:
            node = self.model.nodes[name]
            self.names[name] = getattr(self, "op_" + node["op"])(node)
        return self.names[name]

    def conv(self, node, weight, groups):
        strides = self.model.attribute(node, "strides")
        source, dilation = node["input"][0], self.model.attribute(node, "dilations")[1]
        before = self.model.nodes.get(source)
        if before is not None and before["op"] == "SpaceToBatchND":
            # An atrous convolution, as TensorFlow used to write it.
            dilation, source = int(self.constant(before["input"][1])[0]), before["input"][0]
        x = self.read(source)
        stride = self.stride_of.get(node["name"], strides[1])
        dilation = self.dilation_of.get(node["name"], dilation)
        bias = np.zeros(weight.shape[0], np.float64)
        return self.graph.conv(node["name"], x, weight.astype(np.float64), bias, stride, dilation, groups)

    def op_Conv2D(self, node):
        weight = self.constant(node["input"][1]).transpose(3, 2, 0, 1)
        joined = self.joined_with_pool(node)
        if joined is not None:
            return self.project_joined(node, weight.astype(np.float64), *joined)
        return self.conv(node, weight, 1)

    def op_DepthwiseConv2dNative(self, node):
        weight = self.constant(node["input"][1])
        assert weight.shape[3] == 1, "a depth multiplier"
        return self.conv(node, weight.transpose(2, 3, 0, 1), weight.shape[2])

    def op_BatchToSpaceND(self, node):
        return self.read(node["input"][0])

    def fold(self, node, scale, shift, source=0):
        """Scale and shift after a convolution become part of it."""
        name = self.read(node["input"][source])
        conv = self.graph.nodes[name]
        if conv.op == "add" and np.all(scale == 1):
            # The shift of a projection, moved behind its residual addition by TensorFlow's optimiser.
            order = list(self.graph.nodes)
            conv = self.graph.nodes[max(conv.inputs, key=order.index)]
        assert conv.op == "conv", f"{node['name']} does not follow a convolution"
        conv.weight = conv.weight * np.reshape(scale, (-1, 1, 1, 1))
        conv.bias = conv.bias * scale + shift
        return name

    def op_Mul(self, node):
        return self.fold(node, self.constant(node["input"][1]).ravel(), 0)

    def op_BiasAdd(self, node):
        return self.fold(node, 1, self.constant(node["input"][1]).ravel())

    def op_FusedBatchNorm(self, node):
        gamma, beta, mean, var = (self.constant(i).astype(np.float64) for i in node["input"][1:])
        scale = gamma / np.sqrt(var + self.model.attribute(node, "epsilon"))
        return self.fold(node, scale, beta - mean * scale)

    def op_Add(self, node):
        for source in (0, 1):
            shift = self.constant(node["input"][1 - source])
            if shift is not None:
                return self.fold(node, 1, shift.ravel(), source)
        return self.graph.simple("add", node["name"], *map(self.read, node["input"]))

    op_AddN = op_Add

    def op_Relu6(self, node):
        return self.graph.simple("relu6", node["name"], self.read(node["input"][0]))

    def op_Relu(self, node):
        return self.graph.simple("relu", node["name"], self.read(node["input"][0]))

    def op_AvgPool(self, node):
        """Only over all of the feature map."""
        x = self.read(node["input"][0])
        return self.graph.add(Node("pool", node["name"], [x], (self.graph.shape(x)[0], 1, 1)))

    def joined_with_pool(self, node):
        """(pooled, map, channels of pooled) if `node` reads one pixel that was spread over a map and
        joined with that map; else None."""
        concat = self.model.nodes.get(node["input"][0], {})
        if concat.get("op") != "ConcatV2":
            return None
        spread, beside = concat["input"][:2]
        assert self.model.nodes[spread]["op"] == "ResizeBilinear"
        pooled = self.read(self.model.nodes[spread]["input"][0])
        channels, h, w = self.graph.shape(pooled)
        assert (h, w) == (1, 1)
        return pooled, self.read(beside), channels

    def project_joined(self, node, weight, pooled, beside, channels):
        """A 1x1 convolution of a joined map is the sum of one over each part; that of the single
        pixel is done once and added everywhere, at any size of the map."""
        zero = np.zeros(weight.shape[0])
        one = self.graph.conv(node["name"] + "/pooled", pooled, weight[:, :channels], zero)
        every = self.graph.conv(node["name"] + "/map", beside, weight[:, channels:], zero)
        return self.graph.add(Node("add", node["name"], [one, every], self.graph.shape(every)))

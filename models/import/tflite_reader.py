"""Reads the float16 SSD of a TensorFlow Lite file: convolutions with fused clamps, and raw heads."""
import numpy as np
import tflite
from tflite import BuiltinOperator as Op

from graph import Graph


def options(operator, kind):
    table = operator.BuiltinOptions()
    parsed = kind()
    parsed.Init(table.Bytes, table.Pos)
    return parsed


class TfliteModel:
    """Operators by their output tensor, and the constants' values."""

    def __init__(self, data):
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.sub = self.model.Subgraphs(0)
        self.producer = {}
        for i in range(self.sub.OperatorsLength()):
            operator = self.sub.Operators(i)
            for output in operator.OutputsAsNumpy():
                self.producer[int(output)] = operator

    def kind(self, operator):
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())

    def name(self, tensor):
        return self.sub.Tensors(tensor).Name().decode()

    def constant(self, tensor):
        """The value of a constant, or of one that is only widened from float16."""
        operator = self.producer.get(tensor)
        if operator is not None:
            assert self.kind(operator) == Op.DEQUANTIZE, self.name(tensor)
            return self.constant(operator.Inputs(0)).astype(np.float32)
        t = self.sub.Tensors(tensor)
        dtype = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16,
                 tflite.TensorType.INT32: np.int32}[t.Type()]
        raw = self.model.Buffers(t.Buffer()).DataAsNumpy()
        return np.frombuffer(raw.tobytes(), dtype).reshape(t.ShapeAsNumpy())


class Reader:
    """Walks back from an output to the network's input and builds a Graph on the way."""

    def __init__(self, model, size):
        self.model, self.graph = model, Graph(size)
        self.names = {model.sub.Inputs(0): "input"}

    def read(self, tensor):
        """The Graph's name of the tensor."""
        if tensor not in self.names:
            operator = self.model.producer[tensor]
            inputs = [int(i) for i in operator.InputsAsNumpy()]
            name = self.model.name(tensor)
            kind = self.model.kind(operator)
            if kind == Op.CONV_2D:
                opt = options(operator, tflite.Conv2DOptions)
                weight = self.model.constant(inputs[1]).transpose(0, 3, 1, 2)
                result = self.conv(name, inputs, opt, weight, 1)
            elif kind == Op.DEPTHWISE_CONV_2D:
                opt = options(operator, tflite.DepthwiseConv2DOptions)
                weight = self.model.constant(inputs[1]).transpose(3, 0, 1, 2)
                result = self.conv(name, inputs, opt, weight, weight.shape[0])
            elif kind == Op.ADD:
                opt = options(operator, tflite.AddOptions)
                result = self.graph.simple("add", name, *map(self.read, inputs))
                result = self.clamp(result, opt)
            else:
                raise SystemExit(f"{name}: operator {kind} is not known here")
            self.names[tensor] = result
        return self.names[tensor]

    def conv(self, name, inputs, opt, weight, groups):
        assert opt.Padding() == tflite.Padding.SAME
        x = self.read(inputs[0])
        bias = self.model.constant(inputs[2])
        conv = self.graph.conv(name + ".conv", x, weight.astype(np.float64), bias.astype(np.float64),
                               opt.StrideH(), opt.DilationHFactor(), groups)
        return self.clamp(conv, opt)

    def clamp(self, name, opt):
        activation = opt.FusedActivationFunction()
        if activation == tflite.ActivationFunctionType.RELU6:
            return self.graph.simple("relu6", name + ".relu6", name)
        assert activation == tflite.ActivationFunctionType.NONE
        return name

    def head_layers(self, output):
        """The convolutions that an output [1, anchors, depth] is joined from."""
        operator = self.model.producer[output]
        while self.model.kind(operator) != Op.CONCATENATION:
            operator = self.model.producer[operator.Inputs(0)]
        layers = []
        for tensor in operator.InputsAsNumpy():
            reshape = self.model.producer[int(tensor)]
            assert self.model.kind(reshape) == Op.RESHAPE
            layers.append(self.read(reshape.Inputs(0)))
        return layers

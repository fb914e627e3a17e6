"""Reads TensorFlow Lite files; Reader is for the float16 SSD of convert.py: convolutions with fused clamps, raw heads."""
import numpy as np
import tflite
from flatbuffers import flexbuffers
from tflite import BuiltinOperator as Op

from graph import Graph


def options(operator, kind):
    table = operator.BuiltinOptions()
    parsed = kind()
    parsed.Init(table.Bytes, table.Pos)
    return parsed


DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16,
          tflite.TensorType.INT32: np.int32, tflite.TensorType.INT64: np.int64, tflite.TensorType.BOOL: np.bool_,
          tflite.TensorType.INT8: np.int8, tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT16: np.int16}


def indices(kind, table):
    """An array of a sparse dimension, kept as int32, uint16 or uint8."""
    known = {tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
             tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
             tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector}
    vector = known[kind]()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(np.int64)


def densify(values, shape, sparsity):
    """A sparse tensor as a dense one: dense and compressed (CSR) dimensions in any order, without blocks."""
    if sparsity.BlockMapLength():
        return densify_blocks(values, shape, sparsity)
    return expand(values, shape, sparsity, [int(n) for n in sparsity.TraversalOrderAsNumpy()])


def densify_blocks(values, shape, sparsity):
    """The same with blocks: the last dimensions are those inside a block."""
    rank, blocks = len(shape), [int(n) for n in sparsity.BlockMapAsNumpy()]
    order = [int(n) for n in sparsity.TraversalOrderAsNumpy()]
    inside = [sparsity.DimMetadata(rank + i).DenseSize() for i in range(len(blocks))]
    outside = list(shape)
    for axis, size in zip(blocks, inside):
        outside[axis] //= size
    dense = expand(values, [*outside, *inside], sparsity, order)
    perm = []
    for axis in range(rank):
        perm += [axis] + [rank + i for i, of in enumerate(blocks) if of == axis]
    return dense.transpose(perm).reshape(shape)


def expand(values, sizes, sparsity, order):
    dense, at, count = np.zeros([int(n) for n in sizes], values.dtype), [0] * len(sizes), iter(values)

    def level(i, position):
        if i == len(order):
            dense[tuple(at)] = next(count)
            return
        dimension = sparsity.DimMetadata(i)
        if dimension.Format() == tflite.DimensionType.DENSE:
            for k in range(dimension.DenseSize()):
                at[order[i]] = k
                level(i + 1, position * dimension.DenseSize() + k)
            return
        segments, where = read[i]
        for k in range(segments[position], segments[position + 1]):
            at[order[i]] = where[k]
            level(i + 1, k)

    read = {i: (indices(d.ArraySegmentsType(), d.ArraySegments()), indices(d.ArrayIndicesType(), d.ArrayIndices()))
            for i in range(len(order)) for d in [sparsity.DimMetadata(i)]
            if d.Format() == tflite.DimensionType.SPARSE_CSR}
    level(0, 0)
    return dense


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

    def custom(self, operator):
        """The name of a custom operator."""
        return self.model.OperatorCodes(operator.OpcodeIndex()).CustomCode().decode()

    @staticmethod
    def custom_options(operator):
        """The options of a custom operator that are kept as a FlexBuffer."""
        return flexbuffers.Loads(operator.CustomOptionsAsNumpy().tobytes())

    def is_constant(self, tensor):
        """Whether its value is in the file, perhaps as float16 or as the values of a sparse tensor."""
        operator = self.producer.get(tensor)
        if operator is not None:
            return self.kind(operator) in (Op.DEQUANTIZE, Op.DENSIFY) and self.is_constant(operator.Inputs(0))
        return self.model.Buffers(self.sub.Tensors(tensor).Buffer()).DataLength() > 0

    def constant(self, tensor):
        """The value of a constant, or of one that is only widened from float16 or from a sparse tensor."""
        operator = self.producer.get(tensor)
        if operator is not None and self.kind(operator) == Op.DENSIFY:
            return self.constant(operator.Inputs(0))
        if operator is not None:
            assert self.kind(operator) == Op.DEQUANTIZE, self.name(tensor)
            return self.constant(operator.Inputs(0)).astype(np.float32)
        t = self.sub.Tensors(tensor)
        dtype = DTYPES[t.Type()]
        raw = np.frombuffer(self.model.Buffers(t.Buffer()).DataAsNumpy().tobytes(), dtype)
        shape = t.ShapeAsNumpy() if t.ShapeLength() else []
        if t.Sparsity() is not None:
            return densify(raw, shape, t.Sparsity())
        return raw.reshape(shape)


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

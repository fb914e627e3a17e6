"""TensorFlow Lite operators as calls of Operators; see from_tflite.py."""
import numpy as np
import tflite
from tflite import ActivationFunctionType as Activation
from tflite import BuiltinOperator as Op
from tflite import TensorType

import fold
from builder import NotKnown, Value
from operators import Operators
from tflite_reader import TfliteModel, options

NAMES = {number: name for name, number in vars(Op).items() if isinstance(number, int)}
CODES = {TensorType.UINT8: np.uint8, TensorType.INT8: np.int8, TensorType.INT32: np.int32, TensorType.INT16: np.int16}
FUSED = {Activation.RELU: "relu", Activation.RELU6: "relu6", Activation.RELU_N1_TO_1: "relu_n1_to_1",
         Activation.TANH: "tanh"}
UNARY = dict(RELU="relu", RELU6="relu6", RELU_N1_TO_1="relu_n1_to_1", RELU_0_TO_1="relu_0_to_1", HARD_SWISH="hard_swish",
             LOGISTIC="sigmoid", TANH="tanh", ELU="elu", EXP="exp", LOG="log", SQRT="sqrt", RSQRT="rsqrt", ABS="abs",
             NEG="neg", SQUARE="square", FLOOR="floor", ROUND="round", CEIL="ceil", SIN="sin", COS="cos")
BINARY = dict(ADD="Add", SUB="Sub", MUL="Mul", DIV="Div", MAXIMUM="Max", MINIMUM="Min", POW="Pow")
WITH_OPTIONS = dict(ADD=tflite.AddOptions, SUB=tflite.SubOptions, MUL=tflite.MulOptions, DIV=tflite.DivOptions)
REDUCE = dict(MEAN="mean", REDUCE_MAX="max", REDUCE_MIN="min", SUM="sum", REDUCE_PROD="prod")
# Their result has the codes of what goes in.
SAME_CODES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK",
              "GATHER", "QUANTIZE", "DEQUANTIZE", "CAST", "ARG_MAX", "SPACE_TO_BATCH_ND", "DEPTH_TO_SPACE",
              "SPACE_TO_DEPTH", "DENSIFY", "TILE"}
ON_CONSTANTS = dict(ADD="Add", SUB="Sub", MUL="Mul", DIV="Div", MAXIMUM="Maximum", MINIMUM="Minimum", RESHAPE="Reshape",
                    TRANSPOSE="Transpose", TILE="Tile", RSQRT="Rsqrt", SQRT="Sqrt", EXP="Exp", EXPAND_DIMS="ExpandDims",
                    FILL="Fill", RANGE="Range", GATHER="Gather", NEG="Neg", FLOOR_DIV="FloorDiv", SLICE="Slice")


class Converter(Operators):
    def __init__(self, data, float16=False):
        super().__init__(float16)
        self.file = TfliteModel(data)
        self.sub = self.file.sub
        self.values, self.uses, self.written, self.anchors, self.cut = {}, {}, {}, None, {}
        operators = [self.sub.Operators(i) for i in range(self.sub.OperatorsLength())]
        for operator in operators:
            for tensor in operator.InputsAsNumpy():
                self.uses[int(tensor)] = self.uses.get(int(tensor), 0) + 1
        for tensor in self.sub.OutputsAsNumpy():
            self.uses[int(tensor)] = self.uses.get(int(tensor), 0) + 1
        for tensor in self.sub.InputsAsNumpy():
            tensor = int(tensor)
            shape = [int(n) for n in self.sub.Tensors(tensor).ShapeAsNumpy()]
            if shape and min(shape) < 1:
                raise NotKnown(f"input {self.file.name(tensor)} has the shape {shape}: its size is not fixed")
            self.values[tensor] = self.rounded(tensor, self.input(self.file.name(tensor), shape))
        for operator in operators:
            self.operator(operator)

    # Tensors

    def quantization(self, tensor):
        """Scales and zero points; none where the tensor holds plain numbers."""
        q = self.sub.Tensors(tensor).Quantization()
        if q is None or q.ScaleLength() == 0:
            return None
        zeros = q.ZeroPointAsNumpy() if q.ZeroPointLength() else np.zeros(q.ScaleLength(), np.int64)
        return q.ScaleAsNumpy().astype(np.float32), zeros, q.QuantizedDimension()

    def codes(self, tensor):
        t = self.sub.Tensors(tensor)
        raw = self.file.model.Buffers(t.Buffer()).DataAsNumpy()
        shape = t.ShapeAsNumpy() if t.ShapeLength() else []
        return np.frombuffer(raw.tobytes(), CODES[t.Type()]).reshape(shape)

    def value(self, tensor):
        """The Value of a tensor; constants are read when they are asked for."""
        if tensor not in self.values:
            quantization = self.quantization(tensor)
            if quantization and self.sub.Tensors(tensor).Type() in CODES:
                scale, zero, axis = quantization
                codes = self.codes(tensor)
                shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if len(scale) > 1 else []
                array = (codes.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
                self.values[tensor] = self.fixed(array.astype(np.float32))
            else:
                self.values[tensor] = self.fixed(self.file.constant(tensor))
        return self.values[tensor]

    def array(self, tensor):
        value = self.value(tensor)
        if value.array is None:
            raise NotKnown(f"{self.file.name(tensor)}: computed when the network runs, expected a constant")
        return value.array

    def rounded(self, tensor, value):
        """`value` rounded to the codes of a quantised tensor."""
        quantization = self.quantization(tensor)
        kind = self.sub.Tensors(tensor).Type()
        if quantization is None or kind not in (TensorType.UINT8, TensorType.INT8) or value.array is not None:
            return value
        scale, zero, _ = quantization
        name = self.file.name(tensor)
        params = [self.const(name + ".scale", scale[0]), self.const(name + ".zero", CODES[kind](zero[0]))]
        codes = self.emit("QuantizeLinear", name + ".q", [value.name, *params])
        return Value(value.shape, self.emit("DequantizeLinear", name + ".dq", [codes, *params]), value.first)

    def weight(self, tensor, perm):
        """A weight as an array, or of a quantised file as the name of its dequantised codes."""
        quantization = self.quantization(tensor)
        if not quantization or self.sub.Tensors(tensor).Type() not in CODES or tensor in self.values:
            return self.array(tensor).transpose(perm)
        scale, zero, axis = quantization
        codes = np.ascontiguousarray(self.codes(tensor).transpose(perm))
        return self.dequantized(tensor, codes, scale, zero, perm.index(axis)), codes.shape

    def bias(self, tensor):
        if tensor < 0:
            return None
        quantization = self.quantization(tensor)
        if not quantization or self.sub.Tensors(tensor).Type() not in CODES:
            return self.array(tensor)
        return self.dequantized(tensor, self.codes(tensor), quantization[0], quantization[1], 0)

    def dequantized(self, tensor, codes, scale, zero, axis):
        name = self.file.name(tensor)
        many = len(scale) > 1
        zero = np.broadcast_to(zero, scale.shape).astype(codes.dtype)
        inputs = [self.const(name + ".q", codes), self.const(name + ".scale", scale if many else scale[0]),
                  self.const(name + ".zero", zero if many else zero[0])]
        return self.emit("DequantizeLinear", name, inputs, **(dict(axis=axis) if many else {}))

    # Operators

    def operator(self, operator):
        inputs = [int(i) for i in operator.InputsAsNumpy()]
        outputs = [int(i) for i in operator.OutputsAsNumpy()]
        kind = NAMES[self.file.kind(operator)]
        name = self.file.name(outputs[0])
        if kind == "CUSTOM":
            kind = self.file.custom(operator)
        if kind == "DENSIFY" or (kind == "DEQUANTIZE" and self.file.is_constant(inputs[0])):
            return  # read with the constant
        for i in inputs:
            if i >= 0 and i not in self.values and not self.file.is_constant(i):
                return  # behind the place where the graph was cut
        made = self.on_constants(kind, operator, inputs)
        if made is None:
            method = getattr(self, "op_" + kind, None)
            if kind in UNARY:
                made = self.unary(UNARY[kind], name, self.value(inputs[0]))
            elif kind in BINARY:
                made = self.binary(BINARY[kind], name, *map(self.value, inputs))
                if kind in WITH_OPTIONS:
                    made = self.fused(made, options(operator, WITH_OPTIONS[kind]))
            elif kind in REDUCE:
                keep = options(operator, tflite.ReducerOptions).KeepDims()
                made = self.reduce(REDUCE[kind], name, self.value(inputs[0]), self.array(inputs[1]).ravel().tolist(), keep)
            elif method is not None:
                made = method(operator, name, inputs)
            else:
                raise NotKnown(f"{name}: the operator {kind} is not known (models/import/tflite_convert.py has those that are)")
        if made is None:
            return
        for tensor, value in zip(outputs, made if isinstance(made, list) else [made]):
            if self.uses.get(tensor, 0) > 1:
                value.conv = None
            if kind not in SAME_CODES:
                value = self.rounded(tensor, value)
            self.values[tensor] = value

    def on_constants(self, kind, operator, inputs):
        if kind == "SHAPE":
            return self.fixed(np.array(self.value(inputs[0]).shape, np.int32))
        if not all(i >= 0 and self.value(i).array is not None for i in inputs) or not inputs:
            return None
        arrays = [self.array(i) for i in inputs]
        if kind == "PACK":
            return self.fixed(np.stack(arrays, options(operator, tflite.PackOptions).Axis()))
        if kind == "CONCATENATION":
            return self.fixed(np.concatenate(arrays, options(operator, tflite.ConcatenationOptions).Axis()))
        if kind == "STRIDED_SLICE":
            return self.fixed(fold.strided_slice(*arrays, *self.masks(operator)))
        if kind in ("CAST", "QUANTIZE"):
            return self.fixed(arrays[0])
        if kind in ON_CONSTANTS:
            return self.fixed(np.asarray(fold.NUMPY[ON_CONSTANTS[kind]](*arrays)))
        return None

    @staticmethod
    def masks(operator):
        opt = options(operator, tflite.StridedSliceOptions)
        return (opt.BeginMask(), opt.EndMask(), opt.EllipsisMask(), opt.NewAxisMask(), opt.ShrinkAxisMask())

    def fused(self, value, opt):
        activation = opt.FusedActivationFunction()
        if activation == Activation.NONE:
            return value
        if activation not in FUSED:
            raise NotKnown(f"{value.name}: the fused activation {activation} is not known")
        return self.unary(FUSED[activation], value.name + "." + FUSED[activation], value)

    @staticmethod
    def padding(opt):
        return "SAME" if opt.Padding() == tflite.Padding.SAME else "VALID"

    def op_CONV_2D(self, operator, name, inputs):
        opt, x = options(operator, tflite.Conv2DOptions), self.value(inputs[0])
        weight = self.weight(inputs[1], [0, 3, 1, 2])
        inside = (weight[1] if isinstance(weight, tuple) else weight.shape)[1]
        made = self.conv(name, x, weight, self.bias(inputs[2]) if len(inputs) > 2 else None,
                         (opt.StrideH(), opt.StrideW()), (opt.DilationHFactor(), opt.DilationWFactor()),
                         x.shape[3] // inside, self.padding(opt))
        return self.fused(made, opt)

    def op_DEPTHWISE_CONV_2D(self, operator, name, inputs):
        opt, x = options(operator, tflite.DepthwiseConv2DOptions), self.value(inputs[0])
        made = self.conv(name, x, self.weight(inputs[1], [3, 0, 1, 2]), self.bias(inputs[2]) if len(inputs) > 2 else None,
                         (opt.StrideH(), opt.StrideW()), (opt.DilationHFactor(), opt.DilationWFactor()),
                         x.shape[3], self.padding(opt))
        return self.fused(made, opt)

    def op_TRANSPOSE_CONV(self, operator, name, inputs):
        opt = options(operator, tflite.TransposeConvOptions)
        size = self.array(inputs[0])[1:3].tolist()
        bias = self.bias(inputs[3]) if len(inputs) > 3 else None
        made = self.conv_transpose(name, self.value(inputs[2]), self.weight(inputs[1], [3, 0, 1, 2]), bias,
                                   (opt.StrideH(), opt.StrideW()), size, self.padding(opt))
        return self.fused(made, opt) if hasattr(opt, "FusedActivationFunction") else made

    def op_Convolution2DTransposeBias(self, operator, name, inputs):
        """MediaPipe's: padding (1: SAME), stride of rows and of columns as three int32."""
        padding, *strides = np.frombuffer(operator.CustomOptionsAsNumpy().tobytes(), np.int32)[:3].tolist()
        return self.conv_transpose(name, self.value(inputs[0]), self.weight(inputs[1], [3, 0, 1, 2]),
                                   self.bias(inputs[2]), strides, None, "SAME" if padding == 1 else "VALID")

    def op_FULLY_CONNECTED(self, operator, name, inputs):
        opt, x = options(operator, tflite.FullyConnectedOptions), self.value(inputs[0])
        bias = self.bias(inputs[2]) if len(inputs) > 2 else None
        made = self.dense(name, x, self.weight(inputs[1], [0, 1]), bias)
        if opt.KeepNumDims():
            made = self.reshape(name + ".dims", made, [*x.shape[:-1], made.shape[1]])
        return self.fused(made, opt)

    def pool_of(self, kind, operator, name, inputs):
        opt = options(operator, tflite.Pool2DOptions)
        made = self.pool(kind, name, self.value(inputs[0]), (opt.FilterHeight(), opt.FilterWidth()),
                         (opt.StrideH(), opt.StrideW()), self.padding(opt))
        return self.fused(made, opt)

    def op_AVERAGE_POOL_2D(self, *args):
        return self.pool_of("AveragePool", *args)

    def op_MAX_POOL_2D(self, *args):
        return self.pool_of("MaxPool", *args)

    def op_PAD(self, _, name, inputs):
        value = float(self.array(inputs[2])) if len(inputs) > 2 else 0.0
        return self.pad(name, self.value(inputs[0]), self.array(inputs[1]).tolist(), value)

    op_PADV2 = op_PAD

    def op_MIRROR_PAD(self, operator, name, inputs):
        if options(operator, tflite.MirrorPadOptions).Mode() != 0:
            raise NotKnown(f"{name}: MIRROR_PAD of the mode SYMMETRIC is not known")
        return self.pad(name, self.value(inputs[0]), self.array(inputs[1]).tolist(), mode="reflect")

    def op_RESIZE_BILINEAR(self, operator, name, inputs):
        opt = options(operator, tflite.ResizeBilinearOptions)
        return self.resize(name, self.value(inputs[0]), self.array(inputs[1]), True, opt.AlignCorners(), opt.HalfPixelCenters())

    def op_RESIZE_NEAREST_NEIGHBOR(self, operator, name, inputs):
        opt = options(operator, tflite.ResizeNearestNeighborOptions)
        return self.resize(name, self.value(inputs[0]), self.array(inputs[1]), False, opt.AlignCorners(), opt.HalfPixelCenters())

    def op_RESHAPE(self, operator, name, inputs):
        if len(inputs) > 1:
            shape = self.array(inputs[1]).ravel().tolist()
        else:
            shape = options(operator, tflite.ReshapeOptions).NewShapeAsNumpy().tolist()
        return self.reshape(name, self.value(inputs[0]), shape)

    def op_SQUEEZE(self, operator, name, inputs):
        x, axes = self.value(inputs[0]), options(operator, tflite.SqueezeOptions).SqueezeDimsAsNumpy()
        axes = [int(a) % len(x.shape) for a in axes] if isinstance(axes, np.ndarray) and axes.size else None
        return self.reshape(name, x, [n for i, n in enumerate(x.shape) if (n != 1 if axes is None else i not in axes)])

    def op_EXPAND_DIMS(self, _, name, inputs):
        x = self.value(inputs[0])
        return self.reshape(name, x, np.expand_dims(np.empty(x.shape, np.bool_), int(self.array(inputs[1]).ravel()[0])).shape)

    def op_TRANSPOSE(self, _, name, inputs):
        return self.transpose(name, self.value(inputs[0]), self.array(inputs[1]))

    def op_CONCATENATION(self, operator, name, inputs):
        opt = options(operator, tflite.ConcatenationOptions)
        return self.fused(self.concat(name, [self.value(i) for i in inputs], opt.Axis()), opt)

    def op_PACK(self, operator, name, inputs):
        axis, values = options(operator, tflite.PackOptions).Axis(), [self.value(i) for i in inputs]
        shape = list(values[0].shape)
        axis %= len(shape) + 1
        shape.insert(axis, 1)
        return self.concat(name, [self.reshape(f"{name}.{i}", v, shape) for i, v in enumerate(values)], axis)

    def op_SPLIT(self, operator, name, inputs):
        axis, x = int(self.array(inputs[0]).ravel()[0]), self.value(inputs[1])
        count = options(operator, tflite.SplitOptions).NumSplits()
        return self.split(name, x, axis, [x.shape[axis] // count] * count)

    def op_SPLIT_V(self, _, name, inputs):
        return self.split(name, self.value(inputs[0]), int(self.array(inputs[2]).ravel()[0]), self.array(inputs[1]).tolist())

    def op_SLICE(self, _, name, inputs):
        x, begin, size = self.value(inputs[0]), self.array(inputs[1]).tolist(), self.array(inputs[2]).tolist()
        return self.slice(name, x, begin, [n if s == -1 else b + s for b, s, n in zip(begin, size, x.shape)])

    def op_STRIDED_SLICE(self, operator, name, inputs):
        x = self.value(inputs[0])
        return self.strided_slice(name, x, [self.array(i) for i in inputs[1:4]], self.masks(operator))

    def op_GATHER(self, operator, name, inputs):
        axis = options(operator, tflite.GatherOptions).Axis()
        return self.gather(name, self.value(inputs[0]), self.array(inputs[1]), axis)

    def op_TILE(self, _, name, inputs):
        return self.tile(name, self.value(inputs[0]), self.array(inputs[1]).tolist())

    def op_SOFTMAX(self, operator, name, inputs):
        beta, x = options(operator, tflite.SoftmaxOptions).Beta(), self.value(inputs[0])
        if beta != 1:
            x = self.binary("Mul", name + ".beta", x, self.fixed(np.float32(beta)))
        return self.softmax(name, x)

    def op_LOG_SOFTMAX(self, _, name, inputs):
        return self.unary("log", name, self.softmax(name + ".softmax", self.value(inputs[0])))

    def op_ARG_MAX(self, _, name, inputs):
        return self.argmax(name, self.value(inputs[0]), int(self.array(inputs[1]).ravel()[0]))

    def op_DEPTH_TO_SPACE(self, operator, name, inputs):
        return self.depth_to_space(name, self.value(inputs[0]), options(operator, tflite.DepthToSpaceOptions).BlockSize())

    def op_SPACE_TO_DEPTH(self, operator, name, inputs):
        return self.space_to_depth(name, self.value(inputs[0]), options(operator, tflite.SpaceToDepthOptions).BlockSize())

    def op_SPACE_TO_BATCH_ND(self, _, name, inputs):
        return self.space_to_batch(self.value(inputs[0]), self.array(inputs[1]).tolist(), self.array(inputs[2]).tolist())

    def op_BATCH_TO_SPACE_ND(self, _, name, inputs):
        return self.batch_to_space(self.value(inputs[0]), self.array(inputs[2]).tolist())

    def op_PRELU(self, _, name, inputs):
        return self.prelu(name, self.value(inputs[0]), self.value(inputs[1]))

    def op_LEAKY_RELU(self, operator, name, inputs):
        return self.leaky_relu(name, self.value(inputs[0]), options(operator, tflite.LeakyReluOptions).Alpha())

    def op_GELU(self, operator, name, inputs):
        return self.gelu(name, self.value(inputs[0]), options(operator, tflite.GeluOptions).Approximate())

    def op_BATCH_MATMUL(self, operator, name, inputs):
        opt = options(operator, tflite.BatchMatMulOptions)
        return self.matmul(name, self.value(inputs[0]), self.value(inputs[1]), opt.AdjX(), opt.AdjY())

    def op_DEQUANTIZE(self, _, name, inputs):
        return self.value(inputs[0])

    op_CAST = op_DEQUANTIZE

    def op_QUANTIZE(self, operator, name, inputs):
        return self.rounded(int(operator.Outputs(0)), self.value(inputs[0]))

    def op_TFLite_Detection_PostProcess(self, operator, name, inputs):
        """The graph ends before it: boxes and scores at the anchors."""
        self.cut = dict(boxes=self.value(inputs[0]), scores=self.value(inputs[1]), anchors=self.array(inputs[2]))
        self.cut["options"] = self.file.custom_options(operator)
        return None

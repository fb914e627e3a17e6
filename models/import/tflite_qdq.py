"""Writes the SSD of a fully quantised TensorFlow Lite file (uint8) as QDQ ONNX.

Codes, scales and zero points of weights, biases and activations are the file's own. What is left out
comes after the raw heads: their requantisation to one common scale when they are joined, the sigmoid
and TFLite_Detection_PostProcess. The anchors of that operator are only checked against the formula
that the model card describes them by; they are quantised too, to 1/155 of the picture.
"""
import numpy as np
import tflite
from onnx import TensorProto, helper
from tflite import BuiltinOperator as Op

from graph import Writer, same_pads
from tflite_reader import TfliteModel, options


class QdqModel(TfliteModel):
    def constant(self, tensor):
        """The codes of a constant."""
        t = self.sub.Tensors(tensor)
        dtype = {tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT32: np.int32}[t.Type()]
        raw = self.model.Buffers(t.Buffer()).DataAsNumpy()
        return np.frombuffer(raw.tobytes(), dtype).reshape(t.ShapeAsNumpy())

    def params(self, tensor):
        """Scale and zero point, one for the whole tensor."""
        q = self.sub.Tensors(tensor).Quantization()
        assert q.ScaleLength() == 1 and q.ZeroPointLength() == 1, self.name(tensor)
        return np.float32(q.Scale(0)), int(q.ZeroPoint(0))

    def shape(self, tensor):
        """[height, width, channels]."""
        return [int(n) for n in self.sub.Tensors(tensor).ShapeAsNumpy()[1:]]


class QdqWriter(Writer):
    """Tensors keep their names; `.q` are codes, `.scale` and `.zero` their parameters."""

    def __init__(self, model):
        super().__init__()
        self.model, self.written = model, {}

    def dequantized(self, tensor, codes):
        """A constant of codes as values."""
        scale, zero = self.model.params(tensor)
        name = self.model.name(tensor)
        inputs = [self.constant(name + ".q", codes), self.constant(name + ".scale", scale),
                  self.constant(name + ".zero", np.array(zero, codes.dtype))]
        return self.op("DequantizeLinear", name, inputs)

    def rounded(self, tensor, x):
        """QuantizeLinear and DequantizeLinear after the value `x` of a tensor of the file."""
        scale, zero = self.model.params(tensor)
        name = self.model.name(tensor)
        params = [self.constant(name + ".scale", scale), self.constant(name + ".zero", np.uint8(zero))]
        codes = self.op("QuantizeLinear", name + ".q", [x, *params])
        return self.op("DequantizeLinear", name + ".dq", [codes, *params])

    def read(self, tensor):
        """The name of the tensor's values."""
        if tensor not in self.written:
            if tensor == self.model.sub.Inputs(0):
                self.written[tensor] = self.rounded(tensor, "input")
            else:
                self.written[tensor] = self.rounded(tensor, self.compute(tensor))
        return self.written[tensor]

    def compute(self, tensor):
        operator = self.model.producer[tensor]
        inputs = [int(i) for i in operator.InputsAsNumpy()]
        kind, name = self.model.kind(operator), self.model.name(tensor)
        if kind == Op.CONV_2D:
            opt = options(operator, tflite.Conv2DOptions)
            x = self.conv(name, inputs, opt, self.model.constant(inputs[1]).transpose(0, 3, 1, 2), 1)
        elif kind == Op.DEPTHWISE_CONV_2D:
            opt = options(operator, tflite.DepthwiseConv2DOptions)
            weight = self.model.constant(inputs[1]).transpose(3, 0, 1, 2)
            x = self.conv(name, inputs, opt, weight, len(weight))
        elif kind == Op.ADD:
            opt = options(operator, tflite.AddOptions)
            x = self.op("Add", name, [self.read(i) for i in inputs])
        else:
            raise SystemExit(f"{name}: operator {kind} is not known here")
        if opt.FusedActivationFunction() == tflite.ActivationFunctionType.RELU6:
            limits = [self.constant(f"{name}.{limit}", np.float32(limit)) for limit in (0, 6)]
            return self.op("Clip", name + ".relu6", [x, *limits])
        assert opt.FusedActivationFunction() == tflite.ActivationFunctionType.NONE
        return x

    def conv(self, name, inputs, opt, weight, groups):
        assert opt.Padding() == tflite.Padding.SAME
        x = self.read(inputs[0])
        h, w, _ = self.model.shape(inputs[0])
        k, stride, dilation = weight.shape[2], opt.StrideH(), opt.DilationHFactor()
        top, bottom = same_pads(h, k, stride, dilation)
        left, right = same_pads(w, k, stride, dilation)
        parts = [x, self.dequantized(inputs[1], np.ascontiguousarray(weight)),
                 self.dequantized(inputs[2], self.model.constant(inputs[2]))]
        return self.op("Conv", name, parts, kernel_shape=[k, k], strides=[stride] * 2,
                       dilations=[dilation] * 2, group=groups, pads=[top, left, bottom, right])

    def head(self, output, concatenation, depth):
        """The layers that a concatenation joins, as one output [1, anchors, depth]."""
        rows, total = [], 0
        for i, tensor in enumerate(concatenation.InputsAsNumpy()):
            reshape = self.model.producer[int(tensor)]
            assert self.model.kind(reshape) == Op.RESHAPE
            layer = reshape.Inputs(0)
            h, w, c = self.model.shape(layer)
            count = h * w * c // depth
            nhwc = self.op("Transpose", f"{output}.{i}.nhwc", [self.read(layer)], perm=[0, 2, 3, 1])
            shape = self.constant(f"{output}.{i}.shape", np.array([1, count, depth], np.int64))
            rows.append(self.op("Reshape", f"{output}.{i}", [nhwc, shape]))
            total += count
        self.op("Concat", output, rows, axis=1)
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, total, depth])


def anchors(feature_maps, scales, aspect_ratios):
    """Centre y, centre x, height, width of each anchor, as the model card describes them."""
    rows = []
    for level, (side, scale) in enumerate(zip(feature_maps, scales)):
        if level == 0:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            after = scales[level + 1] if level + 1 < len(scales) else 1.0
            shapes = [(scale, ratio) for ratio in aspect_ratios] + [(np.sqrt(scale * after), 1.0)]
        for y in range(side):
            for x in range(side):
                rows += [((y + 0.5) / side, (x + 0.5) / side, size / np.sqrt(ratio), size * np.sqrt(ratio))
                         for size, ratio in shapes]
    return np.array(rows)


def write_quantized_ssd(data, name, path):
    model = QdqModel(data)
    (post,) = {model.producer[int(t)] for t in model.sub.OutputsAsNumpy()}
    boxes, scores, stored = (int(i) for i in post.InputsAsNumpy())

    def concatenation(tensor):
        operator = model.producer[tensor]
        while model.kind(operator) != Op.CONCATENATION:
            operator = model.producer[operator.Inputs(0)]
        return operator

    scale, zero = model.params(stored)
    expected = anchors([19, 10, 5, 3, 2, 1], [0.2, 0.35, 0.5, 0.65, 0.8, 0.95], [1.0, 2.0, 0.5, 3.0, 0.3333])
    off = np.abs((model.constant(stored).astype(np.float64) - zero) * scale - expected)
    assert off.max() < 0.51 * scale, f"the anchors are off by {off.max()}"
    writer = QdqWriter(model)
    outputs = [writer.head("boxes", concatenation(boxes), 4), writer.head("scores", concatenation(scores), 91)]
    size = model.shape(model.sub.Inputs(0))[0]
    writer.save(size, name, outputs, path)

"""An ONNX graph made from one whose feature maps have their channels last (TensorFlow's order).

The importers (from_tflite.py, from_tfjs.py, from_tf_graph.py) walk through a file's operators in their order and
call a method for each. A Value knows its shape in the file's order and whether its ONNX tensor has the channels
first; Transpose is written only where an operator needs the other order. Batch norm and biases are folded into the
convolution before them.
"""
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph import HALF_FROM, Writer, same_pads

OPSET = 17
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.int32): TensorProto.INT32, np.dtype(np.bool_): TensorProto.BOOL}


class NotKnown(SystemExit):
    """A file or an operator that cannot be converted, in one line."""


def guarded(parser, path, work):
    """Runs `work`; a file that cannot be converted ends the program with one line and exit code 2."""
    try:
        work()
    except (SystemExit, OSError) as error:
        text = str(error)
    except Exception as error:  # whatever reading a damaged file ends in
        text = f"cut off, damaged, or of a kind that is not known ({type(error).__name__}: {error})"
    else:
        return
    parser.exit(2, f"{path}: {' '.join(text.split())}\n")


@dataclass(eq=False)
class Value:
    """A tensor of the file. `shape` is in the file's order."""

    shape: tuple
    name: str = None            # of the ONNX tensor; none: a constant
    first: bool = False         # the ONNX tensor is [batch, channels, rows, columns], the file's has channels last
    array: np.ndarray = None    # of a constant, in the file's order
    dtype: np.dtype = np.dtype(np.float32)
    conv: str = None            # the convolution that makes it, while nothing else reads it
    padded: tuple = None        # (value, [before, after] of each axis): what was padded with zeros
    atrous: tuple = None        # (value, block, paddings): what SpaceToBatchND made it of
    spread: object = None       # node of the convolution between SpaceToBatchND and BatchToSpaceND


@dataclass
class Conv:
    weight: np.ndarray
    bias: np.ndarray
    axis: int                   # of the output channels


class Builder(Writer):
    def __init__(self, float16=False):
        super().__init__()
        self.float16, self.convs, self.other, self.names, self.inputs = float16, {}, {}, set(), []

    # Names and constants

    def unique(self, name):
        base = name = name or "value"
        number = 1
        while name in self.names:
            number += 1
            name = f"{base}.{number}"
        self.names.add(name)
        return name

    def emit(self, kind, name, inputs, **attributes):
        return self.op(kind, self.unique(name), inputs, **attributes)

    def const(self, name, array):
        array = np.asarray(array)
        if array.dtype in (np.float16, np.float64):
            array = array.astype(np.float32)
        return self.constant(self.unique(name), array)

    def ints(self, name, values):
        return self.const(name, np.array(values, np.int64))

    def input(self, name, shape, channels_first=False):
        """An input of the network. A picture [1, rows, columns, channels] becomes one with its channels first."""
        first = len(shape) == 4 and not channels_first
        value = Value(tuple(shape), self.unique(name), first)
        self.inputs.append(value)
        return value

    @staticmethod
    def fixed(array):
        array = np.asarray(array)
        return Value(array.shape, array=array, dtype=array.dtype)

    # Order of the axes

    @staticmethod
    def onnx_shape(v):
        n = v.shape
        return (n[0], n[3], n[1], n[2]) if v.first else n

    def turned(self, v, to_first):
        """`v` in the other order, written once."""
        key = v.name
        if key not in self.other:
            n = v.shape
            if n[1] * n[2] == 1 or n[3] == 1:
                shape = (n[0], n[3], n[1], n[2]) if to_first else n
                at = self.ints(v.name + ".order", shape)
                self.other[key] = self.emit("Reshape", v.name + ".turned", [v.name, at])
            else:
                perm = [0, 3, 1, 2] if to_first else [0, 2, 3, 1]
                self.other[key] = self.emit("Transpose", v.name + ".turned", [v.name], perm=perm)
        return self.other[key]

    def own(self, v):
        """ONNX name of `v` in the file's order."""
        if v.array is not None:
            return self.const("constant", v.array)
        return self.turned(v, False) if v.first else v.name

    def first(self, v):
        """ONNX name of a map with its channels first."""
        if len(v.shape) != 4:
            raise NotKnown(f"{v.name}: a feature map of {len(v.shape)} dimensions, expected 4")
        if v.array is not None:
            return self.const("constant", v.array.transpose(0, 3, 1, 2))
        return v.name if v.first else self.turned(v, True)

    def beside_first(self, v):
        """ONNX name of an operand of something that has its channels first."""
        if v.array is not None and v.array.size == 1:
            return self.const("constant", v.array.reshape(()))
        if len(v.shape) == 4:
            return self.first(v)
        shape = (1,) * (4 - len(v.shape)) + tuple(v.shape)
        if v.array is not None:
            return self.const("constant", v.array.reshape(shape).transpose(0, 3, 1, 2))
        return self.first(self.reshape(v.name + ".4d", v, shape))

    def like(self, name, kind, x, shape=None, **attributes):
        """An operator on one value that does not care about the order of the axes."""
        out = self.emit(kind, name, [x.name], **attributes)
        return Value(shape or x.shape, out, x.first, dtype=x.dtype, spread=x.spread)

    # Convolutions

    def pads(self, x, kernel, strides, dilations, padding):
        """[top, left, bottom, right]"""
        if not isinstance(padding, str):
            return list(padding)
        if padding == "VALID":
            return [0, 0, 0, 0]
        rows, columns = (same_pads(size, k, s, d)
                         for size, k, s, d in zip(x.shape[1:3], kernel, strides, dilations))
        return [rows[0], columns[0], rows[1], columns[1]]

    def conv(self, name, x, weight, bias, strides=(1, 1), dilations=(1, 1), groups=1, padding="SAME"):
        """`weight` is an array [out, in, rows, columns] or (ONNX name, shape); `bias` an array, an ONNX name or none."""
        shape = weight[1] if isinstance(weight, tuple) else weight.shape
        if shape[1] * groups != x.shape[3]:
            raise NotKnown(f"{name}: a convolution of {shape[1] * groups} channels gets {x.shape[3]}")
        kernel, spread, crop = shape[2:], x.atrous is not None, [0, 0, 0, 0]
        if spread:
            x, dilations, around = x.atrous
            crop = [around[0][0], around[1][0], around[0][1], around[1][1]]
        if x.padded is not None and padding == "VALID" and x.padded[1][0] == x.padded[1][3] == [0, 0]:
            x, around = x.padded
            crop = [around[1][0], around[2][0], around[1][1], around[2][1]]
        pads = [p + c for p, c in zip(self.pads(x, kernel, strides, dilations, padding), crop)]
        size = [(n + pads[i] + pads[i + 2] - (k - 1) * d - 1) // s + 1
                for i, (n, k, s, d) in enumerate(zip(x.shape[1:3], kernel, strides, dilations))]
        source, out = self.first(x), self.unique(name)
        inputs = self.weights(out, source, weight, bias, 0)
        self.op("Conv", out, inputs, kernel_shape=list(kernel), strides=list(strides),
                dilations=list(dilations), group=groups, pads=pads)
        value = Value((x.shape[0], *size, shape[0]), out, True, conv=out)
        if spread:
            value.spread = self.nodes[-1]
        return value

    def weights(self, out, source, weight, bias, axis):
        if isinstance(weight, tuple):
            return [source, weight[0]] + ([bias] if bias is not None else [])
        bias = np.zeros(weight.shape[axis]) if bias is None else bias
        self.convs[out] = Conv(weight.astype(np.float64), bias.astype(np.float64), axis)
        return [source, out + ".weight", out + ".bias"]

    def conv_transpose(self, name, x, weight, bias, strides, size=None, padding="SAME"):
        """`weight` is [in, out, rows, columns]; `size` the rows and columns of the result."""
        _, channels, *kernel = weight[1] if isinstance(weight, tuple) else weight.shape
        before = x.shape[1:3]
        if size is None:
            size = [n * s if padding == "SAME" else (n - 1) * s + k for n, s, k in zip(before, strides, kernel)]
        cut = [(n - 1) * s + k - m for n, s, k, m in zip(before, strides, kernel, size)]
        begin = [max(c, 0) // 2 for c in cut]
        end = [max(c, 0) - b for c, b in zip(cut, begin)]
        source, out = self.first(x), self.unique(name)
        inputs = self.weights(out, source, weight, bias, 1)
        self.op("ConvTranspose", out, inputs, kernel_shape=list(kernel), strides=list(strides),
                pads=begin + end, output_padding=[max(-c, 0) for c in cut])
        return Value((x.shape[0], *size, channels), out, True, conv=out)

    def fold(self, x, scale=None, shift=None):
        """Puts a scale and a shift of each channel into the convolution that makes `x`; false where it cannot."""
        conv = self.convs.get(x.conv)
        if conv is None:
            return False
        channels = x.shape[3 if x.first else 1]
        for factor in (scale, shift):
            if factor is None or factor.size == 1:
                continue
            axis = factor.ndim - 1 if x.first else factor.ndim - 3
            if factor.size != channels or axis < 0 or factor.shape[axis] != channels:
                return False
        if scale is not None:
            scale = np.broadcast_to(scale.astype(np.float64).ravel(), channels)
            conv.weight = conv.weight * scale.reshape([-1 if i == conv.axis else 1 for i in range(4)])
            conv.bias = conv.bias * scale
        if shift is not None:
            conv.bias = conv.bias + shift.astype(np.float64).ravel()
        return True

    # The file

    def save(self, name, outputs, path):
        """`outputs` are pairs of a name and a value."""
        infos, wanted = [], {}
        for output, value in outputs:
            if value.array is not None:
                value = Value(value.shape, self.own(value), dtype=value.dtype)
            source = value.name
            free = (source not in wanted and source not in {i.name for i in self.inputs}
                    and any(source in n.output for n in self.nodes))
            if output != source and output in self.names:
                self.rename(output, self.unique(output + ".inner"))
            if free:
                self.rename(source, output)
            else:
                self.op("Identity", output, [wanted.get(source, source)])
            wanted[source] = output
            infos.append(helper.make_tensor_value_info(output, TYPES[value.dtype], self.onnx_shape(value)))
        self.nodes, body = [], self.nodes
        for conv, made in self.convs.items():
            self.convolution_weight(conv + ".weight", made.weight)
            self.constant(conv + ".bias", made.bias.astype(np.float32))
        self.nodes += body
        self.prune([i.name for i in infos])
        inputs = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, self.onnx_shape(v)) for v in self.inputs]
        made = helper.make_graph(self.nodes, name, inputs, infos, self.initializers)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)],
                                  producer_name="mobilens models/import", ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        with open(path, "wb") as f:
            f.write(model.SerializeToString(deterministic=True))

    def convolution_weight(self, name, array):
        """As float16 where that loses nothing, or with --float16 where the weight is large."""
        full, half = array.astype(np.float32), array.astype(np.float16)
        if np.array_equal(half.astype(np.float32), full) or (self.float16 and array.size >= HALF_FROM):
            self.constant(name + ".f16", half)
            return self.op("Cast", name, [name + ".f16"], to=TensorProto.FLOAT)
        return self.constant(name, full)

    def rename(self, old, new):
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [new if n == old else n for n in names]
        for value in self.inputs:
            value.name = new if value.name == old else value.name
        self.names.add(new)

    def prune(self, outputs):
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = [t for t in self.initializers if t.name in needed]

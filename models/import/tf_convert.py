"""TensorFlow operators as calls of Operators; see from_tf_graph.py and from_tfjs.py."""
import sys

import numpy as np

import fold
from builder import NotKnown
from operators import Operators

UNARY = dict(Relu="relu", Relu6="relu6", Sigmoid="sigmoid", Tanh="tanh", Elu="elu", Exp="exp", Log="log", Sqrt="sqrt",
             Rsqrt="rsqrt", Abs="abs", Neg="neg", Square="square", Softplus="softplus", Floor="floor", Ceil="ceil",
             Reciprocal="reciprocal", Inv="reciprocal", Erf="erf", Round="round", Sin="sin", Cos="cos")
BINARY = dict(Add="Add", AddV2="Add", Sub="Sub", Mul="Mul", RealDiv="Div", Div="Div", Maximum="Max", Minimum="Min",
              Pow="Pow")
REDUCE = dict(Mean="mean", Max="max", Min="min", Sum="sum", Prod="prod")
PASS = {"Identity", "StopGradient", "CheckNumerics", "PreventGradient", "PlaceholderWithDefault", "Snapshot", "Cast",
        "EnsureShape", "ReadVariableOp"}
FUSED = dict(Relu="relu", Relu6="relu6", Elu="elu", Sigmoid="sigmoid", Tanh="tanh")


class Converter(Operators):
    """`inputs` are names of tensors that become the network's inputs, with their shapes; none: the placeholders."""

    def __init__(self, model, outputs, inputs=None, shape=None, float16=False):
        super().__init__(float16)
        sys.setrecursionlimit(100_000)
        self.model, self.values, self.shape = model, {}, shape
        self.given = {self.key(name)[0]: sizes for name, sizes in (inputs or {}).items()}
        self.uses = {}
        for node in model.nodes.values():
            for source in node.get("input", []):
                key = self.key(source)
                self.uses[key] = self.uses.get(key, 0) + 1
        for output in outputs:
            self.uses[self.key(output)] = self.uses.get(self.key(output), 0) + 1
        for name in self.given:
            if name not in model.nodes:
                raise NotKnown(f"there is no node {name}")

    @staticmethod
    def key(source):
        name, _, number = source.partition(":")
        return name, int(number or 0)

    def value(self, source):
        """The Value of a tensor, `name` or `name:number`."""
        name, number = self.key(source)
        if name not in self.values:
            if name not in self.model.nodes:
                raise NotKnown(f"there is no node {name}")
            made = self.node(self.model.nodes[name])
            made = made if isinstance(made, list) else [made]
            for i, value in enumerate(made):
                if value is not None and self.uses.get((name, i), 0) > 1:
                    value.conv = None
            self.values[name] = made
        values = self.values[name]
        if number >= len(values) or values[number] is None:
            raise NotKnown(f"{source}: this output of {self.model.nodes[name]['op']} is not known")
        return values[number]

    def array(self, source):
        value = self.value(source)
        if value.array is None:
            raise NotKnown(f"{source}: computed when the network runs, expected a constant")
        return value.array

    def attribute(self, node, key, default=None):
        return self.model.attribute(node, key, default)

    def node(self, node):
        name, op = node["name"], node["op"]
        if name in self.given:
            return self.placeholder(name, self.given[name])
        if name in self.model.constants:
            array = self.model.constants[name]
            if array is None:
                raise NotKnown(f"{name}: a constant that holds no numbers")
            return self.fixed(array)
        inputs = [i for i in node.get("input", []) if not i.startswith("^")]
        method = getattr(self, "op_" + op.lstrip("_"), None)
        if op in PASS:
            value = self.value(inputs[0])
            return self.cast(node, value) if op == "Cast" and value.array is not None else value
        if op == "Shape":
            return self.fixed(np.array(self.value(inputs[0]).shape, np.int32))
        if op in UNARY or op in BINARY or op in REDUCE or op in fold.NUMPY or method is not None:
            values = [self.value(i) for i in inputs] if op != "Placeholder" else []
            if values and all(v.array is not None for v in values):
                made = self.on_constants(node, op, [v.array for v in values])
                if made is not None:
                    return made
            if op in UNARY:
                return self.unary(UNARY[op], name, values[0])
            if op in BINARY:
                return self.binary(BINARY[op], name, *values)
            if op in REDUCE:
                keep = bool(self.attribute(node, "keep_dims", False))
                return self.reduce(REDUCE[op], name, values[0], self.array(inputs[1]).ravel().tolist(), keep)
            if method is not None:
                return method(node, name, inputs)
        raise NotKnown(f"{name}: the operator {op} is not known (models/import/tf_convert.py has those that are); "
                       "--input NAME leaves out what comes before the node NAME")

    def on_constants(self, node, op, arrays):
        if op in ("Pack", "Stack"):
            return self.fixed(np.stack(arrays, self.attribute(node, "axis", 0)))
        if op == "ConcatV2":
            return self.fixed(np.concatenate(arrays[:-1], int(arrays[-1])))
        if op == "StridedSlice":
            return self.fixed(np.asarray(fold.strided_slice(*arrays, *self.masks(node))))
        if op == "Squeeze":
            axes = self.attribute(node, "squeeze_dims", []) or None
            return self.fixed(arrays[0].squeeze(tuple(axes) if axes else None))
        if op in REDUCE:
            numpy = dict(Mean=np.mean, Max=np.max, Min=np.min, Sum=np.sum, Prod=np.prod)[op]
            keep = bool(self.attribute(node, "keep_dims", False))
            axes = tuple(int(a) for a in arrays[1].ravel())
            return self.fixed(np.asarray(numpy(arrays[0], axis=axes, keepdims=keep)).astype(arrays[0].dtype))
        if op in fold.NUMPY:
            return self.fixed(np.asarray(fold.NUMPY[op](*arrays)))
        return None

    def cast(self, node, value):
        kind = self.attribute(node, "DstT")
        known = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_INT64": np.int64, "DT_BOOL": np.bool_,
                 1: np.float32, 3: np.int32, 9: np.int64, 10: np.bool_}
        return self.fixed(value.array.astype(known.get(kind, value.array.dtype)))

    def placeholder(self, name, shape):
        shape = self.shape or shape
        if shape is not None and len(shape) == 4 and (shape[0] or -1) < 0:
            shape = [1, *shape[1:]]
        if shape is None or any(n is None or n < 1 for n in shape):
            raise NotKnown(f"the input {name} has the shape {shape or 'of any rank'}: give its size by --shape, "
                           "for instance --shape 1x300x300x3")
        return self.input(name, shape, channels_first=len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3))

    def op_Placeholder(self, node, name, _):
        attribute = node.get("attr", {}).get("shape", {})
        dims = attribute.get("dims")
        if "shape" in attribute and not attribute["shape"].get("unknownRank"):
            dims = [int(d.get("size", 0)) for d in attribute["shape"].get("dim", [])]
        return self.placeholder(name, dims)

    # Convolutions

    def layout(self, node, default="NHWC"):
        """Refuses the order that no published model for CPUs has."""
        if self.attribute(node, "data_format", default) != "NHWC":
            raise NotKnown(f"{node['name']}: {node['op']} of the order {self.attribute(node, 'data_format')}, expected NHWC")

    def padding(self, node):
        padding = self.attribute(node, "padding")
        if padding == "EXPLICIT":
            p = self.attribute(node, "explicit_paddings")
            return [p[2], p[4], p[3], p[5]]
        return padding

    def convolution(self, node, name, x, weight, groups, bias=None):
        self.layout(node)
        pair = lambda key, default: tuple(self.attribute(node, key, default)[1:3])  # noqa: E731
        return self.conv(name, x, weight, bias, pair("strides", [1] * 4), pair("dilations", [1] * 4), groups,
                         self.padding(node))

    def kernel(self, source, depthwise):
        weight = self.array(source)
        if depthwise:
            h, w, c, m = weight.shape
            return weight.transpose(2, 3, 0, 1).reshape(c * m, 1, h, w)
        return weight.transpose(3, 2, 0, 1)

    def op_Conv2D(self, node, name, inputs):
        x, weight = self.value(inputs[0]), self.kernel(inputs[1], False)
        return self.convolution(node, name, x, weight, x.shape[3] // weight.shape[1])

    def op_DepthwiseConv2dNative(self, node, name, inputs):
        x = self.value(inputs[0])
        return self.convolution(node, name, x, self.kernel(inputs[1], True), x.shape[3])

    op_DepthwiseConv2d = op_DepthwiseConv2dNative

    def op_FusedConv2D(self, node, name, inputs, depthwise=False):
        x, weight = self.value(inputs[0]), self.kernel(inputs[1], depthwise)
        groups = x.shape[3] if depthwise else x.shape[3] // weight.shape[1]
        value = self.convolution(node, name, x, weight, groups)
        return self.fused(node, name, value, inputs[2:])

    def op_FusedDepthwiseConv2dNative(self, node, name, inputs):
        return self.op_FusedConv2D(node, name, inputs, True)

    def fused(self, node, name, value, inputs):
        rest = list(inputs)
        for op in self.attribute(node, "fused_ops", []):
            if op == "BiasAdd":
                value = self.binary("Add", name + ".bias", value, self.value(rest.pop(0)))
            elif op == "FusedBatchNorm":
                value = self.normalised(node, name, value, [rest.pop(0) for _ in range(4)])
            elif op == "Prelu":
                value = self.prelu(name + ".prelu", value, self.value(rest.pop(0)))
            elif op == "LeakyRelu":
                value = self.leaky_relu(name + ".leaky", value, self.attribute(node, "leakyrelu_alpha", 0.2))
            elif op in FUSED:
                value = self.unary(FUSED[op], f"{name}.{op.lower()}", value)
            else:
                raise NotKnown(f"{name}: the fused operator {op} is not known")
        return value

    def op_Conv2DBackpropInput(self, node, name, inputs):
        self.layout(node)
        size = self.array(inputs[0])[1:3].tolist()
        return self.conv_transpose(name, self.value(inputs[2]), self.array(inputs[1]).transpose(3, 2, 0, 1), None,
                                   tuple(self.attribute(node, "strides")[1:3]), size, self.padding(node))

    def op_BiasAdd(self, _, name, inputs):
        return self.binary("Add", name, *map(self.value, inputs))

    def op_AddN(self, _, name, inputs):
        value = self.value(inputs[0])
        for i, other in enumerate(inputs[1:]):
            value = self.binary("Add", f"{name}.{i}" if i else name, value, self.value(other))
        return value

    def normalised(self, node, name, x, parts):
        gamma, beta, mean, variance = (self.array(i).astype(np.float64) for i in parts)
        scale = gamma / np.sqrt(variance + self.attribute(node, "epsilon", 1e-4))
        return self.batch_norm(name, x, scale, beta - mean * scale)

    def op_FusedBatchNorm(self, node, name, inputs):
        self.layout(node)
        return self.normalised(node, name, self.value(inputs[0]), inputs[1:])

    op_FusedBatchNormV2 = op_FusedBatchNormV3 = op_FusedBatchNorm

    def op_MatMul(self, node, name, inputs):
        turn_b = bool(self.attribute(node, "transpose_b", False))
        b = self.value(inputs[1])
        if b.array is not None and not self.attribute(node, "transpose_a", False):
            return self.dense(name, self.value(inputs[0]), b.array if turn_b else b.array.T, None)
        return self.matmul(name, self.value(inputs[0]), b, bool(self.attribute(node, "transpose_a", False)), turn_b)

    def op_FusedMatMul(self, node, name, inputs):
        return self.fused(node, name, self.op_MatMul(node, name + ".product", inputs[:2]), inputs[2:])

    def op_BatchMatMul(self, node, name, inputs):
        return self.matmul(name, *map(self.value, inputs[:2]), bool(self.attribute(node, "adj_x", False)),
                           bool(self.attribute(node, "adj_y", False)))

    op_BatchMatMulV2 = op_BatchMatMul

    def op_SpaceToBatchND(self, _, name, inputs):
        return self.space_to_batch(self.value(inputs[0]), *(self.array(i).tolist() for i in inputs[1:3]))

    def op_BatchToSpaceND(self, _, name, inputs):
        return self.batch_to_space(self.value(inputs[0]), self.array(inputs[2]).tolist())

    # Pools, sizes, activations

    def pool_of(self, kind, node, name, inputs):
        self.layout(node)
        kernel, strides = (tuple(self.attribute(node, key)[1:3]) for key in ("ksize", "strides"))
        return self.pool(kind, name, self.value(inputs[0]), kernel, strides, self.padding(node))

    def op_MaxPool(self, *args):
        return self.pool_of("MaxPool", *args)

    def op_AvgPool(self, *args):
        return self.pool_of("AveragePool", *args)

    def op_ResizeBilinear(self, node, name, inputs, linear=True):
        return self.resize(name, self.value(inputs[0]), self.array(inputs[1]), linear,
                           bool(self.attribute(node, "align_corners", False)),
                           bool(self.attribute(node, "half_pixel_centers", False)))

    def op_ResizeNearestNeighbor(self, node, name, inputs):
        return self.op_ResizeBilinear(node, name, inputs, False)

    def op_Pad(self, _, name, inputs):
        value = float(self.array(inputs[2])) if len(inputs) > 2 else 0.0
        return self.pad(name, self.value(inputs[0]), self.array(inputs[1]).tolist(), value)

    op_PadV2 = op_Pad

    def op_MirrorPad(self, node, name, inputs):
        if self.attribute(node, "mode") != "REFLECT":
            raise NotKnown(f"{name}: MirrorPad of the mode {self.attribute(node, 'mode')} is not known")
        return self.pad(name, self.value(inputs[0]), self.array(inputs[1]).tolist(), mode="reflect")

    def op_LeakyRelu(self, node, name, inputs):
        return self.leaky_relu(name, self.value(inputs[0]), self.attribute(node, "alpha", 0.2))

    def op_Prelu(self, _, name, inputs):
        return self.prelu(name, *map(self.value, inputs))

    def op_Softmax(self, _, name, inputs):
        return self.softmax(name, self.value(inputs[0]))

    def op_SquaredDifference(self, _, name, inputs):
        return self.unary("square", name, self.binary("Sub", name + ".difference", *map(self.value, inputs)))

    def op_DepthToSpace(self, node, name, inputs):
        self.layout(node)
        return self.depth_to_space(name, self.value(inputs[0]), self.attribute(node, "block_size"))

    def op_SpaceToDepth(self, node, name, inputs):
        self.layout(node)
        return self.space_to_depth(name, self.value(inputs[0]), self.attribute(node, "block_size"))

    # Shapes and order

    def op_Reshape(self, _, name, inputs):
        return self.reshape(name, self.value(inputs[0]), self.array(inputs[1]).ravel().tolist())

    def op_Squeeze(self, node, name, inputs):
        x = self.value(inputs[0])
        axes = [a % len(x.shape) for a in self.attribute(node, "squeeze_dims", [])]
        return self.reshape(name, x, [n for i, n in enumerate(x.shape) if (i not in axes if axes else n != 1)])

    def op_ExpandDims(self, _, name, inputs):
        x = self.value(inputs[0])
        return self.reshape(name, x, np.expand_dims(np.empty(x.shape, np.bool_), int(self.array(inputs[1]))).shape)

    def op_Transpose(self, _, name, inputs):
        return self.transpose(name, self.value(inputs[0]), self.array(inputs[1]))

    def op_ConcatV2(self, _, name, inputs):
        return self.concat(name, [self.value(i) for i in inputs[:-1]], int(self.array(inputs[-1])))

    def op_Pack(self, node, name, inputs):
        values = [self.value(i) for i in inputs]
        shape = list(values[0].shape)
        axis = self.attribute(node, "axis", 0) % (len(shape) + 1)
        shape.insert(axis, 1)
        return self.concat(name, [self.reshape(f"{name}.{i}", v, shape) for i, v in enumerate(values)], axis)

    def op_Split(self, node, name, inputs):
        axis, x, count = int(self.array(inputs[0])), self.value(inputs[1]), self.attribute(node, "num_split")
        return self.split(name, x, axis, [x.shape[axis] // count] * count)

    def op_SplitV(self, _, name, inputs):
        return self.split(name, self.value(inputs[0]), int(self.array(inputs[2])), self.array(inputs[1]).ravel().tolist())

    def op_Slice(self, _, name, inputs):
        x, begin, size = self.value(inputs[0]), self.array(inputs[1]).tolist(), self.array(inputs[2]).tolist()
        return self.slice(name, x, begin, [n if s == -1 else b + s for b, s, n in zip(begin, size, x.shape)])

    def masks(self, node):
        return [self.attribute(node, key, 0)
                for key in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")]

    def op_StridedSlice(self, node, name, inputs):
        return self.strided_slice(name, self.value(inputs[0]), [self.array(i) for i in inputs[1:4]], self.masks(node))

    def op_GatherV2(self, _, name, inputs):
        axis = int(self.array(inputs[2])) if len(inputs) > 2 else 0
        return self.gather(name, self.value(inputs[0]), self.array(inputs[1]), axis)

    def op_Tile(self, _, name, inputs):
        return self.tile(name, self.value(inputs[0]), self.array(inputs[1]).tolist())

    def op_ArgMax(self, _, name, inputs):
        return self.argmax(name, self.value(inputs[0]), int(self.array(inputs[1])))

"""The operators that the importers know, besides convolutions: each is a method of Operators."""
import numpy as np

from builder import Builder, NotKnown, Value

# ONNX operator of each, and its attributes.
UNARY = dict(
    relu=("Relu", {}), sigmoid=("Sigmoid", {}), tanh=("Tanh", {}), elu=("Elu", {}), exp=("Exp", {}), log=("Log", {}),
    sqrt=("Sqrt", {}), abs=("Abs", {}), neg=("Neg", {}), softplus=("Softplus", {}), floor=("Floor", {}),
    reciprocal=("Reciprocal", {}), hard_swish=("HardSwish", {}), erf=("Erf", {}), round=("Round", {}),
    ceil=("Ceil", {}), sin=("Sin", {}), cos=("Cos", {}))
CLIPS = dict(relu6=(0, 6), relu_n1_to_1=(-1, 1), relu_0_to_1=(0, 1))
REDUCE = dict(mean="ReduceMean", max="ReduceMax", min="ReduceMin", sum="ReduceSum", prod="ReduceProd")


class Operators(Builder):
    def unary(self, kind, name, x):
        if kind in CLIPS:
            low, high = (self.const(f"{name}.{v}", np.float32(v)) for v in CLIPS[kind])
            return Value(x.shape, self.emit("Clip", name, [x.name, low, high]), x.first, spread=x.spread)
        if kind == "square":
            return self.binary("Mul", name, x, x)
        if kind == "rsqrt":
            return self.unary("reciprocal", name, self.unary("sqrt", name + ".sqrt", x))
        if kind == "silu":
            return self.binary("Mul", name, x, self.unary("sigmoid", name + ".sigmoid", x))
        if kind == "identity":
            return x
        onnx, attributes = UNARY[kind]
        return self.like(name, onnx, x, **attributes)

    def leaky_relu(self, name, x, alpha):
        return self.like(name, "LeakyRelu", x, alpha=float(alpha))

    def prelu(self, name, x, slope):
        out = self.emit("PRelu", name, [x.name, self.beside_first(slope) if x.first else self.own(slope)])
        return Value(x.shape, out, x.first)

    def gelu(self, name, x, approximate):
        half, one = self.fixed(np.float32(0.5)), self.fixed(np.float32(1))
        if approximate:
            cube = self.binary("Mul", name + ".cube", self.unary("square", name + ".square", x), x)
            inner = self.binary("Add", name + ".inner", x,
                                self.binary("Mul", name + ".part", cube, self.fixed(np.float32(0.044715))))
            inner = self.binary("Mul", name + ".scaled", inner, self.fixed(np.float32(np.sqrt(2 / np.pi))))
            inner = self.unary("tanh", name + ".tanh", inner)
        else:
            inner = self.binary("Mul", name + ".scaled", x, self.fixed(np.float32(np.sqrt(0.5))))
            inner = self.unary("erf", name + ".erf", inner)
        inner = self.binary("Mul", name + ".times", x, self.binary("Add", name + ".plus", inner, one))
        return self.binary("Mul", name, inner, half)

    def binary(self, kind, name, a, b):
        """Add, Sub, Mul, Div, Max, Min, Pow; with a constant, part of the convolution before it."""
        for x, other in ((a, b), (b, a)):
            if other.array is None or x.array is not None:
                continue
            array = other.array
            if kind == "Add" and self.fold(x, shift=array):
                return x
            if kind == "Sub" and other is b and self.fold(x, shift=-array):
                return x
            if kind == "Mul" and self.fold(x, scale=array):
                return x
            if kind == "Div" and other is b and self.fold(x, scale=1 / array.astype(np.float64)):
                return x
        shape = tuple(np.broadcast_shapes(a.shape, b.shape))
        first = a.first or b.first
        if first and len(shape) > 4:
            raise NotKnown(f"{name}: {kind} of {len(shape)} dimensions")
        names = [self.beside_first(v) if first else self.own(v) for v in (a, b)]
        dtype = next(v.dtype for v in (a, b) if v.array is None)
        return Value(shape, self.emit(kind, name, names), first, dtype=dtype,
                     spread=a.spread if a.spread is not None else b.spread)

    def batch_norm(self, name, x, scale, shift):
        """Scale and shift of each channel (the last axis)."""
        if self.fold(x, scale, shift):
            return x
        x = self.binary("Mul", name + ".scale", x, self.fixed(scale.astype(np.float32)))
        return self.binary("Add", name, x, self.fixed(shift.astype(np.float32)))

    # Pools, sizes, padding

    def pool(self, kind, name, x, kernel, strides, padding):
        """MaxPool, or AveragePool that does not count the padding."""
        pads = self.pads(x, kernel, strides, (1, 1), padding)
        size = [(n + pads[i] + pads[i + 2] - k) // s + 1
                for i, (n, k, s) in enumerate(zip(x.shape[1:3], kernel, strides))]
        shape = (x.shape[0], *size, x.shape[3])
        if kind == "AveragePool" and tuple(kernel) == tuple(x.shape[1:3]) and size == [1, 1]:
            return Value(shape, self.emit("GlobalAveragePool", name, [self.first(x)]), True)
        out = self.emit(kind, name, [self.first(x)], kernel_shape=list(kernel), strides=list(strides), pads=pads)
        return Value(shape, out, True)

    def reduce(self, kind, name, x, axes, keep):
        rank = len(x.shape)
        axes = sorted(a % rank for a in axes)
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        shape = kept if keep else tuple(n for i, n in enumerate(x.shape) if i not in axes)
        if kind == "mean" and axes == [1, 2] and rank == 4:
            value = Value(kept, self.emit("GlobalAveragePool", name, [self.first(x)]), True)
            return value if keep else self.reshape(name + ".flat", value, shape)
        first = x.first and keep
        source, at = (x.name, [[0, 2, 3, 1][a] for a in axes]) if first else (self.own(x), axes)
        if kind == "sum":
            out = self.emit("ReduceSum", name, [source, self.ints(name + ".axes", sorted(at))], keepdims=int(keep))
        else:
            out = self.emit(REDUCE[kind], name, [source], axes=sorted(at), keepdims=int(keep))
        return Value(shape, out, first)

    def resize(self, name, x, size, linear, align_corners, half_pixel):
        size = [int(n) for n in size]
        if size == list(x.shape[1:3]):
            return x
        rule = "align_corners" if align_corners else "half_pixel" if half_pixel else "asymmetric"
        attributes = dict(mode="linear") if linear else dict(
            mode="nearest", nearest_mode="floor" if rule == "asymmetric" else "round_prefer_ceil")
        sizes = self.ints(name + ".sizes", [x.shape[0], x.shape[3], *size])
        out = self.emit("Resize", name, [self.first(x), "", "", sizes],
                        coordinate_transformation_mode=rule, **attributes)
        return Value((x.shape[0], *size, x.shape[3]), out, True)

    def pad(self, name, x, pads, value=0.0, mode="constant"):
        """`pads` are [before, after] of each axis in the file's order."""
        pads = [[int(n) for n in pair] for pair in pads]
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pads))
        if shape == tuple(x.shape):
            return x
        order = [pads[i] for i in (0, 3, 1, 2)] if x.first else pads
        at = self.ints(name + ".pads", [p[0] for p in order] + [p[1] for p in order])
        source = x.name if x.array is None else self.own(x)
        inputs = [source, at] + ([self.const(name + ".value", np.float32(value))] if mode == "constant" else [])
        out = Value(shape, self.emit("Pad", name, inputs, mode=mode), x.first)
        zeros = mode == "constant" and value == 0 and x.spread is None
        if zeros and len(pads) == 4 and min(min(p) for p in pads) >= 0:
            out.padded = (x, pads)
        return out

    def space_to_batch(self, x, block, pads):
        """The start of a dilated convolution, as TensorFlow 1 writes it."""
        if block[0] != block[1] or len(block) != 2:
            raise NotKnown(f"{x.name}: SpaceToBatchND by {block}, expected the same block of rows and columns")
        return Value(x.shape, x.name, x.first, atrous=(x, [int(b) for b in block], [[int(n) for n in p] for p in pads]))

    def batch_to_space(self, x, crops):
        if x.spread is None:
            raise NotKnown(f"{x.name}: BatchToSpaceND that does not follow a convolution")
        pads = next(a for a in x.spread.attribute if a.name == "pads")
        cut = [crops[0][0], crops[1][0], crops[0][1], crops[1][1]]
        pads.ints[:] = [int(p - c) for p, c in zip(pads.ints, cut)]
        if min(pads.ints) < 0:
            raise NotKnown(f"{x.name}: BatchToSpaceND cuts more than SpaceToBatchND padded")
        rows, columns = (x.shape[1] - sum(crops[0]), x.shape[2] - sum(crops[1]))
        conv = x.conv if x.conv == x.name else None
        return Value((x.shape[0], int(rows), int(columns), x.shape[3]), x.name, x.first, conv=conv)

    # Shapes and order

    def reshape(self, name, x, shape):
        shape = [int(n) for n in shape]
        total = int(np.prod(x.shape))
        if -1 in shape:
            rest = int(np.prod([n for n in shape if n != -1]))
            shape[shape.index(-1)] = total // rest
        if int(np.prod(shape)) != total:
            raise NotKnown(f"{name}: Reshape of {list(x.shape)} to {shape}")
        if tuple(shape) == tuple(x.shape):
            return x
        plain = x.first and (x.shape[1] * x.shape[2] == 1 or x.shape[3] == 1)
        source = x.name if plain else self.own(x)
        pixel = len(shape) == 4 and shape[1] == shape[2] == 1
        target = [shape[0], shape[3], 1, 1] if pixel else shape
        out = self.emit("Reshape", name, [source, self.ints(name + ".shape", target)])
        return Value(tuple(shape), out, pixel, dtype=x.dtype)

    def transpose(self, name, x, perm):
        perm = [int(p) for p in perm]
        shape = tuple(x.shape[p] for p in perm)
        same = dict(dtype=x.dtype, conv=x.conv)
        if x.padded is not None:
            before, pads = x.padded
            same["padded"] = (self.transpose(name + ".padded", before, perm), [pads[p] for p in perm])
        if perm == [0, 3, 1, 2] and x.first:
            return Value(shape, x.name, False, **same)
        if perm == [0, 2, 3, 1] and not x.first:
            return Value(shape, x.name, True, **same)
        if perm == list(range(len(perm))):
            return x
        return Value(shape, self.emit("Transpose", name, [self.own(x)], perm=perm), dtype=x.dtype)

    def axis(self, x, axis):
        """An axis of the file's order in the ONNX tensor."""
        axis %= len(x.shape)
        return [0, 2, 3, 1][axis] if x.first else axis

    def concat(self, name, values, axis):
        rank = len(values[0].shape)
        axis %= rank
        first = rank == 4 and any(v.first for v in values)
        names = [self.first(v) if first else self.own(v) for v in values]
        shape = list(values[0].shape)
        shape[axis] = sum(v.shape[axis] for v in values)
        out = Value(tuple(shape), None, first, dtype=values[0].dtype)
        out.name = self.emit("Concat", name, names, axis=self.axis(out, axis))
        return out

    def slice(self, name, x, begin, end, steps=None):
        """`begin` and `end` of every axis in the file's order; ends are not part of the result."""
        steps = steps or [1] * len(begin)
        shape = tuple(len(range(b, e, s)) for b, e, s in zip(begin, end, steps))
        axes = [i for i, n in enumerate(x.shape) if (begin[i], end[i], steps[i]) != (0, n, 1)]
        if not axes:
            return x
        parts = [self.ints(f"{name}.{part}", [values[i] if values is not None else self.axis(x, i) for i in axes])
                 for part, values in (("begin", begin), ("end", end), ("axes", None), ("steps", steps))]
        return Value(shape, self.emit("Slice", name, [x.name, *parts]), x.first, dtype=x.dtype)

    def strided_slice(self, name, x, bounds, masks):
        """StridedSlice: `bounds` are begin, end and stride, `masks` what TensorFlow's attributes say."""
        begin_mask, end_mask, ellipsis, new_axis, shrink = masks
        if ellipsis or new_axis:
            raise NotKnown(f"{name}: StridedSlice with an ellipsis or a new axis is not known")
        begin, end, steps = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
        for i, (b, e, s) in enumerate(zip(*(list(map(int, v)) for v in bounds))):
            if s < 1:
                raise NotKnown(f"{name}: StridedSlice with a stride of {s} is not known")
            n, bit = x.shape[i], 1 << i
            begin[i] = 0 if begin_mask & bit else min(b + n if b < 0 else b, n)
            end[i] = begin[i] + 1 if shrink & bit else n if end_mask & bit else min(e + n if e < 0 else e, n)
            steps[i] = s
        value = self.slice(name, x, begin, end, steps)
        kept = [n for i, n in enumerate(value.shape) if not shrink & (1 << i)]
        return value if len(kept) == len(value.shape) else self.reshape(name + ".less", value, kept)

    def split(self, name, x, axis, sizes):
        axis %= len(x.shape)
        values, at = [], 0
        for i, size in enumerate(sizes):
            begin, end = [0] * len(x.shape), list(x.shape)
            begin[axis], end[axis] = at, at + int(size)
            values.append(self.slice(f"{name}.{i}", x, begin, end))
            at += int(size)
        return values

    def softmax(self, name, x, axis=-1):
        out = self.emit("Softmax", name, [x.name], axis=self.axis(x, axis))
        return Value(x.shape, out, x.first)

    def argmax(self, name, x, axis):
        axis %= len(x.shape)
        shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
        source, at = (x.name, 1) if x.first and axis == 3 else (self.own(x), axis)
        out = self.emit("ArgMax", name, [source], axis=at, keepdims=0)
        return Value(shape, out, dtype=np.dtype(np.int64))

    def depth_to_space(self, name, x, block):
        n, h, w, c = x.shape
        out = self.emit("DepthToSpace", name, [self.first(x)], blocksize=int(block), mode="DCR")
        return Value((n, h * block, w * block, c // block ** 2), out, True)

    def space_to_depth(self, name, x, block):
        n, h, w, c = x.shape
        out = self.emit("SpaceToDepth", name, [self.first(x)], blocksize=int(block))
        return Value((n, h // block, w // block, c * block ** 2), out, True)

    def gather(self, name, x, indices, axis):
        axis %= len(x.shape)
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1:])
        out = self.emit("Gather", name, [self.own(x), self.const(name + ".at", indices.astype(np.int64))], axis=axis)
        return Value(shape, out, dtype=x.dtype)

    def tile(self, name, x, times):
        out = self.emit("Tile", name, [self.own(x), self.ints(name + ".times", times)])
        return Value(tuple(n * int(t) for n, t in zip(x.shape, times)), out, dtype=x.dtype)

    def dense(self, name, x, weight, bias):
        """A fully connected layer; `weight` is an array [out, in] or (ONNX name, shape)."""
        out, inside = weight[1] if isinstance(weight, tuple) else weight.shape
        x = self.reshape(name + ".rows", x, [-1, inside])
        made = weight[0] if isinstance(weight, tuple) else self.const(name + ".weight", weight)
        inputs = [x.name, made]
        if bias is not None:
            inputs.append(bias if isinstance(bias, str) else self.const(name + ".bias", bias))
        return Value((x.shape[0], out), self.emit("Gemm", name, inputs, transB=1))

    def matmul(self, name, a, b, turn_a, turn_b):
        def side(v, turn, part):
            if not turn:
                return v
            perm = [*range(len(v.shape) - 2), len(v.shape) - 1, len(v.shape) - 2]
            if v.array is not None:
                return self.fixed(v.array.transpose(perm))
            return self.transpose(f"{name}.{part}", v, perm)
        a, b = side(a, turn_a, "a"), side(b, turn_b, "b")
        shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return Value(shape, self.emit("MatMul", name, [self.own(a), self.own(b)]))

"""What operators on constants give: the shapes and tables that a file computes instead of holding them."""
import numpy as np


def strided_slice(x, begin, end, strides, begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_mask=0):
    index = []
    for i, (b, e, s) in enumerate(zip(begin, end, strides)):
        bit = 1 << i
        if ellipsis_mask & bit:
            index.append(Ellipsis)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_mask & bit:
            index.append(int(b))
        else:
            index.append(slice(None if begin_mask & bit else int(b), None if end_mask & bit else int(e), int(s)))
    return x[tuple(index)]


def sparse_to_dense(indices, shape, values, default):
    dense = np.full(shape, default, np.asarray(values).dtype)
    indices = np.asarray(indices)
    if indices.ndim < 2:
        dense[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def divide(a, b):
    return a / b if np.issubdtype(np.asarray(a).dtype, np.floating) else a // b


# By TensorFlow's names.
NUMPY = {
    "Add": np.add, "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply, "RealDiv": divide, "Div": divide,
    "FloorDiv": np.floor_divide, "FloorMod": np.mod, "Maximum": np.maximum, "Minimum": np.minimum, "Pow": np.power,
    "Neg": np.negative, "Sqrt": np.sqrt, "Rsqrt": lambda x: 1 / np.sqrt(x), "Exp": np.exp, "Square": np.square,
    "Reciprocal": np.reciprocal, "Ceil": np.ceil, "Floor": np.floor, "Abs": np.abs,
    "Reshape": lambda x, shape: x.reshape([int(n) for n in shape]), "Transpose": np.transpose,
    "ExpandDims": lambda x, axis: np.expand_dims(x, int(axis)), "Fill": lambda dims, v: np.full([int(n) for n in dims], v),
    "Range": lambda a, b, step: np.arange(a, b, step), "SparseToDense": sparse_to_dense,
    "Tile": lambda x, times: np.tile(x, [int(n) for n in times]), "ZerosLike": np.zeros_like, "OnesLike": np.ones_like,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less, "LogicalAnd": np.logical_and,
    "GreaterEqual": np.greater_equal, "Select": np.where, "SelectV2": np.where,
    "GatherV2": lambda x, at, axis=0: np.take(x, at, int(axis)), "Gather": lambda x, at: np.take(x, at, 0),
    "Slice": lambda x, begin, size: x[tuple(slice(int(b), None if n == -1 else int(b + n)) for b, n in zip(begin, size))],
}

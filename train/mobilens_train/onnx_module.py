"""An ONNX network as a PyTorch module, and back.

The module runs the graph of the file, operator by operator; its parameters are the graph's float initialisers, so
that what is trained is what the file holds, and `save` writes the same graph with the new values. Nothing is
translated by name, so it works for any network of these operators, whoever exported it.

A quantised file (QDQ, as `mobilens quantize` writes it) becomes a network for quantisation-aware training: activations
are rounded as the file says, weights as their scales say, with the gradient passed straight through (Bengio et al.,
"Estimating or Propagating Gradients Through Stochastic Neurons", section 3; Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3). `save` then writes codes again.
"""
import copy
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn


class UnknownOperator(ValueError):
    """The graph has an operator that this module does not run."""


class RoundToCodes(torch.autograd.Function):
    """`scale * (clip(round(x / scale) + zero_point) - zero_point)`; the gradient is that of the clip."""

    @staticmethod
    def forward(context, x, scale, zero_point, low, high):
        codes = torch.round(x / scale) + zero_point
        inside = (codes >= low) & (codes <= high)
        context.save_for_backward(inside)
        return (codes.clamp(low, high) - zero_point) * scale

    @staticmethod
    def backward(context, gradient):
        (inside,) = context.saved_tensors
        return gradient * inside, None, None, None, None


def attributes_of(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def two_sided(pads):
    """ONNX's pads `[top, left, bottom, right]` in the order of `F.pad`."""
    top, left, bottom, right = pads
    return [left, right, top, bottom]


class OnnxModule(nn.Module):
    """Runs the graph of `path`. `forward` takes the input and returns the outputs in the order of the file.

    `float_weights`: for a quantised file, the float32 file that it was made from; its weights and biases are the
    start of the training, and the parameters. Without it the codes of the file are.
    """

    def __init__(self, path, float_weights=None):
        super().__init__()
        self.model = onnx.load(str(path))
        graph = self.model.graph
        self.constants = {i.name: numpy_helper.to_array(i).copy() for i in graph.initializer}
        self.input_name = next(i.name for i in graph.input if i.name not in self.constants)
        self.output_names = [o.name for o in graph.output]
        # Further values that `forward` returns behind the outputs.
        self.also = []
        self.nodes = [(n.op_type, list(n.input), list(n.output), attributes_of(n)) for n in graph.node]
        for op, *_ in self.nodes:
            if op != "Constant" and not hasattr(self, f"run_{op.lower()}"):
                raise UnknownOperator(f"{Path(path).name}: no rule for the operator {op}")
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(attributes_of(node)["value"])
        self._fold_casts()
        self.from_float = float_weights is not None
        floats = OnnxModule(float_weights).named_values() if float_weights else {}
        # What the optimiser sees: float initialisers, and the weights and biases behind codes.
        self.values = nn.ParameterDict()
        self.starts = {}  # their values in the file, which untrained ones go back to without a rounding
        self.codes = {}  # value: (scale, zero point, axis, low, high) of a quantised weight or bias
        self._find_codes(floats)
        scales = {name for op, inputs, *_ in self.nodes if op in ("QuantizeLinear", "DequantizeLinear") for name in inputs[1:]}
        for name, value in self.constants.items():
            if value.dtype in (np.float32, np.float16) and name not in scales and value.size > 1:
                self._add(name, value.astype(np.float32))

    def _add(self, name, value):
        self.values[self._key(name)] = nn.Parameter(torch.from_numpy(np.array(value, np.float32)))
        self.starts[name] = self.values[self._key(name)].detach().clone()

    @staticmethod
    def _key(name):
        return name.replace(".", "|")

    def named_values(self):
        """Name in the file: its parameter."""
        return {key.replace("|", "."): value for key, value in self.values.items()}

    def _fold_casts(self):
        """Weights that are kept in float16: the cast to float32 is done here, and undone by `save`."""
        self.halves = {}
        nodes = []
        for node in self.nodes:
            op, inputs, outputs, attributes = node
            if op == "Cast" and inputs[0] in self.constants and attributes["to"] == onnx.TensorProto.FLOAT:
                self.halves[outputs[0]] = inputs[0]
                self.constants[outputs[0]] = self.constants.pop(inputs[0]).astype(np.float32)
            else:
                nodes.append(node)
        self.nodes = nodes

    def _find_codes(self, floats):
        nodes = []
        for node in self.nodes:
            op, inputs, outputs, attributes = node
            if op == "DequantizeLinear" and inputs[0] in self.constants:
                codes, scale = self.constants[inputs[0]], self.constants[inputs[1]]
                zero = self.constants[inputs[2]] if len(inputs) > 2 else np.zeros_like(scale, codes.dtype)
                axis = attributes.get("axis", 1)
                shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if scale.ndim else []
                wide_scale, wide_zero = scale.reshape(shape), zero.reshape(shape)
                limits = np.iinfo(codes.dtype)
                self.codes[outputs[0]] = (inputs[0], wide_scale, wide_zero, limits.min, limits.max)
                start = floats.get(outputs[0])
                start = start.detach().numpy() if start is not None else (codes.astype(np.float32) - wide_zero) * wide_scale
                self._add(outputs[0], start)
            else:
                nodes.append(node)
        self.nodes = nodes

    def _value(self, name, values):
        if name in values:
            return values[name]
        key = self._key(name)
        if key in self.values:
            value = self.values[key]
            if name in self.codes:
                _, scale, zero, low, high = self.codes[name]
                scale, zero = torch.from_numpy(scale), torch.from_numpy(zero.astype(np.float32))
                value = RoundToCodes.apply(value, scale.to(value), zero.to(value), float(low), float(high))
            return value
        constant = torch.from_numpy(np.array(self.constants[name]))
        # Numbers and what is read as numbers (bounds, shapes) stay where they are read.
        return constant.to(next(iter(values.values())).device) if constant.ndim and constant.is_floating_point() else constant

    def forward(self, x):
        return self.run({self.input_name: x}, [*self.output_names, *self.also])

    def run(self, known, wanted):
        """The values `wanted`, from those that are `known` by name; only what lies between is computed."""
        values = dict(known)
        for op, inputs, outputs, attributes in self.between(known, wanted):
            arguments = [self._value(name, values) if name else None for name in inputs]
            values[outputs[0]] = getattr(self, f"run_{op.lower()}")(attributes, *arguments)
        return [values[name] for name in wanted]

    def between(self, known, wanted):
        """The nodes that lead from the values `known` to those `wanted`, in the order of the file."""
        needed, nodes = set(wanted) - set(known), []
        for node in reversed(self.nodes):
            op, inputs, outputs, _ = node
            if outputs[0] in needed and op != "Constant":
                nodes.append(node)
                needed.update(set(inputs) - set(known))
        return nodes[::-1]

    # One method for each operator: attributes, then inputs.

    def run_conv(self, a, x, weights, bias=None):
        pads = a.get("pads", [0, 0, 0, 0])
        if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
            raise UnknownOperator("Conv with auto_pad: write its pads out")
        if pads[:2] == pads[2:]:
            padding = pads[:2]
        else:
            x, padding = F.pad(x, two_sided(pads)), 0
        return F.conv2d(x, weights, bias, a.get("strides", 1), padding, a.get("dilations", 1), a.get("group", 1))

    def run_convtranspose(self, a, x, weights, bias=None):
        pads = a.get("pads", [0, 0, 0, 0])
        if pads[:2] != pads[2:]:
            raise UnknownOperator("ConvTranspose with uneven pads")
        return F.conv_transpose2d(x, weights, bias, a.get("strides", 1), pads[:2], a.get("output_padding", 0), a.get("group", 1), a.get("dilations", 1))

    def run_clip(self, a, x, low=None, high=None):
        # As numbers: bounds that are tensors would have their own, slow, backward pass.
        low, high = (bound.item() if torch.is_tensor(bound) else bound for bound in (a.get("min", low), a.get("max", high)))
        return F.hardtanh(x, low, high) if low is not None and high is not None else torch.clamp(x, low, high)

    def run_relu(self, a, x):
        return F.relu(x)

    def run_sigmoid(self, a, x):
        return torch.sigmoid(x)

    def run_hardswish(self, a, x):
        return F.hardswish(x)

    def run_hardsigmoid(self, a, x):
        return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)

    def run_add(self, a, x, y):
        return x + y

    def run_mul(self, a, x, y):
        return x * y

    def run_div(self, a, x, y):
        return x / y

    def run_batchnormalization(self, a, x, scale, bias, mean, variance):
        return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))

    def run_globalaveragepool(self, a, x):
        return x.mean((2, 3), keepdim=True)

    def run_transpose(self, a, x):
        return x.permute(*a["perm"])

    def run_reshape(self, a, x, shape):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape.tolist())]
        # The first axis is the batch, which training makes larger than the file's 1.
        return x.reshape(x.shape[0], *shape[1:]) if shape[0] == 1 else x.reshape(shape)

    def run_flatten(self, a, x):
        return torch.flatten(x, a.get("axis", 1))

    def run_concat(self, a, *parts):
        return torch.cat(parts, a["axis"])

    def run_shape(self, a, x):
        return torch.tensor(x.shape)

    def run_identity(self, a, x):
        return x

    def run_cast(self, a, x):
        return x

    # Sizes that a graph of free height and width computes.

    def run_shape(self, a, x):
        return torch.tensor(x.shape)

    def run_gather(self, a, x, indices):
        if x.dim() != 1:
            raise UnknownOperator("Gather from other than a shape")
        return x[indices]

    def run_unsqueeze(self, a, x, axes):
        if x.dim() or axes.tolist() != [0]:
            raise UnknownOperator("Unsqueeze of other than a number")
        return x[None]

    def run_slice(self, a, x, starts, ends, axes=None, steps=None):
        if x.dim() != 1 or (steps is not None and steps.tolist() != [1]):
            raise UnknownOperator("Slice of other than a shape")
        return x[starts.item():ends.item()]

    def run_gemm(self, a, x, weights, bias=None):
        weights = weights if a.get("transB") else weights.T
        return F.linear(x, weights * a.get("alpha", 1.0), bias)

    def run_resize(self, a, x, roi=None, scales=None, sizes=None):
        if a["mode"] != b"linear":
            raise UnknownOperator("Resize other than linear")
        size = sizes[2:].tolist() if sizes is not None else [round(n * s) for n, s in zip(x.shape[2:], scales[2:].tolist())]
        corners = a.get("coordinate_transformation_mode", b"half_pixel") == b"align_corners"
        return F.interpolate(x, size, mode="bilinear", align_corners=corners)

    def run_quantizelinear(self, a, x, scale, zero_point):
        # DequantizeLinear follows, to which the rounded values are passed on as they are.
        limits = torch.iinfo(zero_point.dtype)
        return RoundToCodes.apply(x, scale.to(x), zero_point.to(x), float(limits.min), float(limits.max))

    def run_dequantizelinear(self, a, x, scale, zero_point=None):
        return x

    # Back to a file.

    def to_model(self):
        """The graph of the file with the present values of the parameters."""
        model = copy.deepcopy(self.model)
        new = {}
        for name, parameter in self.named_values().items():
            value = parameter.detach().cpu()
            if name in self.codes and not self.from_float and torch.equal(value, self.starts[name]):
                continue
            value = value.numpy()
            if name in self.codes:
                stored, scale, zero, low, high = self.codes[name]
                codes = np.clip(np.round(value / scale) + zero.astype(np.float64), low, high)
                new[stored] = codes.astype(self.constants[stored].dtype)
            elif name in self.halves:
                new[self.halves[name]] = value.astype(np.float16)
            else:
                new[name] = value
        for name, value in self.constants.items():
            new.setdefault(self.halves.get(name, name), value.astype(np.float16) if name in self.halves else value)
        for i, initializer in enumerate(model.graph.initializer):
            value = new[initializer.name]
            model.graph.initializer[i].CopyFrom(numpy_helper.from_array(np.array(value, order="C"), initializer.name))
        return model

    def save(self, path):
        """Writes the file anew; float16 weights stay float16, codes stay codes."""
        model = self.to_model()
        onnx.checker.check_model(model)
        Path(path).write_bytes(model.SerializeToString(deterministic=True))

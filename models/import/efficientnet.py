"""EfficientNet-Lite0 of its state dict (Tan and Le, arXiv:1905.11946, in the Lite variant: no
squeeze-and-excitation, ReLU6 instead of swish)."""
import numpy as np

from graph import Graph

SIZE = 224
EPSILON = 1e-3
# Strides of the 16 blocks; what else there is to know is in the shapes of their weights.
STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


def lite0(weights):
    """The graph and the name of its logits, [1000, 1, 1]."""
    graph = Graph(SIZE)

    def conv(x, name, norm, stride=1, groups=1):
        """A convolution without bias, the batch norm behind it folded in."""
        gamma, beta, mean, variance = (
            weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var"))
        factor = gamma / np.sqrt(variance + EPSILON)
        weight = weights[f"{name}.weight"] * factor[:, None, None, None]
        bias = beta - mean * factor
        return graph.conv(name.replace("_conv", "").strip("_"), x, weight, bias, stride, 1, groups)

    def relu6(x):
        return graph.simple("relu6", f"{x}.relu6", x)

    x = relu6(conv("input", "_conv_stem", "_bn0", stride=2))
    for i, stride in enumerate(STRIDES):
        block, before = f"_blocks.{i}", x
        if f"{block}._expand_conv.weight" in weights:
            x = relu6(conv(x, f"{block}._expand_conv", f"{block}._bn0"))
        channels = graph.shape(x)[0]
        x = relu6(conv(x, f"{block}._depthwise_conv", f"{block}._bn1", stride, channels))
        x = conv(x, f"{block}._project_conv", f"{block}._bn2")
        if graph.shape(x) == graph.shape(before):
            x = graph.simple("add", f"blocks.{i}.add", x, before)
    x = relu6(conv(x, "_conv_head", "_bn1"))
    x = graph.pool("pool", x)
    weight = weights["_fc.weight"][:, :, None, None]
    return graph, graph.conv("classes", x, weight, weights["_fc.bias"])

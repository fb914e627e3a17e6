"""From a built network to an ONNX file, and the `input` of its card."""
import copy
import io
import warnings
from pathlib import Path

import onnx
import torch

# ImageNet's mean and deviation of pixels 0 to 255, which the weights of torchvision and timm were trained with.
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# The oldest with all the operators, HardSwish among them.
OPSET = 17
# Largest difference between an output of the file and the module's; of outputs above 1, in shares of the largest.
TOLERANCE = 1e-4


class ExportError(ValueError):
    """A file that does not do what the module does; the message says which."""


def to_onnx(net, size, free_size=False):
    """The network as an ONNX graph for one picture `[1, 3, size, size]`, batch norms folded into the convolutions.

    net: has `output_names`. free_size: what depends on the input's size is computed in the graph instead of written
    down, so that a pipeline can have another `input_px`; the declared size is `size` all the same.
    """
    net = copy.deepcopy(net).cpu().eval()
    names = list(net.output_names)
    x = torch.zeros(1, 3, size, size)
    axes = {name: {2: f"{name}_height", 3: f"{name}_width"} for name in ("input", *names)} if free_size else None
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # The tracing exporter: the other takes a minute for what this does in four seconds, with the same layers.
        torch.onnx.export(
            net, (x,), file, input_names=["input"], output_names=names, opset_version=OPSET,
            dynamo=False, dynamic_axes=axes,
        )
        outputs = net(x)
    model = onnx.load_from_string(file.getvalue())
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    for value, tensor in zip([*model.graph.input, *model.graph.output], [x, *outputs]):
        for dimension, length in zip(value.type.tensor_type.shape.dim, tensor.shape):
            dimension.dim_value = length
    del model.graph.value_info[:]
    _share_no_values(model.graph)
    onnx.checker.check_model(model)
    return model


def _share_no_values(graph):
    """Gives each layer an initialiser of its own where the exporter has merged equal ones: untrained biases, all zero."""
    values = {i.name: i for i in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in values]:
        own = onnx.TensorProto()
        own.CopyFrom(values[node.input[0]])
        own.name = node.output[0]
        graph.initializer.append(own)
        graph.node.remove(node)


def difference(net, path, size, seed=0):
    """Largest difference between the outputs of the file in ONNX Runtime and of the module, on one random picture; of
    an output with values above 1, as a share of its largest."""
    import onnxruntime

    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
    net = copy.deepcopy(net).cpu().eval()
    with torch.no_grad():
        wanted = net(x)
    wanted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": x.numpy()})
    return max(float((torch.from_numpy(a) - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in zip(outputs, wanted))


def write_onnx(net, path, size, free_size=False):
    """Writes the file and holds it to the module where ONNX Runtime is installed."""
    path = Path(path)
    path.write_bytes(to_onnx(net, size, free_size).SerializeToString(deterministic=True))
    try:
        apart = difference(net, path, size)
    except ImportError:
        print("outputs of the file not compared: onnxruntime is not installed", flush=True)
        return
    if not apart <= TOLERANCE:
        raise ExportError(f"{path}: outputs differ from the module's by {apart:.2g}")
    print(f"{path.name}: outputs in ONNX Runtime within {apart:.1g} of the module's", flush=True)


def input_of(size, **resize):
    """The card's `input`: RGB, ImageNet's mean and deviation, and how a picture becomes `size` pixels: by Pillow's
    filter, as in the training. With the nearest four pixels a large picture would look other than any sample."""
    return {
        "width_px": size, "height_px": size, "colour": "rgb", "mean": list(MEAN), "std": list(STD), "half_pixel": True, "filter": "pil_bilinear", **resize,
    }

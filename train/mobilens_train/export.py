"""From a built network to an ONNX file and a model card that `mobilens` runs."""
import copy
import hashlib
import io
import json
import shutil
import subprocess
import warnings
from pathlib import Path

import onnx
import torch
import yaml

# ImageNet's mean and deviation of pixels 0 to 255, which the weights of torchvision and timm were trained with.
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# The oldest with all the operators, HardSwish among them.
OPSET = 17
# Largest difference between an output of the file and the module's; of outputs above 1, in shares of the largest.
TOLERANCE = 1e-4


class ExportError(ValueError):
    """A file that does not do what the module does, or that the program refuses; the message says which and why."""


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
    """The card's `input`: RGB, ImageNet's mean and deviation, and how a picture becomes `size` pixels."""
    return {"width_px": size, "height_px": size, "colour": "rgb", "mean": MEAN, "std": STD, "half_pixel": True, **resize}


def write_card(path, head, inputs, names, source, first_id=0, accuracy=None):
    """The card beside the ONNX file of the same name, with its SHA-256. `names` are the classes from `first_id` on."""
    path = Path(path)
    file = path.with_suffix(".onnx")
    card = {"name": path.stem, "file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    card |= {"input": inputs, "head": head, "source": source}
    if accuracy:
        card["accuracy"] = accuracy
    card["labels"] = [{"id": first_id + i, "name": name} for i, name in enumerate(names)]
    path.write_text(yaml.safe_dump(card, sort_keys=False, width=120))


def _run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(f"{' '.join(str(part) for part in command[:2])}: {lines[0] if lines else f'exit status {done.returncode}'}")
    return done.stdout


def check_with_program(card, program=None):
    """`mobilens check` of a small pipeline with the card, and the share of MACs that run on own kernels (1: all).

    program: path of `mobilens`; None: the one on PATH. Returns None where there is none.
    """
    program = program or shutil.which("mobilens")
    if not program:
        print("not checked: no mobilens on PATH (--mobilens FILE)", flush=True)
        return None
    card = Path(card).resolve()
    size = yaml.safe_load(card.read_text())["input"]
    pipeline = card.with_name(f"{card.stem}_check.yaml")
    pipeline.write_text(yaml.safe_dump({"source": {"images": {"path": "."}}, "model": card.name, "sinks": [{"jsonl": {"path": "-"}}]}))
    try:
        _run([program, "check", pipeline])
        shape = f"1x3x{size['height_px']}x{size['width_px']}"
        totals = json.loads(_run([program, "inspect", card.with_suffix(".onnx"), "--json", "--shape", shape]))["totals"]
    finally:
        pipeline.unlink()
    macs = sum(total["macs"] for total in totals)
    own = sum(total["macs"] for total in totals if total["runs_on"] != "tract") / macs
    print(f"mobilens check: valid; {macs / 1e6:.0f} MMAC, {100 * own:.1f} % of them on own kernels", flush=True)
    return own

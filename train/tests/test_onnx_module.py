"""The shipped models as PyTorch modules: the outputs of ONNX Runtime, and the same file again."""
import numpy as np
import onnx
import pytest
import torch
import yaml
from conftest import ROOT, onnx_outputs
from mobilens_train.onnx_module import OnnxModule
from onnx import numpy_helper
from PIL import Image

CARDS = sorted((ROOT / "models").glob("*.yaml"))


def input_of(card, picture):
    size = (card["input"]["width_px"], card["input"]["height_px"])
    pixels = np.asarray(picture.resize(size, Image.BILINEAR), np.float32)
    if card["input"].get("colour") == "bgr":
        pixels = pixels[..., ::-1]
    mean, std = (np.array(card["input"].get(key, default), np.float32) for key, default in (("mean", 0.0), ("std", 1.0)))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None], np.float32)


def steps_of(model):
    """The code step of each output of a quantised file: the scale of the nearest rounding before it."""
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    makers = {o: node for node in model.graph.node for o in node.output}
    steps = []
    for output in model.graph.output:
        found, names = 0.0, [output.name]
        while names:
            node = makers.get(names.pop())
            if node is None:
                continue
            if node.op_type == "DequantizeLinear" and node.input[0] not in values:
                found = max(found, float(values[node.input[1]].max()))
            elif node.op_type == "Conv":
                # What a head puts out in float: a step of its input, by the sum of its filters, is the least that shows.
                names.append(node.input[0])
            else:
                names += node.input
        steps.append(found)
    return steps


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_a_shipped_model_gives_the_outputs_of_onnx_runtime_and_the_same_file_again(path, picture_of_cat, tmp_path):
    card = yaml.safe_load(path.read_text())
    file = path.parent / card["file"]
    x = input_of(card, picture_of_cat)
    module = OnnxModule(file).eval()
    with torch.no_grad():
        said = [y.numpy() for y in module(torch.from_numpy(x))]
    # Without fusion, which changes how int8 sums are rounded.
    quantised = bool(module.codes)
    wanted = onnx_outputs(file, x, optimised=not quantised)
    steps = steps_of(module.model) if quantised else [0.0] * len(said)
    for name, a, b, step in zip(module.output_names, said, wanted, steps):
        assert a.shape == b.shape, name
        apart = np.abs(a - b).max()
        assert apart <= (1.01 * step if quantised else 1e-4), f"{name}: {apart} apart, a code step is {step}"
    again = tmp_path / "again.onnx"
    module.save(again)
    before, after = (onnx.load(str(p)) for p in (file, again))
    for old, new in zip(before.graph.initializer, after.graph.initializer):
        assert np.array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new)), old.name
    assert [n.SerializeToString() for n in before.graph.node] == [n.SerializeToString() for n in after.graph.node]


def test_an_unknown_operator_is_named(tmp_path):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Erf", ["x"], ["y"])], "g", [onnx.helper.make_tensor_value_info("x", 1, [1])], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "erf.onnx")
    with pytest.raises(ValueError, match="erf.onnx: no rule for the operator Erf"):
        OnnxModule(tmp_path / "erf.onnx")


def test_what_is_trained_is_in_the_file(card, tmp_path):
    module = OnnxModule(card.parent / "small.onnx")
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.01)
    module.save(tmp_path / "new.onnx")
    x = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        said = module(torch.from_numpy(x))
    before = onnx_outputs(card.parent / "small.onnx", x)
    for a, b, old in zip(said, onnx_outputs(tmp_path / "new.onnx", x), before):
        assert np.abs(a.numpy() - b).max() < 1e-5
        assert np.abs(b - old).max() > 1e-3

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


@pytest.mark.parametrize("path", [p for p in CARDS if not p.stem.endswith("_int8")], ids=lambda p: p.stem)
def test_a_float_model_gives_the_outputs_of_onnx_runtime(path, picture_of_cat):
    card = yaml.safe_load(path.read_text())
    x = input_of(card, picture_of_cat)
    module = OnnxModule(path.parent / card["file"]).eval()
    with torch.no_grad():
        said = module(torch.from_numpy(x))
    for name, a, b in zip(module.output_names, said, onnx_outputs(path.parent / card["file"], x)):
        assert a.shape == b.shape, name
        assert np.abs(a.numpy() - b).max() <= 1e-4, name


@pytest.mark.parametrize("path", [p for p in CARDS if p.stem.endswith("_int8")], ids=lambda p: p.stem)
def test_each_layer_of_an_int8_model_is_within_a_code_step_of_onnx_runtime(path, picture_of_cat, tmp_path):
    """Layer by layer from the inputs of ONNX Runtime's, as a code that is rounded otherwise in an early layer moves
    many in later ones."""
    card = yaml.safe_load(path.read_text())
    x = input_of(card, picture_of_cat)
    model = onnx.load(str(path.parent / card["file"]))
    module = OnnxModule(path.parent / card["file"]).eval()
    outputs = set(module.output_names)
    rounded = {n[2][0]: n for n in module.nodes if n[0] == "DequantizeLinear"}
    for name in rounded:
        if name not in outputs:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "all.onnx")
    names = module.output_names + [name for name in rounded if name not in outputs]
    # Without fusion, which rounds sums otherwise.
    wanted = dict(zip(names, (torch.from_numpy(y) for y in onnx_outputs(tmp_path / "all.onnx", x, optimised=False))))
    scales = {name: float(module.constants[node[1][1]].max()) for name, node in rounded.items()}
    values, compared = {module.input_name: torch.from_numpy(x)}, 0
    with torch.no_grad():
        for op, inputs, made, attributes in module.nodes:
            if op == "Constant":
                continue
            arguments = [module._value(name, values) if name else None for name in inputs]
            values[made[0]] = getattr(module, f"run_{op.lower()}")(attributes, *arguments)
            if made[0] in wanted:
                apart = (values[made[0]] - wanted[made[0]]).abs()
                step = scales.get(made[0], 0.0)
                # What is put out in float has no steps.
                assert apart.max() <= max(1.01 * step, 1e-4 * max(1.0, float(wanted[made[0]].abs().max()))), (made[0], float(apart.max()), step)
                assert not step or (apart > 0.5 * step).float().mean() < 0.01, made[0]
                values[made[0]] = wanted[made[0]]
                compared += 1
    assert compared > 40


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_a_shipped_model_is_saved_as_it_was(path, tmp_path):
    file = path.parent / yaml.safe_load(path.read_text())["file"]
    again = tmp_path / "again.onnx"
    OnnxModule(file).save(again)
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

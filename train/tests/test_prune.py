"""Channels whose weights are zero are taken out without a trace; what is left is one network."""
import numpy as np
import pytest
import torch
from conftest import ROOT, onnx_outputs
from mobilens_train.data import DataError
from mobilens_train.onnx_module import OnnxModule
from mobilens_train.prune import Channels, main, narrow

MODELS = ROOT / "models"


def silence(module, share=0.5, seed=0):
    """Makes a random share of each space's channels say nothing: all that goes with them and makes them is zero."""
    rng = np.random.default_rng(seed)
    channels, values = Channels(module), module.named_values()
    silent = {}
    for root, rows in channels.free().items():
        size = channels.size[root]
        n = size - max(8, int(size * share / 8 + 0.5) * 8) if size > 8 else 0
        silent[root] = rng.permutation(size)[:n]
        with torch.no_grad():
            for name, axis, start in rows:
                # Of what reads a channel nothing is zero: it must not matter.
                if axis == 0:
                    values[name][silent[root] + start] = 0
    return silent


@pytest.mark.parametrize("name", ["small", "ssdlite_mobilenet_v2_coco", "ssd_mobilenet_v2_oidv4", "deeplabv3_mobilenet_v2_voc_os16"])
def test_silent_channels_are_taken_out_without_a_trace(name, card, tmp_path):
    module = OnnxModule(card.parent / "small.onnx" if name == "small" else MODELS / f"{name}.onnx")
    silent = silence(module)
    module.save(tmp_path / "before.onnx")
    before = sum(v.numel() for v in module.parameters())
    report = narrow(module, 0.5)
    assert len(report) >= (6 if name == "small" else 20) and sum(v.numel() for v in module.parameters()) < 0.5 * before
    assert silent
    module.save(tmp_path / "after.onnx")
    side = {"small": 64, "deeplabv3_mobilenet_v2_voc_os16": 513}.get(name, 300)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    wanted, said = onnx_outputs(tmp_path / "before.onnx", x), onnx_outputs(tmp_path / "after.onnx", x)
    for a, b in zip(wanted, said):
        assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(a).max())


def test_the_heads_keep_their_outputs_and_sums_stay_sums(card):
    module = OnnxModule(card.parent / "small.onnx")
    narrow(module, 0.5)
    values = module.named_values()
    assert values["scores0.weight"].shape[0] == 9 and values["boxes1.weight"].shape[0] == 24
    # Both sides of the sum, and what reads it.
    assert values["a3.weight"].shape[0] == values["b3.weight"].shape[0] == values["b1.weight"].shape[1] == values["c1.weight"].shape[1] == 8
    assert values["c2.weight"].shape == (24, 1, 3, 3)


def test_only_expanded_channels(card):
    module = OnnxModule(card.parent / "small.onnx")
    narrow(module, 0.5, of="expanded")
    values = module.named_values()
    assert values["a3.weight"].shape == (16, 16, 1, 1) and values["a2.weight"].shape[0] == 16


def test_the_least_important_channels_go(card):
    module = OnnxModule(card.parent / "small.onnx")
    with torch.no_grad():
        for name in ("d1.weight", "d1.bias"):
            module.named_values()[name][::2] *= 1e-3
    kept = module.named_values()["d1.weight"][1::2].detach().clone()
    narrow(module, 0.5)
    assert module.named_values()["d1.weight"].shape[0] == 16
    # Of its rows the strong ones are left, as far as the columns that are left show.
    norms = module.named_values()["d1.weight"].detach().abs().sum((1, 2, 3))
    assert norms.min() > 0.01 * kept.abs().sum((1, 2, 3)).max()


def test_by_taylor_and_with_fewer_classes(card, pictures, tmp_path):
    arguments = ["--card", str(card), "--keep", "0.5", "--by", "taylor", "--pictures", str(pictures), "--samples", "3", "--keep-class", "blue", "--no-program", "--out", str(tmp_path / "thin")]
    assert main(arguments) == 0
    x = np.zeros((1, 3, 64, 64), np.float32)
    boxes, scores = onnx_outputs(tmp_path / "thin" / "thin.onnx", x)
    assert boxes.shape[2] == 4 and scores.shape[2] == 2
    assert "- id: 1\n  name: blue" in (tmp_path / "thin" / "thin.yaml").read_text()


def test_a_quantised_file_is_refused():
    with pytest.raises(DataError, match="prune the float32 one"):
        narrow(OnnxModule(MODELS / "ssdlite_mobilenet_v2_coco_int8.onnx"), 0.5)

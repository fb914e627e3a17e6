"""Small data and a small SSD, made here, so that the tests need nothing but the checkout, and the program where it is."""
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "train"))
from mobilens_train.program import find_program  # noqa: E402

torch.set_num_threads(1)
# The program: MOBILENS, else where recipes look for it.
PROGRAM = os.environ.get("MOBILENS") or find_program()


@pytest.fixture(scope="session")
def mobilens():
    """The program's path; without it, the test is skipped, or fails under MOBILENS_CI."""
    if PROGRAM:
        return str(PROGRAM)
    why = "no program: build it, or name it with MOBILENS"
    return pytest.fail(why) if os.environ.get("MOBILENS_CI") else pytest.skip(why)


def draw_pictures(folder, n, seed=0, size=(160, 120)):
    """Pictures of noise with one to three rectangles apart, class 0 red and class 1 blue, as YOLO labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    width, height = size
    for index in range(n):
        pixels = rng.integers(90, 150, (height, width, 3)).astype(np.uint8)
        lines, taken = [], np.zeros((height, width), bool)
        for _ in range(rng.integers(1, 4)):
            kind = int(rng.integers(2))
            w, h = rng.integers(24, 60, 2)
            x, y = rng.integers(0, width - w), rng.integers(0, height - h)
            if taken[max(y - 4, 0):y + h + 4, max(x - 4, 0):x + w + 4].any():
                continue
            taken[y:y + h, x:x + w] = True
            pixels[y:y + h, x:x + w] = (230, 20, 20) if kind == 0 else (20, 20, 230)
            lines.append(f"{kind} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}")
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
        (folder / f"{index:02}.txt").write_text("\n".join(lines) + "\n")


def draw_masks(folder, n, seed=0, size=(64, 48), value=5, noise=60):
    """Pictures of noise with a red square each, whose pixels are `value` in the masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    width, height = size
    side = height * 3 // 8
    for index in range(n):
        pixels, mask = rng.integers(0, noise, (height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        y, x = rng.integers(height // 12, height // 2, 2)
        pixels[y:y + side, x:x + side, 0] = 240 - pixels[y:y + side, x:x + side, 0] * (60 / noise)
        mask[y:y + side, x:x + side] = value
        Image.fromarray(pixels).save(folder / "images" / f"{index:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index:02}.png")


def draw_colours(folder, n, seed=0, size=(50, 40)):
    """A folder of `n` pictures each for the classes blue and red."""
    rng = np.random.default_rng(seed)
    for kind, channel in (("blue", 2), ("red", 0)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            pixels = rng.integers(0, 80, (size[1], size[0], 3), np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / kind / f"{index:02}.png")


def small_ssd(folder, side=64, classes=3, seed=0):
    """An SSD of the shipped one's build at 64 pixels: depthwise convolutions, a sum, two maps. Returns its card's path."""
    rng = np.random.default_rng(seed)
    weights, nodes = [], []

    def conv(x, name, inputs, outputs, kernel=1, stride=1, group=1, clip=True):
        shape = (outputs, inputs // group, kernel, kernel)
        value = rng.normal(0, np.sqrt(2 / (shape[1] * kernel * kernel)), shape)
        weights.append(numpy_helper.from_array(value.astype(np.float32), f"{name}.weight"))
        weights.append(numpy_helper.from_array(rng.normal(0, 0.05, outputs).astype(np.float32), f"{name}.bias"))
        pad = kernel // 2
        nodes.append(helper.make_node("Conv", [x, f"{name}.weight", f"{name}.bias"], [f"{name}.out"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group))
        if clip:
            nodes.append(helper.make_node("Clip", [f"{name}.out", "zero", "six"], [f"{name}.clip"]))
        return f"{name}.clip" if clip else f"{name}.out"

    weights.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    weights.append(numpy_helper.from_array(np.array(6, np.float32), "six"))
    x = conv("input", "stem", 3, 16, 3, 2)
    x = conv(conv(conv(x, "a1", 16, 32), "a2", 32, 32, 3, 2, 32), "a3", 32, 16, clip=False)
    y = conv(conv(conv(x, "b1", 16, 32), "b2", 32, 32, 3, 1, 32), "b3", 32, 16, clip=False)
    nodes.append(helper.make_node("Add", [x, y], ["sum"]))
    first = conv(conv("sum", "c1", 16, 48), "c2", 48, 48, 3, 2, 48)
    second = conv(conv(first, "d1", 48, 32), "d2", 32, 64, 3, 2)
    parts = {"boxes": [], "scores": []}
    for level, (value, channels, anchors) in enumerate(((first, 48, 3), (second, 64, 6))):
        for output, per in (("boxes", 4), ("scores", classes)):
            name = f"{output}{level}"
            head = conv(conv(value, f"{name}dw", channels, channels, 3, 1, channels), name, channels, anchors * per, clip=False)
            weights.append(numpy_helper.from_array(np.array([1, -1, per], np.int64), f"{name}.shape"))
            nodes.append(helper.make_node("Transpose", [head], [f"{name}.t"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"{name}.t", f"{name}.shape"], [f"{name}.r"]))
            parts[output].append(f"{name}.r")
    for output, names in parts.items():
        nodes.append(helper.make_node("Concat", names, [output], axis=1))
    maps = [side // 8, side // 16]
    n = maps[0] ** 2 * 3 + maps[1] ** 2 * 6
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, n, 4]), helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, n, classes])], weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "small.onnx")
    card = {
        "name": "small", "file": "small.onnx",
        "input": {"width_px": side, "height_px": side, "colour": "rgb", "mean": [127.5] * 3, "std": [127.5] * 3, "resize": "stretch"},
        "head": {"ssd": {
            "boxes": "boxes", "scores": "scores",
            "anchors": {"feature_maps": maps, "scales": [0.3, 0.6], "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333], "interpolated_scale_aspect_ratio": 1.0, "reduce_boxes_in_lowest_layer": True},
            "box_coding": {"y": 10.0, "x": 10.0, "h": 5.0, "w": 5.0}, "activation": "sigmoid", "background": True, "nms_iou": 0.6, "max_detections": 100,
        }},
        "labels": [{"id": i, "name": n} for i, n in enumerate(["red", "blue"][:classes - 1], 1)],
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    return folder / "small.yaml"


def onnx_outputs(path, x, optimised=True):
    """Outputs of ONNX Runtime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw_pictures(folder, 12)
    return folder


@pytest.fixture(scope="session")
def card(tmp_path_factory):
    return small_ssd(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def picture_of_cat():
    with Image.open(ROOT / "tests" / "data" / "pictures" / "chelsea.png") as picture:
        return picture.convert("RGB")

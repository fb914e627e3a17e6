"""Networks that are built: backbones, heads, export, and short trainings on pictures drawn here.

Where the program is found, exported files are also checked by it.
"""
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from conftest import PROGRAM, draw_colours, draw_masks
from torch import nn

from mobilens_train import classify, detect, export, finish, heads, masks, segment
from mobilens_train.backbones import FAMILIES, STRIDES, Backbone, BackboneError, built, spec_of
from mobilens_train.loop import Trainer
from mobilens_train.onnx_module import OnnxModule
from mobilens_train.ssd import Coder, anchors_of

SMALL_FAMILIES = [family for family in FAMILIES if not family.endswith("_large") or "v4" not in family]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(17)


def calibrated(net, size):
    """Random batch norms with the statistics of random pictures, under which values keep their size."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.momentum = None
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.weight.normal_(std=module.weight[0].numel() ** -0.5)
        net.train()
        for _ in range(2):
            net(torch.randn(4, 3, size, size))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                # A channel that hardly varies would make roundings as large as values.
                module.running_var.clamp_(min=0.05)
    return net.eval()


def built_head(family, head):
    """A narrow network, the side of its input, and the card's `input` and first class id."""
    alpha, size = 0.25, {"ssd": 64, "ssdlite": 96, "deeplab": 65, "classify": 64}[head]
    if head in ("ssd", "ssdlite"):
        backbone = Backbone(family, alpha, expansion=True, last_conv=True)
        return heads.Ssd(backbone, size, 3, lite=head == "ssdlite"), size, {"resize": "stretch"}, 1
    if head == "deeplab":
        net = heads.DeeplabV3Plus(Backbone(family, alpha, 16), 3, aspp=24, rates=(1, 2), skip=16, decoder=24)
        return net, size, {"resize": "letterbox", "anchor": "top_left", "pad_colour": export.MEAN}, 0
    return heads.Classifier(family, 3, alpha), size, {"resize": "center_crop", "crop_share": 0.875}, 0


@pytest.mark.parametrize("head", ["ssd", "ssdlite", "deeplab", "classify"])
@pytest.mark.parametrize("family", SMALL_FAMILIES)
def test_file_is_the_module(family, head, tmp_path, capsys):
    net, size, resize, first_id = built_head(family, head)
    calibrated(net, size)
    path = tmp_path / "net.onnx"
    export.write_onnx(net, path, size, free_size=head == "deeplab")
    assert export.difference(net, path, size, seed=3) < 1e-4
    # Of different contrast, as pooled noise is always alike.
    x = torch.randn(2, 3, size, size) * torch.tensor([0.3, 2.0])[:, None, None, None]
    with torch.no_grad():
        outputs = net(x)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        again = OnnxModule(path)(x)
    for a, b in zip(outputs, again):
        # Large enough that the tolerance means something, and other for another picture.
        assert a.std() > 0.02 and (a[0] - a[1]).abs().max() > 1e-3
        assert (a - b).abs().max() < 1e-4 * max(1, float(a.abs().max()))
    assert not {node.op_type for node in OnnxModule(path).model.graph.node} & {"BatchNormalization", "Identity"}
    if PROGRAM:
        card = {"input": export.input_of(size, **resize), "head": net.head(), "labels": [{"id": first_id + i, "name": name} for i, name in enumerate("abc")]}
        card = finish.write_card(path.with_suffix(".yaml"), card, source="a test")
        finish.examine(PROGRAM, path.with_suffix(".yaml"), card)
        assert "100.0% of the multiplications run on own kernels" in capsys.readouterr().out


def test_a_wrong_file_is_found(tmp_path):
    net, other = (calibrated(built_head("mobilenet_v1", "classify")[0], 64) for _ in range(2))
    export.write_onnx(net, tmp_path / "net.onnx", 64)
    assert export.difference(other, tmp_path / "net.onnx", 64) > 1e-2


@pytest.mark.parametrize("family", SMALL_FAMILIES)
def test_maps_have_their_strides_and_widths(family):
    for stride in (32, 16, 8):
        backbone = Backbone(family, 0.5, output_stride=stride).eval()
        with torch.no_grad():
            maps = backbone(torch.zeros(1, 3, 97, 65))
        assert backbone.strides == [min(s, stride) for s in STRIDES]
        assert [m.shape[1] for m in maps] == backbone.channels
        assert [tuple(m.shape[2:]) for m in maps] == [(-(-97 // s), -(-65 // s)) for s in backbone.strides]


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v4_conv_small"])
def test_dilated_maps_hold_the_strided_ones(family):
    """Without its strides a network computes the same values, and others in between."""
    wide = calibrated(Backbone(family, 0.25, output_stride=8), 65)
    strided = Backbone(family, 0.25).eval()
    strided.load_state_dict(wide.state_dict())
    x = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        a, b = wide(x)[-1][..., ::4, ::4], strided(x)[-1]
    assert b.std() > 0.02 and (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("family, width", [("mobilenet_v2", 576), ("mobilenet_v3_large", 672), ("mobilenet_v4_conv_small", 576), ("mobilenet_v1", 512)])
def test_expansion_is_cut_out_of_its_block(family, width):
    cut, whole = Backbone(family, expansion=True), Backbone(family)
    assert cut.channels[2] == width
    calibrated(cut, 64)
    whole.eval().load_state_dict(dict(zip(whole.state_dict(), cut.state_dict().values())))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (cut(x)[-1] - whole(x)[-1]).abs().max() < 1e-5


def test_names_mean_networks():
    assert spec_of("mobilenetv2_050").timm_name == "mobilenetv2_050" and spec_of("mobilenetv2_050").alpha == 0.5
    assert spec_of("mobilenet_v4_conv_small").timm_name == "mobilenetv4_conv_small"
    assert spec_of("mobilenetv4_conv_small_050") == spec_of("mobilenet_v4_conv_small", 0.5)
    for name, alpha, word in (("resnet50", None, "expected one of"), ("mobilenetv2_050", 0.75, "give one"), ("mobilenet_v1", 9, "expected .1 to 4")):
        with pytest.raises(BackboneError, match=word):
            spec_of(name, alpha)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_weights_of_a_file_are_used(library, tmp_path):
    from mobilens_train.backbones import network

    net = network(spec_of("mobilenet_v2", 0.25, library))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    other, spec = built("mobilenet_v2", 0.25, classes=5, weights=tmp_path / "net.pth")
    assert spec.library == library
    own = other.state_dict()
    same = [key for key, value in net.state_dict().items() if torch.equal(value, own[key])]
    # All but the last layer's weights and bias.
    assert len(same) == len(own) - 2 and len(list(own.values())[-1]) == 5
    for name, alpha in (("mobilenet_v2", 0.5), ("mobilenet_v3_small", 0.25)):
        with pytest.raises(BackboneError, match="other --backbone or --alpha"):
            built(name, alpha, weights=tmp_path / "net.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BackboneError, match="not a file of weights"):
        built("mobilenet_v2", weights=tmp_path / "text.pth")


@pytest.mark.parametrize("size, maps", [(300, [19, 10, 5, 3, 2, 1]), (96, [6, 3, 2, 1]), (512, [32, 16, 8, 4, 2, 1])])
def test_anchors_are_those_of_the_outputs(size, maps):
    net = heads.Ssd(Backbone("mobilenet_v1", 0.25, expansion=True), size, 2).eval()
    assert net.feature_maps == maps
    coder = Coder({"head": net.head()})
    with torch.no_grad():
        boxes, scores = net(torch.zeros(1, 3, size, size))
    assert boxes.shape == (1, len(coder.anchors), 4) and scores.shape == (1, len(coder.anchors), 3)
    assert len(anchors_of(net.head()["ssd"]["anchors"])) == net.anchors


class Numbers(nn.Module):
    """[1, channels, side, side] of consecutive numbers."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        side = x.shape[2]
        return torch.arange(self.channels * side * side, dtype=torch.float32).reshape(1, self.channels, side, side)


def test_rows_are_cells_then_anchors():
    net = heads.Ssd(Backbone("mobilenet_v1", 0.25, expansion=True), 96, 2).eval()
    net.scores[0] = Numbers(heads.FIRST_ANCHORS * 3)
    with torch.no_grad():
        rows = net(torch.zeros(1, 3, 96, 96))[1][0]
    y, x, anchor, channel, side = 4, 2, 1, 2, 6
    assert rows[(y * side + x) * heads.FIRST_ANCHORS + anchor, channel] == (anchor * 3 + channel) * side * side + y * side + x


def test_boxes_are_encoded_and_decoded():
    net = heads.Ssd(Backbone("mobilenet_v1", 0.25, expansion=True), 96, 2)
    coder = Coder({"head": net.head()})
    boxes, classes = torch.tensor([[0.1, 0.2, 0.5, 0.45], [0.55, 0.5, 0.95, 0.9]]), torch.tensor([1, 2])
    scores, encodings, matched, outside = coder.targets(boxes, classes, torch.zeros(0, 4), 3)
    assert matched.any() and not (matched & outside).any()
    found = coder.decode(encodings)[matched]
    wanted = boxes[scores[matched].argmax(1) - 1]
    assert set(scores[matched].argmax(1).tolist()) == {1, 2}
    assert (found - wanted).abs().max() < 1e-5


def test_confusion_of_a_known_case():
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 1]], np.uint8)
    found = np.array([[0, 1, 1, 1], [2, 0, 2, 1]], np.uint8)
    confusion = segment.Confusion(4)
    confusion.add(truth, found)
    assert confusion.counts.tolist() == [[1, 1, 0, 0], [0, 3, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    iou = confusion.iou()
    assert iou[:3].tolist() == [1 / 3, 3 / 4, 1 / 2] and np.isnan(iou[3])
    assert confusion.mean_iou() == pytest.approx((1 / 3 + 3 / 4 + 1 / 2) / 3)
    part = segment.Confusion(4)
    part.add(truth, found, np.array([[True, False, False, False]] * 2))
    assert part.counts.sum() == 2 and part.mean_iou() == 1


def test_border_of_a_known_case():
    mask = torch.zeros(1, 9, 20, dtype=torch.uint8)
    mask[..., 10:] = 1
    near = segment.near_border(mask, 3)[0]
    assert near.all(0).nonzero()[:, 0].tolist() == list(range(7, 13)) and near.sum() == 6 * 9
    mask[..., 8:12] = 255
    assert not segment.near_border(mask, 3)[..., 6].any() and segment.near_border(mask, 3, True)[..., 6].all()
    assert not segment.near_border(torch.zeros(1, 9, 9, dtype=torch.uint8), 3).any()


def test_loss_of_segmentation_leaves_out_what_is_ignored():
    logits = torch.randn(1, 3, 5, 5)
    mask = torch.randint(0, 3, (1, 17, 17), dtype=torch.uint8)
    mask[:, 8:] = 255
    loss = segment.segmentation_loss(logits, mask)
    other = mask.clone()
    wide = nn.functional.interpolate(logits, (17, 17), mode="bilinear", align_corners=True)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(wide[:, :, :8], mask[:, :8].long())), rel=1e-5)
    other[0, 0, 0] = (other[0, 0, 0] + 1) % 3
    assert segment.segmentation_loss(logits, other) != loss
    assert segment.segmentation_loss(logits, torch.full_like(mask, 255)) == 0


def test_masks_of_all_kinds_are_read(tmp_path):
    for name in ("images", "masks", "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    ids = np.zeros((20, 30), np.uint8)
    ids[4:10, 5:15], ids[12:, 20:], ids[0] = 7, 15, 255
    for folder in ("images", "JPEGImages"):
        Image.new("RGB", (30, 20)).save(tmp_path / folder / "a.jpg")
    Image.fromarray(ids).save(tmp_path / "masks" / "a.png")
    wanted = np.select([ids == 7, ids == 15, ids == 255], [1, 255, 255], 0)
    table = [[0], [7, 8]]
    assert (masks.read_masks(tmp_path, table)[0].load()[1] == wanted).all()
    (tmp_path / "ImageSets/Segmentation/trainval.txt").write_text("a\n")
    palette = Image.fromarray(ids)
    palette.putpalette(masks.voc_colours().tobytes())
    for saved in (palette, palette.convert("RGB")):
        saved.save(tmp_path / "SegmentationClass" / "a.png")
        assert (masks.read_voc_masks(tmp_path, table)[0].load()[1] == wanted).all()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(masks.DataError, match="not of VOC's palette"):
        masks.read_voc_masks(tmp_path, table)[0].load()


def test_areas_of_coco_are_drawn(tmp_path):
    Image.new("RGB", (9, 7)).save(tmp_path / "a.png")
    area = {"image_id": 1, "category_id": 4, "segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]], "area": 63}
    rle = {"size": [7, 9], "counts": "01>4D09LK00000M"}
    data = {
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 4, "name": "car"}, {"id": 9, "name": "dog"}, {"id": 5, "name": "cat"}],
        "annotations": [{**area, "category_id": 9, "segmentation": rle, "area": 15}, area, {**area, "category_id": 5, "segmentation": [[0, 5, 3, 5, 3, 6, 0, 6]], "area": 8}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    mask = masks.read_coco_masks(tmp_path / "a.json", tmp_path, ["rest", "car", "dog"])[0].load()[1]
    wanted = np.ones((7, 9), np.uint8)
    wanted[1:6, 2:4] = wanted[3, 5:9] = wanted[0, 0] = 2
    wanted[5:, :4] = 0
    assert (mask == wanted).all()


def test_mixed_batches_have_mixed_targets():
    rng = np.random.default_rng(0)
    x = torch.zeros(2, 3, 40, 40)
    x[1] = 1
    targets = classify.soft_targets([0, 1], 3, 0.1)
    assert torch.allclose(targets.sum(1), torch.ones(2)) and targets[0, 0] == pytest.approx(0.9 + 0.1 / 3)
    mixed, soft = classify.mixup(x, targets, 0.75)
    assert mixed[0].mean() == pytest.approx(0.25) and torch.allclose(soft[0], 0.75 * targets[0] + 0.25 * targets[1])
    for _ in range(20):
        mixed, soft = classify.cutmix(x, targets, rng.beta(1, 1), rng)
        share = float(mixed[0].mean())
        assert torch.allclose(soft[0], (1 - share) * targets[0] + share * targets[1], atol=1e-5)


def test_a_training_goes_on_as_if_it_had_not_ended(tmp_path):
    def run(folder, stops):
        for stop in (*stops, None):
            torch.manual_seed(1)
            net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))
            trainer = Trainer(net, tmp_path / folder, 6, 1e-2, warm_up=2)

            def step_loss(step):
                trainer.stopped = step + 1 == stop
                x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
                return (net(x) - 1).square().mean(), {}

            trainer.run(step_loss)
        return net.state_dict()

    once, twice = run("once", []), run("twice", [3])
    for name in ("0.weight", "1.running_mean", "1.running_var", "3.bias"):
        assert torch.equal(once[name], twice[name]), name


def losses_of(folder):
    values = [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
    return np.mean(values[:3]), np.mean(values[-3:])


def card_of(folder):
    card = yaml.safe_load((folder / f"{folder.name}.yaml").read_text())
    assert (folder / card["file"]).exists()
    return card


SHORT = ["--no-program", "--threads", "1", "--warm-up", "2", "--average", "0.5", "--grid-every", "10", "--colour", "0.1"]


def test_segmentation_learns(tmp_path):
    data = tmp_path / "data"
    draw_masks(data, 8)
    out = tmp_path / "red"
    command = [
        "--masks", str(data), "--class", "background=0", "--class", "red=5", "--backbone", "mobilenet_v2", "--alpha", "0.25", "--rho-size", "65",
        "--aspp", "16", "--skip", "8", "--decoder", "16", "--rates", "1", "2", "--steps", "14", "--batch", "4", "--rate", "0.01",
        "--validate-every", "7", "--hold-out", "0.25", "--border-weight", "1", "--smoothing", "0.05", "--out", str(out), *SHORT,
    ]
    assert segment.main(command) == 0
    first, last = losses_of(out)
    assert last < 0.85 * first
    card = card_of(out)
    assert card["head"]["deeplab"] == {"logits": "logits", "output_stride": 4, "align_corners": True}
    assert card["labels"] == [{"id": 0, "name": "background"}, {"id": 1, "name": "red"}] and "kept aside" in card["accuracy"]
    assert (out / "step00010.png").exists() and any("trimap_miou" in line for line in (out / "log.jsonl").open())


def test_classifier_learns(tmp_path):
    data = tmp_path / "data"
    draw_colours(data, 8)
    out = tmp_path / "colours"
    command = [
        "--folder", str(data), "--backbone", "mobilenet_v3_small", "--alpha", "0.25", "--rho-size", "32", "--steps", "24", "--batch", "8", "--rate", "0.005",
        "--mixup", "0.1", "--cutmix", "0.1", "--hold-out", "0.25", "--validate-every", "7", "--out", str(out), *SHORT,
    ]
    assert classify.main(command) == 0
    first, last = losses_of(out)
    assert last < 0.9 * first
    card = card_of(out)
    assert card["head"] == {"classify": {"output": "logits", "activation": "softmax", "top": 5}}
    assert [label["name"] for label in card["labels"]] == ["blue", "red"] and card["input"]["crop_share"] == 0.875
    assert (out / "step00010.png").exists()


@pytest.mark.parametrize("head", ["ssd", "ssdlite"])
def test_detector_is_built_and_learns(head, tmp_path, capsys):
    data, rng = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    for i in range(4):
        picture = Image.fromarray(rng.integers(0, 60, (64, 64, 3), np.uint8))
        x, y = rng.integers(2, 36, 2)
        ImageDraw.Draw(picture).rectangle([x, y, x + 24, y + 24], fill=(220, 40, 40))
        picture.save(data / f"{i}.png")
        (data / f"{i}.txt").write_text(f"3 {(x + 12) / 64} {(y + 12) / 64} {24 / 64} {24 / 64}\n")
    out = tmp_path / "boxes"
    command = [
        "--backbone", "mobilenetv1_025", "--rho-size", "64", "--head", head, "--yolo", str(data), "--class", "box=3", "--steps", "10", "--batch", "4",
        "--rate", "0.005", "--threads", "1", "--out", str(out), *(["--mobilens", str(PROGRAM)] if PROGRAM else ["--no-program"]),
    ]
    assert detect.main(command) == 0
    first, last = losses_of(out)
    assert last < first
    card = card_of(out)
    assert card["head"]["ssd"]["anchors"]["feature_maps"] == [4, 2, 1] and "random weights" in card["source"]
    if PROGRAM:
        assert "100.0% of the multiplications run on own kernels" in capsys.readouterr().out


@pytest.mark.parametrize("program, arguments, word", [
    (segment, ["--masks", "nowhere", "--class", "a", "--class", "b", "--backbone", "mobilenet_v2"], "no picture in images"),
    (segment, ["--masks", "nowhere", "--class", "a", "--backbone", "mobilenet_v2"], "expected 2 to 255"),
    (segment, ["--masks", "nowhere", "--backbone", "mobilenet_v2", "--rho-size", "9"], "expected 33 to 2049"),
    (classify, ["--folder", "nowhere", "--backbone", "mobilenet_v2"], "a folder of pictures for each class"),
    (classify, ["--folder", "nowhere", "--backbone", "mobilenet_v2", "--device", "moon"], "--device moon"),
])
def test_what_is_wrong_is_one_line(program, arguments, word, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert program.main([*arguments, "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert word in message and message.count("\n") == 1

"""Tiles, suppression, verdicts, thresholds."""
import json

import numpy as np
import pytest
import torch
import yaml
from mobilens_train.calibrate import best_score, read_folds
from mobilens_train.classes import head_values, keep_classes, shift_scores
from mobilens_train.data import DataError, picture
from mobilens_train.onnx_module import OnnxModule
from mobilens_train.ssd import Coder
from mobilens_train.tiles import Detector, average_precision, counts, false_detections, judge, suppress, tiles_for, tiles_of


def test_tiles_cover_the_picture():
    places = tiles_of(1920, 1080, 8, 5)
    assert len(places) == 40
    assert places[0][:2] == (0, 0)
    x, y, w, h = places[-1]
    assert x + w == pytest.approx(1920) and y + h == pytest.approx(1080)
    assert places[1][0] == pytest.approx(0.8 * w)
    assert tiles_for(300, 300, 300) == (1, 1)
    assert tiles_for(1920, 1080, 315) == (8, 4)


def test_suppression_by_class_by_iou_and_of_parts():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 4, 4], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.95], np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 0, 1, 0])).tolist() == [4, 0, 3]
    assert suppress(boxes, scores, np.array([0, 0, 0, 1, 0]), inside=2.0).tolist() == [4, 0, 2, 3]


def test_verdicts_counts_and_average_precision(tmp_path):
    truth = picture(tmp_path / "x.png", [[0, 0, 10, 10], [20, 20, 30, 30]], [0, 1], [[50, 50, 60, 60]])
    found = np.array([[0, 0.9, 0, 0, 10, 10], [0, 0.8, 1, 0, 10, 10], [0, 0.7, 20, 20, 30, 30], [0, 0.6, 50, 50, 60, 60]], np.float32)
    verdicts = judge(found, truth)
    assert [v for _, v in verdicts] == [1, 0, 0, -1]
    assert [v for _, v in judge(found, truth, any_class=True)] == [1, 0, 1, -1]
    assert counts(verdicts, 2, 0.75) == (1, 1, 0.5, 0.5)
    # Precision 1 up to a recall of 1/2, then 2/3 up to 1.
    assert average_precision(judge(found, truth, any_class=True), 2) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_the_threshold_with_the_best_f1(tmp_path):
    verdicts = [(0.9, 1), (0.8, 1), (0.6, 0), (0.5, 1), (0.2, 0), (0.1, 0)]
    assert best_score(verdicts, 3) == pytest.approx(0.35)
    assert best_score(verdicts, 3, recall=0.6) == pytest.approx(0.7)
    with pytest.raises(DataError, match="reach 0.750 only"):
        best_score(verdicts, 4, recall=0.9)
    for fold in (0, 1):
        data = {"fold": fold, "folds": 2, "seed": 7, "objects": 2, "verdicts": [[0.5, 1]], "any_class": []}
        (tmp_path / f"{fold}.json").write_text(json.dumps(data))
    assert read_folds(sorted(tmp_path.glob("*.json"))) == {7: ([(0.5, 1), (0.5, 1)], 4)}
    with pytest.raises(DataError, match="twice"):
        read_folds([tmp_path / "0.json", tmp_path / "0.json"])


def test_a_shift_of_the_bias_moves_the_score(card):
    text = yaml.safe_load(card.read_text())
    old, new = OnnxModule(card.parent / "small.onnx"), OnnxModule(card.parent / "small.onnx")
    shift_scores(new, text, 0.3, 0.4)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (boxes, before), (same_boxes, after) = old(x), new(x)
    assert torch.equal(boxes, same_boxes) and torch.equal(before[..., 0], after[..., 0])
    before, after = before[..., 1:].sigmoid(), after[..., 1:].sigmoid()
    assert torch.equal(before >= 0.3 + 1e-4, (after >= 0.4) & (before >= 0.3 + 1e-4))
    odds = (after / (1 - after)) / (before / (1 - before))
    assert torch.allclose(odds, torch.full_like(odds, (0.4 / 0.6) / (0.3 / 0.7)), rtol=1e-3)


def test_fewer_classes_keep_their_scores(card):
    old, new = OnnxModule(card.parent / "small.onnx"), OnnxModule(card.parent / "small.onnx")
    keep_classes(new, "scores", 3, [0, 2])
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(new(x)[1], old(x)[1][..., [0, 2]], atol=1e-6)


def test_the_heads_are_what_leads_to_one_output(card):
    names = head_values(OnnxModule(card.parent / "small.onnx"))
    assert names == {f"{output}{level}{dw}.{kind}" for output in ("boxes", "scores") for level in (0, 1) for dw in ("", "dw") for kind in ("weight", "bias")}


def test_false_detections_are_far_from_the_truth(card, pictures):
    from mobilens_train.data import read_yolo

    module = OnnxModule(card.parent / "small.onnx")
    text = yaml.safe_load(card.read_text())
    some = read_yolo(pictures, [0, 1])[:2]
    hard = false_detections(Detector(module, text, Coder(text)), some, lambda pixels: (2, 1), score=0.2)
    assert hard
    for one in some:
        for box in hard.get(one.path.name, []):
            low, high = np.maximum(box[:2], one.boxes[:, :2]), np.minimum(box[2:], one.boxes[:, 2:])
            both = (high - low).clip(0).prod(1)
            areas = (one.boxes[:, 2:] - one.boxes[:, :2]).prod(1) + np.prod(np.array(box[2:]) - box[:2])
            assert (both / (areas - both) < 0.2).all()

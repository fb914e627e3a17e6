"""Anchors, targets and losses."""
import pytest
import torch
import yaml
from conftest import ROOT
from mobilens_train.ssd import Coder, corners, focal_loss, mined_cross_entropy, ssd_loss

CARD = yaml.safe_load((ROOT / "models" / "ssdlite_mobilenet_v2_coco.yaml").read_text())


@pytest.fixture(scope="module")
def coder():
    return Coder(CARD)


def test_the_shipped_card_has_1917_anchors(coder):
    assert coder.anchors.shape == (1917, 4)


def test_decoding_undoes_encoding(coder):
    boxes = torch.tensor([[0.1, 0.2, 0.4, 0.35], [0.5, 0.5, 0.9, 1.0]])
    rows = torch.tensor([100, 1900])
    encodings = torch.zeros(1917, 4)
    encodings[rows] = coder.encode(boxes, coder.anchors[rows])
    assert torch.allclose(coder.decode(encodings)[rows], boxes, atol=1e-5)


def test_every_box_has_an_anchor_and_ignored_places_are_left_out(coder):
    boxes = torch.tensor([[0.1, 0.1, 0.13, 0.13], [0.3, 0.3, 0.8, 0.8]])
    scores, encodings, matched, outside = coder.targets(boxes, torch.tensor([1, 2]), torch.tensor([[0.0, 0.6, 0.3, 0.9]]), 4)
    assert scores[:, 1].sum() >= 1 and scores[:, 2].sum() >= 1 and scores[:, [0, 3]].sum() == 0
    assert torch.equal(matched, scores.sum(1) > 0) and not (matched & outside).any() and outside.any()
    decoded = coder.decode(encodings)[matched]
    of_class = boxes[scores[matched].argmax(1) - 1]
    assert torch.allclose(decoded, of_class, atol=1e-5)


def test_the_focal_loss_is_the_formula():
    logit, target = torch.tensor([0.3]), torch.tensor([1.0])
    p = torch.sigmoid(logit)
    assert torch.allclose(focal_loss(logit, target), -0.25 * (1 - p) ** 2 * torch.log(p))
    assert torch.allclose(focal_loss(logit, 1 - target), -0.75 * p**2 * torch.log(1 - p))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_of_the_focal_loss_is_that_of_differences(smoothing):
    logits = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, targets, smoothing).sum(), [logits])


@pytest.mark.parametrize("kind", ["focal", "cross-entropy"])
def test_the_gradient_raises_what_is_there_and_lowers_what_is_not(coder, kind):
    targets = coder.targets(torch.tensor([[0.3, 0.3, 0.8, 0.8]]), torch.tensor([0]), torch.zeros(0, 4), 2)
    targets = [part[None] for part in targets]
    logits, boxes = torch.zeros(1, 1917, 2, requires_grad=True), torch.zeros(1, 1917, 4, requires_grad=True)
    loss, *_ = ssd_loss(boxes, logits, targets, kind=kind)
    loss.backward()
    matched = targets[2][0]
    assert (logits.grad[0, matched, 0] < 0).all() and (logits.grad[0, matched, 1] > 0).all()
    assert (logits.grad[0, ~matched] >= 0).all() and logits.grad[0, ~matched].sum() > 0
    assert (logits.grad[0, targets[3][0]] == 0).all()
    assert (boxes.grad[0, ~matched] == 0).all() and boxes.grad[0, matched].abs().sum() > 0


def test_three_negatives_for_each_match():
    matched, outside = torch.zeros(1, 100, dtype=torch.bool), torch.zeros(1, 100, dtype=torch.bool)
    matched[0, :5], outside[0, 5] = True, True
    loss = mined_cross_entropy(torch.arange(100.0)[None, :, None] / 50, torch.zeros(1, 100, 1), matched, outside)
    used = (loss[0, :, 0] > 0).nonzero()[:, 0].tolist()
    assert used == [0, 1, 2, 3, 4, *range(85, 100)]


def test_corners():
    assert torch.allclose(corners(torch.tensor([0.5, 0.4, 0.2, 0.4])), torch.tensor([0.4, 0.2, 0.6, 0.6]))

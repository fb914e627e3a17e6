"""After every augmentation the boxes are where the objects are."""
import numpy as np
import pytest
from mobilens_train.augment import Craft, Sample, Sampler, copy_paste, cut, cutmix, mixup, mosaic, turn
from mobilens_train.data import picture, read_yolo
from PIL import Image


def covered(sample, colour=(230, 20, 20), margin=0.04):
    """Asserts that the boxes of one-coloured rectangles hold that colour, and that nothing of it is outside."""
    side = sample.pixels.shape[0]
    red = (np.abs(sample.pixels.astype(int) - colour) < 70).all(2)
    inside = np.zeros_like(red)
    for y1, x1, y2, x2 in np.concatenate([sample.boxes, sample.ignored]) * side:
        grow = margin * side
        inside[max(int(y1 - grow), 0):int(np.ceil(y2 + grow)), max(int(x1 - grow), 0):int(np.ceil(x2 + grow))] = True
    assert not (red & ~inside).any()
    for y1, x1, y2, x2 in sample.boxes * side:
        h, w = y2 - y1, x2 - x1
        middle = red[int(y1 + 0.2 * h):int(np.ceil(y2 - 0.2 * h)), int(x1 + 0.2 * w):int(np.ceil(x2 - 0.2 * w))]
        assert middle.mean() > 0.95, (y1, x1, y2, x2)


def with_rectangle(seed, side=96):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 150, (side, side, 3)).astype(np.uint8)
    h, w = rng.integers(12, 40, 2)
    y, x = rng.integers(0, side - h), rng.integers(0, side - w)
    pixels[y:y + h, x:x + w] = (230, 20, 20)
    return Sample(pixels, np.array([[y, x, y + h, x + w]], np.float32) / side, np.array([0]), np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_turning(quarter, mirror):
    covered(turn(with_rectangle(quarter), quarter, mirror))


def test_cutting_scales_keeps_and_ignores():
    pixels = np.full((100, 200, 3), 120, np.uint8)
    pixels[20:60, 30:80] = (230, 20, 20)
    boxes = np.array([[30, 20, 80, 60]], np.float32)
    none = np.zeros((0, 4), np.float32)
    whole = cut(pixels, 10, 10, 100, 80, 96, boxes, np.array([0]), none)
    covered(whole)
    assert len(whole.boxes) == 1
    # Half of it is in the crop: nothing is learnt there; a tenth: it is gone.
    assert len(cut(pixels, 55, 10, 60, 60, 96, boxes, np.array([0]), none).ignored) == 1
    gone = cut(pixels, 75, 10, 60, 60, 96, boxes, np.array([0]), none)
    assert len(gone.boxes) == 0 and len(gone.ignored) == 0
    # Outside of the picture it is grey.
    expanded = cut(pixels, -100, -50, 400, 200, 96, boxes, np.array([0]), none)
    covered(expanded)
    assert (expanded.pixels[0, 0] == 127).all()


@pytest.mark.parametrize("seed", range(5))
def test_mosaic_cutmix_and_copy_paste(seed):
    rng = np.random.default_rng(seed)
    a, b, c, d = (with_rectangle(10 * seed + i) for i in range(4))
    four = mosaic([a, b, c, d], rng)
    assert len(four.boxes) == 4
    covered(four)
    pasted = copy_paste(a, b, rng)
    covered(pasted)
    mixed = cutmix(a, b, rng)
    # An object that is covered in part keeps its whole box: only what is outside of all boxes is looked at.
    side = mixed.pixels.shape[0]
    assert (mixed.boxes >= 0).all() and (mixed.boxes <= 1).all()
    for y1, x1, y2, x2 in mixed.boxes * side:
        red = (np.abs(mixed.pixels.astype(int) - (230, 20, 20)) < 70).all(2)
        assert red[int(y1):int(np.ceil(y2)), int(x1):int(np.ceil(x2))].mean() > 0.4


def test_mixup_keeps_both():
    a, b = with_rectangle(1), with_rectangle(2)
    both = mixup(a, b, np.random.default_rng(0))
    assert np.array_equal(both.boxes, np.concatenate([a.boxes, b.boxes]))
    low, high = np.minimum(a.pixels, b.pixels).astype(int), np.maximum(a.pixels, b.pixels).astype(int)
    assert (both.pixels >= low - 1).all() and (both.pixels <= high).all()


@pytest.mark.parametrize("craft", [
    Craft(colour=0, noise=0, blur=0), Craft(crops=(40, 110), quarter_turns=True, colour=0, noise=0, blur=0),
    Craft(expand=0.5, colour=0, noise=0, blur=0), Craft(mosaic=1.0, crops=(60, 120), colour=0, noise=0, blur=0),
    Craft(copy_paste=1.0, colour=0, noise=0, blur=0),
], ids=["whole", "crops", "expand", "mosaic", "copy-paste"])
def test_a_sampler_with_each_craft(craft, pictures):
    # Class 0 is red, class 1 blue.
    sampler = Sampler(read_yolo(pictures, [0, 1]), 96, craft, seed=3)
    for _ in range(15):
        sample = sampler.next()
        side = sample.pixels.shape[0]
        for (y1, x1, y2, x2), kind in zip(sample.boxes * side, sample.classes):
            h, w = y2 - y1, x2 - x1
            middle = sample.pixels[int(y1 + 0.3 * h):int(np.ceil(y2 - 0.3 * h)), int(x1 + 0.3 * w):int(np.ceil(x2 - 0.3 * w))].reshape(-1, 3).mean(0)
            # Another rectangle may lie over it.
            assert abs(middle[0] - middle[2]) > 60, (kind, middle)


def test_the_same_seed_gives_the_same_samples(pictures):
    craft = Craft(crops=(40, 110), mosaic=0.3, mixup=0.3, cutmix=0.3, copy_paste=0.3)
    first, second, third = (Sampler(read_yolo(pictures, [0, 1]), 64, craft, seed=seed) for seed in (5, 5, 6))
    same = [(first.next(), second.next(), third.next()) for _ in range(8)]
    assert all(np.array_equal(a.pixels, b.pixels) and np.array_equal(a.boxes, b.boxes) for a, b, _ in same)
    assert not all(np.array_equal(a.pixels, c.pixels) for a, _, c in same)


def test_hard_negatives_are_in_their_crops(tmp_path):
    pixels = np.full((120, 160, 3), 120, np.uint8)
    pixels[64:76, 104:116] = (20, 230, 20)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    one = picture(tmp_path / "x.png", [], [])
    craft = Craft(crops=(50, 50.001), around=0.0, hard=1.0, colour=0, noise=0, blur=0, flip=False)
    hard = {one.path.name: [[100.0, 60.0, 120.0, 80.0]]}
    with_hard, without = (Sampler([one], 50, craft, 0, hard=h) for h in (hard, None))
    seen = [[(s.one().pixels[..., 1] > 180).sum() > 100 for _ in range(20)] for s in (with_hard, without)]
    assert all(seen[0]) and not all(seen[1])

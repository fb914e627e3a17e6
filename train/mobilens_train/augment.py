"""Samples for the training of detectors: crops at several scales, and what is done to them.

A sample is the pixels [side, side, 3] uint8, boxes as corners y1, x1, y2, x2 in shares, classes, and boxes in which
nothing is learnt (objects of which a crop shows only a part). All randomness comes from the generator that is passed.
"""
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

# Of an object that is cut by a crop: from this share on it counts, below the other it is not there.
WHOLE, GONE = 0.6, 0.15


@dataclass
class Sample:
    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray


@dataclass
class Craft:
    """Which augmentations are used; each is a flag of the program."""

    # sides of the crops in pixels of the picture, least and largest; None: the whole picture, expanded or cropped
    crops: tuple | None = None
    # share of crops around an object, of those around a false detection of an earlier round; the rest is anywhere
    around: float = 0.7
    hard: float = 0.15
    quarter_turns: bool = False
    flip: bool = True
    colour: float = 0.4
    noise: float = 8.0
    blur: float = 0.3
    expand: float = 0.0
    mosaic: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0
    # share of samples from pictures without objects, where there are such
    negatives: float = 0.0


def crop_around(picture, side, rng, craft, hard):
    """Left and top of a crop of `side` pixels: around an object, around a hard negative, or anywhere."""
    height, width = picture.size
    kind = rng.random()
    if kind < craft.around and len(picture.boxes):
        x1, y1, x2, y2 = picture.boxes[rng.integers(len(picture.boxes))]
    elif kind < craft.around + craft.hard and len(hard):
        x1, y1, x2, y2 = hard[rng.integers(len(hard))]
    else:
        return rng.uniform(-0.1, max(width - 0.9 * side, 0)), rng.uniform(-0.1, max(height - 0.9 * side, 0))
    margin = 0.1 * side
    left = rng.uniform(x2 + margin - side, x1 - margin) if x2 - x1 + 2 * margin < side else (x1 + x2 - side) / 2
    top = rng.uniform(y2 + margin - side, y1 - margin) if y2 - y1 + 2 * margin < side else (y1 + y2 - side) / 2
    return left, top


def cut(pixels, left, top, width, height, side, boxes, classes, ignored):
    """The rectangle of the picture as a sample of `side` pixels; outside the picture it is grey."""
    size = pixels.shape[:2]
    l, t, r, b = int(np.floor(left)), int(np.floor(top)), int(np.ceil(left + width)), int(np.ceil(top + height))
    canvas = np.full((b - t, r - l, 3), 127, np.uint8)
    inner = pixels[max(t, 0):min(b, size[0]), max(l, 0):min(r, size[1])]
    canvas[max(-t, 0):max(-t, 0) + inner.shape[0], max(-l, 0):max(-l, 0) + inner.shape[1]] = inner
    picture = Image.fromarray(canvas).resize((side, side), Image.BILINEAR)
    scale = np.array([1 / (b - t), 1 / (r - l)] * 2, np.float32)

    def placed(xyxy):
        yxyx = xyxy[:, [1, 0, 3, 2]] - np.array([t, l, t, l], np.float32)
        return yxyx * scale

    whole = placed(boxes)
    seen = whole.clip(0, 1)
    share = (seen[:, 2:] - seen[:, :2]).prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-9)
    keep = share >= WHOLE
    part = seen[(share >= GONE) & ~keep]
    rest = placed(ignored).clip(0, 1)
    return Sample(np.asarray(picture), seen[keep], classes[keep], np.concatenate([part, rest]).astype(np.float32))


def turn(sample, quarter, mirror):
    """Turned by quarters, then mirrored left to right."""
    pixels = np.rot90(sample.pixels, quarter)

    def turned(boxes):
        for _ in range(quarter % 4):
            # Anticlockwise: the new row is what was right, the new column what was the row.
            boxes = np.stack([1 - boxes[:, 3], boxes[:, 0], 1 - boxes[:, 1], boxes[:, 2]], 1)
        if mirror:
            boxes = np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], 1)
        return boxes

    pixels = pixels[:, ::-1] if mirror else pixels
    return Sample(np.ascontiguousarray(pixels), turned(sample.boxes), sample.classes, turned(sample.ignored))


def disturb(pixels, rng, craft):
    """Brightness, contrast, saturation, colour cast, blur and noise."""
    x = pixels.astype(np.float32)
    if craft.colour:
        grey = x.mean(2, keepdims=True)
        x = grey + (x - grey) * rng.uniform(1 - craft.colour, 1 + craft.colour)
        x = (x - x.mean()) * rng.uniform(1 - craft.colour, 1 + craft.colour) + x.mean()
        x = x * rng.uniform(1 - craft.colour / 4, 1 + craft.colour / 4, 3) + rng.uniform(-60, 60) * craft.colour
    x = x.clip(0, 255).astype(np.uint8)
    if craft.blur and rng.random() < craft.blur:
        x = np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5))))
    if craft.noise:
        x = (x + rng.normal(0, rng.uniform(0, craft.noise), x.shape)).clip(0, 255).astype(np.uint8)
    return x


def mosaic(samples, rng):
    """Four samples side by side (Bochkovskiy et al., "YOLOv4", section 3.3), at a random cross."""
    side = samples[0].pixels.shape[0]
    cy, cx = rng.uniform(0.3, 0.7, 2)
    y, x = int(cy * side), int(cx * side)
    pixels = np.empty_like(samples[0].pixels)
    boxes, classes, ignored = [], [], []
    for sample, (t, l, b, r) in zip(samples, [(0, 0, y, x), (0, x, y, side), (y, 0, side, x), (y, x, side, side)]):
        pixels[t:b, l:r] = np.asarray(Image.fromarray(sample.pixels).resize((r - l, b - t), Image.BILINEAR))
        scale = np.array([b - t, r - l] * 2, np.float32) / side
        shift = np.array([t, l] * 2, np.float32) / side
        boxes.append(sample.boxes * scale + shift)
        ignored.append(sample.ignored * scale + shift)
        classes.append(sample.classes)
    return Sample(pixels, np.concatenate(boxes), np.concatenate(classes), np.concatenate(ignored))


def mixup(a, b, rng):
    """Two samples over one another (Zhang et al., "Bag of Freebies for Training Object Detection", section 3.1):
    both keep their boxes."""
    share = rng.beta(1.5, 1.5)
    pixels = (a.pixels * share + b.pixels * (1 - share)).astype(np.uint8)
    return Sample(pixels, np.concatenate([a.boxes, b.boxes]), np.concatenate([a.classes, b.classes]), np.concatenate([a.ignored, b.ignored]))


def cutmix(a, b, rng):
    """A rectangle of `b` in `a` (Yun et al., "CutMix"), with the boxes that lie in it; those of `a` that it covers in
    part are learnt nothing from."""
    side = a.pixels.shape[0]
    size = np.sqrt(1 - rng.beta(1.0, 1.0)) * 0.7
    t, l = rng.uniform(0, 1 - size, 2)
    b_, r = t + size, l + size
    pixels = a.pixels.copy()
    rows, columns = slice(int(t * side), int(b_ * side)), slice(int(l * side), int(r * side))
    pixels[rows, columns] = b.pixels[rows, columns]

    def covered(boxes):
        low, high = np.maximum(boxes[:, :2], [t, l]), np.minimum(boxes[:, 2:], [b_, r])
        area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-9)
        return (high - low).clip(0).prod(1) / area

    of_a, of_b = covered(a.boxes), covered(b.boxes)
    stay, come = of_a < 1 - WHOLE, of_b > WHOLE
    part = [a.boxes[~stay & (of_a < 1 - GONE)], b.boxes[~come & (of_b > GONE)].clip([t, l, t, l], [b_, r, b_, r])]
    return Sample(
        pixels,
        np.concatenate([a.boxes[stay], b.boxes[come].clip([t, l, t, l], [b_, r, b_, r])]),
        np.concatenate([a.classes[stay], b.classes[come]]),
        np.concatenate([a.ignored[covered(a.ignored) < 0.5], b.ignored[covered(b.ignored) > 0.5], *part]),
    )


def copy_paste(a, b, rng):
    """An object of `b` put into `a`, where it covers no other (Ghiasi et al., "Simple Copy-Paste"; with boxes for masks)."""
    if not len(b.boxes):
        return a
    side = a.pixels.shape[0]
    which = rng.integers(len(b.boxes))
    y1, x1, y2, x2 = (b.boxes[which] * side).round().astype(int)
    h, w = y2 - y1, x2 - x1
    if h < 4 or w < 4 or h >= side or w >= side:
        return a
    taken = np.concatenate([a.boxes, a.ignored]) * side
    for _ in range(10):
        t, l = rng.integers(side - h), rng.integers(side - w)
        low, high = np.maximum(taken[:, :2], [t, l]), np.minimum(taken[:, 2:], [t + h, l + w])
        if not len(taken) or not ((high - low).clip(0).prod(1) > 0).any():
            pixels = a.pixels.copy()
            pixels[t:t + h, l:l + w] = b.pixels[y1:y2, x1:x2]
            box = np.array([[t, l, t + h, l + w]], np.float32) / side
            return Sample(pixels, np.concatenate([a.boxes, box]), np.append(a.classes, b.classes[which]), a.ignored)
    return a


class Sampler:
    """Endless samples of a list of pictures. The same seed gives the same samples."""

    def __init__(self, pictures, side, craft, seed, hard=None, negatives=()):
        # Those without objects come last.
        self.pictures, self.side, self.craft = [*pictures, *negatives], side, craft
        self.positives = len(pictures)
        self.rng = np.random.default_rng(seed)
        self.loaded = {}
        self.hard = hard or {}

    def _loaded(self, index):
        if index not in self.loaded:
            if len(self.loaded) > 200:
                self.loaded.clear()
            pixels = self.pictures[index].load()
            self.pictures[index].size = pixels.shape[:2]
            self.loaded[index] = pixels
        return self.loaded[index]

    def pixels(self):
        """Endless pixels of single samples."""
        while True:
            yield self.one().pixels

    def one(self):
        """A crop or a whole picture, turned and disturbed."""
        rng, craft = self.rng, self.craft
        of_negatives = len(self.pictures) > self.positives and rng.random() < craft.negatives
        index = rng.integers(self.positives, len(self.pictures)) if of_negatives else rng.integers(self.positives)
        pixels, picture = self._loaded(index), self.pictures[index]
        height, width = pixels.shape[:2]
        if craft.crops:
            size = float(np.exp(rng.uniform(*np.log(craft.crops))))
            left, top = crop_around(picture, size, rng, craft, self.hard.get(picture.path.name, []))
            w, h = size * rng.uniform(0.9, 1.1), size * rng.uniform(0.9, 1.1)
        elif craft.expand and rng.random() < craft.expand:
            zoom = rng.uniform(1, 2.5)
            w, h = width * zoom, height * zoom
            left, top = -rng.uniform(0, w - width), -rng.uniform(0, h - height)
        elif craft.expand and rng.random() < 0.5:
            share = rng.uniform(0.4, 1, 2)
            w, h = width * share[0], height * share[1]
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        else:
            left, top, w, h = 0, 0, width, height
        sample = cut(pixels, left, top, w, h, self.side, picture.boxes, picture.classes, picture.ignored)
        quarter = int(rng.integers(4)) if craft.quarter_turns else 0
        sample = turn(sample, quarter, craft.flip and rng.random() < 0.5)
        sample.pixels = disturb(sample.pixels, rng, craft)
        return sample

    def next(self):
        """One sample with all the craft."""
        rng, craft = self.rng, self.craft
        kind = rng.random()
        if kind < craft.mosaic:
            return mosaic([self.one() for _ in range(4)], rng)
        sample = self.one()
        if rng.random() < craft.copy_paste:
            sample = copy_paste(sample, self.one(), rng)
        if rng.random() < craft.mixup:
            return mixup(sample, self.one(), rng)
        if rng.random() < craft.cutmix:
            return cutmix(sample, self.one(), rng)
        return sample

"""Pictures with a class for each pixel: PNG masks, Pascal VOC, COCO polygons; crops of them for training.

A mask is [height, width] uint8 of class indices; 255 is ignored.
"""
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .augment import Craft, disturb
from .data import PICTURES, DataError, opened

IGNORED = 255
VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)


@dataclass
class Masked:
    """A picture with its mask: a PNG, or areas that are drawn one over another."""

    path: Path
    mask_path: Path | None = None
    # class index of each value in the PNG, [256]
    table: np.ndarray | None = None
    # class index (or `IGNORED`) and COCO's `segmentation` of each area
    areas: list = field(default_factory=list)

    def load(self):
        """Pixels RGB [height, width, 3] uint8, and the mask [height, width] uint8."""
        pixels = np.asarray(opened(self.path))
        height, width = pixels.shape[:2]
        mask = self.table[values_of(self.mask_path)] if self.mask_path else drawn(self.areas, height, width, self.path)
        if mask.shape != (height, width):
            raise DataError(f"{self.mask_path}: {mask.shape[1]}x{mask.shape[0]} pixels, its picture {width}x{height}")
        return pixels, mask


def voc_colours():
    """VOC's palette: the bits of a class's number, three by three, as the highest bits of red, green and blue."""
    colours = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[number, channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return colours


def values_of(path):
    """The values of a mask file, [height, width] uint8: grey levels, indices of a palette, or VOC's colours."""
    try:
        with Image.open(path) as file:
            if file.mode in ("L", "P", "1"):
                return np.array(file, np.uint8)
            if file.mode.startswith("I"):
                wide = np.asarray(file)
                if wide.max(initial=0) > IGNORED:
                    raise DataError(f"{path}: has the value {wide.max()}; a mask's values are 0 to {IGNORED}")
                return wide.astype(np.uint8)
            colours = np.asarray(file.convert("RGB")).astype(np.int64)
    except OSError as error:
        raise DataError(f"{path}: {error}") from error
    key = (colours << np.array([16, 8, 0])).sum(2)
    known = (voc_colours().astype(np.int64) << np.array([16, 8, 0])).sum(1)
    order = known.argsort()
    place = np.searchsorted(known[order], key).clip(max=255)
    if (known[order][place] != key).any():
        y, x = np.argwhere(known[order][place] != key)[0]
        raise DataError(f"{path}: the colour {colours[y, x].tolist()} at {x}, {y} is not of VOC's palette: save class ids as grey levels")
    return order[place].astype(np.uint8)


def counts_of(text):
    """Run lengths of COCO's compressed RLE: six bits a character, differences to the last but one."""
    counts, place = [], 0
    data = text.encode() if isinstance(text, str) else text
    while place < len(data):
        value, shift, more = 0, 0, True
        while more:
            code = data[place] - 48
            place += 1
            value |= (code & 0x1F) << shift
            shift += 5
            more = bool(code & 0x20)
            if not more and code & 0x10:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def drawn(areas, height, width, path):
    """The mask of COCO's areas, in the order given; what none covers is class 0."""
    picture = Image.new("L", (width, height))
    pen = ImageDraw.Draw(picture)
    for kind, shape in areas:
        try:
            if isinstance(shape, dict):
                counts = shape["counts"] if isinstance(shape["counts"], list) else counts_of(shape["counts"])
                rows, columns = shape["size"]
                inside = np.repeat(np.arange(len(counts)) % 2, counts).reshape(columns, rows).T.astype(bool)
                picture.paste(kind, mask=Image.fromarray(inside).resize((width, height), Image.NEAREST))
                continue
            for polygon in shape:
                if len(polygon) >= 6:
                    pen.polygon(polygon, fill=kind)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: a segmentation that is neither polygons nor RLE: {error}") from error
    return np.array(picture)


def table_of(values):
    """The class index of each of 256 values; `values` are those of each class, the others are ignored."""
    table = np.full(256, IGNORED, np.uint8)
    for index, of_class in enumerate(values):
        for value in of_class:
            if not 0 <= value < IGNORED:
                raise DataError(f"a class of the mask value {value}: expected 0 to {IGNORED - 1}")
            table[value] = index
    return table


def read_masks(folder, values):
    """A folder with `images`, and `masks` with a PNG of the same name each; pictures without one are left out.

    values: the values of each class in the masks.
    """
    folder, table = Path(folder), table_of(values)
    pictures = []
    for path in sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in PICTURES):
        mask = folder / "masks" / f"{path.stem}.png"
        if mask.exists():
            pictures.append(Masked(path, mask, table))
    if not pictures:
        raise DataError(f"{folder}: no picture in images with a mask of its name in masks")
    return pictures


def read_voc_masks(folder, values, split="trainval"):
    """A VOC folder: `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation/SPLIT.txt`."""
    folder, table = Path(folder), table_of(values)
    listed = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listed.exists():
        raise DataError(f"{listed}: no such file")
    pictures = [Masked(folder / "JPEGImages" / f"{n}.jpg", folder / "SegmentationClass" / f"{n}.png", table) for n in listed.read_text().split()]
    if not pictures:
        raise DataError(f"{listed}: names no pictures")
    return pictures


def read_coco_masks(path, folder, names):
    """COCO's `instances_*.json`. The first of `names` is what none of the others covers; a smaller object lies over a
    larger one; crowds are ignored."""
    path, folder = Path(path), Path(folder)
    try:
        data = json.loads(path.read_text())
        known = {c["id"]: names.index(c["name"]) for c in data["categories"] if c["name"] in names[1:]}
        of_picture = {image["id"]: [] for image in data["images"]}
        for a in sorted(data["annotations"], key=lambda a: (not a.get("iscrowd"), -a.get("area", 0))):
            if a["category_id"] in known:
                kind = IGNORED if a.get("iscrowd") else known[a["category_id"]]
                of_picture[a["image_id"]].append((kind, a["segmentation"]))
            elif not a.get("iscrowd"):
                of_picture[a["image_id"]].append((0, a["segmentation"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not COCO's instances: {type(error).__name__} {error}") from error
    if not known:
        raise DataError(f"{path}: has none of the classes {', '.join(names[1:])}")
    return [Masked(folder / image["file_name"], areas=of_picture[image["id"]]) for image in data["images"]]


def fitted(pixels, mask, size, colour):
    """The whole picture at the top left of a square of `size` pixels, as `resize: letterbox` of the card has it.

    Returns the square [size, size, 3] and the width and height of the picture in it; `mask` may be None.
    """
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    square = np.full((size, size, 3), np.round(colour), np.uint8)
    square[:h, :w] = np.asarray(Image.fromarray(pixels).resize((w, h), Image.BILINEAR))
    padded = np.full((size, size), IGNORED, np.uint8)
    if mask is not None:
        padded[:h, :w] = np.asarray(Image.fromarray(mask).resize((w, h), Image.NEAREST))
    return square, padded, (w, h)


def letterboxed(paths, size, colour, seed):
    """Pixels of the whole pictures in their squares, as the network sees them in use, in an order by the seed."""
    for index in np.random.default_rng(seed).permutation(len(paths)):
        yield fitted(np.asarray(opened(paths[index])), None, size, colour)[0]


class MaskSampler:
    """Endless crops of `size` pixels: random scale, place, mirror and colour. The same seed gives the same ones.

    scales: least and largest size of a picture's longest side, in `size`s (Chen et al., "DeepLab", section 4.1: .5 to
    2). fill: the colour outside a picture, whose mask is `IGNORED`.
    """

    def __init__(self, pictures, size, seed, fill, scales=(0.5, 2.0), flip=True, craft=None):
        self.pictures, self.size, self.scales, self.flip = pictures, size, scales, flip
        self.craft = craft or Craft(colour=0.3, noise=4.0, blur=0.1)
        self.fill = np.round(fill).astype(np.uint8)
        self.rng = np.random.default_rng(seed)
        self.loaded = {}

    def _loaded(self, index):
        if index not in self.loaded:
            if len(self.loaded) > 200:
                self.loaded.clear()
            self.loaded[index] = self.pictures[index].load()
        return self.loaded[index]

    def next(self):
        """Pixels [size, size, 3] uint8 and mask [size, size] uint8; a crop that is ignored as a whole is not taken."""
        for _ in range(20):
            pixels, mask = self._crop()
            if (mask != IGNORED).any():
                break
        return pixels, mask

    def _crop(self):
        rng = self.rng
        pixels, mask = self._loaded(int(rng.integers(len(self.pictures))))
        height, width = mask.shape
        # The crop is square in the picture's pixels, too.
        side = max(2, round(max(height, width) / float(np.exp(rng.uniform(*np.log(self.scales))))))

        def start(length):
            low, high = min(0, length - side), max(0, length - side)
            return int(rng.integers(low, high + 1))

        left, top = start(width), start(height)
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = self.fill
        covered = np.full((side, side), IGNORED, np.uint8)
        t, l, b, r = max(top, 0), max(left, 0), min(top + side, height), min(left + side, width)
        inside = slice(t - top, b - top), slice(l - left, r - left)
        canvas[inside], covered[inside] = pixels[t:b, l:r], mask[t:b, l:r]
        canvas = np.asarray(Image.fromarray(canvas).resize((self.size, self.size), Image.BILINEAR))
        covered = np.asarray(Image.fromarray(covered).resize((self.size, self.size), Image.NEAREST))
        if self.flip and rng.random() < 0.5:
            canvas, covered = canvas[:, ::-1], covered[:, ::-1]
        return disturb(np.ascontiguousarray(canvas), rng, self.craft), np.ascontiguousarray(covered)

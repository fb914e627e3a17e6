#!/usr/bin/env python3
"""Mean intersection over union of mask files against COCO's annotations, with pycocotools: what `mobilens eval
segmentation` is held to.

  voc_miou.py [--trimap PX] MASKS INSTANCES.json [INSTANCES.json ...]

MASKS is what a `masks` sink wrote. Truth: the polygons of the classes that VOC has as well, larger ones first so that
small things lie on top; all else is background; crowds count nowhere. With --trimap only pixels count that are at most
so many pixels from a border between classes (Kohli et al., "Robust Higher Order Potentials for Enforcing Label
Consistency", section 5.2).
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageFilter
from pycocotools.coco import COCO

# VOC's 20 classes in channel order, under their COCO names
CLASSES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog", "horse",
    "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)
IGNORED = 255


def truth_of(coco, image, channels):
    """The class of each pixel."""
    mask = np.zeros((image["height"], image["width"]), np.int64)
    annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
    for annotation in sorted(annotations, key=lambda a: (a["iscrowd"], -a["area"])):
        channel = IGNORED if annotation["iscrowd"] else channels.get(annotation["category_id"], 0)
        mask[coco.annToMask(annotation) == 1] = channel
    return mask


def near_border(truth, px):
    """Where a square of `px` pixels to each side holds two classes, and no crowd."""
    picture = Image.fromarray(truth.astype(np.uint8))
    low, high = (np.asarray(picture.filter(filter_(2 * px + 1))) for filter_ in (ImageFilter.MinFilter, ImageFilter.MaxFilter))
    return (low != high) & (high != IGNORED)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("masks", type=pathlib.Path)
    parser.add_argument("instances", type=pathlib.Path, nargs="+")
    parser.add_argument("--trimap", type=int, metavar="PX")
    arguments = parser.parse_args()
    confusion = np.zeros((21, 21), np.int64)
    pictures = 0
    for path in arguments.instances:
        coco = COCO(str(path))
        numbers = {name: channel for channel, name in enumerate(CLASSES, 1)}
        channels = {c["id"]: numbers.get(c["name"], 0) for c in coco.loadCats(coco.getCatIds())}
        for image in coco.loadImgs(coco.getImgIds()):
            file = arguments.masks / (pathlib.Path(image["file_name"]).stem + ".png")
            if not file.is_file():
                continue
            pictures += 1
            found = np.array(Image.open(file)).astype(np.int64)
            truth = truth_of(coco, image, channels)
            valid = truth != IGNORED
            if arguments.trimap:
                valid &= near_border(truth, arguments.trimap)
            confusion += np.bincount(truth[valid] * 21 + found[valid], minlength=441).reshape(21, 21)
    hit = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hit
    iou = hit[union > 0] / union[union > 0]
    print(f"mean IoU {iou.mean():.4f}, pixel accuracy {hit.sum() / confusion.sum():.4f}, {pictures} pictures")


if __name__ == "__main__":
    main()

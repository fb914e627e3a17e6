#!/usr/bin/env python3
"""Which mean and standard deviation EfficientNet-Lite0's weights were trained with, measured on labelled objects.

    python3 models/import/efficientnet_input.py DIR/efficientnet_lite0_imagenet.onnx COCO_TINY

The float32 file of `convert.py efficientnet` classifies the large objects of COCO Tiny that have ImageNet classes, cut
out. Printed for each choice: objects whose best class, and one of whose best five, is right, and the mean of
-log(probability of the right classes). Needs: `pip install -r models/import/requirements-verify.txt`.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

LEAST_AREA_PX = 96 * 96
# ImageNet's classes of a COCO category.
CLASSES = {
    "dog": range(151, 269), "cat": range(281, 286), "zebra": [340], "elephant": [101, 385, 386], "bear": range(294, 298),
    "sheep": [348, 349], "bird": [*range(7, 25), *range(80, 101), *range(127, 147)], "pizza": [963], "banana": [954],
    "orange": [950], "broccoli": [937], "hot dog": [934], "laptop": [620, 681], "keyboard": [508], "toilet": [861],
    "umbrella": [879], "clock": [409, 531, 892], "vase": [883], "teddy bear": [850], "bench": [703], "couch": [831],
    "refrigerator": [760], "microwave": [651], "oven": [827], "tv": [664, 782, 851], "parking meter": [704],
    "bus": [654, 779, 874], "car": [436, 468, 511, 581, 609, 627, 656, 661, 717, 751, 817], "bicycle": [444, 671],
    "truck": [555, 569, 675, 717, 864, 867], "motorcycle": [665, 670], "airplane": [404, 895],
    "train": [466, 547, 705, 820], "boat": [472, 484, 510, 554, 576, 625, 780, 814, 871, 914]}
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
CHOICES = {"(x - 127) / 128": lambda x: (x - 127) / 128, "(x - 127.5) / 127.5": lambda x: (x - 127.5) / 127.5,
           "ImageNet's mean and std": lambda x: (x - MEAN) / STD}


def objects(folder):
    """Picture's path, box and category of each large object."""
    for path in sorted(folder.glob("annotations/*.json")):
        coco = json.loads(path.read_text())
        files = {i["id"]: i["file_name"] for i in coco["images"]}
        names = {c["id"]: c["name"] for c in coco["categories"]}
        for a in coco["annotations"]:
            if names[a["category_id"]] in CLASSES and not a.get("iscrowd") and a["bbox"][2] * a["bbox"][3] > LEAST_AREA_PX:
                yield next(folder.rglob(Path(files[a["image_id"]]).name)), a["bbox"], names[a["category_id"]]


def cut_out(path, box):
    """The object with a margin, as the card resizes: bicubic to 256, the middle 224."""
    image, (x, y, width, height) = Image.open(path).convert("RGB"), box
    reach, cx, cy = max(width, height) * 0.6, x + width / 2, y + height / 2
    image = image.crop((int(max(0, cx - reach)), int(max(0, cy - reach)),
                        int(min(image.width, cx + reach)), int(min(image.height, cy + reach))))
    scale = 256 / min(image.size)
    image = image.resize([max(256, round(n * scale)) for n in image.size], Image.BICUBIC)
    left, top = ((n - 224) // 2 for n in image.size)
    return np.asarray(image.crop((left, top, left + 224, top + 224)), np.float64)


def main():
    session = onnxruntime.InferenceSession(sys.argv[1])
    results = {name: [] for name in CHOICES}
    for path, box, category in objects(Path(sys.argv[2])):
        pixels, right = cut_out(path, box), list(CLASSES[category])
        for name, choice in CHOICES.items():
            x = choice(pixels).astype(np.float32).transpose(2, 0, 1)[None]
            (logits,) = session.run(["logits"], {"input": np.ascontiguousarray(x)})
            p = np.exp(logits[0] - logits.max()).astype(np.float64)
            p /= p.sum()
            best = np.argsort(-p)[:5]
            results[name].append((best[0] in right, bool(set(best.tolist()) & set(right)), -np.log(p[right].sum())))
    for name, rows in results.items():
        first, five, loss = np.array(rows, float).T
        print(f"{name:24s} {len(rows)} objects: first {first.sum():.0f}, five {five.sum():.0f}, loss {loss.mean():.3f}")


if __name__ == "__main__":
    main()

"""Labelled pictures: COCO JSON, YOLO folders, Pascal VOC XML.

`mobilens label` writes COCO JSON, so what this program has recorded of a camera is read as that.
"""
import json
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class DataError(ValueError):
    """A file that is missing or is not what it should be; the message names it."""


def opened(path):
    """The picture, RGB."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: {error}") from error


def pictures_in(folder):
    """The picture files below a folder, also behind links."""
    paths = (Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in paths if path.suffix.lower() in PICTURES)


@dataclass
class Picture:
    """A picture file with its boxes."""

    path: Path
    # x1, y1, x2, y2 in pixels, [n, 4]
    boxes: np.ndarray
    # index of each box's class in the list of names, [n]
    classes: np.ndarray
    # boxes in which nothing is learnt: COCO's crowds, VOC's difficult ones, [m, 4]
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def load(self):
        """The pixels, RGB, [height, width, 3] uint8."""
        return np.asarray(opened(self.path))


def picture(path, boxes, classes, ignored=()):
    return Picture(
        Path(path),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(list(ignored), np.float32).reshape(-1, 4),
    )


def read_coco(path, folder, names):
    """COCO's `instances_*.json`; other classes than `names` are left out."""
    path, folder = Path(path), Path(folder)
    try:
        data = json.loads(path.read_text())
        known = {c["id"]: names.index(c["name"]) for c in data["categories"] if c["name"] in names}
        of_picture = {image["id"]: ([], [], [], image["file_name"]) for image in data["images"]}
        for annotation in data["annotations"]:
            if annotation["category_id"] in known:
                x, y, w, h = annotation["bbox"]
                boxes, classes, ignored, _ = of_picture[annotation["image_id"]]
                if annotation.get("iscrowd"):
                    ignored.append([x, y, x + w, y + h])
                else:
                    boxes.append([x, y, x + w, y + h])
                    classes.append(known[annotation["category_id"]])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not COCO's instances: {type(error).__name__} {error}") from error
    if not known:
        raise DataError(f"{path}: has none of the classes {', '.join(names)}")
    return [picture(folder / name, b, c, i) for b, c, i, name in of_picture.values()]


def check_colour(card, path):
    """Training feeds RGB."""
    colour = card["input"].get("colour", "rgb")
    if colour != "rgb":
        raise DataError(f"{path}: input.colour is {colour}; only networks for rgb are trained")


def read_yolo(folder, class_ids, labelled_only=False):
    """A folder of pictures with a `.txt` of the same name beside each, or in `labels` where they are in `images`.

    A line is `class cx cy w h`, in shares of the picture. `class_ids`: the number in the file of each class; others
    are left out. A picture without a file has no objects, or with `labelled_only`, as an evaluation wants it, is left out.
    """
    folder = Path(folder)
    pictures = []
    for path in pictures_in(folder):
        labels = path.with_suffix(".txt")
        if not labels.exists() and path.parent.name == "images":
            labels = path.parent.parent / "labels" / f"{path.stem}.txt"
        boxes, classes = [], []
        if labelled_only and not labels.exists():
            continue
        if labels.exists():
            with Image.open(path) as file:
                width, height = file.size
            for number, line in enumerate(labels.read_text().splitlines(), 1):
                try:
                    kind, cx, cy, w, h = line.split()[:5]
                    kind = int(kind)
                    cx, cy, w, h = float(cx) * width, float(cy) * height, float(w) * width, float(h) * height
                except ValueError as error:
                    raise DataError(f"{labels}: line {number}: expected `class cx cy w h`") from error
                if kind in class_ids:
                    boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    classes.append(class_ids.index(kind))
        pictures.append(picture(path, boxes, classes))
    if not pictures:
        raise DataError(f"{folder}: no pictures" + " with labels" * labelled_only)
    return pictures


def read_voc(folder, names, split="trainval"):
    """A VOC folder: `JPEGImages`, `Annotations` and `ImageSets/Main/SPLIT.txt`."""
    folder = Path(folder)
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.exists():
        raise DataError(f"{listed}: no such file")
    pictures = []
    for name in listed.read_text().split():
        boxes, classes, ignored = [], [], []
        path = folder / "Annotations" / f"{name}.xml"
        try:
            for item in ElementTree.parse(path).getroot().iter("object"):
                kind = item.findtext("name")
                if kind not in names:
                    continue
                corners = item.find("bndbox")
                # VOC counts pixels from 1.
                box = [float(corners.findtext(side)) - 1 for side in ("xmin", "ymin", "xmax", "ymax")]
                if item.findtext("difficult") == "1":
                    ignored.append(box)
                else:
                    boxes.append(box)
                    classes.append(names.index(kind))
        except (OSError, ElementTree.ParseError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: not a VOC annotation: {error}") from error
        pictures.append(picture(folder / "JPEGImages" / f"{name}.jpg", boxes, classes, ignored))
    return pictures


def read_folders(folder, names=None):
    """Paths and class indices of the pictures in a folder for each class, and the names of the classes.

    names: the classes of the training, which a validation folder must not go beyond; None: those found, sorted.
    """
    folder = Path(folder)
    found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if names and not set(found) <= set(names):
        raise DataError(f"{folder}: the class {sorted(set(found) - set(names))[0]} is not among those of the training")
    names = names or found
    rows = [(path, index) for index, name in enumerate(names) for path in pictures_in(folder / name)]
    if not rows:
        raise DataError(f"{folder}: expected a folder of pictures for each class")
    return rows, names


def coco_of(pictures, names, file_names):
    """COCO's instances of `pictures`; categories are 1 for the first of `names` and so on, picture ids from 1."""
    images, annotations = [], []
    for image_id, (picture, file_name) in enumerate(zip(pictures, file_names), 1):
        with Image.open(picture.path) as file:
            width, height = file.size
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        # Where nothing is learnt, nothing is counted: a crowd of every class.
        rows = [(box, int(kind), 0) for box, kind in zip(picture.boxes, picture.classes)]
        rows += [(box, kind, 1) for box in picture.ignored for kind in range(len(names))]
        for box, kind, crowd in rows:
            x1, y1, x2, y2 = (float(v) for v in box)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": kind + 1, "iscrowd": crowd,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
            })
    return {"images": images, "annotations": annotations, "categories": [{"id": i, "name": n} for i, n in enumerate(names, 1)]}


def write_coco(path, pictures, names, folder):
    """Writes COCO's instances of pictures that lie in `folder`."""
    data = coco_of(pictures, names, [str(p.path.relative_to(folder)) for p in pictures])
    Path(path).write_text(json.dumps(data))


def read_places(path):
    """`{picture's file name: [[x1, y1, x2, y2], ...]}` in pixels; without a path, none."""
    if path is None:
        return {}
    try:
        places = json.loads(Path(path).read_text())
        return {name: [[float(v) for v in box[:4]] for box in boxes] for name, boxes in places.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a list of boxes for each picture: {error}") from error

"""Detection in tiles with a network that is being trained, and what was found against the truth.

A plain form of what the program does with `gating.tiles`: mining, cross-validation and first labels need no more.

    python3 -m mobilens_train.tiles --card models/NAME.yaml --pictures DIR --tiles 8x5 --score 0.4 --out labels.json

writes what the model finds as COCO JSON: labels for another network (pseudo-labels), or first ones for a person to
correct.
"""
import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .data import DataError, read_yolo, write_coco
from .options import share, tiles

# Boxes of one object in neighbouring tiles: of two of a class, the worse goes that overlaps so much, or of which so
# much lies in the better.
SAME_IOU, SAME_INSIDE = 0.45, 0.75


def tiles_of(width, height, columns, rows, overlap=0.2):
    """Left, top, width, height of each tile, in pixels."""

    def along(pixels, n):
        side = pixels / (n - (n - 1) * overlap)
        return [(i * side * (1 - overlap), side) for i in range(n)]

    return [(x, y, w, h) for y, h in along(height, rows) for x, w in along(width, columns)]


def tiles_for(width, height, side, overlap=0.2):
    """Columns and rows of tiles of about `side` pixels."""
    return tuple(max(1, math.ceil((pixels / side - overlap) / (1 - overlap) - 0.25)) for pixels in (width, height))


def overlaps(box, others):
    """IoU of `box` with each of `others` [n, 4], and the share of each that lies in `box`."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = (high - low).clip(0).prod(1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1)
    return both / np.maximum(area + areas - both, 1e-9), both / np.maximum(areas, 1e-9)


def suppress(boxes, scores, classes, inside=SAME_INSIDE, iou=SAME_IOU):
    """Non-maximum suppression in each class: which rows stay, best first."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        if len(left):
            same, part = overlaps(boxes[best], boxes[left])
            left = left[~((classes[left] == classes[best]) & ((same > iou) | (part > inside)))]
    return np.array(kept, np.int64)


class Detector:
    """A network with its card. `classes` of what it finds count from 0, in the order of the channels."""

    def __init__(self, module, card, coder, device="cpu", batch=8):
        head = card["head"]["ssd"]
        self.module, self.coder, self.device, self.batch = module, coder, device, batch
        self.side = (card["input"]["width_px"], card["input"]["height_px"])
        self.mean, self.std = (torch.tensor(card["input"][name], device=device) for name in ("mean", "std"))
        self.scores, self.boxes = module.output_names.index(head["scores"]), module.output_names.index(head["boxes"])

    @torch.no_grad()
    def find(self, pixels, grid=(1, 1), least=0.05, whole=False):
        """Rows class, score, x1, y1, x2, y2 in pixels of the picture, best first."""
        training = self.module.training
        self.module.eval()
        try:
            return self._find(pixels, grid, least, whole)
        finally:
            self.module.train(training)

    def _find(self, pixels, grid, least, whole):
        height, width = pixels.shape[:2]
        places = tiles_of(width, height, *grid)
        if whole and grid != (1, 1):
            places.append((0, 0, width, height))
        picture = Image.fromarray(pixels)
        rows = []
        for start in range(0, len(places), self.batch):
            part = places[start:start + self.batch]
            tiles = [np.asarray(picture.resize(self.side, Image.BILINEAR, box=(x, y, min(x + w, width), min(y + h, height)))) for x, y, w, h in part]
            x = torch.from_numpy(np.stack(tiles)).to(self.device).float()
            outputs = self.module(((x - self.mean) / self.std).permute(0, 3, 1, 2).contiguous())
            scores = outputs[self.scores][..., 1:].sigmoid().cpu()
            boxes = self.coder.decode(outputs[self.boxes]).cpu().clamp(0, 1).numpy()
            for index, (x, y, w, h) in enumerate(part):
                anchors, classes = (scores[index] >= least).nonzero(as_tuple=True)
                found = boxes[index][anchors.numpy()][:, [1, 0, 3, 2]] * np.array([w, h, w, h]) + np.array([x, y, x, y])
                values = scores[index][anchors, classes].numpy()
                kept = suppress(found, values, classes.numpy(), inside=2.0, iou=0.6)
                rows.append(np.column_stack([classes.numpy(), values, found])[kept])
        rows = np.concatenate(rows).astype(np.float32)
        return rows[suppress(rows[:, 2:], rows[:, 1], rows[:, 0])]


def judge(found, picture, iou=0.5, any_class=False):
    """Score and verdict of each detection of a picture, best first: 1 right, 0 false, -1 in an ignored area."""
    taken = np.zeros(len(picture.boxes), bool)
    verdicts = []
    for kind, score, *box in found[np.argsort(-found[:, 1], kind="stable")].tolist():
        box = np.array(box, np.float32)
        same, _ = overlaps(box, picture.boxes)
        same[taken | ((picture.classes != int(kind)) & (not any_class))] = 0
        best = int(same.argmax()) if len(same) else -1
        if best >= 0 and same[best] >= iou:
            taken[best] = True
            verdicts.append((score, 1))
        elif len(picture.ignored) and overlaps(box, picture.ignored)[0].max() >= iou:
            verdicts.append((score, -1))
        else:
            verdicts.append((score, 0))
    return verdicts


def counts(verdicts, objects, score):
    """Found, false, recall and precision of all that scores `score` or more."""
    right = sum(1 for s, v in verdicts if v == 1 and s >= score)
    wrong = sum(1 for s, v in verdicts if v == 0 and s >= score)
    return right, wrong, right / max(objects, 1), right / max(right + wrong, 1)


def average_precision(verdicts, objects):
    """Area under the precision over recall, as Pascal VOC 2010 and COCO compute it: the precision is made to fall."""
    ordered = sorted((v for v in verdicts if v[1] >= 0), reverse=True)
    right = np.cumsum([v for _, v in ordered]) if ordered else np.zeros(0)
    recall = right / max(objects, 1)
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1] if len(right) else precision
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def false_detections(detector, pictures, grid_of, score=0.2, iou=0.2):
    """For each picture's file name, the boxes x1, y1, x2, y2 that are found where there is no object: hard negatives."""
    hard = {}
    for picture in pictures:
        pixels = picture.load()
        found = detector.find(pixels, grid_of(pixels), least=score)
        truth = np.concatenate([picture.boxes, picture.ignored])
        false = [box for box in found[:, 2:] if not len(truth) or overlaps(box, truth)[0].max() < iou]
        if false:
            hard[picture.path.name] = [[float(x) for x in box] for box in false]
    return hard


def main(argv=None):
    import yaml

    from .onnx_module import OnnxModule
    from .ssd import Coder

    p = argparse.ArgumentParser(prog="mobilens_train.tiles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--card", type=Path, required=True)
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    p.add_argument("--tiles", type=tiles, default=(1, 1), metavar="COLUMNSxROWS")
    p.add_argument("--whole", action="store_true", help="look at the whole picture too")
    p.add_argument("--score", type=share, default=0.4)
    p.add_argument("--class", dest="classes", action="append", metavar="NAME", help="only these")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    p.add_argument("--device", default="cpu")
    args = p.parse_args(argv)
    try:
        card = yaml.safe_load(args.card.read_text())
        module = OnnxModule(args.card.parent / card["file"]).to(args.device)
        pictures = read_yolo(args.pictures, [])
        detector = Detector(module, card, Coder(card), args.device)
        # A channel without a label (COCO has ten) is none of the card's classes.
        labels = [(label["id"] - 1, label["name"]) for label in card["labels"]]
        wanted = [(channel, name) for channel, name in labels if not args.classes or name in args.classes]
        if not wanted:
            raise DataError(f"{args.card}: has none of the classes {', '.join(args.classes)}")
        number = {channel: i for i, (channel, _) in enumerate(wanted)}
        for picture in pictures:
            found = detector.find(picture.load(), args.tiles, args.score, args.whole)
            found = np.array([row for row in found if int(row[0]) in number], np.float32).reshape(-1, 6)
            picture.boxes, picture.classes = found[:, 2:], np.array([number[int(c)] for c in found[:, 0]], np.int64)
        write_coco(args.out, pictures, [name for _, name in wanted], args.pictures)
    except (OSError, ValueError, KeyError) as error:
        print(f"tiles: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}: {sum(len(p.boxes) for p in pictures)} boxes in {len(pictures)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())

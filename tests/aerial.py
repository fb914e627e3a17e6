#!/usr/bin/env python3
"""Found and false vehicles of pipelines/ssd_drone.yaml on photographs with YOLO labels.

    tests/aerial.py BINARY FOLDER [--least FOUND] [--most FALSE] [--scores .3 .4 .5] [--model CARD ...]

A labelled vehicle is found by a detection with an IoU of .5 and more, each detection finding one, whatever its class;
what finds none is false. Ends with 1 if, at the pipeline's threshold, any model finds fewer or has more false ones.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image


def iou(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def labels_of(picture):
    """Boxes x, y, width, height in pixels."""
    with Image.open(picture) as opened:
        width, height = opened.size
    rows = [[float(v) for v in line.split()[1:5]] for line in picture.with_suffix(".txt").read_text().splitlines()]
    return [((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height) for cx, cy, w, h in rows]


def count(detections, truth, score):
    found = false = 0
    for boxes, labels in zip(detections, truth):
        left = list(labels)
        for value, box in sorted(boxes, reverse=True):
            if value < score:
                break
            best = max(left, key=lambda label: iou(box, label), default=None)
            if best is not None and iou(box, best) >= 0.5:
                left.remove(best)
                found += 1
            else:
                false += 1
    return found, false


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binary")
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--least", type=int, default=0)
    p.add_argument("--most", type=int, default=10**9)
    p.add_argument("--scores", type=float, nargs="+", default=[0.3, 0.4, 0.5])
    p.add_argument("--model", nargs="+", default=["models/ssdlite_mobilenet_v2_aerial.yaml", "models/ssdlite_mobilenet_v2_aerial_int8.yaml"])
    args = p.parse_args()
    pictures = sorted(picture for picture in args.folder.glob("*.jpg") if picture.with_suffix(".txt").exists())
    truth = [labels_of(picture) for picture in pictures]
    total, failed = sum(map(len, truth)), False
    with tempfile.TemporaryDirectory() as work:
        for picture in pictures:
            shutil.copy(picture, work)
        for model in args.model:
            card = pathlib.Path(model).resolve()
            settings = [f"model={card}", f"detect.score_threshold={min(0.1, *args.scores)}"]
            command = [args.binary, "pipelines/ssd_drone.yaml", "--headless", "--input", work]
            command += [part for setting in settings for part in ("--set", setting)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                sys.exit(f"{' '.join(command)}: exit code {run.returncode}: {run.stderr.strip().splitlines()[-1:]}")
            frames = [record for record in map(json.loads, run.stdout.splitlines()) if record["type"] == "frame"]
            detections = [[(d["score"], d["bbox"]) for d in frame["detections"]] for frame in frames]
            for score in args.scores:
                found, false = count(detections, truth, score)
                print(f"{card.stem} at {score}: {found} of {total} found, {false} false")
            found, false = count(detections, truth, 0.4)
            failed |= len(frames) != len(pictures) or found < args.least or false > args.most
    print("0 passed, 1 failed" if failed else "1 passed, 0 failed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

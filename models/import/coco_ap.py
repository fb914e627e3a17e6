#!/usr/bin/env python3
"""AP of COCO results, by pycocotools, over one or several annotation files.

    python3 models/import/coco_ap.py RESULTS.json INSTANCES.json [INSTANCES.json ...]

Only the pictures that the annotations name are counted. Needs: `pip install pycocotools`.
"""
import json
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def merged(paths):
    """Several annotation files as one; ids of annotations are given anew."""
    parts = [json.load(open(p)) for p in paths]
    whole = dict(info={}, images=[], annotations=[], categories=parts[0]["categories"])
    for part in parts:
        whole["images"] += part["images"]
        whole["annotations"] += part["annotations"]
    for i, annotation in enumerate(whole["annotations"], 1):
        annotation["id"] = i
    coco = COCO()
    coco.dataset = whole
    coco.createIndex()
    return coco


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    truth = merged(sys.argv[2:])
    known = {image["id"] for image in truth.dataset["images"]}
    results = [r for r in json.load(open(sys.argv[1])) if r["image_id"] in known]
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()


if __name__ == "__main__":
    main()

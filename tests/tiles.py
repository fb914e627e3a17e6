#!/usr/bin/env python3
"""Recall and false tracks with and without tiles, on the hand-checked frames of tests/goldens/tiles.

    tests/tiles.py BINARY CLIPS [KEY=VALUE ...]        (see tests/tiles.sh; KEY=VALUE are settings of the run with tiles)

A box is found if a detection, or a track, overlaps it with an IoU of .5 and more, whatever its class among the
wanted ones: seen from above, a car is rarely a car for these weights. A track is false if it overlaps no true box
in any listed frame that it is in.
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

# Clip, and the classes that are looked for; none: all classes that the model knows.
RUNS = [
    ("one-by-one-person-detection", ["person"]),
    ("one-by-one-person-detection", []),
    ("car-detection", ["car", "truck", "bus"]),
    ("car-detection", []),
]
BASE = ["model=../models/ssdlite_mobilenet_v2_coco_int8.yaml", "detect.score_threshold=0.3", "track={}"]


def iou(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def matched(boxes, truth):
    """How many true boxes are found, each by a box of its own, the better ones first."""
    left = list(truth)
    for box in boxes:
        best = max(left, key=lambda true: iou(box, true), default=None)
        if best is not None and iou(box, best) >= 0.5:
            left.remove(best)
    return len(truth) - len(left)


def figures(records, golden):
    truth = {image["id"]: [] for image in golden["images"]}
    for annotation in golden["annotations"]:
        truth[annotation["image_id"]].append(annotation["bbox"])
    found, followed, hits = 0, 0, collections.defaultdict(list)
    looked = skipped = 0
    for line in records:
        frame = json.loads(line)
        if frame["type"] != "frame":
            continue
        looked += max(len(frame.get("regions", [])) - 1, 0)
        skipped += len(frame.get("skipped", []))
        true = truth.get(frame["frame"])
        if true is None:
            continue
        detections = sorted(frame["detections"], key=lambda d: -d["score"])
        found += matched([d["bbox"] for d in detections], true)
        tracks = [t for t in frame["tracks"] if t["state"] != "lost"]
        followed += matched([t["bbox"] for t in tracks], true)
        for track in tracks:
            hits[track["track_id"]].append(any(iou(track["bbox"], box) >= 0.5 for box in true))
    boxes = len(golden["annotations"])
    false = sum(not any(of_track) for of_track in hits.values())
    return dict(recall=found / boxes, tracked=followed / boxes, false=false, tracks=len(hits), looked=looked, skipped=skipped)


def main():
    binary, clips, *settings = sys.argv[1:]
    goldens = pathlib.Path("tests/goldens/tiles")
    faults = []
    with tempfile.TemporaryDirectory() as work:
        for clip, classes in RUNS:
            golden = json.loads((goldens / f"{clip}.json").read_text())
            wanted = "detect.classes={" + ", ".join(f"{label}: {{}}" for label in classes) + "}"
            got = {}
            for tiles in (False, True):
                output = f"{work}/records.jsonl"
                sets = BASE + [wanted] + (["gating.tiles={}"] + settings if tiles else [])
                command = [binary, "pipelines/ssd_replay.yaml", "--headless", "--input", f"{clips}/{clip}.mp4", "--output", output]
                command += [word for value in sets for word in ("--set", value)]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                with open(output) as records:
                    got[tiles] = figures(records, golden)
            name = f"{clip}, {'/'.join(classes) or 'all classes'}"
            for tiles, figure in got.items():
                print(f"{name:48} {'tiles  ' if tiles else 'without'} recall {figure['recall']:.3f}, of tracks {figure['tracked']:.3f};"
                      f" {figure['false']} of {figure['tracks']} tracks false; tiles looked at {figure['looked']}, skipped {figure['skipped']}", flush=True)
            if got[True]["false"] > got[False]["false"]:
                faults.append(f"{name}: more false tracks with tiles")
            if got[True]["tracked"] < got[False]["tracked"]:
                faults.append(f"{name}: recall of tracks is lower with tiles")
            if got[True]["recall"] <= got[False]["recall"]:
                faults.append(f"{name}: recall is not higher with tiles")
    if faults:
        sys.exit("\n".join(faults))
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()

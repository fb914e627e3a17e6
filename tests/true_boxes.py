#!/usr/bin/env python3
"""Counts the true boxes of tests/goldens/true_boxes.json that a detector finds; see tests/true_boxes.sh.

    python3 tests/true_boxes.py BINARY WORK CLIPS [CLIPS ...]

WORK is an empty folder for frames and records, CLIPS are folders with the clips.
"""
import json
import pathlib
import subprocess
import sys

MODELS = ["ssdlite_mobilenet_v2_coco_int8", "ssdlite_mobilenet_v2_coco"]
THRESHOLDS = [0.3, 0.4]
LEAST_IOU = 0.5
# What is counted as one class: which of them a van is, COCO leaves open.
GROUPS = {"person": "person", "car": "vehicle", "truck": "vehicle", "bus": "vehicle"}
# The clips' two shapes, and for each square the rectangle nearest to that shape within 5 % of its pixels.
SHAPES = ["640x272", "16:9"]
RECTANGLES = {300: [(364, 236), (364, 236)], 364: [(556, 236), (428, 300)]}


def modes():
    """Name, settings of the model for each shape, other settings, and the mode that it must not fall behind."""
    for side, rectangles in RECTANGLES.items():
        square = f"stretch to {side}x{side}"
        yield square, [f"input_px: {side}"] * 2, [], None
        for width, height in rectangles:
            assert abs(width * height / side**2 - 1) <= 0.05, (width, height)
        sizes = " and ".join(dict.fromkeys(f"{w}x{h}" for w, h in rectangles))
        yield f"rectangle, {sizes}", [f"width_px: {w}, height_px: {h}" for w, h in rectangles], [], square
    # It takes 556x236 and 428x236 here, 0.99 and 0.76 times the pixels of 364x364.
    yield "fit: rectangle, input_px: 300", ["input_px: 300, fit: rectangle"] * 2, [], "stretch to 364x364"
    # For comparison: these rectangles have 1.1 to 1.5 times the pixels of their squares.
    scales = ["gating.scales=[300,556]"]
    yield "scales: [300, 556], stretch", ["fit: stretch"] * 2, scales, None
    yield "scales: [300, 556], rectangle", ["fit: rectangle"] * 2, scales, None


def iou(a, b):
    """Intersection over union of two boxes, and over the first one's area."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both), both / max(a[2] * a[3], 1e-9)


def count(truth, detections):
    """How many boxes of one frame's truth are found, and how many detections are neither that nor ignored.

    As in COCO: by falling score, each detection takes the free box with the greatest IoU.
    """
    wanted = [t for t in truth if not t["ignore"]]
    ignored = [t for t in truth if t["ignore"]]
    hits = false = 0
    for detection in sorted(detections, key=lambda d: -d["score"]):
        group, box = GROUPS[detection["label"]], detection["bbox"]
        near = [(iou(box, t["box"])[0], i) for i, t in enumerate(wanted) if GROUPS[t["class"]] == group]
        best, index = max(near, default=(0, 0))
        if best >= LEAST_IOU:
            del wanted[index]
            hits += 1
        elif not any(GROUPS[t["class"]] == group and iou(box, t["box"])[1] > 0.5 for t in ignored):
            false += 1
    return hits, false


def extract(clip, frames, folders):
    """Writes frames of a clip as CLIP.FRAME.png to the folder of its shape."""
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height"]
    size = subprocess.check_output([*probe, "-of", "csv=p=0", clip], text=True)
    width, height = map(int, size.split(","))
    folder = folders[0 if f"{width}x{height}" == SHAPES[0] else 1]
    chosen = "+".join(f"eq(n,{n})" for n in frames)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-i", clip, "-vf", f"select='{chosen}'", "-vsync", "passthrough",
         folder / "%d.png"],
        check=True,
    )
    for i, n in enumerate(frames, 1):
        (folder / f"{i}.png").rename(folder / f"{clip.name}.{n}.png")


def detect(binary, model, settings, folder, output):
    """The detections of each picture of a folder, by clip and frame."""
    card, others = settings
    command = [
        binary, "pipelines/ssd_replay.yaml", "--headless", "--input", folder, "--output", output,
        "--set", f"model={{ card: ../models/{model}.yaml, {card} }}",
        "--set", f"detect.score_threshold={min(THRESHOLDS)}",
    ]  # fmt: skip
    for other in others:
        command += ["--set", other]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{run.stderr}")
    found = {}
    for line in open(output):
        record = json.loads(line)
        if record["type"] == "frame":
            clip, frame = pathlib.Path(record["name"]).stem.rsplit(".", 1)
            found[clip, int(frame)] = [d for d in record["detections"] if d["label"] in GROUPS]
    return found


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__.strip())
    binary, work, *places = map(pathlib.Path, sys.argv[1:])
    truth = {}
    for box in json.load(open("tests/goldens/true_boxes.json")):
        truth.setdefault((box["clip"], box["frame"]), []).append(box)
    clips = sorted({clip for clip, _ in truth})
    folders = [work / "wide", work / "hd"]
    for folder in folders:
        folder.mkdir()
    for clip in clips:
        path = next((place / clip for place in places if (place / clip).exists()), None)
        if path is None:
            sys.exit(f"{clip}: in none of {', '.join(map(str, places))}")
        extract(path, sorted(frame for c, frame in truth if c == clip), folders)
    boxes = {clip: sum(not t["ignore"] for key, ts in truth.items() if key[0] == clip for t in ts) for clip in clips}
    short = [clip.removesuffix(".mp4") for clip in clips]
    failed = []
    for model in MODELS:
        rows = {threshold: [] for threshold in THRESHOLDS}
        for name, cards, others, least in modes():
            found = {}
            for card, folder in zip(cards, folders):
                found.update(detect(binary, model, (card, others), folder, work / "records.jsonl"))
            missing = truth.keys() - found.keys()
            assert not missing, f"no record of {sorted(missing)}"
            for threshold in THRESHOLDS:
                hits, false = dict.fromkeys(clips, 0), 0
                for key, boxes_there in truth.items():
                    more = count(boxes_there, [d for d in found[key] if d["score"] >= threshold])
                    hits[key[0]] += more[0]
                    false += more[1]
                rows[threshold].append((name, hits, false, least))
        for threshold, lines in rows.items():
            print(f"\n{model}, score_threshold {threshold}: true boxes found")
            print(f"{'':45}" + "".join(f"{s:>{len(s) + 2}}" for s in short) + "   all  false")
            of = "".join(f"{boxes[c]:{len(s) + 2}}" for c, s in zip(clips, short))
            print(f"{'of':45}{of}{sum(boxes.values()):6}")
            totals = {name: sum(hits.values()) for name, hits, _, _ in lines}
            for name, hits, false, least in lines:
                print(f"{name:45}" + "".join(f"{hits[c]:{len(s) + 2}}" for c, s in zip(clips, short))
                      + f"{totals[name]:6}{false:7}")  # fmt: skip
                if least and totals[name] < totals[least]:
                    failed.append(f"{model}, {threshold}: {name} finds {totals[name]}, {least} {totals[least]}")
    print(*failed, sep="\n")
    print(f"{int(not failed)} passed, {int(bool(failed))} failed")
    sys.exit(bool(failed))


main()

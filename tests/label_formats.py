"""Reads what `mobilens label` writes with the programs' own readers, and compares it with the records.

    python3 tests/label_formats.py target/debug/mobilens

Needs the Python packages datumaro (whose reader CVAT imports with), label-studio-sdk and pycocotools; skips what is
not installed.
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "assets/street.mp4"


def by_frame(name):
    return int(re.search(r"_(\d+)\.\w+$", name)[1])


def clipped(box, width, height):
    x, y, w, h = box
    left, top = max(x, 0), max(y, 0)
    return [left, top, min(x + w, width) - left, min(y + h, height) - top]


def records_of(path):
    frames = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["type"] == "frame":
            found = record["detections"]
            frames[record["frame"]] = sorted((d["label"], *clipped(d["bbox"], 640, 272)) for d in found)
    return frames


def hold(what, labels, frames):
    assert labels, what
    for name, objects in labels.items():
        expected = frames[by_frame(name)]
        assert len(objects) == len(expected), (what, name, objects, expected)
        for is_, should in zip(sorted(objects), expected):
            assert is_[0] == should[0], (what, name)
            assert all(abs(a - b) < 0.03 for a, b in zip(is_[1:], should[1:])), (what, name, is_, should)
    print(f"{what}: {len(labels)} pictures, {sum(map(len, labels.values()))} labels as in the records")


def datumaro_labels(folder, kind):
    import datumaro

    dataset = datumaro.Dataset.import_from(str(folder), kind)
    names = dataset.categories()[datumaro.AnnotationType.label]
    of_picture = {}
    for item in dataset:
        boxes = [a for a in item.annotations if a.type == datumaro.AnnotationType.bbox]
        of_picture[f"{Path(item.id).name}.jpg"] = [(names[b.label].name, *b.get_bbox()) for b in boxes]
        assert item.media.data.shape[:2] == (272, 640), item.media
    return of_picture


def pycocotools_labels(folder):
    from pycocotools.coco import COCO

    coco = COCO(str(folder / "instances.json"))
    of_picture = {image["file_name"]: [] for image in coco.imgs.values()}
    for annotation in coco.anns.values():
        name = coco.imgs[annotation["image_id"]]["file_name"]
        of_picture[name].append((coco.cats[annotation["category_id"]]["name"], *annotation["bbox"]))
    return of_picture


def label_studio_labels(folder):
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "label_config.xml").read_text())
    interface.validate()
    of_picture = {}
    for task in json.loads((folder / "tasks.json").read_text()):
        # Predictions are checked one by one.
        assert interface.validate_task({"data": task["data"]}), task
        of_picture[Path(task["data"]["image"]).name] = objects = []
        for prediction in task["predictions"]:
            assert interface.validate_prediction(prediction), prediction
            for region in prediction["result"]:
                w, h = region["original_width"] / 100, region["original_height"] / 100
                value = region["value"]
                box = (value["x"] * w, value["y"] * h, value["width"] * w, value["height"] * h)
                objects.append((value["rectanglelabels"][0], *box))
    return of_picture


def main():
    binary = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/mobilens").resolve()
    readers = [
        ("coco", "pycocotools", pycocotools_labels),
        ("cvat", "datumaro", lambda folder: datumaro_labels(folder, "cvat")),
        ("label-studio", "label-studio-sdk", label_studio_labels),
        ("yolo", "datumaro", lambda folder: datumaro_labels(folder, "yolo")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "a.jsonl"
        run = [binary, ROOT / "pipelines/ssd_replay.yaml", "--frames", "60", "--output", saved]
        subprocess.run([*run, "--set", "detect.score_threshold=0.2"], check=True)
        frames = records_of(saved)
        for target, package, read in readers:
            out = Path(folder) / target
            command = [binary, "label", saved, "--clip", CLIP, "-o", out, "--for", target]
            subprocess.run([*command, "--near", "0.4", "--every", "0.2"], check=True)
            try:
                labels = read(out)
            except ImportError as error:
                print(f"SKIPPED: {target}: {error}")
                continue
            hold(f"{target} by {package}", labels, frames)


if __name__ == "__main__":
    main()

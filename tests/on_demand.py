#!/usr/bin/env python3
"""The models that models/import makes on demand, against what their packages' own runtimes said
(models/import/golden_on_demand.py): the raw outputs in ONNX Runtime, and with a card what `mobilens` finds. And the
cards that `mobilens card` makes of them.

    tests/on_demand.py BINARY [NAME ...]
"""
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "models" / "import"))
import on_demand  # noqa: E402
from on_demand_inputs import GOLDENS, card, network_input, piece  # noqa: E402

# Of the largest value of an output; scores; pixels; share of the picture.
RAW, SCORE, BOX, SHARE = 1e-4, 2e-3, 0.25, 1e-3


def decoded(outputs):
    """face-api keeps no raw outputs: its boxes and scores after decoding (Liu et al., arXiv:1512.02325)."""
    t, anchors = outputs["boxes"][0].astype(np.float64), outputs["anchors"].reshape(-1, 4).astype(np.float64)
    centre, size = t[:, :2] / 10 * anchors[:, 2:] + anchors[:, :2], np.exp(t[:, 2:] / 5) * anchors[:, 2:]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return dict(decoded_boxes=boxes, decoded_scores=1 / (1 + np.exp(-outputs["scores"][0, :, 1].astype(np.float64))))


def raw_outputs(name, path, golden):
    session = onnxruntime.InferenceSession(str(path))
    names = [o.name for o in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {session.get_inputs()[0].name: network_input(name)})))
    if "decoded_boxes" in golden["outputs"]:
        outputs.update(decoded(outputs))
    for output, expected in golden["outputs"].items():
        got = outputs[output]
        if list(got.shape) != expected["shape"]:
            yield f"{output} is {list(got.shape)}, expected {expected['shape']}"
            continue
        off = np.abs(got.ravel()[expected["at"]] - np.array(expected["values"])).max() / expected["max_abs"]
        print(f"{name} {output}: {off:.1e} of the largest value off {golden['runtime']}")
        if not off <= RAW:
            yield f"{output} is {off:.1e} of the largest value off"


def pipeline_of(name, model, folder):
    """A pipeline that runs the card `model` on the piece."""
    Image.fromarray(piece(name)).save(folder / "piece.png")
    head = card(name)["head"]
    task = "classify: {}" if "classify" in head else "segment: {}" if "segment" in head else "detect: { score_threshold: 0.4 }"
    pipeline = folder / f"{model}_pipeline.yaml"
    pipeline.write_text(f"source: {{ images: {{ path: piece.png }} }}\nmodel: {model}.yaml\n{task}\n"
                        'sinks: [{ jsonl: { path: "-" } }]\n')
    return pipeline


def made_card(binary, name, folder):
    """`mobilens card` knows the kind of head, and what it writes is sound as it is."""
    path = folder / "made.yaml"
    subprocess.run([binary, "card", folder / f"{name}.onnx", "-o", path], check=True, capture_output=True)
    (made,), (head,) = yaml.safe_load(path.read_text())["head"], card(name)["head"]
    if made != head:
        yield f"`mobilens card` takes its head for {made}, not {head}"
    done = subprocess.run([binary, "check", pipeline_of(name, "made", folder)], capture_output=True, text=True)
    if done.returncode:
        yield f"the card that was made of it is refused: {done.stderr.strip()}"


def found(binary, name, folder):
    """The records' detections of the piece, and its classes."""
    pipeline = pipeline_of(name, name, folder)
    subprocess.run([binary, "check", pipeline], check=True, stdout=subprocess.DEVNULL)
    lines = subprocess.run([binary, pipeline, "--headless"], check=True, capture_output=True, text=True).stdout
    (frame,) = [r for r in map(json.loads, lines.splitlines()) if r["type"] == "frame"]
    return frame


def detections(binary, name, folder, golden):
    frame = found(binary, name, folder)
    if golden["detections"]:
        got, expected = frame["detections"], golden["detections"]
        print(f"{name} finds", [(d["label"], d["score"], d["bbox"]) for d in got])
        if len(got) != len(expected):
            yield f"{len(got)} found, expected {len(expected)}"
        for d, (label, score, *box) in zip(got, expected):
            off = np.abs(np.array(d["bbox"]) - clipped(box, name)).max()
            if d["label"] != label or abs(d["score"] - score) > SCORE or off > BOX:
                yield f"found {d['label']} {d['score']} {d['bbox']}, expected {label} {score} {box}"
    if "classes" in golden["outputs"]:
        expected = dict(zip((label["name"] for label in card(name)["labels"]), golden["outputs"]["classes"]["values"]))
        got = {c["label"]: c["score"] for c in frame["classification"]}
        print(f"{name} says {got}")
        if any(abs(got[label] - score) > SCORE for label, score in expected.items()):
            yield f"{got}, expected {expected}"
    if "share" in golden:
        classes = frame["segmentation"]["classes"]
        got = next((c["share"] for c in classes if c["category_id"] == 1), 0.0)
        print(f"{name} has a share of {got}")
        if not abs(got - golden["share"]) <= SHARE:
            yield f"a share of {got}, expected {golden['share']}"


def clipped(box, name):
    size = card(name)["input"]
    x, y, width, height = box
    left, top = max(x, 0), max(y, 0)
    return np.array([left, top, min(x + width, size["width_px"]) - left, min(y + height, size["height_px"]) - top])


def main():
    binary, names = str(Path(sys.argv[1]).resolve()), sys.argv[2:] or list(on_demand.MODELS)
    goldens = json.loads((GOLDENS / "goldens.json").read_text())
    failed = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            folder, convert = Path(folder), ROOT / "models" / "import" / "convert.py"
            subprocess.run([sys.executable, convert, name, "--out", folder], check=True, stdout=subprocess.DEVNULL)
            path = folder / f"{name}.onnx"
            wrong = list(raw_outputs(name, path, goldens[name]))
            if hashlib.sha256(path.read_bytes()).hexdigest() != card(name)["sha256"]:
                wrong.append("the file's sha256 is not the card's")
            else:
                wrong += detections(binary, name, folder, goldens[name])
                wrong += made_card(binary, name, folder)
        failed += [f"{name}: {text}" for text in wrong]
    print("\n".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What the packages' own runtimes say of the pieces of on_demand_inputs.py: tests/data/on_demand/goldens.json.

    NODE_PATH=node_modules python3 models/import/golden_on_demand.py

| model | runtime |
|---|---|
| nanodet_g_coco | TensorFlow.js (its CPU backend) runs the package's graph; faces and objects of it are not the package's own, which takes the most likely bin instead of the mean of the distribution |
| face_ssd_mobilenetv1, face_tiny_yolov2 | the package's own code in Node |
| pedestrian_ssdlite | TensorFlow runs the package's graph, detections by its own non-maximum suppression |
| text_direction, text_segmenter | ONNX Runtime, which the packages use |
| blazeface_* | ONNX Runtime, as the package's own runtime (Unity Barracuda) runs in Unity only |

Of each raw output a sample is kept: evenly spaced values and the largest ones. Needs: npm install @tensorflow/tfjs@4.22.0
@tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-converter@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0
@tensorflow/tfjs-backend-wasm@4.22.0; pip install -r models/import/requirements-verify.txt tensorflow-cpu==2.21.0.
"""
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import on_demand
from on_demand_inputs import GOLDENS, card, network_input, piece

SPACED, LARGEST = 150, 50
SCRIPT = Path(__file__).with_name("golden_tfjs.js")


def sample(values):
    """A part of an output, with the places of its values."""
    flat = np.asarray(values, np.float32).ravel()
    places = np.unique(np.concatenate([np.linspace(0, flat.size - 1, SPACED).astype(int),
                                       np.argsort(-np.abs(flat), kind="stable")[:LARGEST]]))
    return dict(shape=list(np.shape(values)), max_abs=float(f"{np.abs(flat).max():.7g}"), at=places.tolist(),
                values=[float(f"{v:.7g}") for v in flat[places]])


def found(label, score, x, y, width, height):
    return [label, round(float(score), 5), *(round(float(v), 3) for v in (x, y, width, height))]


def node(*arguments):
    subprocess.run(["node", SCRIPT, *map(str, arguments)], check=True)


def floats(path, shape):
    return np.fromfile(path, np.float32).reshape(shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -100, 100)))


def nanodet(source, folder):
    x = network_input("nanodet_g_coco")
    x.tofile(folder / "x.f32")
    node("graph", source, "1,3,416,416", folder / "x.f32", folder / "out")
    outputs = {}
    for i, stride in enumerate((8, 16, 32)):
        cells = (416 // stride) ** 2
        for first, kind, channels in ((0, "scores", 80), (3, "distances", 44)):
            name = f"Identity_{i + first}" if i + first else "Identity"
            outputs[f"{kind}_{stride}"] = floats(folder / f"out.{name}.f32", (1, cells, channels))
    return outputs, gfl(outputs)


def gfl(outputs):
    """The best box of each class by the formula of generalized focal loss (Li et al., arXiv:2006.04388)."""
    names, best = [label["name"] for label in card("nanodet_g_coco")["labels"]], {}
    for stride in (8, 16, 32):
        scores, bins = outputs[f"scores_{stride}"][0], outputs[f"distances_{stride}"][0].astype(np.float64)
        weights = np.exp(bins.reshape(-1, 4, 11))
        sides = (weights * np.arange(11)).sum(2) / weights.sum(2) * stride
        columns = 416 // stride
        for cell, label in zip(*np.where(scores > 0.4)):
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            left, top = max(x - sides[cell, 0], 0), max(y - sides[cell, 1], 0)
            right, bottom = min(x + sides[cell, 2], 416), min(y + sides[cell, 3], 416)
            item = found(names[label], scores[cell, label], left, top, right - left, bottom - top)
            if label not in best or best[label][1] < item[1]:
                best[label] = item
    return sorted(best.values(), key=lambda item: -item[1])


def faces(source, folder):
    root = source.parent
    for name in ("face_ssd_mobilenetv1", "face_tiny_yolov2"):
        piece(name).astype(np.float32).tofile(folder / f"{name}.f32")
    node("faces", root, folder / "face_ssd_mobilenetv1.f32", folder / "face_tiny_yolov2.f32", folder / "out")
    return json.loads((folder / "out.json").read_text())


def ssd_faces(source, folder):
    """Boxes [5118, 4] decoded (upper, left, lower, right edge as shares) and scores after the sigmoid."""
    found_faces = faces(source, folder)["ssd"]
    outputs = dict(decoded_boxes=floats(folder / "out.boxes.f32", (5118, 4)),
                   decoded_scores=floats(folder / "out.scores.f32", (5118,)))
    return outputs, [found("face", *face) for face in found_faces]


def tiny_faces(source, folder):
    found_faces = faces(source, folder)["tiny"]
    cells = floats(folder / "out.map.f32", (1, 13, 13, 25)).transpose(0, 3, 1, 2)
    return dict(map=cells), [found("face", *face) for face in found_faces]


def pedestrians(source, _):
    import tensorflow as tf
    graph = tf.compat.v1.GraphDef.FromString(source.read_bytes())
    pixels = piece("pedestrian_ssdlite")
    names = ["Squeeze", "concat_1", "detection_boxes", "detection_scores"]
    with tf.Graph().as_default() as g:
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=g) as session:
            boxes, scores, at, sure = session.run([f"{n}:0" for n in names], {"image_tensor:0": pixels[None]})
    people = [found("person", s, 300 * b[1], 300 * b[0], 300 * (b[3] - b[1]), 300 * (b[2] - b[0]))
              for b, s in zip(at[0], sure[0]) if s > 0.4]
    return dict(boxes=boxes, scores=scores), people


def onnx_runtime(name, source, x, names):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(source))
    made = dict(zip([o.name for o in session.get_outputs()], session.run(None, {session.get_inputs()[0].name: x})))
    return {new: np.concatenate([made[old] for old in olds], 1) for new, olds in names.items()}


def direction(source, _):
    return onnx_runtime("text_direction", source, network_input("text_direction"), {"classes": [on_demand.PADDLE]}), []


def segmenter(source, _):
    return onnx_runtime("text_segmenter", source, network_input("text_segmenter"), {"mask": [on_demand.PADDLE]}), []


def blazeface(name):
    def run(source, _):
        x = network_input(name).transpose(0, 2, 3, 1)
        names = {"boxes": ["Identity_2:0", "Identity_3:0"], "scores": ["Identity:0", "Identity_1:0"]}
        outputs = onnx_runtime(name, source, np.ascontiguousarray(x), names)
        return outputs, blended_faces(outputs, x.shape[1])
    return run


def blended_faces(outputs, side):
    """Boxes by BlazeFace's paper (Bazarevsky et al., arXiv:1907.05047): anchors as large as the picture in the cells'
    middles, two a cell of the first map and six of the second; boxes that overlap become their weighted mean."""
    centres = np.array([((x + 0.5) / n, (y + 0.5) / n) for n, each in ((16, 2), (8, 6))
                        for y in range(n) for x in range(n) for _ in range(each)]) * side
    scores, boxes = sigmoid(outputs["scores"][0, :, 0]), outputs["boxes"][0, :, :4].astype(np.float64)
    corners = np.concatenate([centres + boxes[:, :2] - boxes[:, 2:] / 2, centres + boxes[:, :2] + boxes[:, 2:] / 2], 1)
    left, faces = [i for i in np.argsort(-scores) if scores[i] > 0.4], []
    while left:
        best = corners[left[0]]
        low, high = np.maximum(best[:2], corners[left, :2]), np.minimum(best[2:], corners[left, 2:])
        shared = np.prod(np.maximum(high - low, 0), 1)
        area = np.prod(corners[left, 2:] - corners[left, :2], 1)
        near = shared / (area + area[0] - shared) > 0.3
        group = np.array(left)[near]
        x1, y1, x2, y2 = (corners[group] * scores[group, None]).sum(0) / scores[group].sum()
        faces.append(found("face", scores[left[0]], x1, y1, x2 - x1, y2 - y1))
        left = [i for i, n in zip(left, near) if not n]
    return faces


RUNTIMES = {
    "nanodet_g_coco": ("TensorFlow.js 4.22.0", nanodet),
    "face_ssd_mobilenetv1": ("the package's own code", ssd_faces),
    "face_tiny_yolov2": ("the package's own code", tiny_faces),
    "pedestrian_ssdlite": ("TensorFlow 2.21.0", pedestrians),
    "text_direction": ("ONNX Runtime 1.32.0", direction),
    "text_segmenter": ("ONNX Runtime 1.32.0", segmenter),
    "blazeface_front": ("ONNX Runtime 1.32.0", blazeface("blazeface_front")),
    "blazeface_back": ("ONNX Runtime 1.32.0", blazeface("blazeface_back")),
}


def main():
    goldens = {}
    for name, (runtime, run) in RUNTIMES.items():
        with tempfile.TemporaryDirectory() as folder:
            outputs, detections = run(on_demand.MODELS[name].fetch(), Path(folder))
        print(name, detections)
        goldens[name] = dict(runtime=runtime, outputs={k: sample(v) for k, v in outputs.items()}, detections=detections)
        if "mask" in outputs:
            goldens[name]["share"] = round(float((outputs["mask"] > card(name)["head"]["segment"]["threshold"]).mean()), 5)
    lines = [f'"{name}": {json.dumps(golden)}' for name, golden in goldens.items()]
    (GOLDENS / "goldens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

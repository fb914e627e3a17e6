#!/usr/bin/env python3
"""Reference of the detection heads: seeded raw outputs, and the boxes and scores that they mean.

    python3 tests/heads/reference.py

writes tests/data/heads (index.json and NAME.f32, the raw outputs one after the other). Each decoder is
written in float64 from the formulas of its paper or reference implementation, and shares no code with
src/postprocess. `cargo test --test integration heads::` holds the decoders to it.

Needs numpy. A seed is taken again where a score, an overlap or an order is so close that float32 may decide
otherwise.
"""

import json
import zlib
from pathlib import Path

import numpy as np

from common import (
    CLASSES, FRAME_H, FRAME_W, HEIGHT, TO_FRAME, WIDTH, TooClose, centres, corners, distance_boxes, expect,
    random_boxes, select, sigmoid, softmax,
)
from ssd import blazeface, ssd_anchor_list, ssd_fpn_lite, ssd_torchvision

FOLDER = Path(__file__).resolve().parents[1] / "data" / "heads"

# YOLO

ANCHORS = {8: [(10, 13), (16, 30), (33, 23)], 16: [(30, 61), (62, 45), (59, 40)], 32: [(80, 50), (60, 60), (90, 60)]}
FEW_ANCHORS = {stride: ANCHORS[stride] for stride in (16, 32)}
CELL_ANCHORS = [(0.57273, 0.677385), (1.87446, 2.06253), (1.33221, 1.0), (2.2, 1.3), (0.9, 1.8)]


def anchor_maps(rng, anchors, layout, centre, size, classes_of, spread=1.2):
    outputs, boxes, scores = [], [], []
    for stride, of_stride in anchors.items():
        h, w, a = HEIGHT // stride, WIDTH // stride, len(of_stride)
        raw = rng.normal(0, spread, (a, 5 + CLASSES, h, w))
        raw[:, 2:4] *= 0.4
        raw[:, 4] -= 1.0
        raw = raw.astype(np.float32)
        outputs.append({
            "channels_first": raw.reshape(1, -1, h, w),
            "channels_last": raw.transpose(2, 3, 0, 1).reshape(1, h, w, -1),
            "anchors_first": raw.transpose(0, 2, 3, 1)[None],
        }[layout])
        raw = raw.astype(np.float64).reshape(a, 5 + CLASSES, h * w)
        x, y = centres(stride, 0)
        for (pw, ph), (tx, ty, tw, th, to, *tc) in zip(of_stride, raw):
            boxes.append(corners((centre(tx) + x) * stride, (centre(ty) + y) * stride, pw * size(tw), ph * size(th)))
            scores.append(sigmoid(to)[:, None] * classes_of(np.stack(tc, -1)))
    return outputs, np.concatenate(boxes), np.concatenate(scores)


def yolov2(rng):
    anchors = {32: [(w * 32, h * 32) for w, h in CELL_ANCHORS]}
    return anchor_maps(rng, anchors, "channels_first", sigmoid, np.exp, lambda c: softmax(c, -1), 2.0)


def yolov3(rng):
    return anchor_maps(rng, ANCHORS, "channels_first", sigmoid, np.exp, sigmoid)


def yolov3_channels_last(rng):
    return anchor_maps(rng, FEW_ANCHORS, "channels_last", sigmoid, np.exp, sigmoid)


def yolov4(rng):
    return anchor_maps(rng, FEW_ANCHORS, "channels_first", lambda t: 1.1 * sigmoid(t) - 0.05, np.exp, sigmoid)


def yolov5_raw(rng):
    centre, size = lambda t: sigmoid(t) * 2 - 0.5, lambda t: (sigmoid(t) * 2) ** 2
    return anchor_maps(rng, ANCHORS, "anchors_first", centre, size, sigmoid)


def yolov7_raw(rng):
    centre, size = lambda t: sigmoid(t) * 2 - 0.5, lambda t: (sigmoid(t) * 2) ** 2
    return anchor_maps(rng, FEW_ANCHORS, "channels_first", centre, size, sigmoid)


def yolov5_rows(rng):
    rows = np.concatenate([random_boxes(rng, 150), rng.uniform(0, 1, (150, 1 + CLASSES))], -1).astype(np.float32)
    r = rows.astype(np.float64)
    return [rows[None]], corners(*r[:, :4].T), r[:, 4:5] * r[:, 5:]


def yolov8(rng):
    rows = np.concatenate([random_boxes(rng, 150), rng.uniform(0, 0.6, (150, CLASSES))], -1).astype(np.float32)
    r = rows.astype(np.float64)
    return [rows.T[None]], corners(*r[:, :4].T), r[:, 4:]


def yolov8_transposed(rng):
    rows = np.concatenate([random_boxes(rng, 150), rng.normal(-2, 2, (150, CLASSES))], -1)
    rows[:, :4] /= [WIDTH, HEIGHT, WIDTH, HEIGHT]
    rows = rows.astype(np.float32)
    r = rows.astype(np.float64)
    return [rows[None]], corners(*(r[:, :4] * [WIDTH, HEIGHT, WIDTH, HEIGHT]).T), sigmoid(r[:, 4:])


def distributions(rng, strides, bins, split):
    outputs, boxes, scores = [], [], []
    for stride in strides:
        h, w = HEIGHT // stride, WIDTH // stride
        of_box = rng.normal(0, 2, (4 * bins, h, w)) if bins > 1 else rng.uniform(0.2, 4, (4, h, w))
        of_class = rng.normal(-3, 2, (CLASSES, h, w))
        of_box, of_class = of_box.astype(np.float32), of_class.astype(np.float32)
        outputs += [of_box[None], of_class[None]] if split else [np.concatenate([of_box, of_class])[None]]
        of_box = of_box.astype(np.float64).reshape(4, bins, h * w).transpose(2, 0, 1)
        boxes.append(distance_boxes(stride, 0.5, expect(of_box)))
        scores.append(sigmoid(of_class.astype(np.float64)).reshape(CLASSES, h * w).T)
    return outputs, np.concatenate(boxes), np.concatenate(scores)


def yolov8_raw(rng):
    return distributions(rng, (8, 16, 32), 16, False)


def yolov6_raw(rng):
    return distributions(rng, (16, 32), 17, True)


def distances_raw(rng):
    return distributions(rng, (16, 32), 1, False)


def yolox(rng):
    grids = [(stride, *point) for stride in (8, 16, 32) for point in zip(*centres(stride, 0))]
    stride, x, y = np.array(grids, np.float64).T
    n = len(stride)
    rows = np.concatenate([rng.normal(0.5, 0.5, (n, 2)), rng.normal(0.8, 0.5, (n, 2)),
                           rng.uniform(0, 1, (n, 1 + CLASSES))], -1).astype(np.float32)
    r = rows.astype(np.float64)
    boxes = corners((r[:, 0] + x) * stride, (r[:, 1] + y) * stride, np.exp(r[:, 2]) * stride, np.exp(r[:, 3]) * stride)
    return [rows[None]], boxes, r[:, 4:5] * r[:, 5:]


def yolov10(rng):
    boxes = corners(*random_boxes(rng, 40).T)
    score, label = np.sort(rng.uniform(0, 1, 40))[::-1], rng.integers(0, CLASSES, 40)
    rows = np.concatenate([boxes, score[:, None], label[:, None]], -1).astype(np.float32)
    r = rows.astype(np.float64)
    return [rows[None]], r[:, :4], r[:, 4:5] * (np.arange(CLASSES) == label[:, None])


def pose_rows(rng, n, values):
    points = np.stack([rng.uniform(0, WIDTH, (n, 4)), rng.uniform(8, HEIGHT - 8, (n, 4)), rng.uniform(0, 1, (n, 4))], -1)
    return points[:, :, :values].astype(np.float32)


def yolov8_pose(rng):
    outputs, boxes, scores = yolov8(rng)
    points = pose_rows(rng, len(boxes), 3)
    outputs = [np.concatenate([outputs[0], points.reshape(len(boxes), -1).T[None]], 1)]
    return outputs, boxes, scores, points.astype(np.float64)


def pose_end_to_end(rng):
    outputs, boxes, scores = yolov10(rng)
    points = pose_rows(rng, len(boxes), 2)
    outputs = [np.concatenate([outputs[0], points.reshape(1, len(boxes), -1)], 2)]
    return outputs, boxes, scores, points.astype(np.float64)


def with_prototypes(rng, boxes, channels_first, outputs):
    coefficients = rng.normal(0, 1, (len(boxes), 8)).astype(np.float32)
    prototypes = rng.normal(0.2, 1, (8, HEIGHT // 4, WIDTH // 4)).astype(np.float32)
    rows = np.concatenate([outputs[0], coefficients.T[None] if channels_first else coefficients[None]],
                          1 if channels_first else 2)
    masks = coefficients.astype(np.float64), prototypes.astype(np.float64)
    return [rows, prototypes[None]], masks


def yolov8_seg(rng):
    outputs, boxes, scores = yolov8(rng)
    outputs, masks = with_prototypes(rng, boxes, True, outputs)
    return outputs, boxes, scores, None, masks


def yolov5_seg(rng):
    outputs, boxes, scores = yolov5_rows(rng)
    outputs, masks = with_prototypes(rng, boxes, False, outputs)
    return outputs, boxes, scores, None, masks


# NanoDet, PicoDet, GFL


def gfl(rng, strides, bins, offset, joined, channels_first, activated, clipped):
    all_scores, all_boxes, of_classes, of_boxes = [], [], [], []
    for stride in strides:
        n = -(-HEIGHT // stride) * -(-WIDTH // stride)
        logits = rng.normal(-2.5, 2, (n, CLASSES))
        raw_scores = (sigmoid(logits) if activated else logits).astype(np.float32)
        raw_boxes = rng.normal(0, 2, (n, 4 * bins)).astype(np.float32)
        of_classes.append(raw_scores)
        of_boxes.append(raw_boxes)
        boxes = distance_boxes(stride, offset, expect(raw_boxes.astype(np.float64).reshape(n, 4, bins)))
        if clipped:
            boxes = np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        scores = raw_scores.astype(np.float64)
        all_boxes.append(boxes)
        all_scores.append(scores if activated else sigmoid(scores))
    if joined:
        outputs = [np.concatenate([np.concatenate(of_classes), np.concatenate(of_boxes)], -1)[None]]
    else:
        outputs = [t.T[None] if channels_first else t[None] for t in of_classes + of_boxes]
    return outputs, np.concatenate(all_boxes), np.concatenate(all_scores)


def nanodet(rng):
    return gfl(rng, (16, 32), 8, 0.5, False, False, True, True)


def nanodet_plus(rng):
    return gfl(rng, (8, 16, 32, 64), 8, 0.0, True, False, True, True)


def picodet(rng):
    return gfl(rng, (16, 32, 64), 8, 0.5, False, False, True, False)


def gfl_maps(rng):
    return gfl(rng, (16, 32), 17, 0.5, False, True, False, True)


# CenterNet, CenterFace


def centernet(rng):
    h, w = HEIGHT // 4, WIDTH // 4
    heat = rng.normal(-2, 1.5, (CLASSES, h, w)).astype(np.float32)
    size = rng.uniform(0.5, 8, (2, h, w)).astype(np.float32)
    offset = rng.uniform(0, 1, (2, h, w)).astype(np.float32)
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    around = np.max([padded[:, i:i + h, j:j + w] for i in range(3) for j in range(3)], 0)
    scores = np.where(heat == around, sigmoid(heat.astype(np.float64)), 0)
    x, y = centres(4, 0)
    size, offset = (m.astype(np.float64).reshape(2, -1) for m in (size, offset))
    boxes = corners(x + offset[0], y + offset[1], *size) * 4
    joints = rng.normal(0, 3, (8, h, w)).astype(np.float32)
    outputs = [m.astype(np.float32).reshape(1, -1, h, w) for m in (heat, size, offset, joints)]
    joints = joints.astype(np.float64).reshape(4, 2, h * w).transpose(2, 0, 1)
    points = (joints + np.stack([x, y], -1)[:, None]) * 4
    return outputs, boxes, scores.reshape(CLASSES, -1).T, points


def centerface(rng):
    h, w = HEIGHT // 4, WIDTH // 4
    maps = [rng.beta(0.4, 3, (1, h, w)), rng.normal(1, 0.6, (2, h, w)), rng.uniform(-0.5, 0.5, (2, h, w)),
            rng.uniform(0, 1, (10, h, w))]
    maps = [m.astype(np.float32) for m in maps]
    boxes, points = [], []
    heat, size, offset, landmarks = (m.astype(np.float64) for m in maps)
    for y in range(h):
        for x in range(w):
            sh, sw = np.exp(size[:, y, x]) * 4
            x1 = min(max(0, (x + offset[1, y, x] + 0.5) * 4 - sw / 2), WIDTH)
            y1 = min(max(0, (y + offset[0, y, x] + 0.5) * 4 - sh / 2), HEIGHT)
            boxes.append([x1, y1, min(x1 + sw, WIDTH), min(y1 + sh, HEIGHT)])
            points.append([[landmarks[2 * i + 1, y, x] * sw + x1, landmarks[2 * i, y, x] * sh + y1]
                           for i in range(5)])
    return [m[None] for m in maps], np.array(boxes), heat.reshape(-1, 1), np.array(points)


# RetinaFace


def retinaface(rng):
    priors = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for x, y in zip(*centres(stride, 0.5)):
            priors += [(x * stride / WIDTH, y * stride / HEIGHT, s / 4 / WIDTH, s / 4 / HEIGHT) for s in sizes]
    priors = np.array(priors)
    n = len(priors)
    loc = rng.normal(0, 1.5, (n, 4)).astype(np.float32)
    conf = rng.normal([1.5, 0], 1.5, (n, 2)).astype(np.float32)
    landm = rng.normal(0, 3, (n, 10)).astype(np.float32)
    d = loc.astype(np.float64)
    centre = priors[:, :2] + d[:, :2] * 0.1 * priors[:, 2:]
    sides = priors[:, 2:] * np.exp(d[:, 2:] * 0.2)
    whole = np.array([WIDTH, HEIGHT])
    boxes = corners(*(centre * whole).T, *(sides * whole).T)
    scores = np.zeros((n, 2))
    scores[:, 1] = softmax(conf.astype(np.float64), -1)[:, 1]
    points = priors[:, None, :2] + landm.astype(np.float64).reshape(n, 5, 2) * 0.1 * priors[:, None, 2:]
    return [loc[None], conf[None], landm[None]], boxes, scores, points * whole


# RT-DETR, D-FINE, DETR


def queries(rng, activation):
    n = 60
    boxes = (random_boxes(rng, n) / [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32)
    b = boxes.astype(np.float64)
    boxes_px = corners(*(b * [WIDTH, HEIGHT, WIDTH, HEIGHT]).T)
    if activation == "sigmoid":
        logits = rng.normal(-2, 2, (n, CLASSES)).astype(np.float32)
        return [logits[None], boxes[None]], boxes_px, sigmoid(logits.astype(np.float64))
    logits = rng.normal(0, 2, (n, CLASSES + 1)).astype(np.float32)
    return [logits[None], boxes[None]], boxes_px, softmax(logits.astype(np.float64), -1)[:, :-1]


def rtdetr(rng):
    return queries(rng, "sigmoid")


def detr(rng):
    return queries(rng, "softmax")


def case(make, score_threshold=0.25, nms_iou=0.45, multi_label=True, max_detections=40, **more):
    return make, {"score_threshold": score_threshold, "nms_iou": nms_iou, "multi_label": multi_label,
                  "max_detections": max_detections, **more}


CASES = {
    "yolov2": case(yolov2),
    "yolov3": case(yolov3),
    "yolov3_channels_last": case(yolov3_channels_last),
    "yolov4": case(yolov4),
    "yolov5_raw": case(yolov5_raw),
    "yolov7_raw": case(yolov7_raw),
    "yolov5_rows": case(yolov5_rows),
    "yolov5_rows_best_label": case(yolov5_rows, multi_label=False),
    "yolov8": case(yolov8),
    "yolov8_best_label": case(yolov8, multi_label=False, max_detections=10),
    "yolov8_transposed": case(yolov8_transposed),
    "yolov8_raw": case(yolov8_raw),
    "yolov6_raw": case(yolov6_raw),
    "distances_raw": case(distances_raw),
    "yolox": case(yolox, nms_iou=0.65, multi_label=False),
    "yolov10": case(yolov10, nms_iou=None),
    "yolov8_pose": case(yolov8_pose, multi_label=False, max_detections=10),
    "pose_end_to_end": case(pose_end_to_end, nms_iou=None),
    "yolov8_seg": case(yolov8_seg, multi_label=False, max_detections=6),
    "yolov5_seg": case(yolov5_seg, max_detections=4),
    "nanodet": case(nanodet, nms_iou=0.6),
    "nanodet_plus": case(nanodet_plus, nms_iou=0.6),
    "picodet": case(picodet, nms_iou=0.6),
    "gfl_maps": case(gfl_maps, nms_iou=0.6),
    "centernet": case(centernet, nms_iou=None),
    "centerface": case(centerface, score_threshold=0.2, nms_iou=0.3),
    "ssd_fpn_lite": case(ssd_fpn_lite, nms_iou=0.6),
    "ssd_torchvision": case(ssd_torchvision, nms_iou=0.55, candidates_per_class=6),
    "ssd_anchor_list": case(ssd_anchor_list, score_threshold=0.6, nms_iou=0.5, nms="class_agnostic"),
    "blazeface": case(blazeface, score_threshold=0.5, nms_iou=0.3, nms="weighted"),
    "retinaface": case(retinaface, nms_iou=0.4) + (1.0,),
    "rtdetr": case(rtdetr, nms_iou=None),
    "detr": case(detr, nms_iou=None, multi_label=False),
}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    index, size = [], 0
    for name, (make, settings, *last_pixel) in CASES.items():
        for attempt in range(500):
            rng = np.random.default_rng([zlib.crc32(name.encode()), attempt])
            outputs, boxes, scores, *points = make(rng)
            try:
                expected = select(boxes, scores, settings, *(last_pixel or [0.0]), *points)
            except TooClose:
                continue
            break
        else:
            raise SystemExit(f"{name}: no seed without a close decision")
        raw = b"".join(np.ascontiguousarray(o, "<f4").tobytes() for o in outputs)
        (FOLDER / f"{name}.f32").write_bytes(raw)
        size += len(raw)
        shapes = [list(o.shape) for o in outputs]
        index.append({"name": name, **settings, "shapes": shapes, "expected": expected})
        print(f"{name}: seed {attempt}, {len(scores)} predictions, {len(expected)} detections, {shapes}")
    head = {"input": [WIDTH, HEIGHT], "frame": [FRAME_W, FRAME_H], **TO_FRAME, "classes": CLASSES}
    text = json.dumps({**head, "cases": "CASES"})
    lines = ",\n".join(json.dumps(entry) for entry in index)
    (FOLDER / "index.json").write_text(text.replace('"CASES"', f"[\n{lines}\n]") + "\n")
    size += (FOLDER / "index.json").stat().st_size
    print(f"{size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

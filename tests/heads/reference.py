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

FOLDER = Path(__file__).resolve().parents[1] / "data" / "heads"
WIDTH, HEIGHT = 96, 64  # of the network's input
FRAME_W, FRAME_H = 640, 360
# Letterboxed: the frame's width fills the input's, with padding above and below.
TO_FRAME = {"scale": (640.0, 640.0 * HEIGHT / WIDTH), "offset": (0.0, (360.0 - 640.0 * HEIGHT / WIDTH) / 2)}
CLASSES = 3


class TooClose(Exception):
    """A decision hangs on rounding."""


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def corners(cx, cy, w, h):
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def iou(a, b, last_pixel):
    """`last_pixel` is 1 where a box includes the pixel at its right and lower edge, else 0."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + last_pixel)
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + last_pixel)
    both = w * h
    area = lambda r: (r[2] - r[0] + last_pixel) * (r[3] - r[1] + last_pixel)
    return both / (area(a) + area(b) - both)


def mask_runs(coefficients, prototypes, box):
    """Run lengths, column by column and zeros first, of the pixels of the frame whose centres lie in the box
    and where the weighted sum of the prototypes, interpolated with half-pixel centres, is above 0."""
    (sx, sy), (ox, oy) = TO_FRAME["scale"], TO_FRAME["offset"]
    rows, columns = prototypes.shape[1:]
    total = np.tensordot(coefficients, prototypes, 1)

    def axis(count, scale, offset, cells):
        at = np.clip((np.arange(count) + 0.5 - offset) / scale * cells - 0.5, 0, cells - 1)
        first = np.floor(at).astype(int)
        return first, np.minimum(first + 1, cells - 1), at - first

    top, bottom, down = axis(FRAME_H, sy, oy, rows)
    left, right, across = axis(FRAME_W, sx, ox, columns)
    at_rows = total[top] * (1 - down)[:, None] + total[bottom] * down[:, None]
    values = at_rows[:, left] * (1 - across) + at_rows[:, right] * across
    x, y = np.arange(FRAME_W) + 0.5, np.arange(FRAME_H) + 0.5
    x0, y0, x1, y1 = box
    if min(abs(edge - c).min() for edge, c in ((x0, x), (x1, x), (y0, y), (y1, y))) < 2e-3:
        raise TooClose
    inside = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    if np.abs(values[inside]).min(initial=1) < 1e-5:
        raise TooClose
    flat = ((values > 0) & inside).T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return np.diff([0, *changes, flat.size]).tolist()


def select(boxes, scores, case, last_pixel=0.0, points=None, masks=None):
    """Detections [class, score, x0, y0, x1, y1] from boxes [n, 4] in input pixels and scores [n, classes]."""
    threshold, limit, best_only = case["score_threshold"], case["max_detections"], not case["multi_label"]
    if np.abs(scores - threshold).min() < 1e-4:
        raise TooClose
    found = []
    for label in range(scores.shape[1]):
        keep = scores[:, label] >= threshold
        if best_only:
            keep &= scores.argmax(1) == label
        candidates = sorted(np.flatnonzero(keep), key=lambda i: -scores[i, label])
        kept = []
        for i in candidates:
            overlaps = [iou(boxes[i], boxes[j], last_pixel) for j in kept]
            if case["nms_iou"] is not None:
                if any(abs(o - case["nms_iou"]) < 1e-3 for o in overlaps):
                    raise TooClose
                if any(o > case["nms_iou"] for o in overlaps):
                    continue
            kept.append(i)
        found += [(label, scores[i, label], boxes[i], int(i)) for i in kept[:limit]]
    found.sort(key=lambda f: -f[1])
    order = [f[1] for f in found]
    if any(a - b < 1e-5 for a, b in zip(order, order[1:])):
        raise TooClose
    result = []
    (sx, sy), (ox, oy) = TO_FRAME["scale"], TO_FRAME["offset"]
    for label, score, (x0, y0, x1, y1), row in found:
        x0, x1 = (np.clip(x / WIDTH * sx + ox, 0, FRAME_W) for x in (x0, x1))
        y0, y1 = (np.clip(y / HEIGHT * sy + oy, 0, FRAME_H) for y in (y0, y1))
        if x1 > x0 and y1 > y0:
            found = {"class": label, "score": round(float(score), 9), "box": [round(float(v), 6) for v in (x0, y0, x1, y1)]}
            if points is not None:
                in_frame = points[row][:, :2] / [WIDTH, HEIGHT] * [sx, sy] + [ox, oy]
                found["keypoints"] = np.round(np.concatenate([in_frame, points[row][:, 2:]], -1), 6).tolist()
            if masks is not None:
                found["mask"] = mask_runs(masks[0][row], masks[1], (x0, y0, x1, y1))
            result.append(found)
    return result[:limit]


def centres(stride, offset):
    """Columns and rows of the cells' points in cells, row by row."""
    h, w = -(-HEIGHT // stride), -(-WIDTH // stride)
    y, x = np.mgrid[0:h, 0:w]
    return x.ravel() + offset, y.ravel() + offset


def expect(logits):
    """[..., bins] to the mean of the distribution; one bin is a plain distance."""
    if logits.shape[-1] == 1:
        return logits[..., 0]
    return softmax(logits, -1) @ np.arange(logits.shape[-1])


def distance_boxes(stride, offset, distances):
    """Left, top, right, bottom in strides [cells, 4] to corners."""
    x, y = centres(stride, offset)
    left, top, right, bottom = distances.T
    return np.stack([x - left, y - top, x + right, y + bottom], -1) * stride


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


def random_boxes(rng, n):
    return np.stack([rng.uniform(0, WIDTH, n), rng.uniform(8, HEIGHT - 8, n),
                     rng.uniform(4, 60, n), rng.uniform(4, 40, n)], -1)


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


def case(make, score_threshold=0.25, nms_iou=0.45, multi_label=True, max_detections=40):
    return make, {"score_threshold": score_threshold, "nms_iou": nms_iou, "multi_label": multi_label,
                  "max_detections": max_detections}


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

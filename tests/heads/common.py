"""What the decoders of reference.py share: the picture, boxes, and the selection of detections."""

import numpy as np

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


def overlapping(boxes, i, others, threshold, last_pixel):
    """Whether box `i` overlaps one of the others by more than the threshold."""
    overlaps = [iou(boxes[i], boxes[j], last_pixel) for j in others]
    if any(abs(o - threshold) < 1e-3 for o in overlaps):
        raise TooClose
    return any(o > threshold for o in overlaps)


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
    nms = case.get("nms", "class_wise")
    found = []
    if nms == "class_agnostic":
        keep = scores.max(1) >= threshold
        candidates = sorted(np.flatnonzero(keep), key=lambda i: -scores[i].max())
        kept = []
        for i in candidates:
            if not overlapping(boxes, i, kept, case["nms_iou"], last_pixel):
                kept.append(i)
        found = [(int(scores[i].argmax()), scores[i].max(), boxes[i], int(i)) for i in kept[:limit]]
    for label in range(scores.shape[1] if nms != "class_agnostic" else 0):
        keep = scores[:, label] >= threshold
        if best_only:
            keep &= scores.argmax(1) == label
        candidates = sorted(np.flatnonzero(keep), key=lambda i: -scores[i, label])
        most = case.get("candidates_per_class") or len(candidates)
        if most < len(candidates) and scores[candidates[most - 1], label] - scores[candidates[most], label] < 1e-5:
            raise TooClose
        candidates = candidates[:most]
        if nms == "weighted":
            while candidates:
                best, rest = candidates[0], candidates[1:]
                group = [best] + [i for i in rest if overlapping(boxes, best, [i], case["nms_iou"], last_pixel)]
                weights = scores[group, label] / scores[group, label].sum()
                points = np.concatenate([points, np.tensordot(weights, points[group], 1)[None]])
                found.append((label, scores[best, label], weights @ boxes[group], len(points) - 1))
                candidates = [i for i in rest if i not in group]
            continue
        kept = []
        for i in candidates:
            if case["nms_iou"] is None or not overlapping(boxes, i, kept, case["nms_iou"], last_pixel):
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


def random_boxes(rng, n):
    return np.stack([rng.uniform(0, WIDTH, n), rng.uniform(8, HEIGHT - 8, n),
                     rng.uniform(4, 60, n), rng.uniform(4, 40, n)], -1)

"""Reference of SSD: anchors of other rules than TensorFlow's ssd_anchor_generator, and BlazeFace."""

import numpy as np

from common import CLASSES, HEIGHT, WIDTH, corners, random_boxes, sigmoid, softmax

def fpn_anchors():
    """TensorFlow's multiscale_grid_anchor_generator at levels 3 to 6: cy, cx, h, w as shares of the sides."""
    anchors = []
    for level in range(3, 7):
        stride = 2 ** level
        offset_y, offset_x = (stride / 2 if side % stride == 0 else 0 for side in (HEIGHT, WIDTH))
        for row in range(-(-HEIGHT // stride)):
            for column in range(-(-WIDTH // stride)):
                for ratio in (1, 2, 0.5):
                    for octave in (0, 1):
                        side = 4 * stride * 2 ** (octave / 2)
                        anchors.append([(row * stride + offset_y) / HEIGHT, (column * stride + offset_x) / WIDTH,
                                        side / ratio ** 0.5 / HEIGHT, side * ratio ** 0.5 / WIDTH])
    return np.array(anchors)


def default_boxes(maps):
    """torchvision's DefaultBoxGenerator with aspect ratios 2 and 3."""
    scales = [0.2 + (0.95 - 0.2) * k / (len(maps) - 1) for k in range(len(maps))] + [1.0]
    anchors = []
    for k, side in enumerate(maps):
        here, between = scales[k], (scales[k] * scales[k + 1]) ** 0.5
        shapes = [(here, here), (between, between)]
        for ratio in (2.0, 3.0):
            shapes += [(here * ratio ** 0.5, here / ratio ** 0.5), (here / ratio ** 0.5, here * ratio ** 0.5)]
        for row in range(side):
            for column in range(side):
                anchors += [((row + 0.5) / side, (column + 0.5) / side, min(h, 1.0), min(w, 1.0)) for w, h in shapes]
    return np.array(anchors)


def decode_ssd(anchors, encodings, divisors, most=np.inf):
    """ty, tx, th, tw at anchors cy, cx, h, w to corners in input pixels."""
    ty, tx, th, tw = (encodings / divisors).T
    cy, cx, h, w = anchors.T
    boxes = corners(tx * w + cx, ty * h + cy, np.exp(np.minimum(tw, most)) * w, np.exp(np.minimum(th, most)) * h)
    return boxes * [WIDTH, HEIGHT, WIDTH, HEIGHT]


def ssd_fpn_lite(rng):
    anchors = fpn_anchors()
    n = len(anchors)
    raw = rng.normal(0, 2, (n, 4)).astype(np.float32)
    logits = rng.normal(-4, 2, (n, CLASSES + 1)).astype(np.float32)
    scores = sigmoid(logits.astype(np.float64))
    scores[:, 0] = 0
    return [raw[None], logits[None]], decode_ssd(anchors, raw.astype(np.float64), [10, 10, 5, 5]), scores


def ssd_torchvision(rng):
    anchors = default_boxes((4, 2, 1))
    n = len(anchors)
    raw = rng.normal(0, 4, (n, 4)).astype(np.float32)
    raw[::9, 2:] += 25  # beyond the largest size
    logits = rng.normal([1] + [0] * CLASSES, 1.5, (n, CLASSES + 1)).astype(np.float32)
    # In the file dx, dy, dw, dh.
    boxes = decode_ssd(anchors, raw[:, [1, 0, 3, 2]].astype(np.float64), [10, 10, 5, 5], np.float64(np.float32(np.log(1000 / 16))))
    boxes = np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    scores = softmax(logits.astype(np.float64), -1)
    scores[:, 0] = 0
    return [raw[None], logits[None]], boxes, scores


def ssd_anchor_list(rng):
    """TFLite_Detection_PostProcess: anchors as a tensor, scores in the graph, the best class of each box."""
    n = 120
    anchors = (random_boxes(rng, n) / [WIDTH, HEIGHT, WIDTH, HEIGHT])[:, [1, 0, 3, 2]].astype(np.float32)
    raw = rng.normal(0, 0.3, (n, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (n, CLASSES + 1)).astype(np.float32)
    boxes = decode_ssd(anchors.astype(np.float64), raw.astype(np.float64), [1, 1, 1, 1])
    of_label = scores.astype(np.float64)
    of_label[:, 0] = 0
    return [raw[None], scores[None], anchors], boxes, of_label


def blazeface(rng):
    anchors = []
    for stride, count in ((16, 2), (32, 3)):
        h, w = HEIGHT // stride, WIDTH // stride
        anchors += [((c + 0.5) / w, (r + 0.5) / h) for r in range(h) for c in range(w) for _ in range(count)]
    anchors, first = np.array(anchors), 2 * 24
    n = len(anchors)
    raw = rng.normal(0, 6, (n, 4 + 2 * 3)).astype(np.float32)
    raw[:, 2:4] = np.abs(raw[:, 2:4]) + 20
    logits = rng.normal(-0.5, 2, (n, 1)).astype(np.float32)
    whole = np.array([WIDTH, HEIGHT])
    r = raw.astype(np.float64) / np.tile(whole, 5)
    boxes = corners(*((r[:, :2] + anchors) * whole).T, *(r[:, 2:4] * whole).T)
    points = (r[:, 4:].reshape(n, 3, 2) + anchors[:, None]) * whole
    outputs = [raw[None, :first], logits[None, :first], raw[None, first:], logits[None, first:]]
    return outputs, boxes, sigmoid(logits.astype(np.float64)), points

"""SSD: anchors, targets, loss and decoding, by the model card.

Anchors by the rule of the TensorFlow Object Detection API's `ssd_anchor_generator` (Liu et al., "SSD: Single Shot
MultiBox Detector", section 2.2), as the card's `head.ssd.anchors` gives it.
"""
import math

import torch
import torch.nn.functional as F


def anchors_of(spec):
    """Centre y, centre x, height, width of each anchor, in shares of the input, [anchors, 4]."""
    maps, scales = spec["feature_maps"], list(spec["scales"])
    rows = []
    for level, side in enumerate(maps):
        following = scales[level + 1] if level + 1 < len(scales) else 1.0
        if level == 0 and spec.get("reduce_boxes_in_lowest_layer", True):
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[level], ratio) for ratio in spec["aspect_ratios"]]
            between = spec.get("interpolated_scale_aspect_ratio", 1.0)
            if between > 0:
                shapes.append((math.sqrt(scales[level] * following), between))
        for y in range(side):
            for x in range(side):
                for scale, ratio in shapes:
                    rows.append(((y + 0.5) / side, (x + 0.5) / side, scale / math.sqrt(ratio), scale * math.sqrt(ratio)))
    return torch.tensor(rows)


def corners(boxes):
    """Centre y, x, height, width as y1, x1, y2, x2."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), -1)


def iou(a, b):
    """Intersection over union of each box of `a` with each of `b`, both as corners: [n, m]."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return both / (area_a[:, None] + area_b[None] - both).clamp(min=1e-9)


class Coder:
    """Box encodings: Ren et al., "Faster R-CNN", section 3.1.2, with the card's divisors."""

    def __init__(self, card):
        head = card["head"]["ssd"]
        self.anchors = anchors_of(head["anchors"])
        coding = head["box_coding"]
        self.factors = torch.tensor([coding["y"], coding["x"], coding["h"], coding["w"]])

    def encode(self, boxes, anchors):
        """Corners y1, x1, y2, x2 relative to their anchors."""
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-4)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        shift = (centre - anchors[:, :2]) / anchors[:, 2:]
        return torch.cat((shift, torch.log(size / anchors[:, 2:])), -1) * self.factors

    def decode(self, encodings):
        """Encodings [.., anchors, 4] as corners."""
        anchors = self.anchors.to(encodings)
        raw = encodings / self.factors.to(encodings)
        centre = raw[..., :2] * anchors[:, 2:] + anchors[:, :2]
        size = torch.exp(raw[..., 2:].clamp(max=8)) * anchors[:, 2:]
        return torch.cat((centre - size / 2, centre + size / 2), -1)

    def targets(self, boxes, classes, ignored, channels):
        """What each anchor shall say of one picture.

        Boxes are corners in shares. Returns class targets [anchors, channels], the box encodings [anchors, 4], which
        anchors are matched, and which are left out of the loss of classes. An anchor is matched to the box with the
        largest IoU where that is .5 or more; each box is also matched to the anchor nearest to it.
        """
        n = len(self.anchors)
        scores, encodings = torch.zeros(n, channels), torch.zeros(n, 4)
        matched = torch.zeros(n, dtype=torch.bool)
        outside = torch.zeros(n, dtype=torch.bool)
        as_corners = corners(self.anchors)
        if len(ignored):
            low = torch.maximum(as_corners[:, None, :2], ignored[None, :, :2])
            high = torch.minimum(as_corners[:, None, 2:], ignored[None, :, 2:])
            inside = (high - low).clamp(min=0).prod(-1)
            area = (as_corners[:, 2:] - as_corners[:, :2]).prod(-1)
            overlap = torch.maximum((inside / area[:, None]).amax(1) * 0.999, iou(as_corners, ignored).amax(1))
            outside = overlap >= 0.4
        if len(boxes):
            overlap = iou(as_corners, boxes)
            best, which = overlap.max(1)
            nearest = overlap.argmax(0)
            best[nearest], which[nearest] = 1.0, torch.arange(len(boxes))
            matched = best >= 0.5
            # Neither clearly an object nor clearly none.
            outside |= (best >= 0.4) & ~matched
            rows = matched.nonzero()[:, 0]
            scores[rows, classes[which[rows]]] = 1.0
            encodings[rows] = self.encode(boxes[which[rows]], self.anchors[rows])
        return scores, encodings, matched, outside & ~matched


def focal_loss(logits, targets, smoothing=0.0, alpha=0.25, gamma=2.0):
    """Lin et al., "Focal Loss for Dense Object Detection", equation 5, without reduction."""
    if smoothing:
        targets = targets * (1 - smoothing) + 0.5 * smoothing * targets.amax(-1, keepdim=True)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = torch.sigmoid(logits)
    right = p * targets + (1 - p) * (1 - targets)
    return (alpha * targets + (1 - alpha) * (1 - targets)) * (1 - right) ** gamma * ce


def mined_cross_entropy(logits, targets, matched, outside, smoothing=0.0, ratio=3):
    """Cross entropy of the sigmoids, of each sample's matched anchors and of the `ratio` times as many others at which it
    is largest (Liu et al., section 2.2, "Hard negative mining"); at least ten. Without reduction; 0 elsewhere."""
    if smoothing:
        targets = targets * (1 - smoothing) + 0.5 * smoothing * targets.amax(-1, keepdim=True)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    of_anchor = ce.detach().sum(-1).masked_fill(matched | outside, -1.0)
    place = of_anchor.argsort(1, descending=True).argsort(1)
    wanted = (matched.sum(1, keepdim=True) * ratio).clamp(min=10)
    chosen = matched | ((place < wanted) & (of_anchor >= 0))
    return ce * chosen[..., None]


def ssd_loss(encodings, logits, targets, box_weight=1.0, smoothing=0.0, kind="focal"):
    """Loss of the classes ("focal" or "cross-entropy") plus smooth L1 of the boxes, each by the number of matched anchors."""
    scores, boxes, matched, outside = targets
    count = matched.sum().clamp(min=1)
    if kind == "focal":
        classes = focal_loss(logits, scores, smoothing)[~outside].sum() / count
    else:
        classes = mined_cross_entropy(logits, scores, matched, outside, smoothing).sum() / count
    places = F.smooth_l1_loss(encodings[matched], boxes[matched], reduction="sum") / count
    return classes + box_weight * places, classes.detach(), places.detach()

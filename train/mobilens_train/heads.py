"""Heads on a backbone: SSD, SSDLite, DeepLabv3+ and a classifier.

| network | input | outputs |
|---|---|---|
| `Ssd` | [n, 3, size, size] | boxes [n, anchors, 4], scores [n, anchors, classes + 1] |
| `DeeplabV3Plus` | [n, 3, h, w] | logits [n, classes, h/4, w/4] |
| `Classifier` | [n, 3, h, w] | logits [n, classes] |
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from . import backbones

# As the shipped SSDLite: six maps, and the shapes of the anchors of each.
MAPS = 6
ASPECT_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
# Anchors of a cell: of the first map (`reduce_boxes_in_lowest_layer`), and of the others with the one between scales.
FIRST_ANCHORS, ANCHORS = 3, len(ASPECT_RATIOS) + 1
EXTRA_CHANNELS = (512, 256, 256, 128)


def conv(channels, out, kernel=1, stride=1, dilation=1, groups=1, act=True):
    """Convolution, batch norm and ReLU6; the padding keeps `size / stride`, rounded up."""
    padding = dilation * (kernel - 1) // 2
    layers = [
        nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if act else nn.Sequential(*layers)


def separable(channels, out, kernel=3, stride=1, dilation=1):
    """Depthwise and pointwise convolution, each with batch norm and ReLU6."""
    return nn.Sequential(conv(channels, channels, kernel, stride, dilation, channels), conv(channels, out))


def initialise(module):
    """He et al., "Delving Deep into Rectifiers", for all convolutions of a head."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def predictor(channels, out, lite):
    """Values of a map's anchors: a 3x3 convolution (Liu et al., "SSD", section 2.1), or with `lite` a depthwise one
    and a pointwise one without activation (Sandler et al., "MobileNetV2", section 6.2)."""
    if not lite:
        return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1))
    return nn.Sequential(conv(channels, channels, 3, groups=channels), nn.Conv2d(channels, out, 1))


class Ssd(nn.Module):
    """SSD on the maps of stride 16 and 32 and on further ones, each of half the size, until six or a single cell.

    backbone: of output stride 32. size: side of the input in pixels. classes: without the background, whose channel
    is the first. lite: SSDLite. extra: channels of the further maps at alpha 1.
    `feature_maps` are the sides of the maps, `channels` theirs.
    """

    output_names = ("boxes", "scores")

    def __init__(self, backbone, size, classes, lite=True, extra=EXTRA_CHANNELS):
        super().__init__()
        self.backbone, self.score_channels = backbone, classes + 1
        alpha = backbone.spec.alpha
        self.extra = nn.ModuleList()
        self.channels = backbone.channels[-2:]
        side = math.ceil(size / 32)
        self.feature_maps = [math.ceil(size / 16), side]
        for channels in extra[:MAPS - 2]:
            if side == 1:
                break
            # Multiples of 8, as the backbones' channels are.
            out = max(16, round(channels * alpha / 8) * 8)
            middle = max(16, out // 2)
            further = separable(middle, out, stride=2) if lite else conv(middle, out, 3, stride=2)
            self.extra.append(nn.Sequential(conv(self.channels[-1], middle), further))
            self.channels.append(out)
            side = math.ceil(side / 2)
            self.feature_maps.append(side)
        counts = [FIRST_ANCHORS] + [ANCHORS] * (len(self.channels) - 1)
        self.anchors = sum(side * side * count for side, count in zip(self.feature_maps, counts))
        self.boxes = nn.ModuleList(predictor(c, 4 * n, lite) for c, n in zip(self.channels, counts))
        self.scores = nn.ModuleList(predictor(c, self.score_channels * n, lite) for c, n in zip(self.channels, counts))
        for part in (self.extra, self.boxes, self.scores):
            initialise(part)
        for part in (*self.boxes, *self.scores):
            nn.init.normal_(part[-1].weight, std=0.01)
        for part in self.scores:
            # All is background at first: Lin et al., "Focal Loss for Dense Object Detection", section 4.1, pi .01.
            nn.init.constant_(part[-1].bias, -math.log(99))

    def forward(self, x):
        maps = self.backbone(x)[-2:]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        # A number also while the network is traced for a file, whose batch is 1.
        batch = int(x.shape[0])

        def rows(predictors, values):
            # Row by row, cell by cell, anchor by anchor, as `ssd.anchors_of` has them.
            return torch.cat([p(x).permute(0, 2, 3, 1).reshape(batch, -1, values) for p, x in zip(predictors, maps)], 1)

        return [rows(self.boxes, 4), rows(self.scores, self.score_channels)]

    def head(self):
        """The card's head, with the anchors of the maps."""
        count = len(self.feature_maps)
        scales = [round(0.2 + 0.75 * i / max(count - 1, 1), 4) for i in range(count)]
        anchors = {
            "feature_maps": self.feature_maps, "scales": scales, "aspect_ratios": list(ASPECT_RATIOS),
            "interpolated_scale_aspect_ratio": 1.0, "reduce_boxes_in_lowest_layer": True,
        }
        return {"ssd": {
            "boxes": "boxes", "scores": "scores", "anchors": anchors,
            "box_coding": {"y": 10.0, "x": 10.0, "h": 5.0, "w": 5.0},
            "activation": "sigmoid", "background": True, "nms_iou": 0.6, "max_detections": 100,
        }}


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling, depthwise: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for
    Semantic Image Segmentation", section 3.1.

    The mean over the picture is the same in every cell, so its part of the last 1x1 convolution is computed once and
    added, instead of being written out over the map and concatenated.
    """

    def __init__(self, channels, out, rates, dropout):
        super().__init__()
        self.branches = nn.ModuleList([conv(channels, out), *(separable(channels, out, dilation=r) for r in rates)])
        # No batch norm: it would see one value of each picture.
        self.pool = nn.Sequential(nn.Conv2d(channels, out, 1), nn.ReLU6(inplace=True), nn.Conv2d(out, out, 1, bias=False))
        self.project = conv((1 + len(rates)) * out, out, act=False)
        self.last = nn.Sequential(nn.ReLU6(inplace=True), nn.Dropout(dropout))
        initialise(self)

    def forward(self, x):
        parts = torch.cat([branch(x) for branch in self.branches], 1)
        return self.last(self.project(parts) + self.pool(F.adaptive_avg_pool2d(x, 1)))


class DeeplabV3Plus(nn.Module):
    """DeepLabv3+ (Chen et al. 2018, section 3.1): ASPP on the encoder's last map, which a decoder refines at stride 4.

    backbone: of output stride 8, 16 or 32. aspp: channels of each branch and of their sum. rates: of the branches at output stride 16;
    at 8 they are doubled, at 32 halved. skip: channels of the map of stride 4 after its 1x1 convolution.
    decoder: channels of the decoder's two depthwise separable convolutions. align_corners: of all resizing.
    """

    output_names = ("logits",)
    logit_stride = 4

    def __init__(self, backbone, classes, aspp=256, rates=(6, 12, 18), skip=48, decoder=256, dropout=0.1, align_corners=True):
        super().__init__()
        self.backbone, self.align_corners = backbone, align_corners
        scale = 16 / backbone.strides[-1]
        self.aspp = Aspp(backbone.channels[-1], aspp, [max(1, round(rate * scale)) for rate in rates], dropout)
        self.skip = conv(backbone.channels[0], skip)
        self.decoder = nn.Sequential(separable(aspp + skip, decoder), separable(decoder, decoder))
        self.logits = nn.Conv2d(decoder, classes, 1)
        for part in (self.skip, self.decoder):
            initialise(part)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.zeros_(self.logits.bias)

    def forward(self, x):
        first, *_, last = self.backbone(x)
        context = F.interpolate(self.aspp(last), first.shape[2:], mode="bilinear", align_corners=self.align_corners)
        return self.logits(self.decoder(torch.cat((context, self.skip(first)), 1)))

    def head(self):
        """The card's head."""
        return {"deeplab": {"logits": "logits", "output_stride": self.logit_stride, "align_corners": self.align_corners}}


class Classifier(nn.Module):
    """The library's own network with a last layer for `classes`; weights of a file or download are used up to it."""

    output_names = ("logits",)

    def __init__(self, name, classes, alpha=None, dropout=0.2, weights=None, pretrained=False):
        super().__init__()
        self.net, self.spec = backbones.built(name, alpha, classes, weights, pretrained, dropout)
        self.has_weights = bool(weights or pretrained)

    def forward(self, x):
        return self.net(x)

    def last_layer(self):
        """The parameters that no file of weights gives."""
        return list(self.net.parameters())[-2:]

    def head(self):
        """The card's head."""
        return {"classify": {"output": "logits", "activation": "softmax", "top": 5}}

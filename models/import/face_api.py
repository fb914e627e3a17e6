"""The two face detectors of the npm package @vladmandic/face-api. It ships their weights; their layers are code there
(src/ssdMobilenetv1, src/tinyYolov2), written down here again."""
import json

import numpy as np

from operators import Operators
from tfjs import read_weights

EPSILON = 1e-3


class Layers(Operators):
    """Layers by the names of their weights in the package."""

    def __init__(self, folder, name):
        super().__init__()
        self.weights_of = {}
        manifest = json.loads((folder / f"{name}_model-weights_manifest.json").read_text())
        read_weights(manifest, folder, self.weights_of)

    def layer(self, name, x, filters, bias=None, stride=1, depthwise=False, padding="SAME"):
        weight = self.weights_of[filters]
        h, w, inside, out = weight.shape
        if depthwise:
            weight = weight.transpose(2, 3, 0, 1).reshape(inside * out, 1, h, w)
        else:
            weight = weight.transpose(3, 2, 0, 1)
        return self.conv(name, x, weight, None if bias is None else self.weights_of[bias], (stride, stride),
                         groups=inside if depthwise else 1, padding=padding)


def ssd_mobilenetv1(folder, path):
    """SSD MobileNetV1 of 512x512: boxes, class scores (0 background, 1 face, 2 unused) and the anchors that lie in
    the package as a table, as centre y, centre x, height, width."""
    net = Layers(folder, "ssd_mobilenetv1")

    def pointwise(x, name, stride=1):
        x = net.layer(name, x, f"{name}/weights", f"{name}/convolution_bn_offset", stride)
        return net.unary("relu6", f"{name}.relu6", x)

    x = pointwise(net.input("input", (1, 512, 512, 3)), "MobilenetV1/Conv2d_0_pointwise", 2)
    maps = []
    for i in range(1, 14):
        name = f"MobilenetV1/Conv2d_{i}_depthwise"
        x = net.layer(name, x, f"{name}/depthwise_weights", None, 2 if i in (2, 4, 6, 12) else 1, True)
        gamma, beta, mean, variance = (net.weights_of[f"{name}/BatchNorm/{part}"].astype(np.float64)
                                       for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        scale = gamma / np.sqrt(variance + EPSILON)
        x = net.unary("relu6", f"{name}.relu6", net.batch_norm(name, x, scale, beta - mean * scale))
        x = pointwise(x, f"MobilenetV1/Conv2d_{i}_pointwise")
        if i in (11, 13):
            maps.append(x)
    for i in range(8):
        x = pointwise(x, f"Prediction/Conv2d_{i}_pointwise", 1 + i % 2)
        if i % 2:
            maps.append(x)
    outputs = {}
    for kind, depth, name in (("BoxEncodingPredictor", 4, "boxes"), ("ClassPredictor", 3, "scores")):
        rows = []
        for i, feature in enumerate(maps):
            layer = f"Prediction/BoxPredictor_{i}/{kind}"
            made = net.layer(layer, feature, f"{layer}/weights", f"{layer}/biases")
            rows.append(net.reshape(f"{layer}.rows", made, (1, -1, depth)))
        outputs[name] = net.concat(name, rows, 1)
    corners = net.weights_of["Output/extra_dim"][0].astype(np.float64)
    size = corners[:, 2:] - corners[:, :2]
    anchors = np.concatenate([corners[:, :2] + size / 2, size], 1).astype(np.float32)
    outputs["anchors"] = net.fixed(anchors)
    net.save("face_ssd_mobilenetv1", list(outputs.items()), path)


def tiny_yolov2(folder, path):
    """Tiny-YOLOv2 with depthwise separable convolutions, 416x416: one map of 13x13 cells and 5 anchors."""
    net = Layers(folder, "tiny_face_detector")

    def leaky(x, name):
        return net.leaky_relu(f"{name}.leaky", x, 0.1)

    x = net.input("input", (1, 416, 416, 3))
    x = leaky(net.layer("conv0", x, "conv0/filters", "conv0/bias", padding="VALID"), "conv0")
    for i in range(1, 6):
        x = net.pool("MaxPool", f"pool{i}", x, (2, 2), (2, 2), "SAME")
        x = net.layer(f"conv{i}/depthwise", x, f"conv{i}/depthwise_filter", None, depthwise=True, padding=[1, 1, 1, 1])
        x = leaky(net.layer(f"conv{i}", x, f"conv{i}/pointwise_filter", f"conv{i}/bias"), f"conv{i}")
    x = net.pool("MaxPool", "pool6", x, (2, 2), (1, 1), "SAME")
    net.save("face_tiny_yolov2", [("map", net.layer("conv8", x, "conv8/filters", "conv8/bias"))], path)

"""Writes the SSD of a fully quantised TensorFlow Lite file (uint8) as QDQ ONNX.

Codes, scales and zero points of weights, biases and activations are the file's own. What is left out
comes after the raw heads: their requantisation to one common scale when they are joined, the sigmoid
and TFLite_Detection_PostProcess. The anchors of that operator are only checked against the formula
that the model card describes them by; they are quantised too, to 1/155 of the picture.
"""
import numpy as np
from tflite import BuiltinOperator as Op

from tflite_convert import Converter


def anchors(feature_maps, scales, aspect_ratios):
    """Centre y, centre x, height, width of each anchor, as the model card describes them."""
    rows = []
    for level, (side, scale) in enumerate(zip(feature_maps, scales)):
        if level == 0:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            after = scales[level + 1] if level + 1 < len(scales) else 1.0
            shapes = [(scale, ratio) for ratio in aspect_ratios] + [(np.sqrt(scale * after), 1.0)]
        for y in range(side):
            for x in range(side):
                rows += [((y + 0.5) / side, (x + 0.5) / side, size / np.sqrt(ratio), size * np.sqrt(ratio))
                         for size, ratio in shapes]
    return np.array(rows)


def write_quantized_ssd(data, name, path):
    converter = Converter(data)
    file = converter.file
    (post,) = {file.producer[int(t)] for t in file.sub.OutputsAsNumpy()}
    boxes, scores, stored = (int(i) for i in post.InputsAsNumpy())
    (scale,), _, _ = converter.quantization(stored)
    expected = anchors([19, 10, 5, 3, 2, 1], [0.2, 0.35, 0.5, 0.65, 0.8, 0.95], [1.0, 2.0, 0.5, 3.0, 0.3333])
    off = np.abs(converter.cut["anchors"] - expected)
    assert off.max() < 0.51 * scale, f"the anchors are off by {off.max()}"

    def head(output, tensor, depth):
        """The layers that a concatenation joins, as one output [1, anchors, depth]."""
        operator = file.producer[tensor]
        while file.kind(operator) != Op.CONCATENATION:
            operator = file.producer[operator.Inputs(0)]
        layers = [converter.value(int(t)) for t in operator.InputsAsNumpy()]
        rows = [converter.reshape(f"{output}.{i}", layer, (1, -1, depth)) for i, layer in enumerate(layers)]
        return output, converter.concat(output, rows, 1)

    converter.rename(converter.inputs[0].name, "input")
    converter.save(name, [head("boxes", boxes, 4), head("scores", scores, 91)], path)

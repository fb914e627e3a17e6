#!/usr/bin/env python3
"""From a TensorFlow Lite file to ONNX.

    python3 models/import/from_tflite.py MODEL.tflite -o MODEL.onnx [--float16]

Float files, float16 ones and quantised ones (int8, uint8: as QuantizeLinear and DequantizeLinear with the file's own
codes and scales). A picture goes in with its channels first, [1, 3, rows, columns], in the units of the file: what it
wants as uint8 with a scale and a zero point is (code - zero point) * scale. Ends in TFLite_Detection_PostProcess are cut
off: the outputs are then `boxes` and `scores`, the anchors are written to MODEL.anchors.txt, and what a model card says
of them is printed. --float16 keeps large weights as float16. Needs: `pip install -r models/import/requirements.txt`.
"""
import argparse
from pathlib import Path

from builder import NotKnown, guarded
from tflite_convert import Converter


def outputs(converter):
    """Names and values of the network's outputs."""
    if converter.cut:
        return [(part, converter.cut[part]) for part in ("boxes", "scores")]
    return [(converter.file.name(int(t)), converter.value(int(t))) for t in converter.sub.OutputsAsNumpy()]


def head(options, anchors):
    """The head of a model card, of the options of TFLite_Detection_PostProcess."""
    scales = ", ".join(f"{side}: {options[side + '_scale']:g}" for side in "yxhw")
    nms = "class_wise" if options.get("use_regular_nms") else "class_agnostic"
    return f"""head:
  ssd:
    boxes: boxes
    scores: scores
    anchor_list: {{ file: {anchors}, coding: centers }}
    box_coding: {{ {scales} }}
    activation: none              # the graph has the sigmoid
    background: true
    nms: {nms}
    nms_iou: {options['nms_iou_threshold']:.4g}
    max_detections: {options['max_detections']}"""


def convert(data, path, float16=False):
    """Writes the ONNX file of a TensorFlow Lite file's bytes, and gives the converter for what else is in it."""
    if data[4:8] != b"TFL3":
        raise NotKnown("not a TensorFlow Lite file: it does not have the mark TFL3")
    converter = Converter(data, float16)
    converter.save(path.stem, outputs(converter), path)
    if converter.cut:
        anchors = path.with_suffix(".anchors.txt")
        anchors.write_text("".join(" ".join(f"{v:.7g}" for v in row) + "\n" for row in converter.cut["anchors"]))
        print(head(converter.cut["options"], anchors.name))
    return converter


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--float16", action="store_true", help="keep large weights as float16")
    args = parser.parse_args()
    guarded(parser, args.file, lambda: convert(args.file.read_bytes(), args.output, args.float16))


if __name__ == "__main__":
    main()

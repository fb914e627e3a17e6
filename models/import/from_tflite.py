#!/usr/bin/env python3
"""From a TensorFlow Lite file to ONNX.

    python3 models/import/from_tflite.py MODEL.tflite -o MODEL.onnx [--float16]

Float files, float16 ones and quantised ones (int8, uint8: as QuantizeLinear and DequantizeLinear with the file's own
codes and scales). A picture goes in with its channels first, [1, 3, rows, columns], in the units of the file: what it
wants as uint8 with a scale and a zero point is (code - zero point) * scale. Ends in TFLite_Detection_PostProcess are cut
off: the outputs are then `boxes` and `scores`, and the anchors are written to MODEL.anchors.json. --float16 keeps large
weights as float16. Needs: `pip install -r models/import/requirements.txt`.
"""
import argparse
import json
from pathlib import Path

from builder import NotKnown, guarded
from tflite_convert import Converter


def outputs(converter):
    """Names and values of the network's outputs."""
    if converter.cut:
        return [(part, converter.cut[part]) for part in ("boxes", "scores")]
    return [(converter.file.name(int(t)), converter.value(int(t))) for t in converter.sub.OutputsAsNumpy()]


def convert(data, path, float16=False):
    """Writes the ONNX file of a TensorFlow Lite file's bytes, and gives the converter for what else is in it."""
    if data[4:8] != b"TFL3":
        raise NotKnown("not a TensorFlow Lite file: it does not have the mark TFL3")
    converter = Converter(data, float16)
    converter.save(path.stem, outputs(converter), path)
    if converter.cut:
        settings = {key: converter.cut["options"][key] for key in sorted(converter.cut["options"])}
        text = dict(order="centre y, centre x, height, width", options=settings,
                    anchors=converter.cut["anchors"].astype(float).round(7).tolist())
        path.with_suffix(".anchors.json").write_text(json.dumps(text) + "\n")
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

#!/usr/bin/env python3
"""Holds the networks that export.py wrote to ONNX Runtime, and docs/models.md to them.

    python3 tests/architectures/check.py OUT [OUT ...] [NAME ...] [--table]

Of each file under OUT: every output within 1e-4 of ONNX Runtime's on a seeded random input, at least 99 % of the
multiply-accumulates (MACs) on own kernels, and the figures of docs/models.md. --table prints that table instead of
comparing it. `mobilens` and `raw_outputs` (an example of mobilens-nn) are taken from target/debug, or from the
folder that MOBILENS_BIN names. Needs numpy and onnxruntime.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("MOBILENS_BIN", ROOT / "target/debug"))
TOLERANCE = 1e-4
OWN_SHARE = 0.99
# What is not run: the whole detector of torchvision, with NMS in the graph, which is refused.
REFUSED = {"ssdlite320_mobilenet_v3_large_nms"}
# Name: what is printed of it, MACs and parameters in millions as its authors give them (MobileNets at other widths: TensorFlow's
# list of checkpoints), why ours differ.
BATCH_NORM = "batch norm is folded into the weights"
WIDTHS = "torchvision's multiplier narrows the last layers too, TensorFlow's does not"
PAPERS = {
    "mobilenetv1_100": ("MobileNetV1 1.0", 569, 4.2, ""),
    "mobilenetv1_075": ("MobileNetV1 .75", 325, 2.6, ""),
    "mobilenetv1_050": ("MobileNetV1 .5", 149, 1.3, ""),
    "mobilenetv1_025": ("MobileNetV1 .25", 41, 0.5, ""),
    "mobilenetv1_025_128": ("MobileNetV1 .25", 14, 0.5, ""),
    "mobilenetv2_140": ("MobileNetV2 1.4", 585, 6.9, "timm has the widths of TensorFlow's own 1.4, which are narrower"),
    "mobilenetv2_100": ("MobileNetV2 1.0", 300, 3.4, BATCH_NORM),
    "mobilenetv2_torchvision": ("MobileNetV2 1.0, torchvision", 300, 3.4, BATCH_NORM),
    "mobilenetv2_075": ("MobileNetV2 .75", 209, 2.6, ""),
    "mobilenetv2_050": ("MobileNetV2 .5", 97, 2.0, ""),
    "mobilenetv2_035": ("MobileNetV2 .35", 59, 1.7, ""),
    "mobilenetv3_large_100": ("MobileNetV3-Large 1.0", 219, 5.4, "squeeze-and-excite widths are rounded to multiples of 8"),
    "mobilenetv3_large_100_timm": ("MobileNetV3-Large 1.0, timm", 219, 5.4, "as above"),
    "mobilenetv3_large_075": ("MobileNetV3-Large .75", 155, 4.0, WIDTHS),
    "mobilenetv3_small_100": ("MobileNetV3-Small 1.0", 66, 2.9, "torchvision's own figures are 57 M and 2.5 M"),
    "mobilenetv3_small_075": ("MobileNetV3-Small .75", 44, 2.4, WIDTHS),
    "mobilenetv4_conv_small": ("MobileNetV4-Conv-Small", 200, 3.8, ""),
    "mobilenetv4_conv_medium": ("MobileNetV4-Conv-Medium", 1000, 9.2, "the cause is not known"),
    "mobilenetv4_hybrid_medium": ("MobileNetV4-Hybrid-Medium", 1200, 11.1, ""),
    "efficientnet_lite0": ("EfficientNet-Lite0", 407, 4.7, "same layers and parameters; TensorFlow's list has 407, the cause is not known"),
    "tf_efficientnet_lite0": ("EfficientNet-Lite0, padding SAME", 407, 4.7, "as above"),
    "mobilevit_xxs": ("MobileViT-XXS", 400, 1.3, ""),
    "mobilevit_s": ("MobileViT-S", 2000, 5.6, ""),
    "efficientformer_l1": ("EfficientFormer-L1", 1300, 12.3, "two heads, averaged"),
    "repvit_m1": ("RepViT-M1", 800, 5.1, "branches merged"),
    "resnet50": ("ResNet-50", 4110, 25.6, "without pooling and additions; stride in the 3x3 (V1.5)"),
    "ssdlite320_mobilenet_v3_large": ("SSDLite320 MobileNetV3-Large", 583, 3.44, "torchvision's figures"),
    "lraspp_mobilenet_v3_large": ("LR-ASPP MobileNetV3-Large", 2086, 3.22, "torchvision's figures"),
    "deeplabv3_mobilenet_v3_large": ("DeepLabv3 MobileNetV3-Large", 10452, 11.03, "torchvision's figures"),
}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command[0]}: exit status {done.returncode}")
    return done.stdout


def inspect(path, shape):
    report = json.loads(run(BIN / "mobilens", "inspect", path, "--json", "--shape", shape))
    totals = report["totals"]
    macs = sum(total["macs"] for total in totals)
    own = sum(total["macs"] for total in totals if total["runs_on"] != "tract")
    left = sorted({layer["operator"] for layer in report["layers"] if layer["runs_on"] == "tract"})
    return macs, sum(total["parameters"] for total in totals), own / macs, left


def largest_difference(path, dims, shape):
    x = np.random.default_rng(16).standard_normal(dims).astype("<f4")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x})
    with tempfile.TemporaryDirectory() as folder:
        x.tofile(f"{folder}/x.f32")
        run(BIN / "examples/raw_outputs", path, f"{folder}/x.f32", f"{folder}/y", shape)
        difference = 0.0
        for index, tensor in enumerate(expected):
            ours = np.fromfile(f"{folder}/y.{index}.f32", "<f4")
            if ours.size != tensor.size:
                raise RuntimeError(f"output {index} has {ours.size} values, ONNX Runtime's {tensor.size}")
            difference = max(difference, float(np.abs(ours - tensor.ravel()).max()))
    return difference


def table(figures):
    lines = ["| architecture | input | MACs (M) | published | parameters (M) | published | difference |", "|---|---|---|---|---|---|---|"]
    for name, (title, paper_macs, paper_parameters, why) in PAPERS.items():
        if name in figures:
            side, macs, parameters = figures[name]
            lines.append(f"| {title} | {side} | {macs / 1e6:.0f} | {paper_macs} | {parameters / 1e6:.2f} | {paper_parameters} | {why} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="OUT|NAME")
    parser.add_argument("--table", action="store_true", help="print the table of docs/models.md")
    args = parser.parse_args()
    folders = [Path(path) for path in args.paths if Path(path).is_dir()]
    names = set(args.paths) - {str(folder) for folder in folders}
    failed, figures = 0, {}
    for folder in folders:
        for row in json.loads((folder / "manifest.json").read_text()):
            name, path, dims = row["name"], folder / row["file"], row["input"]
            if names and name not in names:
                continue
            shape = "x".join(map(str, dims))
            try:
                macs, parameters, own, left = inspect(path, shape)
                difference = largest_difference(path, dims, shape)
            except RuntimeError as error:
                expected = name in REFUSED and "\n" not in str(error)
                failed += not expected
                print(f"{'ok  ' if expected else 'FAIL'} {row['file']}: {error}")
                continue
            good = difference <= TOLERANCE and own >= OWN_SHARE and name not in REFUSED
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {row['file']}: difference {difference:.1e}, {100 * own:.2f} % of {macs / 1e6:.1f} M MACs"
                  f" on own kernels{', on tract: ' + ', '.join(left) if left else ''}", flush=True)
            figures.setdefault(name, (dims[2], macs, parameters))
    if args.table:
        print("\n".join(table(figures)))
    else:
        documented = (ROOT / "docs/models.md").read_text().splitlines()
        for line in table(figures):
            if line not in documented:
                failed += 1
                print(f"FAIL docs/models.md has another line than: {line}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

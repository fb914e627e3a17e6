#!/usr/bin/env python3
"""Exports the architectures of docs/models.md as ONNX files, with seeded random weights.

    python3 tests/architectures/export.py OUT [NAME ...] [--exporter torchscript|dynamo|both]
    python3 tests/architectures/export.py --list

OUT/EXPORTER/NAME.onnx is what torch.onnx.export writes with its defaults; the newer exporter puts weights of
1 KB and more into NAME.onnx.data. OUT/manifest.json says what was written: file, input shape, outputs,
parameters, sha256. Needs a Python of its own:

    python3 -m venv VENV
    VENV/bin/pip install --no-deps -r requirements-torch.txt && VENV/bin/pip install -r requirements.txt
    VENV/bin/python torch_without_cuda.py
"""
import argparse
import hashlib
import json
import logging
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import efficientnet as timm_efficientnet
from timm.utils.model import reparameterize_model
from torch import nn

SEED = 16
# torch.export cannot trace them.
TORCHSCRIPT_ONLY = ("ssdlite320_mobilenet_v3_large_nms",)


class Heads(nn.Module):
    """torchvision's SSD up to the raw heads: `[1, anchors, 4]` and `[1, anchors, classes]`."""

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x):
        outputs = self.head(list(self.backbone(x).values()))
        return outputs["bbox_regression"], outputs["cls_logits"]


class Detector(nn.Module):
    """The whole detector of torchvision, with resize, priors and NMS, for one picture `[3, h, w]`."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, x):
        found = self.detector([x[0]])[0]
        return found["boxes"], found["scores"], found["labels"]


class Segmenter(nn.Module):
    """torchvision's segmenter with the logits alone, `[1, 21, h, w]`."""

    def __init__(self, segmenter):
        super().__init__()
        self.segmenter = segmenter

    def forward(self, x):
        return self.segmenter(x)["out"]


def of_timm(name, **arguments):
    return timm.create_model(name, pretrained=False, exportable=True, **arguments)


def mobilenet_v1(alpha):
    name = f"mobilenetv1_{int(alpha * 100):03}"
    if alpha == 1:
        return timm.create_model(name, pretrained=False)
    # Not registered: the generator that the registered one calls, with another multiplier.
    timm_efficientnet.default_cfgs.setdefault(name, timm_efficientnet.default_cfgs["mobilenetv1_100"])
    return timm_efficientnet._gen_mobilenet_v1(name, alpha)


def of_torchvision(name, **arguments):
    return getattr(torchvision.models, name)(weights=None, **arguments)


def segmenter(name):
    model = getattr(torchvision.models.segmentation, name)
    return Segmenter(model(weights=None, weights_backbone=None, num_classes=21))


def ssdlite():
    return torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=91)


# Name: constructor, side of the input, names of the outputs.
MODELS = {
    **{f"mobilenetv1_{int(a * 100):03}": (partial(mobilenet_v1, a), 224) for a in (0.25, 0.5, 0.75, 1)},
    "mobilenetv1_025_128": (partial(mobilenet_v1, 0.25), 128),
    **{f"mobilenetv2_{m}": (partial(of_timm, f"mobilenetv2_{m}"), 224) for m in ("035", "050", "075", "100", "140")},
    "mobilenetv2_torchvision": (partial(of_torchvision, "mobilenet_v2"), 224),
    "mobilenetv2_dynamic": (partial(of_torchvision, "mobilenet_v2"), 224),
    **{
        f"mobilenetv3_{size}_{int(w * 100):03}": (partial(of_torchvision, f"mobilenet_v3_{size}", width_mult=w), 224)
        for size in ("large", "small")
        for w in (0.75, 1.0)
    },
    "mobilenetv3_large_100_timm": (partial(of_timm, "mobilenetv3_large_100"), 224),
    "mobilenetv4_conv_small": (partial(of_timm, "mobilenetv4_conv_small"), 224),
    "mobilenetv4_conv_medium": (partial(of_timm, "mobilenetv4_conv_medium"), 256),
    "mobilenetv4_hybrid_medium": (partial(of_timm, "mobilenetv4_hybrid_medium"), 256),
    "efficientnet_lite0": (partial(of_timm, "efficientnet_lite0"), 224),
    "tf_efficientnet_lite0": (partial(of_timm, "tf_efficientnet_lite0"), 224),
    "mobilevit_xxs": (partial(of_timm, "mobilevit_xxs"), 256),
    "mobilevit_s": (partial(of_timm, "mobilevit_s"), 256),
    "efficientformer_l1": (partial(of_timm, "efficientformer_l1"), 224),
    "repvit_m1": (partial(of_timm, "repvit_m1"), 224),
    "resnet50": (partial(of_torchvision, "resnet50"), 224),
    "ssdlite320_mobilenet_v3_large": (lambda: Heads(ssdlite()), 320, ["boxes", "scores"]),
    "ssdlite320_mobilenet_v3_large_nms": (lambda: Detector(ssdlite()), 320, ["boxes", "scores", "labels"]),
    "lraspp_mobilenet_v3_large": (partial(segmenter, "lraspp_mobilenet_v3_large"), 520),
    "deeplabv3_mobilenet_v3_large": (partial(segmenter, "deeplabv3_mobilenet_v3_large"), 520),
}


@torch.no_grad()
def randomize(model, side):
    """Seeded weights under which values keep their size through the network.

    Batch norms get scales and shifts other than 1 and 0, and the statistics of random pictures; layer
    scales, which begin near 0, let their branch through.
    """
    for name, parameter in model.named_parameters():
        if name.rsplit(".", 1)[-1] in ("gamma", "layer_scale") or ".ls" in name:
            parameter.uniform_(0.2, 0.5)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.5, 0.5)
        norm.momentum = None  # the mean over all batches
        norm.train()
    # Several, as some norms come after the pooling and see one value of each picture.
    pictures = torch.randn(8, 3, side, side)
    Heads(model.detector)(pictures) if isinstance(model, Detector) else model(pictures)
    for norm in norms:
        norm.eval()
    # Logits of size 1, so that an absolute tolerance means the same everywhere.
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1000]
    spread = model(pictures).std() if layers else None
    for layer in layers:
        layer.weight /= spread
        layer.bias /= spread
    return model


def export(name, exporter, out):
    build, side, *outputs = MODELS[name]
    torch.manual_seed(SEED)
    model = randomize(build().eval(), side).eval()
    if name.startswith("repvit"):
        # The branches of training merged into one, as for deployment.
        model = reparameterize_model(model)
    path = out / exporter / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = torch.randn(1, 3, side, side)
    output_names = outputs[0] if outputs else ["logits"]
    arguments = {}
    if name.endswith("_dynamic"):
        axes = {0: "batch", 2: "height", 3: "width"}
        arguments = {"dynamic_shapes": (axes,)} if exporter == "dynamo" else {"dynamic_axes": {"input": axes}}
        picture = picture.expand(2, -1, -1, -1)  # the newer exporter takes a size of 1 for fixed
    start = time.monotonic()
    torch.onnx.export(model, (picture,), str(path), input_names=["input"], output_names=output_names,
                      dynamo=exporter == "dynamo", verbose=False, **arguments)
    data = path.with_name(path.name + ".data")
    return {
        "name": name,
        "exporter": exporter,
        "file": str(path.relative_to(out)),
        "input": [1, 3, side, side],
        "outputs": output_names,
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": path.stat().st_size,
        "external_bytes": data.stat().st_size if data.exists() else 0,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seconds": round(time.monotonic() - start, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=["torchscript", "dynamo", "both"], default="both")
    parser.add_argument("--list", action="store_true", help="print the names and write nothing")
    args = parser.parse_args()
    if args.list:
        return print("\n".join(MODELS))
    if not args.out or not set(args.names) <= set(MODELS):
        parser.error("OUT is missing, or a NAME is none of --list")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    manifest = args.out / "manifest.json"
    rows = json.loads(manifest.read_text()) if manifest.exists() else []
    failed = 0
    for name in args.names or MODELS:
        for exporter in ("torchscript", "dynamo") if args.exporter == "both" else (args.exporter,):
            if exporter == "dynamo" and name in TORCHSCRIPT_ONLY:
                continue
            try:
                row = export(name, exporter, args.out)
            except Exception as error:
                failed += 1
                print(f"{name} {exporter}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            rows = [r for r in rows if (r["name"], r["exporter"]) != (name, exporter)] + [row]
            manifest.write_text(json.dumps(rows, indent=1) + "\n")
            print(f"{row['file']}  {row['bytes'] + row['external_bytes']} bytes  {row['seconds']} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

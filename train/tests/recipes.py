#!/usr/bin/env python3
"""A short version of each recipe on pictures of the checkout: see tests/train.sh.

    python3 train/tests/recipes.py OUT [RECIPE ...]
"""
import contextlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from conftest import ROOT, draw_colours, draw_masks, draw_pictures, onnx_outputs

from mobilens_train import classify, detect, distill, prune, segment
from mobilens_train.onnx_module import OnnxModule

MODELS = ROOT / "models"
SSDLITE, SSDLITE_INT8 = (str(MODELS / f"ssdlite_mobilenet_v2_coco{kind}.yaml") for kind in ("", "_int8"))
DEEPLAB, DEEPLAB_INT8 = (str(MODELS / f"deeplabv3_mobilenet_v2_voc_os16{kind}.yaml") for kind in ("", "_int8"))
# One picture alone: of a student that starts nearly as good as its teacher, the loss differs more by the picture than it falls.
CAT = ROOT / "tests" / "data" / "pictures" / "chelsea.png"
PLAIN = ["--colour", "0", "--noise", "0", "--blur", "0", "--no-flip"]


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def same_outputs(out, size):
    """The file in ONNX Runtime against the module: float within 1e-4; int8 on average within a hundredth of the range,
    as codes that are rounded otherwise move others."""
    card = yaml.safe_load((out / f"{out.name}.yaml").read_text())
    module = OnnxModule(out / card["file"]).eval()
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        said = [y.numpy() for y in module(torch.from_numpy(x))]
    for a, b in zip(said, onnx_outputs(out / card["file"], x, optimised=not module.codes)):
        apart = np.abs(a - b)
        if module.codes:
            assert apart.mean() < 0.01 * np.ptp(b), f"{out.name}: {apart.mean()} apart on average"
        else:
            assert apart.max() < 1e-4 * max(1.0, np.abs(b).max()), f"{out.name}: {apart.max()} apart"


def one_picture(out):
    folder = out.with_name("one")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(CAT, folder / CAT.name)
    return folder


def fine_tune(out, pictures):
    """Detection: two new classes on SSDLite."""
    code = detect.main([
        "--card", SSDLITE, "--yolo", str(pictures), "--class", "red=0:stop sign", "--class", "blue=1:car", "--steps", "14", "--batch", "2", "--rate", "1e-3",
        "--warm-up", "2", "--threads", "1", *PLAIN, "--out", str(out), *PROGRAM, "--validate", str(pictures)])
    return code, 300


def quantisation_aware(out, pictures):
    """Quantisation-aware training of SSDLite from float32 weights that it is distilled from."""
    code = distill.main(["--teacher", SSDLITE, "--student", SSDLITE_INT8, "--pictures", str(one_picture(out)), "--steps", "8", "--batch", "1", "--rate", "3e-6", "--warm-up", "1",
                         "--threads", "1", "--expand", "0", *PLAIN, "--out", str(out), *PROGRAM])
    return code, 300


def half_width(out, pictures):
    """Half of SSDLite's channels, then distilled from the whole."""
    thin = out.with_name("thin")
    code = prune.main(["--card", SSDLITE, "--keep", "0.5", "--out", str(thin), "--no-program"])
    code = code or distill.main(["--teacher", SSDLITE, "--student", str(thin / "thin.yaml"), "--pictures", str(pictures), "--steps", "12", "--batch", "1", "--rate", "1e-3",
                                 "--warm-up", "1", "--threads", "1", "--expand", "0", *PLAIN, "--out", str(out), *PROGRAM])
    return code, 300


def segmentation(out, pictures):
    """DeepLab in int8, from its float32 outputs."""
    code = distill.main(["--teacher", DEEPLAB, "--student", DEEPLAB_INT8, "--pictures", str(one_picture(out)), "--steps", "5", "--batch", "1", "--rate", "5e-6",
                         "--warm-up", "1", "--threads", "1", "--expand", "0", *PLAIN, "--out", str(out), *PROGRAM])
    return code, 513


def masks(out, pictures):
    """DeepLabv3+ on a MobileNetV2 from masks, and its int8 file."""
    data = out.with_name("masked")
    draw_masks(data, 8, size=(128, 96))
    code = segment.main([
        "--masks", str(data), "--class", "background=0", "--class", "red=5", "--backbone", "mobilenet_v2", "--alpha", "0.35", "--rho-size", "129", "--aspp", "32", "--skip", "16",
        "--decoder", "32", "--steps", "15", "--batch", "4", "--rate", "0.01", "--warm-up", "2", "--average", "0.8", "--hold-out", "0.25", "--colour", "0.1", "--threads", "1",
        "--int8", "--out", str(out), *PROGRAM])
    return code, 129


def classifier(out, pictures):
    """A MobileNetV1 from a folder for each class, and its int8 file."""
    data = out.with_name("coloured")
    draw_colours(data, 12)
    code = classify.main([
        "--folder", str(data), "--backbone", "mobilenet_v1", "--alpha", "0.25", "--rho-size", "64", "--freeze-norms", "--steps", "24", "--batch", "8", "--rate", "0.01",
        "--warm-up", "2", "--average", "0.8", "--hold-out", "0.25", "--colour", "0.1", "--threads", "1", "--int8", "--out", str(out), *PROGRAM])
    return code, 64


# Those that end with an int8 file beside the float one, measured side by side.
TWO_FILES = ("masks", "classifier")
# Each with the share of the first losses that the last are below.
RECIPES = {"fine_tune": (fine_tune, 0.9), "quantisation_aware": (quantisation_aware, 0.98), "half_width": (half_width, 0.9), "segmentation": (segmentation, 0.98),
           "masks": (masks, 0.8), "classifier": (classifier, 0.8)}
PROGRAM = ["--mobilens", os.environ["MOBILENS"]] if os.environ.get("MOBILENS") else ["--no-program"]


def main():
    out = Path(sys.argv[1])
    pictures = out / "pictures"
    draw_pictures(pictures, 8, size=(300, 300))
    failed = 0
    for name in sys.argv[2:] or RECIPES:
        recipe, share = RECIPES[name]
        start, said = time.monotonic(), io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code, size = recipe(out / name, pictures)
            assert code == 0, f"exit code {code}"
            fell = losses(out / name)
            third = len(fell) // 3
            before, after = statistics.fmean(fell[:third]), statistics.fmean(fell[-third:])
            assert after < share * before, f"the loss went from {before:.4g} to {after:.4g}: {fell}"
            if "--mobilens" in PROGRAM:
                assert "100.0% of the multiplications run on own kernels" in said.getvalue() and "accepted by mobilens check" in said.getvalue()
                if name in TWO_FILES:
                    assert json.loads((out / name / "accuracy.json").read_text()).keys() == {name, f"{name}_int8"} and f"| {name}_int8 | " in said.getvalue()
            same_outputs(out / name, size)
            print(f"ok    {name}: loss {before:.4g} to {after:.4g}, {time.monotonic() - start:.0f} s", flush=True)
        except Exception as error:
            failed += 1
            print(f"{said.getvalue()}\nFAILED {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(sys.argv[2:] or RECIPES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

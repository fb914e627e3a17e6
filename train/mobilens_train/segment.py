"""Trains DeepLabv3+ on a backbone with your own masks.

    python3 -m mobilens_train.segment --masks DIR --class background=0 --class road=1,2 --backbone mobilenet_v2 \\
        --weights FILE.pth --rho-size 321 --steps 2000 --out runs/road

Data: `--masks DIR` with `images` and `masks` (PNG; values are class ids, 255 is ignored), `--voc DIR` (VOC's
SegmentationClass), or `--coco FILE.json DIR` (polygons; the first class is what no other covers). `--validation DIR` or
`--validation-coco`, or else `--hold-out`, is what mean IoU is measured on: in PyTorch of all pixels, and of the
trimap, those within 5 pixels of a border; at the end by the program, which writes it into the cards.
"""
import argparse
import re
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import build, export, heads
from .augment import Craft
from .backbones import Backbone
from .data import DataError
from .finish import finish, provenance
from .loop import run_recipe, trainer_of
from .masks import IGNORED, VOC_NAMES, MaskSampler, fitted, letterboxed, read_coco_masks, read_masks, read_voc_masks, voc_colours
from .options import share

# Width of the trimap's band on each side of a border, in pixels of the picture.
TRIMAP_PX = 5


def near_border(masks, px, ignored_counts=False):
    """Pixels with one of another class at most `px` rows and columns away, [n, h, w] bool.

    ignored_counts: a border to ignored pixels counts as well, as VOC's borders are 5 ignored pixels wide (Chen et
    al., "DeepLab", section 4.3.1).
    """
    x = masks[:, None].float()
    low, high = x, x
    if not ignored_counts:
        void = x == IGNORED
        low, high = x.masked_fill(void, torch.inf), x.masked_fill(void, -torch.inf)

    def largest(values):
        for kernel, padding in (((2 * px + 1, 1), (px, 0)), ((1, 2 * px + 1), (0, px))):
            values = F.max_pool2d(values, kernel, 1, padding)
        return values

    return (largest(high) > -largest(-low))[:, 0]


def segmentation_loss(logits, masks, smoothing=0.0, border_weight=0.0, border_px=3, align_corners=True):
    """Mean cross entropy of the pixels that are not ignored; those near a border count `1 + border_weight` times.

    logits: [n, classes, rows, columns], resized to the masks [n, h, w].
    """
    logits = F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=align_corners)
    each = F.cross_entropy(logits, masks.long(), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    weights = (masks != IGNORED).float()
    if border_weight:
        weights = weights * (1 + border_weight * near_border(masks, border_px))
    return (each * weights).sum() / weights.sum().clamp(min=1)


class Confusion:
    """Pixels by true and predicted class, [classes, classes]."""

    def __init__(self, classes):
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, truth, found, where=None):
        """truth, found: [h, w]; where: the pixels that count, besides those that are not ignored."""
        keep = (truth != IGNORED) if where is None else (truth != IGNORED) & where
        n = len(self.counts)
        pairs = truth[keep].astype(np.int64) * n + found[keep].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=n * n).reshape(n, n)

    def iou(self):
        """Intersection over union of each class; nan for a class that is neither there nor found."""
        both = np.diag(self.counts).astype(float)
        union = self.counts.sum(0) + self.counts.sum(1) - both
        return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)

    def mean_iou(self):
        """Mean over the classes that are there or found; nan without any."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


def measured(module, pictures, classes, align_corners, device):
    """Confusion of all pixels and of the trimap's, in the pictures' own size."""
    whole, trimap = Confusion(classes), Confusion(classes)
    for picture in pictures:
        pixels, mask = picture.load()
        square, _, (w, h) = fitted(pixels, None, module.size, export.MEAN)
        logits = module(build.normalised(square[None], device))
        logits = F.interpolate(logits, (module.size, module.size), mode="bilinear", align_corners=align_corners)[..., :h, :w]
        found = F.interpolate(logits, mask.shape, mode="bilinear")[0].argmax(0).cpu().numpy()
        whole.add(mask, found)
        trimap.add(mask, found, near_border(torch.from_numpy(mask)[None], TRIMAP_PX, True)[0].numpy())
    return whole, trimap


def draw_grid(path, pixels, masks, logits, align_corners):
    """Four rows of a picture, its mask and what is found, in VOC's colours over the picture."""
    colours = voc_colours()
    found = F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=align_corners).argmax(1).cpu().numpy()
    rows = []
    for picture, mask, classes in list(zip(pixels, masks, found))[:4]:
        over = [picture] + [(picture * 0.4 + colours[ids] * 0.6).astype(np.uint8) for ids in (mask, classes)]
        rows.append(np.concatenate(over, 1))
    Image.fromarray(np.concatenate(rows)).save(path)


def parse_class(text):
    """`NAME`, or `NAME=VALUE,VALUE..`, the class's values in the masks."""
    match = re.fullmatch(r"([^=]+)(?:=(\d+(?:,\d+)*))?", text)
    if not match:
        raise argparse.ArgumentTypeError("expected NAME or NAME=VALUE,VALUE..")
    return match[1], [int(v) for v in match[2].split(",")] if match[2] else None


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.segment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = p.add_mutually_exclusive_group(required=True)
    data.add_argument("--masks", type=Path, metavar="DIR")
    data.add_argument("--voc", type=Path, metavar="DIR")
    data.add_argument("--coco", type=Path, nargs=2, metavar=("FILE.json", "DIR"))
    p.add_argument("--split", default="trainval", help="of --voc")
    held = p.add_mutually_exclusive_group()
    held.add_argument("--validation", type=Path, metavar="DIR", help="a folder as --masks or --voc has it (split val)")
    held.add_argument("--validation-coco", type=Path, nargs=2, metavar=("FILE.json", "DIR"))
    held.add_argument("--hold-out", type=share, default=0.1, metavar="SHARE", help="of the pictures, for validation (.1)")
    p.add_argument("--class", dest="classes", type=parse_class, action="append", metavar="NAME[=VALUE,..]", help="in the order of the output's channels; default: VOC's 21")
    build.add_backbone_arguments(p, 513)
    build.add_run_arguments(p, "segment", steps=2000, batch=8, rate=1e-3)
    p.add_argument("--output-stride", type=int, choices=[8, 16, 32], default=16, help="of the encoder")
    p.add_argument("--aspp", type=int, default=256, metavar="CHANNELS", help="of the atrous spatial pyramid pooling")
    p.add_argument("--rates", type=int, nargs="+", default=[6, 12, 18], help="of its dilated convolutions, at output stride 16")
    p.add_argument("--skip", type=int, default=48, metavar="CHANNELS", help="of the features at stride 4 in the decoder")
    p.add_argument("--decoder", type=int, default=256, metavar="CHANNELS")
    p.add_argument("--scales", type=float, nargs=2, default=[0.5, 2.0], metavar=("LEAST", "MOST"), help="of the longest side, in sizes of the input")
    p.add_argument("--no-flip", action="store_true")
    p.add_argument("--border-weight", type=float, default=0.0, help="weight that pixels near a border have in addition to 1")
    p.add_argument("--border-px", type=int, default=3, help="how near, in pixels of the input")
    return p.parse_args(argv)


def pictures_of(args):
    """Pictures for training and validation, and the names of the classes."""
    classes = args.classes or [(name, None) for name in VOC_NAMES]
    names = [name for name, _ in classes]
    values = [of or [i] for i, (_, of) in enumerate(classes)]
    if not 2 <= len(names) <= 255:
        raise DataError(f"{len(names)} classes: expected 2 to 255 (--class NAME for each, the background too)")
    if args.masks:
        pictures = read_masks(args.masks, values)
    elif args.voc:
        pictures = read_voc_masks(args.voc, values, args.split)
    else:
        pictures = read_coco_masks(*args.coco, names)
    if args.validation:
        is_voc = (args.validation / "SegmentationClass").exists()
        held = read_voc_masks(args.validation, values, "val") if is_voc else read_masks(args.validation, values)
    elif args.validation_coco:
        held = read_coco_masks(*args.validation_coco, names)
    else:
        # At random, but by the seed.
        order = np.random.default_rng(args.seed).permutation(len(pictures))
        count = min(round(args.hold_out * len(pictures)), len(pictures) - 1)
        held = [pictures[i] for i in order[:count]]
        pictures = [pictures[i] for i in order[count:]]
    return pictures, held, names


def main(argv=None):
    return run_recipe("segment", train, arguments_of(argv))


def train(args):
    size = args.rho_size
    if not 33 <= size <= 2049:
        raise ValueError(f"--rho-size {size}: expected 33 to 2049 pixels; multiples of 16 plus 1 are best")
    pictures, held, names = pictures_of(args)
    # A pixel of a map lies on one of the picture where sizes are k * stride + 1 (TensorFlow's DeepLab).
    align = size % heads.DeeplabV3Plus.logit_stride == 1
    backbone = Backbone(args.backbone, args.alpha, args.output_stride, weights=args.weights, pretrained=args.pretrained)
    net = heads.DeeplabV3Plus(backbone, len(names), args.aspp, args.rates, args.skip, args.decoder, align_corners=align)
    module = build.Built(net, size, args.freeze_norms, free_size=True).to(args.device)
    sampler = MaskSampler(
        pictures, size, args.seed, export.MEAN, args.scales, not args.no_flip, Craft(colour=args.colour, noise=4.0, blur=0.1)
    )
    trainer = trainer_of(args, module)
    of_backbone = {id(p) for p in backbone.parameters()}
    build.groups_of(trainer, [p for p in module.parameters() if id(p) not in of_backbone], args.backbone_rate if backbone.has_weights else 1.0, args.decay)

    def validate():
        whole, trimap = build.averaged(trainer, module, lambda: measured(module, held, len(names), align, args.device))
        return {"miou": whole.mean_iou(), "trimap_miou": trimap.mean_iou()}, whole

    def step_loss(step):
        figures = {}
        if held and args.validate_every and step and step % args.validate_every == 0:
            figures, _ = validate()
            print("  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
        pixels, masks = (np.stack(part) for part in zip(*(sampler.next() for _ in range(args.batch))))
        logits = module(build.normalised(pixels, args.device))
        truth = torch.from_numpy(masks).to(args.device)
        loss = segmentation_loss(logits, truth, args.smoothing, args.border_weight, args.border_px, align)
        if step % args.grid_every == 0:
            draw_grid(args.out / f"step{step:05}.png", pixels, masks, logits.detach(), align)
        return loss, figures

    rng = sampler.rng.bit_generator
    module.train()
    if not trainer.run(step_loss, lambda: rng.state, lambda state: setattr(rng, "state", state)):
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    changes = {}
    if held:
        figures, whole = validate()
        changes["accuracy"] = f"in PyTorch mIoU {figures['miou']:.3f}, trimap of {TRIMAP_PX} pixels {figures['trimap_miou']:.3f}, on {len(held)} pictures kept aside"
        print(changes["accuracy"], flush=True)
        print("  ".join(f"{name} {iou:.3f}" for name, iou in zip(names, whole.iou())), flush=True)
    card = {
        "name": f"DeepLabv3+ at output stride {args.output_stride} on {build.origin(args, backbone.spec)}",
        "input": export.input_of(size, resize="letterbox", anchor="top_left", pad_colour=list(export.MEAN)), "head": net.head(),
        "labels": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    data = f"{(args.masks or args.voc or args.coco[1]).resolve().name} ({len(pictures)} pictures)"
    return finish(
        args, module, card, calibration=letterboxed([picture.path for picture in pictures], size, export.MEAN, args.seed), held=held,
        source=provenance(card, None, data, args, trainer.step), **changes,
    )


if __name__ == "__main__":
    sys.exit(main())

"""Trains a classifier with a folder of pictures for each class.

    python3 -m mobilens_train.classify --folder DIR --backbone mobilenetv3_small_075 --rho-size 160 --mixup 0.3 --out runs/looks

DIR holds a folder for each class, whose name is the class's; or `train` and `val` with such folders each. Without
`val`, `--hold-out` of the pictures are kept aside. On those the share of right classes is measured: in PyTorch, and at
the end by the program, whose records are counted.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from . import build, export, heads
from .augment import Craft, disturb
from .data import DataError, opened, read_folders
from .evaluate import text_of
from .finish import finish, provenance
from .loop import run_recipe, trainer_of
from .options import share

# Share of the shorter side that the middle crop of the card has.
CROP_SHARE = 0.875


def scaled(picture, size):
    """The whole picture, its shorter side `size / CROP_SHARE` pixels."""
    shorter = int(size / CROP_SHARE)
    width, height = picture.size
    scale = shorter / min(width, height)
    return picture.resize((max(size, int(width * scale)), max(size, int(height * scale))), Image.BILINEAR)


def middle(picture, size):
    """The middle `size` pixels of the scaled picture, as the card has it."""
    picture = scaled(picture, size)
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def random_crop(picture, size, rng, least):
    """A random rectangle of `least` to all of the area, of aspect 3/4 to 4/3, as a square of `size` pixels (Szegedy et
    al., "Going Deeper with Convolutions", section 6)."""
    width, height = picture.size
    for _ in range(10):
        area = rng.uniform(least, 1) * width * height
        ratio = float(np.exp(rng.uniform(*np.log([3 / 4, 4 / 3]))))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
            return np.asarray(picture.resize((size, size), Image.BILINEAR, box=(left, top, left + w, top + h)))
    return middle(picture, size)


class FolderSampler:
    """Endless batches of random crops; each picture is seen once before any is seen again."""

    def __init__(self, rows, size, seed, least=0.35, flip=True, craft=None):
        self.rows, self.size, self.least, self.flip = rows, size, least, flip
        self.craft = craft or Craft(colour=0.3, noise=4.0, blur=0.1)
        self.rng = np.random.default_rng(seed)
        self.order = []

    def next(self):
        """Pixels [size, size, 3] uint8 and the class index."""
        if not self.order:
            self.order = self.rng.permutation(len(self.rows)).tolist()
        path, kind = self.rows[self.order.pop()]
        pixels = random_crop(opened(path), self.size, self.rng, self.least)
        if self.flip and self.rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return disturb(np.ascontiguousarray(pixels), self.rng, self.craft), kind

    def state(self):
        return self.rng.bit_generator.state, self.order

    def restore(self, state):
        self.rng.bit_generator.state, self.order = state


def soft_targets(kinds, classes, smoothing=0.0):
    """One-hot rows [n, classes], smoothed (Szegedy et al., "Rethinking the Inception Architecture", section 7)."""
    return F.one_hot(torch.as_tensor(kinds), classes).float() * (1 - smoothing) + smoothing / classes


def mixup(x, targets, share):
    """Each picture over another of the batch (Zhang et al., "mixup", equation 1). x: [n, 3, h, w]."""
    return x * share + x.flip(0) * (1 - share), targets * share + targets.flip(0) * (1 - share)


def cutmix(x, targets, share, rng):
    """A rectangle of another picture of the batch in each (Yun et al., "CutMix", section 3.1); targets by area."""
    height, width = x.shape[2:]
    h, w = (round(n * (1 - share) ** 0.5) for n in (height, width))
    cy, cx = rng.integers(height), rng.integers(width)
    t, l, b, r = max(cy - h // 2, 0), max(cx - w // 2, 0), min(cy + (h + 1) // 2, height), min(cx + (w + 1) // 2, width)
    mixed = x.clone()
    mixed[:, :, t:b, l:r] = x.flip(0)[:, :, t:b, l:r]
    kept = 1 - (b - t) * (r - l) / (height * width)
    return mixed, targets * kept + targets.flip(0) * (1 - kept)


def classification_loss(logits, targets):
    """Cross entropy with soft targets [n, classes]."""
    return -(targets * F.log_softmax(logits, 1)).sum(1).mean()


def accuracy_of(module, rows, device, batch=32):
    """Shares of the pictures whose class is the best and, of more than five classes, is among the best five."""
    hits = {}
    for start in range(0, len(rows), batch):
        part = rows[start:start + batch]
        logits = module(build.normalised(np.stack([middle(opened(path), module.size) for path, _ in part]), device)).cpu()
        kinds = torch.tensor([kind for _, kind in part])[:, None]
        for n in (1, 5) if logits.shape[1] > 5 else (1,):
            hits[f"best{n}"] = hits.get(f"best{n}", 0) + (logits.topk(n, 1).indices == kinds).any(1).sum().item()
    return {name: count / len(rows) for name, count in hits.items()}


def draw_grid(path, x, logits, targets, names):
    """Nine pictures with the class that is there and that which is found."""
    side = x.shape[2]
    grid = Image.new("RGB", (3 * side, 3 * side))
    pixels = x.detach().cpu().permute(0, 2, 3, 1) * torch.tensor(export.STD) + torch.tensor(export.MEAN)
    scores = logits.softmax(1)
    for index in range(min(9, len(x))):
        picture = Image.fromarray(pixels[index].round().clip(0, 255).byte().numpy())
        best = int(scores[index].argmax())
        text = f"{names[int(targets[index].argmax())]}\n{names[best]} {scores[index, best]:.2f}"
        ImageDraw.Draw(picture).text((3, 3), text, fill="white", stroke_width=1, stroke_fill="black")
        grid.paste(picture, (index % 3 * side, index // 3 * side))
    grid.save(path)


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.classify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--folder", type=Path, required=True, metavar="DIR")
    p.add_argument("--hold-out", type=share, default=0.1, metavar="SHARE", help="of the pictures, for validation, where there is no folder val")
    build.add_backbone_arguments(p, 224)
    build.add_run_arguments(p, "classify", steps=1000, batch=32, rate=1e-3)
    p.add_argument("--dropout", type=share, default=0.2, metavar="SHARE")
    p.add_argument("--mixup", type=share, default=0.0, metavar="SHARE", help="of the batches")
    p.add_argument("--mixup-alpha", type=float, default=0.2, help="of the beta distribution")
    p.add_argument("--cutmix", type=share, default=0.0, metavar="SHARE", help="of the batches")
    p.add_argument("--least-area", type=share, default=0.35, metavar="SHARE", help="of a picture in a crop")
    p.add_argument("--no-flip", action="store_true")
    return p.parse_args(argv)


def pictures_of(args):
    """Rows for training and validation, and the names of the classes."""
    if (args.folder / "train").is_dir():
        rows, names = read_folders(args.folder / "train")
        held = read_folders(args.folder / "val", names)[0] if (args.folder / "val").is_dir() else []
    else:
        rows, names = read_folders(args.folder)
        held = []
    if len(names) < 2:
        raise DataError(f"{args.folder}: one class, {names[0]}: a classifier needs two or more")
    if not held:
        # Of each class its share, at random, but by the seed.
        rng = np.random.default_rng(args.seed)
        by_class = [[row for row in rows if row[1] == index] for index in range(len(names))]
        rows = []
        for of_class in by_class:
            order = rng.permutation(len(of_class))
            count = min(round(args.hold_out * len(of_class)), max(len(of_class) - 1, 0))
            held += [of_class[i] for i in order[:count]]
            rows += [of_class[i] for i in order[count:]]
    return rows, held, names


def main(argv=None):
    return run_recipe("classify", train, arguments_of(argv))


def train(args):
    size = args.rho_size
    if not 32 <= size <= 1024:
        raise ValueError(f"--rho-size {size}: expected 32 to 1024 pixels")
    if args.batch < 2:
        raise ValueError(f"--batch {args.batch}: expected 2 or more, as batch norms see the batch")
    rows, held, names = pictures_of(args)
    net = heads.Classifier(args.backbone, len(names), args.alpha, args.dropout, args.weights, args.pretrained)
    module = build.Built(net, size, args.freeze_norms).to(args.device)
    sampler = FolderSampler(rows, size, args.seed, args.least_area, not args.no_flip, Craft(colour=args.colour, noise=4.0, blur=0.1))
    trainer = trainer_of(args, module)
    build.groups_of(trainer, net.last_layer(), args.backbone_rate if net.has_weights else 1.0, args.decay)

    def validate():
        return build.averaged(trainer, module, lambda: accuracy_of(module, held, args.device))

    def step_loss(step):
        figures = {}
        if held and args.validate_every and step and step % args.validate_every == 0:
            figures = validate()
            print("  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
        pixels, kinds = zip(*(sampler.next() for _ in range(args.batch)))
        x, targets = build.normalised(np.stack(pixels), args.device), soft_targets(list(kinds), len(names), args.smoothing).to(args.device)
        kind = sampler.rng.random()
        if kind < args.mixup:
            x, targets = mixup(x, targets, sampler.rng.beta(args.mixup_alpha, args.mixup_alpha))
        elif kind < args.mixup + args.cutmix:
            x, targets = cutmix(x, targets, sampler.rng.beta(1.0, 1.0), sampler.rng)
        logits = module(x)
        if step % args.grid_every == 0:
            draw_grid(args.out / f"step{step:05}.png", x, logits.detach(), targets, names)
        figures["accuracy"] = (logits.argmax(1) == targets.argmax(1)).float().mean().item()
        return classification_loss(logits, targets), figures

    module.train()
    if not trainer.run(step_loss, sampler.state, sampler.restore):
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    changes = {}
    if held:
        figures = validate()
        changes["accuracy"] = f"in PyTorch {text_of({**figures, 'pictures': len(held)}, 'pictures kept aside')}"
        print(changes["accuracy"], flush=True)
    card = {
        "name": build.origin(args, net.spec), "input": export.input_of(size, resize="center_crop", crop_share=CROP_SHARE),
        "head": net.head(), "labels": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    data = f"{args.folder.resolve().name} ({len(rows)} pictures)"
    # Whole pictures, of which the program takes the middle.
    order = np.random.default_rng(args.seed).permutation(len(rows))
    calibration = (np.asarray(scaled(opened(rows[i][0]), size)) for i in order)
    return finish(args, module, card, calibration=calibration, held=held, source=provenance(card, None, data, args, trainer.step), **changes)


if __name__ == "__main__":
    sys.exit(main())

"""Trains a classifier with a folder of pictures for each class.

    python3 -m mobilens_train.classify --folder DIR --backbone mobilenetv3_small_075 --rho-size 160 --mixup 0.3 --out runs/looks

DIR holds a folder for each class, whose name is the class's; or `train` and `val` with such folders each. Without
`val`, `--hold-out` of the pictures are kept aside. Ends with OUT/NAME.onnx, OUT/NAME.yaml and, where it is found,
`mobilens check`.
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
from .data import PICTURES, DataError
from .loop import Trainer, run_recipe

# Share of the shorter side that the middle crop of the card has.
CROP_SHARE = 0.875


def read_folders(folder, names=None):
    """Paths and class indices of the pictures in a folder for each class, and the names of the classes.

    names: the classes of the training, which a validation folder must not go beyond; None: those found, sorted.
    """
    folder = Path(folder)
    found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if names and not set(found) <= set(names):
        raise DataError(f"{folder}: the class {sorted(set(found) - set(names))[0]} is not among those of the training")
    names = names or found
    rows = [
        (path, index) for index, name in enumerate(names)
        for path in sorted((folder / name).rglob("*")) if path.suffix.lower() in PICTURES
    ]
    if not rows:
        raise DataError(f"{folder}: expected a folder of pictures for each class")
    return rows, names


def load(path):
    """The picture, RGB."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: {error}") from error


def middle(picture, size):
    """The middle crop as the card has it: the shorter side to `size / CROP_SHARE`, then the middle `size` pixels."""
    shorter = int(size / CROP_SHARE)
    width, height = picture.size
    scale = shorter / min(width, height)
    picture = picture.resize((max(size, int(width * scale)), max(size, int(height * scale))), Image.BILINEAR)
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
        pixels = random_crop(load(path), self.size, self.rng, self.least)
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


def normalised(pixels, device):
    """Pixels [n, side, side, 3] uint8 as the network's input."""
    x = (torch.from_numpy(pixels).float() - torch.tensor(export.MEAN)) / torch.tensor(export.STD)
    return x.permute(0, 3, 1, 2).to(device)


def accuracy_of(module, rows, device, batch=32):
    """Shares of the pictures whose class is the best, and is among the best five."""
    hits = np.zeros(2)
    for start in range(0, len(rows), batch):
        part = rows[start:start + batch]
        logits = module(normalised(np.stack([middle(load(path), module.size) for path, _ in part]), device)).cpu()
        best = logits.topk(min(5, logits.shape[1]), 1).indices == torch.tensor([kind for _, kind in part])[:, None]
        hits += [best[:, 0].sum().item(), best.any(1).sum().item()]
    return {"top1": hits[0] / len(rows), "top5": hits[1] / len(rows)}


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
    p.add_argument("--hold-out", type=float, default=0.1, metavar="SHARE", help="of the pictures, for validation, where there is no folder val")
    build.add_backbone_arguments(p, 224)
    build.add_run_arguments(p, steps=1000, batch=32, rate=1e-3)
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--mixup", type=float, default=0.0, metavar="SHARE", help="of the batches")
    p.add_argument("--mixup-alpha", type=float, default=0.2, help="of the beta distribution")
    p.add_argument("--cutmix", type=float, default=0.0, metavar="SHARE", help="of the batches")
    p.add_argument("--least-area", type=float, default=0.35, metavar="SHARE", help="of a picture in a crop")
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
    device = build.prepare(args)
    size = args.rho_size
    if not 32 <= size <= 1024:
        raise ValueError(f"--rho-size {size}: expected 32 to 1024 pixels")
    if args.batch < 2:
        raise ValueError(f"--batch {args.batch}: expected 2 or more, as batch norms see the batch")
    rows, held, names = pictures_of(args)
    net = heads.Classifier(args.backbone, len(names), args.alpha, args.dropout, args.weights, args.pretrained)
    module = build.Built(net, size, args.freeze_norms).to(device)
    sampler = FolderSampler(rows, size, args.seed, args.least_area, not args.no_flip, Craft(colour=args.colour, noise=4.0, blur=0.1))
    trainer = Trainer(module, args.out, args.steps, args.rate, warm_up=args.warm_up, average=args.average, patience=args.patience)
    build.groups_of(trainer, net.last_layer(), args.backbone_rate if net.has_weights else 1.0, args.weight_decay)

    def validate():
        return build.averaged(trainer, module, lambda: accuracy_of(module, held, device))

    def step_loss(step):
        figures = {}
        if held and args.validate_every and step and step % args.validate_every == 0:
            figures = validate()
            print("  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
        pixels, kinds = zip(*(sampler.next() for _ in range(args.batch)))
        x, targets = normalised(np.stack(pixels), device), soft_targets(list(kinds), len(names), args.smoothing).to(device)
        kind = sampler.rng.random()
        if kind < args.mixup:
            x, targets = mixup(x, targets, sampler.rng.beta(args.mixup_alpha, args.mixup_alpha))
        elif kind < args.mixup + args.cutmix:
            x, targets = cutmix(x, targets, sampler.rng.beta(1.0, 1.0), sampler.rng)
        logits = module(x)
        if args.grid_every and step % args.grid_every == 0:
            draw_grid(args.out / f"step{step:05}.png", x, logits.detach(), targets, names)
        figures["accuracy"] = (logits.argmax(1) == targets.argmax(1)).float().mean().item()
        return classification_loss(logits, targets), figures

    module.train()
    if not trainer.run(step_loss, sampler.state, sampler.restore):
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    accuracy = None
    if held:
        figures = validate()
        accuracy = f"best class right on {figures['top1']:.3f}, among the best five on {figures['top5']:.3f} of {len(held)} pictures kept aside"
        print(accuracy, flush=True)
    source = f"{build.origin(args, net.spec)}, trained on {len(rows)} pictures of {args.folder.resolve().name}, {trainer.step} steps of {args.batch}, seed {args.seed}"
    inputs = export.input_of(size, resize="center_crop", crop_share=CROP_SHARE, filter="pil_bilinear")
    return build.finish(args, module, net.head(), inputs, names, source, accuracy)


if __name__ == "__main__":
    sys.exit(main())

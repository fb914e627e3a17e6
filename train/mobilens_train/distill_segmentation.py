"""Trains a segmentation network from a teacher's class maps and, where there are any, hand-drawn masks.

    python3 -m mobilens_train.distill_segmentation --teacher models/deeplabv3_mobilenet_v2_voc_os8.yaml \\
        --student runs/start/deeplabv3plus_mobilenet_v2_voc.yaml --pictures DIR [--masks DIR] \\
        --frozen VALUE ... --steps 3000 --out runs/deeplabv3plus_mobilenet_v2_voc

The teacher looks at each picture once, at several sizes and mirrored; the mean of its class probabilities is kept in
OUT/teacher. A step then cuts random rectangles of pictures and of these maps. The student learns by the
Kullback-Leibler divergence (Hinton et al., "Distilling the Knowledge in a Neural Network", section 2). Masks are PNG of
the pictures' names with class ids, 255 where nothing is known; what they say is mixed with the teacher's opinion.
`--frozen` names values of the graph: what leads to them keeps its weights.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from .data import DataError, read_yolo
from .loop import Trainer
from .onnx_module import OnnxModule


def bilinear(x, size):
    """Maps [n, c, h, w] in another size, the corners aligned."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def letterboxed(pixels, side):
    """The picture [1, 3, h, w] with its longer side at `side`, in the upper left of a square; 0 elsewhere."""
    height, width = pixels.shape[2:]
    share = side / max(height, width)
    size = max(round(height * share), 1), max(round(width * share), 1)
    small = F.interpolate(pixels, size, mode="bilinear", align_corners=False)
    return F.pad(small, (0, side - size[1], 0, side - size[0]))


def teacher_map(teacher, pixels, sides, cells):
    """Mean class probabilities [classes, cells, cells] over the sizes and their mirror images."""
    total = 0
    for side in sides:
        x = letterboxed(pixels, side).contiguous(memory_format=torch.channels_last)
        # Mirrored inside its own rectangle, so that the picture stays in the upper left.
        width = round(pixels.shape[3] * side / max(pixels.shape[2:]))
        mirrored = torch.zeros_like(x)
        mirrored[..., :width] = x[..., :width].flip(3)
        plain, turned = (bilinear(teacher(part)[0], (side, side)).softmax(1) for part in (x, mirrored))
        turned[..., :width] = turned[..., :width].flip(3)
        total = total + bilinear((plain + turned) / 2, (cells, cells))
    return (total / len(sides))[0]


class Maps:
    """Pictures with their class probabilities, and random rectangles of both."""

    def __init__(self, pictures, card, teacher, folder, sides, masks, trust, seed, side):
        self.rng = np.random.default_rng(seed)
        self.mean, self.std = (torch.tensor(card["input"][key]) for key in ("mean", "std"))
        self.box, self.side = card["input"]["width_px"], side
        self.cells = (self.box - 1) // 4 + 1
        folder.mkdir(parents=True, exist_ok=True)
        self.pixels, self.maps = [], []
        for number, picture in enumerate(pictures, 1):
            pixels = ((torch.from_numpy(picture.load().copy()).float() - self.mean) / self.std).permute(2, 0, 1)[None]
            kept = folder / f"{picture.path.stem}.npy"
            if not kept.exists():
                with torch.no_grad():
                    wanted = teacher_map(teacher, pixels, sides, self.cells)
                temporary = kept.with_suffix(".part")
                with temporary.open("wb") as file:
                    np.save(file, wanted.half().numpy())
                temporary.rename(kept)
                print(f"teacher {number}/{len(pictures)}", flush=True)
            wanted = torch.from_numpy(np.load(kept)).float()
            self.pixels.append(pixels.half())
            self.maps.append(self.with_mask(wanted, pixels, masks and masks / f"{picture.path.stem}.png", trust).half())

    def with_mask(self, wanted, pixels, path, trust):
        """The teacher's map, mixed with what a mask says where it says something."""
        if not path or not path.exists():
            return wanted
        with Image.open(path) as opened:
            mask = torch.from_numpy(np.array(opened)).long()
        if mask.shape != pixels.shape[2:]:
            raise DataError(f"{path}: {mask.shape[1]}x{mask.shape[0]}, but the picture is {pixels.shape[3]}x{pixels.shape[2]}")
        # Shares of the classes under each cell; what is unknown stays with the teacher.
        known = (mask != 255).float()[None, None]
        planes = torch.stack([(mask == k).float() for k in range(len(wanted))])[None]
        planes, known = (letterboxed(part, self.box) for part in (planes, known))
        planes, known = (bilinear(part, (self.cells, self.cells))[0] for part in (planes, known))
        share = trust * (known > 0.99)
        return wanted * (1 - share) + planes * share

    def next(self):
        """Pixels [3, side, side] and class probabilities [classes, cells, cells] of the same rectangle."""
        rng = self.rng
        index = rng.integers(len(self.pixels))
        pixels, wanted = self.pixels[index].float(), self.maps[index].float()[None]
        height, width = pixels.shape[2:]
        longer = max(height, width)
        # Side of the rectangle as a share of the letterboxed square; the picture's own size is at 1.
        share = self.side / self.box * float(np.exp(rng.uniform(np.log(0.7), np.log(1.6))))
        aspect = float(np.exp(rng.uniform(-0.15, 0.15)))
        spans = np.array([share * aspect, share / aspect])
        seen = np.array([height, width]) / longer
        # Within the picture where it is larger than the rectangle, else the picture within the rectangle.
        low, high = np.minimum(seen - spans, 0) - 0.02, np.maximum(seen - spans, 0) + 0.02
        top, left = rng.uniform(low, high)
        steps = torch.linspace(0, 1, self.side)
        y, x = top + spans[0] * steps, left + spans[1] * steps
        if rng.random() < 0.5:
            x = x.flip(0)

        def cut(source, rows, columns):
            """`rows` and `columns` in -1 to 1 over the source; outside it is 0."""
            grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]
            return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]

        out = cut(pixels, 2 * y * longer / height - 1, 2 * x * longer / width - 1)
        cells = (self.side - 1) // 4 + 1
        pick = torch.linspace(0, self.side - 1, cells).long()
        target = cut(wanted, 2 * y[pick] - 1, 2 * x[pick] - 1)
        # Beside the square there is background, as in its padding.
        target[0] += (1 - target.sum(0)).clamp(min=0)
        inside = cut(torch.ones_like(pixels[:, :1]), 2 * y * longer / height - 1, 2 * x * longer / width - 1)
        return self.disturb(out) * inside, target

    def disturb(self, x):
        """Brightness, contrast, saturation and colour cast, in normalised values."""
        rng = self.rng
        grey = x.mean(0, keepdim=True)
        x = grey + (x - grey) * rng.uniform(0.6, 1.4)
        x = x * rng.uniform(0.75, 1.25) + rng.uniform(-0.2, 0.2)
        return (x + torch.tensor(rng.uniform(-0.05, 0.05, 3)).float()[:, None, None]).clamp(-1, 1)


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.distill_segmentation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", type=Path, required=True, metavar="CARD")
    p.add_argument("--student", type=Path, required=True, metavar="CARD")
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    p.add_argument("--masks", type=Path, metavar="DIR")
    p.add_argument("--trust", type=float, default=0.5, help="weight of the masks beside the teacher")
    p.add_argument("--sides", type=int, nargs="+", default=[385, 513, 641, 769], metavar="PX", help="sizes that the teacher looks at")
    p.add_argument("--frozen", nargs="*", default=[], metavar="VALUE", help="what leads to these values keeps its weights")
    p.add_argument("--crop", type=int, default=385, metavar="PX", help="side of a sample, a multiple of 32 plus 1")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--name")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rate", type=float, default=3e-4)
    p.add_argument("--kept-rate", type=float, default=0.05, metavar="SHARE", help="share of the rate for weights of --kept-from")
    p.add_argument("--kept-from", type=Path, metavar="FILE.onnx", help="weights that this file has too are learnt slowly")
    p.add_argument("--temperature", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0)
    return p.parse_args(argv)


def main(argv=None):
    args = arguments_of(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        cards = [yaml.safe_load(path.read_text()) for path in (args.teacher, args.student)]
        files = [path.parent / card["file"] for path, card in zip((args.teacher, args.student), cards)]
        teacher = OnnxModule(files[0]).eval().requires_grad_(False)
        student = OnnxModule(files[1])
        if student.codes:
            floats = args.student.parent / cards[1]["file"].replace("_int8", "")
            student = OnnxModule(files[1], float_weights=floats) if floats.exists() else student
        frozen = student.between([student.input_name], args.frozen)
        values = student.named_values()
        for _, inputs, *_ in frozen:
            for name in inputs:
                if name in values:
                    values[name].requires_grad_(False)
        kept = OnnxModule(args.kept_from).named_values() if args.kept_from else {}
        shares = {id(value): args.kept_rate for name, value in values.items() if name in kept}
        maps = Maps(read_yolo(args.pictures, []), cards[1], teacher, args.out / "teacher", args.sides, args.masks, args.trust, args.seed, args.crop)
    except (OSError, ValueError, KeyError) as error:
        print(f"distill_segmentation: {error}", file=sys.stderr)
        return 2
    trainer = Trainer(student, args.out, args.steps, args.rate, warm_up=min(100, args.steps // 10), decay=1e-4, average=0.995, shares=shares)

    def step_loss(step):
        samples = [maps.next() for _ in range(args.batch)]
        x, wanted = (torch.stack(part) for part in zip(*samples))
        x = x.contiguous(memory_format=torch.channels_last)
        known = {student.input_name: x}
        if args.frozen:
            with torch.no_grad():
                known = dict(zip(args.frozen, student.run(known, args.frozen)))
        (logits,) = student.run(known, student.output_names)
        if args.temperature != 1:
            wanted = wanted.clamp(min=1e-6) ** (1 / args.temperature)
            wanted = wanted / wanted.sum(1, keepdim=True)
        loss = (wanted * (wanted.clamp(min=1e-6).log() - (logits / args.temperature).log_softmax(1))).sum(1).mean()
        right = (logits.argmax(1) == wanted.argmax(1)).float().mean()
        return loss, {"agreement": right.item()}

    done = trainer.run(step_loss, lambda: maps.rng.bit_generator.state, lambda s: setattr(maps.rng.bit_generator, "state", s))
    if not done:
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    name = args.name or args.out.name
    student.save(args.out / f"{name}.onnx")
    new = {key: value for key, value in cards[1].items() if key not in ("sha256", "accuracy")}
    new |= {"name": name, "file": f"{name}.onnx"}
    (args.out / f"{name}.yaml").write_text(yaml.safe_dump(new, sort_keys=False, width=120))
    print(f"wrote {args.out / name}.onnx and its card", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

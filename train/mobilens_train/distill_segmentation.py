"""Trains a segmentation network from a teacher's class maps and, where there are any, hand-drawn masks.

    python3 -m mobilens_train.distill_segmentation --teacher models/deeplabv3_mobilenet_v2_voc_os8.yaml \\
        --student runs/start/deeplabv3plus_mobilenet_v2_voc.yaml --pictures DIR [--masks DIR] \\
        --kept-from models/deeplabv3_mobilenet_v2_voc_os16.onnx --steps 500 --out runs/deeplabv3plus_mobilenet_v2_voc

A sample is a random rectangle of a picture, at which teacher and student both look. The student learns the teacher's
classes by the Kullback-Leibler divergence (Hinton et al., "Distilling the Knowledge in a Neural Network", section 2)
and its logits by their squared difference (Ba & Caruana, "Do Deep Nets Really Need to be Deep?", section 2.1), which
holds on to classes that the pictures hardly show. Masks are PNG of the pictures' names with class ids, 255 where
nothing is known; what they say is mixed with the teacher's probabilities.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from .data import DataError, read_yolo
from .finish import finish, finish_flags, provenance
from .loop import Trainer, run_recipe
from .masks import letterboxed
from .onnx_module import OnnxModule
from .options import settings_of


def bilinear(x, size):
    """Maps [n, c, h, w] in another size, the corners aligned."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class Teacher:
    """Runs the file in ONNX Runtime, at any input size and batch."""

    def __init__(self, path, threads):
        model = onnx.load(str(path))
        for value in (*model.graph.input, *model.graph.output):
            for axis in (0, 2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}{axis}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def logits(self, x, cells):
        """The logits [n, classes, cells, cells] of samples [n, 3, h, w], the mean removed at each place."""
        (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: x.contiguous().numpy()})
        logits = bilinear(torch.from_numpy(logits), (cells, cells))
        return logits - logits.mean(1, keepdim=True)


class Samples:
    """Random rectangles of pictures and of their masks."""

    def __init__(self, pictures, card, classes, masks, seed, side):
        self.rng = np.random.default_rng(seed)
        self.mean, self.std = (torch.tensor(card["input"][key]) for key in ("mean", "std"))
        self.box, self.side = card["input"]["width_px"], side
        self.cells, self.classes = (side - 1) // 4 + 1, classes
        self.pictures, self.masks, self.loaded = pictures, masks, {}

    def picture(self, index):
        """Pixels [1, 3, h, w], normalised, and the mask [1, 1, h, w], 255 where nothing is known."""
        if index not in self.loaded:
            picture = self.pictures[index]
            pixels = ((torch.from_numpy(picture.load().copy()).float() - self.mean) / self.std).permute(2, 0, 1)[None]
            mask = torch.full((1, 1, *pixels.shape[2:]), 255.0)
            path = self.masks and self.masks / f"{picture.path.stem}.png"
            if path and path.exists():
                with Image.open(path) as opened:
                    mask = torch.from_numpy(np.array(opened)).float()[None, None]
                if mask.shape[2:] != pixels.shape[2:]:
                    raise DataError(f"{path}: {mask.shape[3]}x{mask.shape[2]}, but the picture is {pixels.shape[3]}x{pixels.shape[2]}")
            self.loaded[index] = pixels.half(), mask.byte()
        pixels, mask = self.loaded[index]
        return pixels.float(), mask.float()

    def next(self):
        """Pixels [3, side, side], and of the same rectangle the mask's class [cells, cells], 255 where it says nothing."""
        rng = self.rng
        pixels, mask = self.picture(rng.integers(len(self.pictures)))
        height, width = pixels.shape[2:]
        longer = max(height, width)
        # Side of the rectangle as a share of the picture's longer side; as the program fits it into the input, it is 1.
        share = self.side / self.box * float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
        aspect = float(np.exp(rng.uniform(-0.1, 0.1)))
        spans = np.array([share * aspect, share / aspect])
        seen = np.array([height, width]) / longer
        # Within the picture where it is larger than the rectangle, else the picture within the rectangle.
        low, high = np.minimum(seen - spans, 0) - 0.02, np.maximum(seen - spans, 0) + 0.02
        top, left = rng.uniform(low, high)
        steps = torch.linspace(0, 1, self.side)
        rows = 2 * (top + spans[0] * steps) * longer / height - 1
        columns = 2 * (left + spans[1] * steps) * longer / width - 1
        if rng.random() < 0.5:
            columns = columns.flip(0)

        def cut(source, rows, columns, mode):
            """`rows` and `columns` in -1 to 1 over the source; outside it is 0."""
            grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]
            return F.grid_sample(source, grid, mode=mode, padding_mode="zeros", align_corners=True)[0]

        inside = cut(torch.ones_like(pixels[:, :1]), rows, columns, "nearest")
        cells = torch.linspace(0, self.side - 1, self.cells).long()
        # 0 beside the picture is its padding, which is background.
        known = cut(mask, rows[cells], columns[cells], "nearest")[0].long()
        return self.disturb(cut(pixels, rows, columns, "bilinear")) * inside, known

    def disturb(self, x):
        """Brightness, contrast, saturation and colour cast, in normalised values."""
        rng = self.rng
        grey = x.mean(0, keepdim=True)
        x = grey + (x - grey) * rng.uniform(0.7, 1.3)
        x = x * rng.uniform(0.8, 1.2) + rng.uniform(-0.15, 0.15)
        return (x + torch.tensor(rng.uniform(-0.05, 0.05, 3)).float()[:, None, None]).clamp(-1, 1)


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.distill_segmentation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", type=Path, required=True, metavar="CARD")
    p.add_argument("--student", type=Path, required=True, metavar="CARD")
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    p.add_argument("--masks", type=Path, metavar="DIR")
    p.add_argument("--trust", type=float, default=0.3, help="weight of the masks beside the teacher")
    p.add_argument("--crop", type=int, default=385, metavar="PX", help="side of a sample, a multiple of 32 plus 1")
    p.add_argument("--steps", type=int, default=500)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rate", type=float, default=5e-4)
    p.add_argument("--kept-rate", type=float, default=0.0, metavar="SHARE", help="share of the rate for weights of --kept-from; 0: they stay")
    p.add_argument("--kept-from", type=Path, metavar="FILE.onnx", help="weights that this file has too are learnt slowly")
    p.add_argument("--logit-weight", type=float, default=0.02, help="of the squared difference, beside the divergence")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0)
    finish_flags(p, "segment")
    return p.parse_args(argv)


def main(argv=None):
    return run_recipe("distill_segmentation", train, arguments_of(argv))


def train(args):
    cards = [yaml.safe_load(path.read_text()) for path in (args.teacher, args.student)]
    files = [path.parent / card["file"] for path, card in zip((args.teacher, args.student), cards)]
    teacher = Teacher(files[0], args.threads)
    student = OnnxModule(files[1])
    if student.codes:
        floats = args.student.parent / cards[1]["file"].replace("_int8", "")
        student = OnnxModule(files[1], float_weights=floats) if floats.exists() else student
    values = student.named_values()
    kept = [name for name in (OnnxModule(args.kept_from).named_values() if args.kept_from else {}) if name in values]
    shares = {id(values[name]): args.kept_rate for name in kept}
    if args.kept_rate == 0:
        for name in kept:
            values[name].requires_grad_(False)
    classes = len(cards[1]["labels"])
    pictures = read_yolo(args.pictures, [])
    samples = Samples(pictures, cards[1], classes, args.masks, args.seed, args.crop)
    trainer = Trainer(
        student, args.out, args.steps, args.rate, warm_up=min(100, args.steps // 10), average=0.99, shares=shares,
        settings=settings_of(args),
    )

    def step_loss(step):
        x, known = (torch.stack(part) for part in zip(*[samples.next() for _ in range(args.batch)]))
        target = teacher.logits(x, samples.cells)
        (logits,) = student(x.contiguous(memory_format=torch.channels_last))
        apart = (logits - logits.mean(1, keepdim=True) - target).square().mean()
        told = (known != 255).float()[:, None] * args.trust
        drawn = F.one_hot(known.where(known != 255, 0), classes).permute(0, 3, 1, 2)
        p = target.softmax(1) * (1 - told) + drawn * told
        divergence = (p * (p.clamp(min=1e-6).log() - logits.log_softmax(1))).sum(1).mean()
        right = (logits.argmax(1) == target.argmax(1)).float().mean()
        return args.logit_weight * apart + divergence, {"logits": apart.item(), "divergence": divergence.item(), "agreement": right.item()}

    done = trainer.run(step_loss, lambda: samples.rng.bit_generator.state, lambda s: setattr(samples.rng.bit_generator, "state", s))
    if not done:
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    inputs = cards[1]["input"]
    calibration = letterboxed([picture.path for picture in pictures], inputs["width_px"], inputs["mean"], args.seed)
    data = f"{args.pictures.resolve().name} ({len(pictures)} pictures), by the outputs of {cards[0]['name']}"
    if args.masks:
        data += f" and the masks of {args.masks.resolve().name}"
    source = f"{cards[1]['source']}; " if cards[1].get("source") else ""
    return finish(
        args, student, cards[1], calibration=calibration, beside=[args.teacher] if student.codes else [],
        source=source + provenance(cards[1], args.student, data, args, trainer.step),
    )


if __name__ == "__main__":
    sys.exit(main())

"""Distillation and quantisation-aware training: a student learns the raw outputs of a teacher on plain pictures.

    python3 -m mobilens_train.distill --teacher models/NAME.yaml --student models/NAME_int8.yaml \\
        --pictures DIR --steps 300 --out runs/NAME_int8

With a quantised student of the same network this is quantisation-aware training: the student starts from the teacher's
float32 weights, is rounded as its file says, and OUT/NAME.onnx is a QDQ file again. No labels are needed (Hinton et
al., "Distilling the Knowledge in a Neural Network", section 2).
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml

from .augment import Craft, Sampler
from .data import read_yolo
from .loop import Trainer
from .onnx_module import OnnxModule


def ssd_distance(student, teacher, card, outputs):
    """Scores by their binary cross entropy, weighted as the focal loss does by how far they are apart; boxes by
    smooth L1 where the teacher sees something."""
    head = card["head"]["ssd"]
    scores, boxes = outputs.index(head["scores"]), outputs.index(head["boxes"])
    wanted = torch.sigmoid(teacher[scores])
    apart = (torch.sigmoid(student[scores]).detach() - wanted).abs()
    floor = F.binary_cross_entropy(wanted, wanted, reduction="none")
    classes = (F.binary_cross_entropy_with_logits(student[scores], wanted, reduction="none") - floor) * (wanted + apart).clamp(max=1)
    seen = wanted[..., 1:].amax(-1)
    count = seen.sum().clamp(min=1)
    places = (F.smooth_l1_loss(student[boxes], teacher[boxes], reduction="none").sum(-1) * seen).sum()
    return classes.sum() / count + places / count


def map_distance(student, teacher, *_):
    """Kullback-Leibler divergence of the softmax over channels: of a class map, or of one vector of classes."""
    total = 0.0
    for a, b in zip(student, teacher):
        p = F.log_softmax(b, 1)
        total = total + (p.exp() * (p - F.log_softmax(a, 1))).sum(1).mean()
    return total


def main(argv=None):
    p = argparse.ArgumentParser(prog="mobilens_train.distill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", type=Path, required=True, metavar="CARD")
    p.add_argument("--student", type=Path, required=True, metavar="CARD")
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--name")
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rate", type=float, default=2e-5)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--crops", type=float, nargs=2, metavar=("LEAST", "MOST"))
    p.add_argument("--quarter-turns", action="store_true")
    args = p.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        cards = [yaml.safe_load(path.read_text()) for path in (args.teacher, args.student)]
        files = [path.parent / card["file"] for path, card in zip((args.teacher, args.student), cards)]
        teacher = OnnxModule(files[0]).eval().requires_grad_(False)
        student = OnnxModule(files[1])
        same = set(teacher.named_values()) >= set(student.codes)
        if student.codes and same:
            student = OnnxModule(files[1], float_weights=files[0])
        pictures = read_yolo(args.pictures, [])
    except (OSError, ValueError, KeyError) as error:
        print(f"distill: {error}", file=sys.stderr)
        return 2
    card = cards[0]
    distance = ssd_distance if "ssd" in card["head"] else map_distance
    mean, std = torch.tensor(card["input"]["mean"]), torch.tensor(card["input"]["std"])
    craft = Craft(crops=tuple(args.crops) if args.crops else None, quarter_turns=args.quarter_turns, expand=0.5, colour=0.2, noise=2.0, blur=0.1)
    sampler = Sampler(pictures, card["input"]["width_px"], craft, args.seed)
    trainer = Trainer(student, args.out, args.steps, args.rate, warm_up=20, decay=0.0)

    def step_loss(step):
        pixels = torch.from_numpy(np.stack([sampler.next().pixels for _ in range(args.batch)])).float()
        x = ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            wanted = teacher(x)
        return distance(student(x), wanted, card, teacher.output_names), {}

    done = trainer.run(step_loss, lambda: sampler.rng.bit_generator.state, lambda s: setattr(sampler.rng.bit_generator, "state", s))
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

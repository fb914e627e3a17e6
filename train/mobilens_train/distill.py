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
from .data import DataError, check_colour, read_yolo
from .finish import finish, finish_flags, provenance
from .grid import draw_grid, draw_maps
from .loop import run_recipe, trainer_of
from .onnx_module import OnnxModule
from .options import craft_flags, craft_of, training_flags
from .ssd import Coder


def ssd_distance(scores, boxes, teacher_scores, teacher_boxes, class_weight=1.0, box_weight=1.0):
    """Scores by their binary cross entropy, weighted as the focal loss does by how far they are apart; boxes by
    smooth L1 where the teacher sees something. Channel 0 of the scores is the background."""
    wanted = torch.sigmoid(teacher_scores)
    apart = (torch.sigmoid(scores).detach() - wanted).abs()
    floor = F.binary_cross_entropy(wanted, wanted, reduction="none")
    classes = (F.binary_cross_entropy_with_logits(scores, wanted, reduction="none") - floor) * (wanted + apart).clamp(max=1)
    seen = wanted[..., 1:].amax(-1)
    count = seen.sum().clamp(min=1)
    places = (F.smooth_l1_loss(boxes, teacher_boxes, reduction="none").sum(-1) * seen).sum()
    return class_weight * classes.sum() / count + box_weight * places / count


def feature_distance(student, teacher):
    """Mean squared difference of each pair of feature maps, by the mean square of the teacher's; those of other sizes
    are compared at the smaller one (Romero et al., "FitNets", equation 3, without a regressor: by channels' mean
    energy where the channels differ, as Zagoruyko & Komodakis, "Paying More Attention to Attention", equation 2)."""
    total = 0.0
    for a, b in zip(student, teacher):
        if a.shape[2:] != b.shape[2:]:
            size = [min(pair) for pair in zip(a.shape[2:], b.shape[2:])]
            a, b = F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)
        if a.shape[1] != b.shape[1]:
            a, b = (x.pow(2).mean(1, keepdim=True) for x in (a, b))
            a, b = (x / x.mean((2, 3), keepdim=True).clamp(min=1e-9) for x in (a, b))
        total = total + (a - b).pow(2).mean() / b.pow(2).mean().clamp(min=1e-9)
    return total / max(len(student), 1)


def map_distance(student, teacher, *_):
    """Kullback-Leibler divergence of the softmax over channels: of a class map, or of one vector of classes."""
    total = 0.0
    for a, b in zip(student, teacher):
        if a.shape[2:] != b.shape[2:]:
            b = F.interpolate(b, a.shape[2:], mode="bilinear", align_corners=True)
        p = F.log_softmax(b, 1)
        total = total + (p.exp() * (p - F.log_softmax(a, 1))).sum(1).mean()
    return total


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.distill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", type=Path, required=True, metavar="CARD")
    p.add_argument("--student", type=Path, required=True, metavar="CARD")
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR", action="append", help="without labels; may be repeated")
    training_flags(p, 300, 8, 2e-5, warm_up=20, decay=0.0)
    craft_flags(p, colour=0.2, expand=0.5, noise=2.0, blur=0.1)
    p.add_argument("--logits", type=float, default=1.0, metavar="WEIGHT", help="of the scores' distance (1)")
    p.add_argument("--boxes", type=float, default=1.0, metavar="WEIGHT", help="of the boxes' distance, for SSD (1)")
    p.add_argument("--features", type=float, default=0.0, metavar="WEIGHT", help="of the distance of the values of --feature (0)")
    p.add_argument("--feature", action="append", default=[], metavar="NAME[:TEACHERS]", help="a value of the graph; may be repeated")
    finish_flags(p)
    args = p.parse_args(argv)
    if (args.features > 0) != bool(args.feature):
        p.error("--features WEIGHT and --feature NAME go together")
    return args


def main(argv=None):
    return run_recipe("distill", train, arguments_of(argv))


def train(args):
    cards = [yaml.safe_load(path.read_text()) for path in (args.teacher, args.student)]
    for card, path in zip(cards, (args.teacher, args.student)):
        check_colour(card, path)
    files = [path.parent / card["file"] for path, card in zip((args.teacher, args.student), cards)]
    teacher = OnnxModule(files[0]).eval().requires_grad_(False)
    student = OnnxModule(files[1])
    if student.codes and set(teacher.named_values()) >= set(student.codes):
        student = OnnxModule(files[1], float_weights=files[0])
    for name in teacher.output_names:
        if name not in student.output_names:
            raise DataError(f"{args.student}: has no output {name}, which {args.teacher} has")
    pairs = [text.partition(":")[::2] for text in args.feature]
    for module, path, names in ((student, args.student, [s for s, _ in pairs]), (teacher, args.teacher, [t or s for s, t in pairs])):
        made = {name for _, _, outputs, _ in module.nodes for name in outputs}
        unknown = [name for name in names if name not in made]
        if unknown:
            raise DataError(f"{path}: has no value {', '.join(unknown)}; `mobilens inspect` names them")
        module.also = names
    pictures = [picture for folder in args.pictures for picture in read_yolo(folder, [])]
    card = cards[0]
    head = card["head"].get("ssd")
    coder = Coder(card) if head else None
    mean, std = torch.tensor(card["input"]["mean"]), torch.tensor(card["input"]["std"])
    teacher.to(args.device), student.to(args.device)
    side = cards[1]["input"]["width_px"]
    sampler = Sampler(pictures, side, craft_of(args), args.seed)
    trainer = trainer_of(args, student)
    outputs = len(teacher.output_names)
    order = [student.output_names.index(name) for name in teacher.output_names]

    def step_loss(step):
        pixels = torch.from_numpy(np.stack([sampler.next().pixels for _ in range(args.batch)])).float()
        x = ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous().to(args.device)
        with torch.no_grad():
            wanted = teacher(x)
        said = student(x)
        maps, said = said[len(student.output_names):], [said[i] for i in order]
        if head:
            scores, boxes = teacher.output_names.index(head["scores"]), teacher.output_names.index(head["boxes"])
            loss = ssd_distance(said[scores], said[boxes], wanted[scores], wanted[boxes], args.logits, args.boxes)
        else:
            loss = args.logits * map_distance(said, wanted[:outputs])
        if step % args.grid_every == 0:
            path = args.out / f"step{step:05}.png"
            if coder:
                scores_of = [part[scores][..., 1:].detach().sigmoid() for part in (said, wanted)]
                draw_grid(path, x, mean, std, coder.decode(said[boxes].detach()), scores_of[0], scores_of[1] >= 0.4)
            elif said[0].dim() == 4:
                draw_maps(path, x, mean, std, wanted[0], said[0])
        figures = {}
        if args.features:
            features = feature_distance(maps, wanted[outputs:])
            loss, figures = loss + args.features * features, {"features": features.item()}
        return loss, figures

    if not trainer.run(step_loss, lambda: sampler.rng.bit_generator.state, lambda s: setattr(sampler.rng.bit_generator, "state", s)):
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    student.to("cpu")
    student.also = []
    plain = Sampler(pictures, side, Craft(crops=tuple(args.crops) if args.crops else None, hard=0.0, colour=0.0, noise=0.0, blur=0.0, flip=False), args.seed)
    data = " and ".join(dict.fromkeys(folder.resolve().name for folder in args.pictures))
    source = f"{cards[1].get('source', '')}; " * bool(cards[1].get("source")) + \
        provenance(cards[1], args.student, f"{data} ({len(pictures)} pictures), by the outputs of {card['name']}", args, trainer.step)
    beside = [args.teacher] if student.codes else []
    return finish(args, student, cards[1], calibration=plain.pixels(), beside=beside, source=source)


if __name__ == "__main__":
    sys.exit(main())

"""Fine-tunes an SSD on your own objects, from a model card and its ONNX file to a new card and file.

    python3 -m mobilens_train.detect --card models/ssdlite_mobilenet_v2_coco.yaml --yolo DIR \\
        --class car=0 --class truck=1 --crops 160 620 --steps 700 --out runs/aerial

Each `--class NAME=NUMBER` is a class and its number in YOLO files (with COCO or VOC only NAME); a class that the card
has too starts from its weights, `NAME=NUMBER:OTHER` from those of the card's class OTHER. Ends with OUT/NAME.onnx and
OUT/NAME.yaml.

With `--backbone NAME --alpha A --rho-size PX --head ssd|ssdlite` instead of `--card` the network is built. Rounds of
hard-negative mining (`--rounds 2`), cross-validation (`--folds 4 --fold 0`) and a teacher (`--teacher`) are flags of
the same command.
"""
import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

from . import build
from .augment import Craft, Sampler
from .classes import channels_of, freeze, head_values, keep_classes, shift_scores
from .data import DataError, check_colour, read_coco, read_places, read_voc, read_yolo
from .distill import ssd_distance
from .finish import finish, finish_flags, provenance
from .grid import draw_grid
from .loop import run_recipe, trainer_of
from .onnx_module import OnnxModule
from .options import craft_flags, craft_of, share, tiles, training_flags
from .ssd import Coder, ssd_loss
from .tiles import Detector, counts, false_detections, judge, tiles_for


def batch_of(sampler, coder, size, channels, mean, std):
    """Input [size, 3, side, side], and the targets of its samples, stacked."""
    pixels, targets = [], []
    for _ in range(size):
        sample = sampler.next()
        pixels.append(sample.pixels)
        boxes, ignored = (torch.from_numpy(np.asarray(b, np.float32)) for b in (sample.boxes, sample.ignored))
        # Channel 0 is the background.
        classes = torch.from_numpy(sample.classes) + 1
        targets.append(coder.targets(boxes, classes, ignored, channels))
    x = torch.from_numpy(np.stack(pixels)).float()
    # Channels last in memory, which convolutions on a CPU are faster with.
    x = ((x - mean.cpu()) / std.cpu()).permute(0, 3, 1, 2)
    return x, [torch.stack(part) for part in zip(*targets)]


def parse_class(text):
    """`NAME`, `NAME=NUMBER`, or with `:OTHER`, the card's class to start from."""
    match = re.fullmatch(r"([^=:]+)(?:=(\d+))?(?::(.+))?", text)
    if not match:
        raise argparse.ArgumentTypeError("expected NAME, NAME=NUMBER or NAME=NUMBER:OTHER")
    name, number, other = match.groups()
    return name, int(number) if number else None, other or name


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    start = p.add_mutually_exclusive_group(required=True)
    start.add_argument("--card", type=Path, help="card of the SSD to start from")
    build.add_detector_arguments(p, start)
    data = p.add_mutually_exclusive_group(required=True)
    data.add_argument("--yolo", type=Path, metavar="DIR")
    data.add_argument("--coco", type=Path, nargs=2, metavar=("FILE.json", "DIR"))
    data.add_argument("--voc", type=Path, metavar="DIR")
    p.add_argument("--negatives", type=Path, metavar="DIR", action="append", default=[], help="pictures without any of the classes")
    p.add_argument("--negative-share", type=share, default=0.15, help="share of samples that come from --negatives")
    p.add_argument("--ignore", type=Path, metavar="FILE.json", help="places whose labels are known to be missing: {picture: [[x1, y1, x2, y2]]}")
    p.add_argument("--class", dest="classes", type=parse_class, action="append", required=True, metavar="NAME[=NUMBER][:OTHER]")
    training_flags(p, 700, 12, 4e-4)
    p.add_argument("--freeze", type=int, default=12, metavar="N", help="the first N convolutions keep their weights")
    p.add_argument("--backbone-rate", type=share, default=1.0, metavar="SHARE", help="of the rate, for all but the heads")
    p.add_argument("--smoothing", type=share, default=0.0, help="label smoothing")
    p.add_argument("--loss", choices=("focal", "cross-entropy"), default="focal", help="of the classes; cross-entropy with 3 negatives for each match")
    craft_flags(p)
    hard = p.add_argument_group("hard negatives: crops around what is found where nothing is; with --crops")
    hard.add_argument("--hard", type=Path, metavar="FILE.json", help="places as --ignore has them: false detections of an earlier model")
    hard.add_argument("--hard-from", type=Path, metavar="MODEL.yaml", help="found by this model of the same classes")
    hard.add_argument("--rounds", type=int, default=1, help="found by the network itself, after each part of so many of the training")
    hard.add_argument("--hard-share", type=share, default=0.15, help="of the crops")
    hard.add_argument("--tiles", type=tiles, metavar="COLUMNSxROWS", help="in which mining and cross-validation look; default: of the crops' middle size")
    teach = p.add_argument_group("distillation beside the labels")
    teach.add_argument("--teacher", type=Path, metavar="MODEL.yaml", help="a model with the same anchors and classes of the same names")
    teach.add_argument("--teacher-weight", type=float, default=1.0)
    folds = p.add_argument_group("cross-validation and threshold")
    folds.add_argument("--folds", type=int, metavar="K", help="train without one of K parts of the pictures")
    folds.add_argument("--fold", type=int, metavar="I", help="which, from 0; OUT/fold.json is what is found there, for mobilens_train.calibrate")
    folds.add_argument("--from-score", type=share, metavar="SCORE", help="the score that shall become --calibrate-to in the new file")
    folds.add_argument("--calibrate-to", type=share, default=0.4, metavar="SCORE")
    finish_flags(p, "detect")
    args = p.parse_args(argv)
    if (args.hard or args.hard_from or args.rounds > 1) and not args.crops:
        p.error("hard negatives are crops: --crops LEAST MOST")
    if (args.folds is None) != (args.fold is None) or (args.folds and not (args.folds > 1 and 0 <= args.fold < args.folds)):
        p.error("cross-validation wants --folds K of at least 2 and --fold I from 0 to K - 1")
    if args.rounds < 1:
        p.error("--rounds wants at least 1")
    if args.from_score is not None and args.backbone:
        p.error("--from-score is for --card; calibrate a built network with mobilens_train.calibrate")
    if args.from_score is not None and not (0 < args.from_score < 1 and 0 < args.calibrate_to < 1):
        p.error("--from-score and --calibrate-to want scores between 0 and 1")
    return args


def pictures_of(args):
    names = [name for name, *_ in args.classes]
    if args.yolo:
        numbers = [number for _, number, _ in args.classes]
        if None in numbers:
            raise DataError("--yolo wants the number of each class: --class car=0")
        pictures = read_yolo(args.yolo, numbers)
    elif args.coco:
        pictures = read_coco(*args.coco, names)
    else:
        pictures = read_voc(args.voc, names)
    for name, boxes in read_places(args.ignore).items():
        for picture in (p for p in pictures if p.path.name == name):
            picture.ignored = np.concatenate([picture.ignored, np.array(boxes, np.float32).reshape(-1, 4)])
    negatives = [picture for folder in args.negatives for picture in read_yolo(folder, [])]
    return pictures, negatives


def split(pictures, folds, fold):
    """Pictures to train with and those of the fold: one after another, as neighbours of a flight are alike."""
    kept = [p for i, p in enumerate(pictures) if i * folds // len(pictures) != fold]
    return kept, [p for i, p in enumerate(pictures) if i * folds // len(pictures) == fold]


def grid_of(args, pixels):
    """In how many tiles a picture is looked at."""
    if args.tiles:
        return args.tiles
    if not args.crops:
        return 1, 1
    return tiles_for(pixels.shape[1], pixels.shape[0], float(np.sqrt(args.crops[0] * args.crops[1])))


def mine(args, module, card, coder, pictures):
    """Hard negatives of the pictures by their names."""
    hard = false_detections(Detector(module, card, coder, args.device), pictures, lambda pixels: grid_of(args, pixels))
    print(f"{sum(map(len, hard.values()))} false detections in {len(hard)} of {len(pictures)} pictures: hard negatives", flush=True)
    return hard


def teacher_of(args, names, device):
    """Function from an input to the teacher's scores, of the background and `names`, and boxes."""
    card = yaml.safe_load(args.teacher.read_text())
    module = OnnxModule(args.teacher.parent / card["file"]).eval().requires_grad_(False).to(device)
    of_name = {label["name"]: label["id"] for label in card["labels"]}
    missing = [name for name in names if name not in of_name]
    if missing:
        raise DataError(f"{args.teacher}: has no class {', '.join(missing)}")
    head = card["head"]["ssd"]
    scores, boxes = module.output_names.index(head["scores"]), module.output_names.index(head["boxes"])
    channels = [0, *(of_name[name] for name in names)]

    def teach(x):
        with torch.no_grad():
            outputs = module(x)
        return outputs[scores][..., channels], outputs[boxes]

    return teach


def evaluate_fold(args, module, card, coder, names, pictures):
    """Writes OUT/fold.json: what is found in the fold, with verdicts; prints found and false by threshold."""
    detector = Detector(module, card, coder, args.device)
    verdicts, any_class = [], []
    for picture in pictures:
        pixels = picture.load()
        found = detector.find(pixels, grid_of(args, pixels))
        verdicts += judge(found, picture)
        any_class += judge(found, picture, any_class=True)
    objects = sum(len(picture.boxes) for picture in pictures)
    data = {"fold": args.fold, "folds": args.folds, "seed": args.seed, "classes": names, "pictures": len(pictures),
            "objects": objects, "verdicts": verdicts, "any_class": any_class}
    (args.out / "fold.json").write_text(json.dumps(data))
    print(f"fold {args.fold} of {args.folds}: {objects} objects in {len(pictures)} pictures")
    print("| score | found | false | recall | precision | classes aside |\n|---:|---:|---:|---:|---:|---:|")
    for score in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        right, wrong, recall, precision = counts(verdicts, objects, score)
        print(f"| {score} | {right} | {wrong} | {recall:.3f} | {precision:.3f} | {counts(any_class, objects, score)[:2]} |", flush=True)


def main(argv=None):
    return run_recipe("detect", train, arguments_of(argv))


def train(args):
    if args.backbone:
        module, card = build.detector(args)
    else:
        card = yaml.safe_load(args.card.read_text())
        check_colour(card, args.card)
        module = OnnxModule(args.card.parent / card["file"])
    pictures, negatives = pictures_of(args)
    held_out = []
    if args.folds:
        pictures, held_out = split(pictures, args.folds, args.fold)
        if not pictures or not held_out:
            raise DataError(f"--folds {args.folds}: too few pictures")
    names = [name for name, *_ in args.classes]
    of_name = {label["name"]: label["id"] for label in card["labels"]}
    missing = [start for *_, start in args.classes if start not in of_name]
    if missing:
        raise DataError(f"{args.card} has no class {', '.join(missing)}: say where it starts from, NAME=NUMBER:OTHER")
    if "ssd" not in card["head"]:
        raise DataError(f"{args.card}: not an SSD")
    head = card["head"]["ssd"]
    scores_index = module.output_names.index(head["scores"])
    boxes_index = module.output_names.index(head["boxes"])
    if not args.backbone:
        keep_classes(module, head["scores"], channels_of(module, head["scores"]), [0, *[of_name[start] for *_, start in args.classes]])
        freeze(module, args.freeze)
    module.to(args.device)
    coder, channels = Coder(card), len(names) + 1
    mean, std = torch.tensor(card["input"]["mean"]), torch.tensor(card["input"]["std"])
    craft = craft_of(args, negatives=args.negative_share, hard=args.hard_share)
    hard = read_places(args.hard)
    if args.hard_from:
        hard_card = yaml.safe_load(args.hard_from.read_text())
        hard_module = OnnxModule(args.hard_from.parent / hard_card["file"]).to(args.device)
        mined = mine(args, hard_module, hard_card, Coder(hard_card), [*pictures, *negatives])
        hard = {name: hard.get(name, []) + mined.get(name, []) for name in {*hard, *mined}}
    sampler = Sampler(pictures, card["input"]["width_px"], craft, args.seed, hard=hard, negatives=negatives)
    teach = teacher_of(args, names, args.device) if args.teacher else None
    if args.backbone:
        slower = module.net.backbone.parameters()
    else:
        in_heads = head_values(module)
        slower = [value for name, value in module.named_values().items() if name not in in_heads]
    shares = {id(value): args.backbone_rate for value in slower}
    trainer = trainer_of(args, module, shares)
    rounds = {args.steps * part // args.rounds for part in range(1, args.rounds)}

    def step_loss(step):
        if step in rounds:
            sampler.hard = trainer.averaged(lambda: mine(args, module, card, coder, [*pictures, *negatives]))
        x, targets = batch_of(sampler, coder, args.batch, channels, mean, std)
        x, targets = x.to(args.device), [part.to(args.device) for part in targets]
        outputs = module(x)
        scores, boxes, matched, outside = targets
        # The background's channel is never read.
        logits, of_truth = outputs[scores_index][..., 1:], (scores[..., 1:], boxes, matched, outside)
        loss, classes, places = ssd_loss(outputs[boxes_index], logits, of_truth, smoothing=args.smoothing, kind=args.loss)
        figures = {"classes": classes.item(), "boxes": places.item()}
        if teach:
            distance = ssd_distance(outputs[scores_index], outputs[boxes_index], *teach(x))
            loss = loss + args.teacher_weight * distance
            figures["teacher"] = distance.item()
        if step % args.grid_every == 0:
            with torch.no_grad():
                draw_grid(args.out / f"step{step:05}.png", x, mean, std, coder.decode(outputs[boxes_index]), logits.sigmoid(), scores[..., 1:])
        return loss, figures

    def restore(state):
        sampler.rng.bit_generator.state, sampler.hard = state

    if not trainer.run(step_loss, lambda: (sampler.rng.bit_generator.state, sampler.hard), restore):
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    if held_out:
        evaluate_fold(args, module, card, coder, names, held_out)
    module.to("cpu").eval()
    notes = ""
    if args.from_score is not None:
        shift = shift_scores(module, card, args.from_score, args.calibrate_to)
        notes = f"; class biases shifted by {shift:.3f}, so that score {args.from_score} became {args.calibrate_to}"
    where = args.yolo or args.voc or args.coco[1]
    data = f"{where.resolve().name} ({len(pictures)} pictures, {sum(len(p.boxes) for p in pictures)} objects)"
    if negatives:
        data += f" and {len(negatives)} pictures without"
    plain = Sampler(pictures, card["input"]["width_px"], Craft(crops=craft.crops, around=0.5, hard=0.0, colour=0.0, noise=0.0, blur=0.0, flip=False), args.seed)
    return finish(
        args, module, card, calibration=plain.pixels(), labels=[{"id": i + 1, "name": n} for i, n in enumerate(names)],
        source=provenance(card, args.card, data, args, trainer.step) + notes,
    )


if __name__ == "__main__":
    sys.exit(main())

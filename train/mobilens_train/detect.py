"""Fine-tunes an SSD on your own objects, from a model card and its ONNX file to a new card and file.

    python3 -m mobilens_train.detect --card models/ssdlite_mobilenet_v2_coco.yaml --yolo DIR \\
        --class car=0 --class truck=1 --crops 160 620 --steps 700 --out runs/aerial

Each `--class NAME=NUMBER` is a class and its number in YOLO files (with COCO or VOC only NAME); a class that the card
has too starts from its weights, `NAME=NUMBER:OTHER` from those of the card's class OTHER. Ends with OUT/NAME.onnx and
OUT/NAME.yaml.

With `--backbone NAME --alpha A --rho-size PX --head ssd|ssdlite` instead of `--card` the network is built.
"""
import argparse
import re
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw

from . import build
from .augment import Craft, Sampler
from .data import DataError, read_coco, read_voc, read_yolo
from .loop import Trainer
from .onnx_module import OnnxModule
from .ssd import Coder, ssd_loss


def keep_classes(module, scores_output, channels, wanted):
    """Cuts the class heads down to the channels `wanted` of `channels`: pruning of classes before the training.

    A class head is the convolution whose output goes, through transposes and reshapes, into the concatenation of
    `scores_output`; its output channels are anchors times `channels`.
    """
    makers = {outputs[0]: (op, inputs, attributes) for op, inputs, outputs, attributes in module.nodes}
    op, parts, _ = makers[scores_output]
    if op != "Concat":
        raise ValueError(f"{scores_output}: comes from {op}, expected the Concat of the class heads")
    for name in parts:
        while makers[name][0] in ("Transpose", "Reshape"):
            op, inputs, _ = makers[name]
            if op == "Reshape":
                shape = module.constants[inputs[1]].copy()
                shape[shape == channels] = len(wanted)
                module.constants[inputs[1]] = shape
            name = inputs[0]
        op, inputs, _ = makers[name]
        if op != "Conv":
            raise ValueError(f"{name}: comes from {op}, expected the Conv of a class head")
        for value in inputs[1:]:
            old = module.named_values()[value].detach()
            per_anchor = old.reshape(-1, channels, *old.shape[1:])
            module._add(value, per_anchor[:, wanted].reshape(-1, *old.shape[1:]).numpy())
    for output in module.model.graph.output:
        if output.name == scores_output:
            output.type.tensor_type.shape.dim[2].dim_value = len(wanted)
    del module.model.graph.value_info[:]


def freeze(module, convolutions):
    """The first so many convolutions keep their weights."""
    done = 0
    values = module.named_values()
    for op, inputs, *_ in module.nodes:
        if op == "Conv" and done < convolutions:
            done += 1
            for name in inputs[1:]:
                values[name].requires_grad_(False)


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
    x = ((x - mean) / std).permute(0, 3, 1, 2)
    return x, [torch.stack(part) for part in zip(*targets)]


def draw_grid(path, x, mean, std, decoded, scores, targets):
    """Nine samples with what is found at .4 (green) and what is there (white)."""
    side = x.shape[2]
    grid = Image.new("RGB", (3 * side, 3 * side))
    for index in range(min(9, len(x))):
        pixels = (x[index].permute(1, 2, 0) * std + mean).clip(0, 255).byte().numpy()
        picture = Image.fromarray(pixels)
        pen = ImageDraw.Draw(picture)
        for rows, colour in ((targets[index].any(-1).nonzero()[:, 0], "white"), ((scores[index].amax(-1) >= 0.4).nonzero()[:, 0], "lime")):
            for row in rows.tolist():
                y1, x1, y2, x2 = (decoded[index, row] * side).clamp(0, side).tolist()
                if x2 > x1 and y2 > y1:
                    pen.rectangle([x1, y1, x2, y2], outline=colour)
        grid.paste(picture, (index % 3 * side, index // 3 * side))
    grid.save(path)


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
    p.add_argument("--negative-share", type=float, default=0.15, help="share of samples that come from --negatives")
    p.add_argument("--class", dest="classes", type=parse_class, action="append", required=True, metavar="NAME[=NUMBER][:OTHER]")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--name", help="name of the new model; default: the folder's")
    p.add_argument("--steps", type=int, default=700)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--rate", type=float, default=4e-4)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0, help="0: all")
    p.add_argument("--device", default="cpu")
    p.add_argument("--freeze", type=int, default=12, metavar="N", help="the first N convolutions keep their weights")
    p.add_argument("--average", type=float, default=0.99, help="decay of the average of weights")
    p.add_argument("--smoothing", type=float, default=0.0, help="label smoothing")
    p.add_argument("--patience", type=int, help="end after so many steps without a lower loss")
    p.add_argument("--crops", type=float, nargs=2, metavar=("LEAST", "MOST"), help="sides of crops in pixels; without it, whole pictures")
    for name in ("expand", "mosaic", "mixup", "cutmix", "copy-paste"):
        p.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE")
    p.add_argument("--colour", type=float, default=0.4)
    p.add_argument("--quarter-turns", action="store_true", help="for pictures from above")
    return p.parse_args(argv)


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
    negatives = [picture for folder in args.negatives for picture in read_yolo(folder, [])]
    return pictures, negatives


def write_card(path, card, args, names):
    """The card of the new model: that of the old one with its own file, labels and origin."""
    new = {key: value for key, value in card.items() if key not in ("sha256", "accuracy", "converted", "siblings")}
    new |= {"name": path.stem, "file": f"{path.stem}.onnx", "labels": [{"id": i + 1, "name": n} for i, n in enumerate(names)]}
    new["source"] = f"fine-tuned from {card['name']}, seed {args.seed}, {args.steps} steps of {args.batch}"
    path.write_text(yaml.safe_dump(new, sort_keys=False, width=120))


def main(argv=None):
    args = arguments_of(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        if args.backbone:
            module, card = build.detector(args)
        else:
            card = yaml.safe_load(args.card.read_text())
            module = OnnxModule(args.card.parent / card["file"])
        pictures, negatives = pictures_of(args)
    except (OSError, ValueError, KeyError) as error:
        print(f"detect: {error}", file=sys.stderr)
        return 2
    names = [name for name, *_ in args.classes]
    of_name = {label["name"]: label["id"] for label in card["labels"]}
    missing = [start for *_, start in args.classes if start not in of_name]
    if missing:
        print(f"detect: {args.card} has no class {', '.join(missing)}: say where it starts from, NAME=NUMBER:OTHER", file=sys.stderr)
        return 2
    head = card["head"]["ssd"]
    scores_index = module.output_names.index(head["scores"])
    boxes_index = module.output_names.index(head["boxes"])
    if not args.backbone:
        channels = next(o for o in module.model.graph.output if o.name == head["scores"]).type.tensor_type.shape.dim[2].dim_value
        keep_classes(module, head["scores"], channels, [0, *[of_name[start] for *_, start in args.classes]])
        freeze(module, args.freeze)
    coder, channels = Coder(card), len(names) + 1
    mean, std = torch.tensor(card["input"]["mean"]), torch.tensor(card["input"]["std"])
    craft = Craft(
        crops=tuple(args.crops) if args.crops else None, quarter_turns=args.quarter_turns, colour=args.colour, expand=args.expand,
        mosaic=args.mosaic, mixup=args.mixup, cutmix=args.cutmix, copy_paste=args.copy_paste,
        negatives=args.negative_share,
    )
    sampler = Sampler(pictures, card["input"]["width_px"], craft, args.seed, negatives=negatives)
    trainer = Trainer(module, args.out, args.steps, args.rate, average=args.average, patience=args.patience)

    def step_loss(step):
        x, targets = batch_of(sampler, coder, args.batch, channels, mean, std)
        outputs = module(x)
        scores, boxes, matched, outside = targets
        # The background's channel is never read.
        loss, classes, places = ssd_loss(outputs[boxes_index], outputs[scores_index][..., 1:], (scores[..., 1:], boxes, matched, outside), smoothing=args.smoothing)
        if step % 100 == 0:
            with torch.no_grad():
                draw_grid(args.out / f"step{step:05}.png", x, mean, std, coder.decode(outputs[boxes_index]), outputs[scores_index][..., 1:].sigmoid(), scores[..., 1:])
        return loss, {"classes": classes.item(), "boxes": places.item()}

    done = trainer.run(step_loss, lambda: sampler.rng.bit_generator.state, lambda s: setattr(sampler.rng.bit_generator, "state", s))
    if not done:
        print(f"ended by Ctrl-C after step {trainer.step}: the same command goes on", flush=True)
        return 130
    name = args.name or args.out.name
    module.save(args.out / f"{name}.onnx")
    write_card(args.out / f"{name}.yaml", card, args, names)
    print(f"wrote {args.out / name}.onnx and its card", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

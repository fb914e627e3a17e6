"""What each craft does: the same short training with one thing changed at a time, as a Markdown table.

    python3 -m mobilens_train.ablate --card models/ssdlite_mobilenet_v2_coco.yaml --yolo DIR --class car=0 ... \\
        --crops 160 620 --quarter-turns --validate DIR --steps 120 --batch 8 --threads 1 --out runs/ablation

All flags of `mobilens_train.detect` make the base; each row is the base with its change, with the same seed and steps.
Held out are the labelled pictures of `--validate`, or else one fold of the training pictures (`--folds 4 --fold 0`).
Networks are compared as float32 in tiles by `tiles.py`. A row that is done is not trained again, and one that was ended
goes on; the table is written anew after each row. `--only NAME` trains some rows only; `--seeds 0 1 2` gives mean and
spread.
"""
import argparse
import contextlib
import json
import statistics
import sys
from pathlib import Path

import yaml

from . import detect
from .data import DataError, read_coco, read_yolo
from .onnx_module import OnnxModule
from .ssd import Coder
from .tiles import Detector, average_precision, counts, judge

# Name of the row, what it says, and the flags that are added to the base; a later flag replaces an earlier one.
ROWS = [
    ("base", "base", []),
    ("none", "no augmentation: crops only", ["--no-flip", "--no-quarter-turns", "--colour", "0", "--noise", "0", "--blur", "0"]),
    ("flips-off", "without flips", ["--no-flip"]),
    ("quarter-turns-off", "without quarter turns", ["--no-quarter-turns"]),
    ("colour-off", "without colour, noise and blur", ["--colour", "0", "--noise", "0", "--blur", "0"]),
    ("crops-off", "whole pictures instead of crops", ["--no-crops"]),
    ("crops-anywhere", "crops anywhere instead of around objects", ["--around", "0.01"]),
    ("expand", "whole pictures, expanded or cropped", ["--no-crops", "--expand", "0.5"]),
    ("mosaic", "mosaic .5", ["--mosaic", "0.5"]),
    ("mixup", "Mixup .3", ["--mixup", "0.3"]),
    ("cutmix", "CutMix .3", ["--cutmix", "0.3"]),
    ("copy-paste", "copy-paste .5", ["--copy-paste", "0.5"]),
    ("smoothing", "label smoothing .1", ["--smoothing", "0.1"]),
    ("average-off", "without the average of weights (EMA)", ["--average", "0"]),
    ("warm-up-off", "without warm-up", ["--warm-up", "0"]),
    ("cosine-off", "constant rate after the warm-up", ["--schedule", "constant"]),
    ("freeze-off", "nothing frozen", ["--freeze", "0"]),
    ("backbone-rate", "backbone at .1 of the rate, nothing frozen", ["--freeze", "0", "--backbone-rate", "0.1"]),
    ("cross-entropy", "cross entropy with 3:1 negatives instead of focal loss", ["--loss", "cross-entropy"]),
    ("hard", "hard negatives of the first half", ["--rounds", "2"]),
]
TAKEN_AWAY = {"--no-quarter-turns": "--quarter-turns", "--no-crops": "--crops"}
# These want another path.
NEGATIVES = ("negatives", "everyday pictures as negatives", ["--negative-share", "0.15"])
TEACHER = ("teacher", "distillation from a teacher", [])


def without(flags, names):
    """The flags without those named, and their values."""
    kept, keep = [], True
    for flag in flags:
        if flag.startswith("--"):
            keep = flag not in names
        if keep:
            kept.append(flag)
    return kept


def merged(base, change):
    """The base's flags with those of a row, of which the ones of `TAKEN_AWAY` take away one of the base."""
    return without(base, {TAKEN_AWAY[flag] for flag in change if flag in TAKEN_AWAY}) + [flag for flag in change if flag not in TAKEN_AWAY]


def held_out(args, names):
    """The pictures that are kept aside."""
    if args.validate:
        if len(args.validate) == 2:
            return read_coco(*args.validate, names)
        return read_yolo(args.validate[0], [number for _, number, _ in args.classes], labelled_only=True)
    if not args.folds:
        raise DataError("--validate, or --folds K --fold I, says what is kept aside")
    return detect.split(detect.pictures_of(args)[0], args.folds, args.fold)[1]


def measure(args, folder, pictures):
    """Figures of the network in `folder` on the pictures."""
    path = folder / f"{folder.name}.yaml"
    card = yaml.safe_load(path.read_text())
    detector = Detector(OnnxModule(folder / card["file"]).to(args.device), card, Coder(card), args.device)
    verdicts, any_class = [], []
    for picture in pictures:
        pixels = picture.load()
        found = detector.find(pixels, detect.grid_of(args, pixels))
        verdicts += judge(found, picture)
        any_class += judge(found, picture, any_class=True)
    objects = sum(len(p.boxes) for p in pictures)
    right, wrong, *_ = counts(any_class, objects, 0.4)
    return {"AP50": average_precision(verdicts, objects), "AP50 any": average_precision(any_class, objects), "found": right, "false": wrong, "objects": objects}


def table(rows, results, seeds):
    """Markdown, with the difference to the base."""
    def mean(name, key):
        values = [results[name][str(seed)][key] for seed in seeds if str(seed) in results.get(name, {})]
        return (statistics.fmean(values), statistics.pstdev(values)) if values else (None, None)

    lines = ["| change | AP50 | to base | AP50, classes aside | to base | found at .4 | false at .4 | loss at the end |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, text, _ in rows:
        if not results.get(name):
            continue
        cells = []
        for key in ("AP50", "AP50 any"):
            value, spread = mean(name, key)
            base = mean("base", key)[0]
            cells.append(f"{value:.3f}" + (f" ± {spread:.3f}" if len(seeds) > 1 else ""))
            cells.append("" if base is None or name == "base" else f"{value - base:+.3f}")
        objects = mean(name, "objects")[0]
        cells += [f"{mean(name, 'found')[0]:.3g} of {objects:.0f}", f"{mean(name, 'false')[0]:.3g}", f"{mean(name, 'loss')[0]:.3f}"]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def last_loss(log, over=20):
    """Mean loss of the last steps."""
    lines = [json.loads(line)["loss"] for line in log.read_text().splitlines()][-over:]
    return statistics.fmean(lines)


def arguments_of(argv):
    p = argparse.ArgumentParser(prog="mobilens_train.ablate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog="All other flags are those of mobilens_train.detect.", allow_abbrev=False)
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--only", nargs="+", metavar="ROW", help="base, " + ", ".join(name for name, *_ in [*ROWS[1:], NEGATIVES, TEACHER]))
    p.add_argument("--seeds", type=int, nargs="+", default=[0])
    p.add_argument("--negatives", metavar="DIR", help="for the row `negatives`")
    p.add_argument("--teacher", metavar="MODEL.yaml", help="for the row `teacher`")
    args, rest = p.parse_known_args(argv)
    if any(flag in rest for flag in ("--seed", "--name")):
        p.error("--seed and --name are the rows' own; use --seeds")
    return p, args, rest


def main(argv=None):
    p, args, rest = arguments_of(argv)
    rows = list(ROWS)
    if args.negatives:
        rows.append((*NEGATIVES[:2], ["--negatives", args.negatives, *NEGATIVES[2]]))
    if args.teacher:
        rows.append((*TEACHER[:2], ["--teacher", args.teacher]))
    if args.only:
        unknown = set(args.only) - {name for name, *_ in rows}
        if unknown:
            p.error(f"no row {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "results.json"
    plain = detect.arguments_of([*rest, "--out", str(args.out)])
    # A row that takes away what the base has not, or changes crops where there are none, says nothing.
    pointless = {"quarter-turns-off"} if not plain.quarter_turns else set()
    pointless |= {"crops-off", "crops-anywhere", "hard"} if not plain.crops else set()
    rows = [row for row in rows if row[0] not in pointless]
    try:
        results = json.loads(file.read_text()) if file.exists() else {}
        pictures = held_out(plain, [name for name, *_ in plain.classes])
    except (OSError, ValueError, KeyError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    # Each row is measured here, on all that is kept aside.
    base = without(rest, {"--validate", "--validate-tiles", "--mobilens", "--int8"})
    for seed in args.seeds:
        for name, text, change in rows:
            if (args.only and name not in args.only) or str(seed) in results.get(name, {}):
                continue
            folder = args.out / f"{name}-{seed}"
            folder.mkdir(exist_ok=True)
            flags = [*merged(base, change), "--no-program", "--seed", str(seed), "--out", str(folder), "--name", folder.name]
            print(f"{name}, seed {seed}", flush=True)
            row = detect.arguments_of(flags)
            with (folder / "output.txt").open("a") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = detect.main(flags)
            if code == 130:
                print("ended by Ctrl-C: the same command goes on")
                return 130
            if code:
                print(f"ablate: {name}, seed {seed}: {(folder / 'output.txt').read_text().splitlines()[-1]}", file=sys.stderr)
                return 1
            # All are looked at in the base's tiles.
            row.tiles, row.crops = plain.tiles, plain.crops
            results.setdefault(name, {})[str(seed)] = measure(row, folder, pictures) | {"loss": last_loss(folder / "log.jsonl")}
            file.write_text(json.dumps(results, indent=1))
            (folder / "checkpoint.pt").unlink(missing_ok=True)
            (args.out / "table.md").write_text(table(rows, results, args.seeds))
    text = table(rows, results, args.seeds)
    (args.out / "table.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What every recipe does at its end: the ONNX file and its card, and what the program says of them.

`mobilens inspect` shows whether every layer runs on the program's own kernels, `mobilens check` whether it takes the
card, `mobilens quantize` makes the int8 file (`--int8`), and `mobilens eval` measures both on labelled pictures
(`--validate`). What was measured is written into the cards. Without the program only the first part is done, and a
warning says so.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from .data import DataError, coco_of, read_coco, read_yolo
from .options import tiles
from .tiles import average_precision, counts, judge

ROOT = Path(__file__).resolve().parents[2]
# The score at which what is found and what is false are counted.
COUNTED_AT = 0.4


class ProgramFailed(RuntimeError):
    """A command of the program ended with an error; the message is the program's."""


def finish_flags(parser):
    g = parser.add_argument_group("the end: the card, and what the program says of the new model")
    g.add_argument("--licence", metavar="TEXT", help="of the new weights, where the training pictures ask for another one than the old card says")
    g.add_argument("--mobilens", type=Path, metavar="PROGRAM", help="default: the one on PATH, or in target/release or target/debug")
    g.add_argument("--no-program", action="store_true", help="write the ONNX file and the card only")
    g.add_argument("--int8", action="store_true", help="also write the int8 model, calibrated with training samples")
    g.add_argument("--validate", type=Path, nargs="+", metavar="PATH",
                   help="labelled pictures that are not trained on: FILE.json DIR (COCO) or, for detectors, DIR (YOLO); for segmentation FILE.json DIR or MASKS DIR")
    g.add_argument("--validate-tiles", type=tiles, metavar="COLUMNSxROWS", help="detect in so many tiles, as gating.tiles does")


def find_program(given=None):
    """The program `mobilens`, or None."""
    if given:
        if not Path(given).is_file():
            raise DataError(f"--mobilens {given}: no such file")
        return Path(given).resolve()
    on_path = shutil.which("mobilens")
    for path in ([Path(on_path)] if on_path else []) + [ROOT / "target" / kind / "mobilens" for kind in ("release", "debug")]:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def call(program, *arguments):
    """What the program prints."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise ProgramFailed(f"mobilens {arguments[0]} ended with exit code {done.returncode}: " + " / ".join(said))
    return done.stdout


def sha256_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_card(path, card, **changes):
    """The card of the new model beside its ONNX file: the old card with `changes`; what the old one says of the old
    file's conversion and accuracy is left out."""
    new = {key: value for key, value in card.items() if key not in ("sha256", "accuracy", "converted", "siblings")}
    file = path.with_suffix(".onnx")
    new = {"name": path.stem, "file": file.name, "sha256": sha256_of(file)} | {k: v for k, v in new.items() if k not in ("name", "file")} | changes
    path.write_text(yaml.safe_dump(new, sort_keys=False, width=120, allow_unicode=True))
    return new


def set_in_card(path, key, value):
    """Replaces one line of text of a card, or adds it, and leaves the rest as it is, with its comments."""
    text = path.read_text()
    line = f"{key}: {json.dumps(value, ensure_ascii=False)}\n"
    # A long text goes on in indented lines.
    pattern = re.compile(rf"^{key}:.*\n(?:[ \t]+.*\n)*", re.MULTILINE)
    text = pattern.sub(lambda _: line, text, count=1) if pattern.search(text) else text.rstrip("\n") + "\n" + line
    path.write_text(text)


def share_on_kernels(program, onnx_file):
    """Share of the multiplications that run on the program's own kernels, and the layers that do not."""
    report = json.loads(call(program, "inspect", onnx_file, "--json"))
    macs = sum(total["macs"] for total in report["totals"])
    own = sum(total["macs"] for total in report["totals"] if total["runs_on"] != "tract")
    others = [f"{layer['name']} ({layer['operator']})" for layer in report["layers"] if layer["runs_on"] == "tract"]
    return own / max(macs, 1), others


def task_of(card):
    """detect, segment or classify."""
    kind = next(iter(card["head"]))
    return {"deeplab": "segment", "segment": "segment", "classify": "classify"}.get(kind, "detect")


def write_pipeline(path, card_name, card, grid):
    """A pipeline with the new card, which reads pictures from its folder until --input says otherwise."""
    pipeline = {"source": {"images": {"path": "."}}, "model": card_name}
    if task_of(card) == "detect":
        pipeline["detect"] = {"score_threshold": COUNTED_AT}
        if grid and grid != (1, 1):
            pipeline["gating"] = {"tiles": {"columns": grid[0], "rows": grid[1], "overlap": 0.2}}
    pipeline["sinks"] = [{"jsonl": {"path": "-"}}]
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))


def write_calibration(folder, sampler, n=32):
    """Pictures as the network sees them in use: samples of the training without the disturbances."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        Image.fromarray(sampler.one().pixels).save(folder / f"{index:03}.png")


def write_validation(folder, paths, names, numbers):
    """The pictures under names that carry their ids, and COCO JSON whose categories are 1 for the first of `names` and
    so on. `numbers`: of the classes in YOLO files. Returns the pictures with what is in them."""
    if len(paths) == 2 and paths[0].suffix == ".json":
        pictures = read_coco(*paths, names)
    elif len(paths) != 1:
        raise DataError("--validate wants FILE.json DIR, or one folder with YOLO labels")
    elif None in numbers:
        raise DataError("--validate DIR wants the number of each class: --class car=0")
    else:
        pictures = read_yolo(paths[0], numbers, labelled_only=True)
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "pictures").mkdir(parents=True)
    file_names = [f"{i:012}{picture.path.suffix.lower()}" for i, picture in enumerate(pictures, 1)]
    for picture, name in zip(pictures, file_names):
        if not picture.path.exists():
            raise DataError(f"{picture.path}: no such picture")
        shutil.copyfile(picture.path, folder / "pictures" / name)
    (folder / "instances.json").write_text(json.dumps(coco_of(pictures, names, file_names)))
    return pictures


def evaluate_detector(program, pipeline, card, folder, pictures, ids):
    """AP by `mobilens eval`, and what is found and false at the score that is counted at. `ids`: of the card's labels."""
    results = folder / f"{card.stem}.json"
    call(program, pipeline, "--headless", "--input", folder / "pictures", "--format", "coco", "--output", results,
         "--set", f"model={card.resolve()}", "--set", "detect.score_threshold=0.005")
    found = json.loads(results.read_text())
    # A label's place in the list of names is the category in the truth.
    place = {label: i for i, label in enumerate(ids)}
    for row in found:
        row["category_id"] = place[row["category_id"]] + 1
    results.write_text(json.dumps(found))
    figures = json.loads(call(program, "eval", "detection", "--coco", folder / "instances.json", "--results", results, "--json"))
    by_picture = {}
    for row in found:
        x, y, w, h = row["bbox"]
        by_picture.setdefault(row["image_id"], []).append([row["category_id"] - 1, row["score"], x, y, x + w, y + h])
    verdicts = [[], []]
    for image_id, picture in enumerate(pictures, 1):
        rows = np.array(by_picture.get(image_id, []), np.float32).reshape(-1, 6)
        for any_class in (0, 1):
            verdicts[any_class] += judge(rows, picture, any_class=bool(any_class))
    objects = sum(len(picture.boxes) for picture in pictures)
    right, wrong, *_ = counts(verdicts[0], objects, COUNTED_AT)
    right_any, wrong_any, *_ = counts(verdicts[1], objects, COUNTED_AT)
    return {"AP": figures["AP"], "AP50": figures["AP50"], "AP75": figures["AP75"], "objects": objects, "pictures": len(pictures),
            "found": right, "false": wrong, "found_any": right_any, "false_any": wrong_any, "AP50_any": average_precision(verdicts[1], objects)}


def text_of(figures):
    """Figures as a card says them."""
    def short(x):
        return "none" if x is None else f"{x:.3f}".replace("0.", ".", 1)

    if "mean_iou" in figures:
        return f"mIoU {short(figures['mean_iou'])}, pixel accuracy {short(figures['pixel_accuracy'])} on {figures['pictures']} pictures"
    return (f"AP {short(figures['AP'])}, AP50 {short(figures['AP50'])}, AP75 {short(figures['AP75'])} on {figures['pictures']} pictures; at score {COUNTED_AT} "
            f"{figures['found']} of {figures['objects']} found and {figures['false']} false, classes aside {figures['found_any']} and {figures['false_any']}")


def print_table(rows):
    """A Markdown table of figures by model."""
    keys = [key for key in next(iter(rows.values()))]
    print("| model | " + " | ".join(keys) + " |")
    print("|---|" + "---:|" * len(keys))
    for name, figures in rows.items():
        print(f"| {name} | " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in figures.values()) + " |", flush=True)


def evaluate(program, pipeline, cards, out, args):
    """Figures of each card, float and int8 side by side."""
    rows = {}
    card = yaml.safe_load(cards[0].read_text())
    if task_of(card) == "segment":
        if len(args.validate) != 2:
            raise DataError("--validate of a segmentation model wants FILE.json DIR, or MASKS DIR")
        truth = ("--instances" if args.validate[0].suffix == ".json" else "--masks", args.validate[0])
        for path in cards:
            said = json.loads(call(program, "eval", "segmentation", pipeline, "--images", args.validate[1], *truth, "--json", "--set", f"model={path.resolve()}"))
            rows[path.stem] = {key: said[key] for key in ("mean_iou", "pixel_accuracy", "pictures")}
    elif task_of(card) == "detect":
        names, ids = [label["name"] for label in card["labels"]], [label["id"] for label in card["labels"]]
        # A YOLO folder's numbers are those of --class, where the recipe has it.
        numbers = [number for _, number, *_ in getattr(args, "classes", None) or [(None, i) for i in range(len(names))]]
        pictures = write_validation(out / "validate", args.validate, names, numbers)
        for path in cards:
            rows[path.stem] = evaluate_detector(program, pipeline, path, out / "validate", pictures, ids)
    else:
        raise DataError("--validate is for detectors and segmentation")
    return rows


def finish(args, module, card, calibration=None, beside=(), **changes):
    """Writes OUT/NAME.onnx and OUT/NAME.yaml, and has the program look at them.

    `card`: the one that the network comes from; `changes`: what the new card says otherwise; `calibration`: a sampler
    of plain training samples; `beside`: cards whose accuracy is measured too. Returns the exit code.
    """
    out = Path(args.out)
    name = args.name or out.resolve().name
    file, path = out / f"{name}.onnx", out / f"{name}.yaml"
    module.save(file)
    if args.licence:
        changes["licence"] = args.licence
    new = write_card(path, card, **changes)
    print(f"wrote {file} and {path.name}", flush=True)
    if args.no_program:
        return 0
    try:
        program = find_program(args.mobilens)
        if program is None:
            print("WARNING: the program mobilens was not found, so the new model is neither checked nor evaluated: build it with "
                  "`cargo build --release`, or name it with --mobilens, and give the same command again", file=sys.stderr, flush=True)
            return 0
        share, others = share_on_kernels(program, file)
        print(f"{share:.1%} of the multiplications run on own kernels" + (f"; by tract: {', '.join(others)}" if others else ""), flush=True)
        pipeline = out / "pipeline.yaml"
        write_pipeline(pipeline, path.name, new, args.validate_tiles)
        call(program, "check", pipeline)
        print(f"{pipeline}: accepted by mobilens check", flush=True)
        cards = [*map(Path, beside), path]
        if args.int8 and not getattr(module, "codes", None):
            if calibration is None:
                raise DataError("--int8: this recipe has no pictures to calibrate with")
            write_calibration(out / "calibration", calibration)
            cards.append(out / f"{name}_int8.yaml")
            call(program, "quantize", path, "--images", out / "calibration", "--limit", 32, "-o", cards[-1].with_suffix(".onnx"))
            # The folder's name says nothing to a reader of the card.
            set_in_card(cards[-1], "converted", f"mobilens quantize {path.name} with 32 samples of the training; SHA-256 of the float32 file {new['sha256']}")
            print(f"wrote {cards[-1].with_suffix('.onnx')} and {cards[-1].name}", flush=True)
        if args.validate:
            rows = evaluate(program, pipeline, cards, out, args)
            print_table(rows)
            for made in cards[len(tuple(beside)):]:
                set_in_card(made, "accuracy", text_of(rows[made.stem]))
            (out / "accuracy.json").write_text(json.dumps(rows, indent=1))
    except (ProgramFailed, DataError, OSError) as error:
        print(f"{args.out}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def provenance(card, card_path, data, args):
    """What a new card says of where the weights come from."""
    start = f" (SHA-256 {sha256_of(card_path.parent / card['file'])[:16]}...)" if card_path else ""
    return f"trained from {card['name']}{start} on {data}; {args.steps} steps of {args.batch}, rate {args.rate}, seed {args.seed}"

"""What every recipe does at its end: the ONNX file and its card, and what the program says of them.

`mobilens inspect` shows whether every layer runs on the program's own kernels, `mobilens check` whether it takes the
card, `mobilens quantize` makes the int8 file (`--int8`), and both are measured on labelled pictures (`evaluate`). What
was measured is written into the cards. Without the program only the first part is done, and a warning says so.
"""
import hashlib
import json
import re
import shutil
import sys
from itertools import islice
from pathlib import Path

import yaml
from PIL import Image

from .data import DataError
from .evaluate import COUNTED_AT, evaluate, print_table, task_of, text_of
from .options import tiles
from .program import ProgramFailed, call, find_program, share_on_kernels

# Most pictures that the int8 file is calibrated with.
CALIBRATION = 32
VALIDATE = {
    "detect": "FILE.json DIR (COCO) or DIR (YOLO)", "segment": "FILE.json DIR (COCO) or MASKS DIR",
    "classify": "DIR with a folder of pictures for each class",
}


def finish_flags(parser, task=None, out_required=True, held=False):
    """`task`: detect, segment or classify; None: that of the card. `held`: the recipe keeps pictures aside itself."""
    wanted = VALIDATE[task] if task else "; ".join(f"{name}: {what}" for name, what in VALIDATE.items())
    g = parser.add_argument_group("the end: the ONNX file, the card, and what the program says of the new model")
    g.add_argument("--out", type=Path, required=out_required, metavar="DIR")
    g.add_argument("--name", help="of the new model; default: the folder's")
    g.add_argument("--licence", metavar="TEXT", help="of the new weights, where the training pictures ask for another one than the old card says")
    g.add_argument("--mobilens", type=Path, metavar="PROGRAM", help="default: the one on PATH, or in target/release or target/debug")
    g.add_argument("--no-program", action="store_true", help="write the ONNX file and the card only")
    g.add_argument("--int8", action="store_true", help="also write the int8 model, calibrated with training samples")
    g.add_argument("--validate", type=Path, nargs="+", metavar="PATH",
                   help=f"labelled pictures that are not trained on: {wanted}" + "; default: those kept aside" * held)
    if task in (None, "detect"):
        g.add_argument("--validate-tiles", type=tiles, metavar="COLUMNSxROWS", help="detect in so many tiles, as gating.tiles does")


def sha256_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_card(path, card, **changes):
    """The card of the new model beside its ONNX file: the old card with `changes`; what the old one says of the old
    file's conversion and accuracy is left out."""
    new = {key: value for key, value in card.items() if key not in ("sha256", "accuracy", "converted")}
    # A DeepLab's siblings hold the old weights.
    new["head"] = {kind: {key: value for key, value in head.items() if key != "siblings"} for kind, head in card["head"].items()}
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


def write_pipeline(path, card_name, card, grid):
    """A pipeline with the new card, which reads pictures from its folder until --input says otherwise."""
    pipeline = {"source": {"images": {"path": "."}}, "model": card_name}
    if task_of(card) == "detect":
        pipeline["detect"] = {"score_threshold": COUNTED_AT}
        if grid and grid != (1, 1):
            pipeline["gating"] = {"tiles": {"columns": grid[0], "rows": grid[1], "overlap": 0.2}}
    pipeline["sinks"] = [{"jsonl": {"path": "-"}}]
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))


def write_calibration(folder, pixels):
    """The first of `pixels`, at most `CALIBRATION`, as pictures. Returns how many there are."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    count = 0
    for count, picture in enumerate(islice(pixels, CALIBRATION), 1):
        Image.fromarray(picture).save(folder / f"{count:03}.png")
    return count


def examine(program, path, card, grid=None):
    """Shows what runs on the program's own kernels, and has it check a pipeline with the new card, whose path is
    returned."""
    file, pipeline = path.with_suffix(".onnx"), path.with_name("pipeline.yaml")
    share, others = share_on_kernels(program, file)
    print(f"{share:.1%} of the multiplications run on own kernels" + (f"; by tract: {', '.join(others)}" if others else ""), flush=True)
    write_pipeline(pipeline, path.name, card, grid)
    call(program, "check", pipeline)
    print(f"{pipeline}: accepted by mobilens check", flush=True)
    return pipeline


def quantized(program, path, card, calibration):
    """Writes the int8 file and its card, whose path is returned."""
    if calibration is None:
        raise DataError("--int8: this recipe has no pictures to calibrate with")
    folder, made = path.with_name("calibration"), path.with_name(f"{path.stem}_int8.yaml")
    count = write_calibration(folder, calibration)
    call(program, "quantize", path, "--images", folder, "--limit", count, "-o", made.with_suffix(".onnx"))
    # The folder's name says nothing to a reader of the card.
    set_in_card(made, "converted", f"mobilens quantize {path.name} with {count} samples of the training; SHA-256 of the float32 file {card['sha256']}")
    print(f"wrote {made.with_suffix('.onnx')} and {made.name}", flush=True)
    return made


def finish(args, module, card, calibration=None, beside=(), held=(), **changes):
    """Writes OUT/NAME.onnx and OUT/NAME.yaml, and has the program look at them.

    `card`: the one that the network comes from; `changes`: what the new card says otherwise; `calibration`: pixels
    [h, w, 3] uint8 of plain training samples, as the network sees them in use; `beside`: cards whose accuracy is
    measured too; `held`: the pictures kept aside, as `evaluate` takes them. Returns the exit code.
    """
    name = args.name or args.out.resolve().name
    path = args.out / f"{name}.yaml"
    module.save(path.with_suffix(".onnx"))
    if args.licence:
        changes["licence"] = args.licence
    new = write_card(path, card, **changes)
    print(f"wrote {path.with_suffix('.onnx')} and {path.name}", flush=True)
    if args.no_program:
        return 0
    try:
        program = find_program(args.mobilens)
        if program is None:
            print("WARNING: the program mobilens was not found, so the new model is neither checked nor evaluated: build it with "
                  "`cargo build --release`, or name it with --mobilens, and give the same command again", file=sys.stderr, flush=True)
            return 0
        pipeline = examine(program, path, new, getattr(args, "validate_tiles", None))
        made = [path]
        if args.int8 and not getattr(module, "codes", None):
            made.append(quantized(program, path, new, calibration))
        if args.validate or held:
            rows = evaluate(program, pipeline, [*map(Path, beside), *made], args, held)
            print_table(rows)
            pictures = "pictures" if args.validate else "pictures kept aside"
            for card_path in made:
                set_in_card(card_path, "accuracy", text_of(rows[card_path.stem], pictures))
            (args.out / "accuracy.json").write_text(json.dumps(rows, indent=1))
    except ProgramFailed as error:
        print(f"{args.out}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def provenance(card, card_path, data, args, steps):
    """What a new card says of where the weights come from; `steps`: so many were done."""
    start = f" (SHA-256 {sha256_of(card_path.parent / card['file'])[:16]}...)" if card_path else ""
    return f"trained from {card['name']}{start} on {data}; {steps} steps of {args.batch}, rate {args.rate}, seed {args.seed}"

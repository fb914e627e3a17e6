"""What the program says of exported models on labelled pictures: float and int8 side by side.

Detectors and segmentation by `mobilens eval`. For classifiers, which it has no figures of, the pipeline is run and its
records are counted.
"""
import json
import shutil

import numpy as np
import yaml
from PIL import Image

from .data import DataError, coco_of, read_coco, read_folders, read_yolo
from .program import ProgramFailed, call
from .tiles import average_precision, counts, judge

# The score at which what is found and what is false are counted.
COUNTED_AT = 0.4


def task_of(card):
    """detect, segment or classify."""
    kind = next(iter(card["head"]))
    return {"deeplab": "segment", "segment": "segment", "classify": "classify"}.get(kind, "detect")


def copy_pictures(folder, paths):
    """Copies the pictures to FOLDER/pictures, under names that carry their ids from 1 on; what was in `folder` goes.
    Returns the names."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "pictures").mkdir(parents=True)
    names = [f"{i:012}{path.suffix.lower()}" for i, path in enumerate(paths, 1)]
    for path, name in zip(paths, names):
        if not path.exists():
            raise DataError(f"{path}: no such picture")
        shutil.copyfile(path, folder / "pictures" / name)
    return names


def write_boxes(folder, paths, names, numbers):
    """The pictures of `--validate`, and COCO JSON whose categories are 1 for the first of `names` and so on. `numbers`:
    of the classes in YOLO files. Returns the pictures with what is in them."""
    if len(paths) == 2 and paths[0].suffix == ".json":
        pictures = read_coco(*paths, names)
    elif len(paths) != 1:
        raise DataError("--validate wants FILE.json DIR, or one folder with YOLO labels")
    elif None in numbers:
        raise DataError("--validate DIR wants the number of each class: --class car=0")
    else:
        pictures = read_yolo(paths[0], numbers, labelled_only=True)
    file_names = copy_pictures(folder, [picture.path for picture in pictures])
    (folder / "instances.json").write_text(json.dumps(coco_of(pictures, names, file_names)))
    return pictures


def write_masks(folder, pictures):
    """The pictures, and a PNG of class indices for each in FOLDER/masks."""
    file_names = copy_pictures(folder, [picture.path for picture in pictures])
    (folder / "masks").mkdir()
    for picture, name in zip(pictures, file_names):
        Image.fromarray(picture.load()[1]).save((folder / "masks" / name).with_suffix(".png"))


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


def evaluate_segmenter(program, pipeline, card, images, truth):
    """Mean IoU and pixel accuracy by `mobilens eval`. `truth`: its flag and path."""
    said = json.loads(call(program, "eval", "segmentation", pipeline, "--images", images, *truth, "--json", "--set", f"model={card.resolve()}"))
    return {key: said[key] for key in ("mean_iou", "pixel_accuracy", "pictures")}


def evaluate_classifier(program, pipeline, card, folder, wanted, classes):
    """Shares of the pictures whose class is the best of their record and, where there are more than five `classes`, is
    among its best five. `wanted`: the class's name of each picture, by its file's."""
    records = folder / f"{card.stem}.jsonl"
    call(program, pipeline, "--headless", "--input", folder / "pictures", "--output", records,
         "--set", f"model={card.resolve()}", "--set", "classify.top=5", "--set", "classify.score_threshold=0")
    found = {}
    for record in map(json.loads, records.read_text().splitlines()):
        if record["type"] == "frame" and "classification" in record:
            found[record["name"]] = [kind["label"] for kind in record["classification"]]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ProgramFailed(f"{records}: has no class of {missing[0]}" + f" and {len(missing) - 1} more" * (len(missing) > 1))
    hits = {f"best{n}": sum(kind in found[name][:n] for name, kind in wanted.items()) for n in ((1, 5) if classes > 5 else (1,))}
    return {name: count / len(wanted) for name, count in hits.items()} | {"pictures": len(wanted)}


def text_of(figures, pictures="pictures"):
    """Figures as a card says them. `pictures`: what those are called that they were measured on."""
    def short(x):
        return "none" if x is None else f"{x:.3f}".replace("0.", ".", 1)

    on = f"on {figures['pictures']} {pictures}"
    if "mean_iou" in figures:
        return f"mIoU {short(figures['mean_iou'])}, pixel accuracy {short(figures['pixel_accuracy'])} {on}"
    if "best1" in figures:
        best5 = f", among the best five {short(figures['best5'])}" if "best5" in figures else ""
        return f"best class right {short(figures['best1'])}{best5} {on}"
    return (f"AP {short(figures['AP'])}, AP50 {short(figures['AP50'])}, AP75 {short(figures['AP75'])} {on}; at score {COUNTED_AT} "
            f"{figures['found']} of {figures['objects']} found and {figures['false']} false, classes aside {figures['found_any']} and {figures['false_any']}")


def print_table(rows):
    """A Markdown table of figures by model."""
    keys = [key for key in next(iter(rows.values()))]
    print("| model | " + " | ".join(keys) + " |")
    print("|---|" + "---:|" * len(keys))
    for name, figures in rows.items():
        print(f"| {name} | " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in figures.values()) + " |", flush=True)


def evaluate(program, pipeline, cards, args, held=()):
    """Figures of each card on the pictures of `--validate`, else on those that the recipe has kept aside: `held`, with
    a mask each (`masks.Masked`), or rows of path and class index."""
    card = yaml.safe_load(cards[0].read_text())
    names, folder, task = [label["name"] for label in card["labels"]], args.out / "validate", task_of(card)
    if task == "segment":
        if not args.validate:
            write_masks(folder, held)
            images, truth = folder / "pictures", ("--masks", folder / "masks")
        elif len(args.validate) == 2:
            images, truth = args.validate[1], ("--instances" if args.validate[0].suffix == ".json" else "--masks", args.validate[0])
        else:
            raise DataError("--validate of a segmentation model wants FILE.json DIR, or MASKS DIR")
        return {path.stem: evaluate_segmenter(program, pipeline, path, images, truth) for path in cards}
    if task == "classify":
        if args.validate and len(args.validate) != 1:
            raise DataError("--validate of a classifier wants one folder, with a folder of pictures for each class")
        # Two of ImageNet's classes share their name.
        names = list(dict.fromkeys(names))
        rows = read_folders(args.validate[0], names)[0] if args.validate else held
        wanted = dict(zip(copy_pictures(folder, [path for path, _ in rows]), [names[kind] for _, kind in rows]))
        return {path.stem: evaluate_classifier(program, pipeline, path, folder, wanted, len(names)) for path in cards}
    # A YOLO folder's numbers are those of --class, where the recipe has it.
    numbers = [number for _, number, *_ in getattr(args, "classes", None) or [(None, i) for i in range(len(names))]]
    pictures = write_boxes(folder, args.validate, names, numbers)
    ids = [label["id"] for label in card["labels"]]
    return {path.stem: evaluate_detector(program, pipeline, path, folder, pictures, ids) for path in cards}

"""Pictures for distillation: photographs with cut-outs of things pasted in (Dwibedi et al., "Cut, Paste and Learn").

    python3 -m mobilens_train.paste_cutouts --pictures DIR --cutouts DIR [DIR ...] --count 240 --seed 0 --out DIR

A cut-out is a PNG with transparency. What the teacher makes of the result is what the student learns, so it need not
look real; it shows classes that few photographs at hand show.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from .data import pictures_in


def cutouts_of(folders, least=120):
    """Pictures with transparent places, at least so many pixels wide or high."""
    found = []
    for path in sorted(p for folder in folders for p in Path(folder).rglob("*.png")):
        with Image.open(path) as opened:
            if opened.mode in ("RGBA", "LA", "P") and max(opened.size) >= least:
                picture = opened.convert("RGBA")
                box = picture.getchannel("A").getbbox()
                if box and picture.getchannel("A").getextrema()[0] < 10:
                    found.append(picture.crop(box))
    return found


def paste(picture, cutout, rng):
    """One cut-out at a fifth to four fifths of the picture's height, anywhere, perhaps mirrored."""
    width, height = picture.size
    share = float(np.exp(rng.uniform(np.log(0.2), np.log(0.8)))) * height / max(cutout.size)
    size = max(int(cutout.width * share), 8), max(int(cutout.height * share), 8)
    thing = cutout.resize(size, Image.LANCZOS)
    if rng.random() < 0.5:
        thing = thing.transpose(Image.FLIP_LEFT_RIGHT)
    gain = rng.uniform(0.7, 1.2, 3) * rng.uniform(0.8, 1.2)
    pixels = np.asarray(thing).astype(np.float32)
    pixels[..., :3] = (pixels[..., :3] * gain).clip(0, 255)
    thing = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    left = int(rng.uniform(-0.2 * size[0], width - 0.8 * size[0]))
    top = int(rng.uniform(0, max(height - 0.8 * size[1], 1)))
    picture.paste(thing, (left, top), thing)


def main(argv=None):
    p = argparse.ArgumentParser(prog="mobilens_train.paste_cutouts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    p.add_argument("--cutouts", type=Path, nargs="+", required=True, metavar="DIR")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--count", type=int, default=240)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args(argv)
    pictures = pictures_in(args.pictures)
    cutouts = cutouts_of(args.cutouts)
    if not pictures or not cutouts:
        print(f"paste_cutouts: {len(pictures)} pictures and {len(cutouts)} cut-outs: expected some of both", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    for number in range(args.count):
        with Image.open(pictures[rng.integers(len(pictures))]) as opened:
            picture = opened.convert("RGB")
        for _ in range(rng.integers(1, 4)):
            paste(picture, cutouts[rng.integers(len(cutouts))], rng)
        picture.save(args.out / f"pasted{number:04}.jpg", quality=92)
    print(f"{args.count} pictures from {len(pictures)} photographs and {len(cutouts)} cut-outs in {args.out}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Flags that several recipes have."""
import argparse

from .augment import Craft


def share(text):
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text}")
    return value


def count(text):
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return value


def tiles(text):
    """COLUMNSxROWS."""
    try:
        columns, rows = (int(part) for part in text.split("x"))
    except ValueError:
        columns = rows = 0
    if not (1 <= columns <= 32 and 1 <= rows <= 32):
        raise argparse.ArgumentTypeError(f"expected COLUMNSxROWS of 1 to 32, as 8x5, found {text}")
    return columns, rows


def training_flags(parser, steps, batch, rate, warm_up=50, decay=1e-4, average=0.99):
    g = parser.add_argument_group("training")
    g.add_argument("--steps", type=count, default=steps)
    g.add_argument("--batch", type=count, default=batch)
    g.add_argument("--rate", type=float, default=rate, help=f"greatest learning rate of AdamW ({rate})")
    g.add_argument("--warm-up", type=int, default=warm_up, metavar="STEPS", help=f"steps in which the rate rises ({warm_up})")
    g.add_argument("--schedule", choices=("cosine", "constant"), default="cosine", help="of the rate after that")
    g.add_argument("--decay", type=float, default=decay, help=f"weight decay ({decay})")
    g.add_argument("--average", type=share, default=average, metavar="DECAY",
                   help=f"decay of the moving average of weights (EMA) that is exported ({average}); 0: none")
    g.add_argument("--patience", type=count, metavar="STEPS", help="early stop: end after so many steps without a lower loss")
    g.add_argument("--seed", type=int, default=0)
    g.add_argument("--threads", type=int, default=0, help="0: all")
    g.add_argument("--device", default="cpu", help="cpu or cuda")
    g.add_argument("--checkpoint-every", type=count, default=50, metavar="STEPS")
    g.add_argument("--grid-every", type=count, default=100, metavar="STEPS", help="a picture grid of results every so many steps")


def craft_flags(parser, colour=0.4, expand=0.0, noise=8.0, blur=0.3):
    g = parser.add_argument_group("augmentation, each as the share of samples that it is done to")
    g.add_argument("--crops", type=float, nargs=2, metavar=("LEAST", "MOST"), help="sides of crops in pixels; without it, whole pictures")
    g.add_argument("--around", type=share, default=0.7, metavar="SHARE", help="of the crops, around an object (.7)")
    g.add_argument("--expand", type=share, default=expand, metavar="SHARE", help="smaller on grey; half of the others cropped")
    for name in ("mosaic", "mixup", "cutmix", "copy-paste"):
        g.add_argument(f"--{name}", type=share, default=0.0, metavar="SHARE")
    g.add_argument("--colour", type=share, default=colour, metavar="AMOUNT", help=f"brightness, contrast, saturation, cast ({colour})")
    g.add_argument("--noise", type=float, default=noise, metavar="LEVELS", help=f"greatest deviation of noise ({noise})")
    g.add_argument("--blur", type=share, default=blur, metavar="SHARE", help=f"({blur})")
    g.add_argument("--no-flip", action="store_true", help="no mirroring left to right")
    g.add_argument("--quarter-turns", action="store_true", help="for pictures from above")


def craft_of(args, **more):
    """The augmentations that the flags ask for."""
    return Craft(
        crops=tuple(args.crops) if args.crops else None, around=args.around, quarter_turns=args.quarter_turns, flip=not args.no_flip,
        colour=args.colour, noise=args.noise, blur=args.blur, expand=args.expand, mosaic=args.mosaic, mixup=args.mixup,
        cutmix=args.cutmix, copy_paste=args.copy_paste, **more,
    )


# What does not change the result of a run, and so may differ when it goes on.
FREE = ("out", "name", "threads", "device", "checkpoint_every", "grid_every", "validate_every", "mobilens", "no_program", "licence", "int8", "validate",
        "validate_tiles", "from_score", "calibrate_to")


def settings_of(args):
    """What the result of a run depends on."""
    return {name: value for name, value in vars(args).items() if name not in FREE}

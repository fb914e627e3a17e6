"""Chooses the threshold by cross-validation, and moves it to a given score in a model.

    python3 -m mobilens_train.calibrate --folds runs/fold*/fold.json --card runs/aerial/aerial.yaml --calibrate-to 0.4 --out runs/final

`fold.json` is what `mobilens_train.detect --folds K --fold I` finds in the part that it was not trained with; files of
several seeds are told apart. The threshold is that of the best F1 over all of them (or the highest with at least
`--recall`). With `--card` the biases of the class heads are shifted so that this score becomes `--calibrate-to`, which
changes no order of detections, and the model is written anew.
"""
import argparse
import json
import sys
from pathlib import Path

import yaml

from .classes import shift_scores
from .data import DataError
from .finish import finish, finish_flags
from .onnx_module import OnnxModule
from .options import share
from .tiles import average_precision, counts


def read_folds(paths, verdicts="verdicts"):
    """By seed: all verdicts of its folds, and how many objects there are."""
    by_seed = {}
    for path in paths:
        try:
            data = json.loads(Path(path).read_text())
            found, folds = by_seed.setdefault(data["seed"], ([], {}))
            if data["fold"] in folds:
                raise DataError(f"{path}: fold {data['fold']} of seed {data['seed']} is there twice")
            folds[data["fold"]] = (data["objects"], data["folds"])
            found += [tuple(v) for v in data[verdicts]]
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: not a fold.json: {type(error).__name__} {error}") from error
    result = {}
    for seed, (found, folds) in sorted(by_seed.items()):
        missing = [str(i) for i in range(next(iter(folds.values()))[1]) if i not in folds]
        if missing:
            print(f"WARNING: seed {seed} lacks fold {', '.join(missing)}", file=sys.stderr)
        result[seed] = (found, sum(objects for objects, _ in folds.values()))
    return result


def f1(right, wrong, objects):
    return 2 * right / max(right + wrong + objects, 1)


def best_score(verdicts, objects, recall=None):
    """The threshold with the best F1, or the highest that reaches `recall`: the middle between the last detection that
    passes and the next one."""
    ordered = sorted(((score, verdict) for score, verdict in verdicts if verdict >= 0), reverse=True)
    if not ordered:
        raise DataError("nothing was found in the folds: no threshold can be chosen")
    tried, right = [], 0
    for index, (score, verdict) in enumerate(ordered):
        right += verdict
        below = ordered[index + 1][0] if index + 1 < len(ordered) else score
        if below < score or index + 1 == len(ordered):
            tried.append((f1(right, index + 1 - right, objects), right / max(objects, 1), (score + below) / 2))
    if recall is None:
        return max(tried)[2]
    enough = [t for t in tried if t[1] >= recall]
    if not enough:
        raise DataError(f"--recall {recall}: the folds reach {max(t[1] for t in tried):.3f} only")
    return enough[0][2]


def main(argv=None):
    p = argparse.ArgumentParser(prog="mobilens_train.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--folds", type=Path, nargs="+", required=True, metavar="fold.json")
    p.add_argument("--recall", type=share, help="the highest threshold with so much recall, instead of the best F1")
    p.add_argument("--any-class", action="store_true", help="a box of another class counts as found")
    p.add_argument("--card", type=Path, help="the model to shift; without it, the threshold is only printed")
    p.add_argument("--calibrate-to", type=share, default=0.4, metavar="SCORE")
    finish_flags(p, out_required=False)
    args = p.parse_args(argv)
    if bool(args.card) != bool(args.out):
        p.error("--card and --out go together")
    if not 0 < args.calibrate_to < 1:
        p.error("--calibrate-to wants a score between 0 and 1")
    try:
        seeds = read_folds(args.folds, "any_class" if args.any_class else "verdicts")
        everything = [v for found, _ in seeds.values() for v in found]
        objects = sum(n for _, n in seeds.values())
        chosen = best_score(everything, objects, args.recall)
        print("| seed | threshold | found | false | objects | recall | precision | F1 | AP50 |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        rows = [(str(seed), best_score(*part, args.recall), *part) for seed, part in seeds.items()]
        rows += [(f"{seed}, at the common threshold", chosen, *part) for seed, part in seeds.items()] * (len(seeds) > 1)
        for name, score, found, n in [*rows, ("all", chosen, everything, objects)]:
            right, wrong, recall, precision = counts(found, n, score)
            print(f"| {name} | {score:.3f} | {right} | {wrong} | {n} | {recall:.3f} | {precision:.3f} | {f1(right, wrong, n):.3f} | {average_precision(found, n):.3f} |")
        print(f"threshold {chosen:.4f}: --from-score {chosen:.4f}", flush=True)
        if not args.card:
            return 0
        card = yaml.safe_load(args.card.read_text())
        module = OnnxModule(args.card.parent / card["file"])
        shift = shift_scores(module, card, chosen, args.calibrate_to)
        args.out.mkdir(parents=True, exist_ok=True)
        note = f"class biases shifted by {shift:.3f}, so that score {chosen:.3f}, the best of {len(args.folds)} folds, became {args.calibrate_to}"
        return finish(args, module, card, source=f"{card.get('source', card['name'])}; {note}")
    except (OSError, ValueError, KeyError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

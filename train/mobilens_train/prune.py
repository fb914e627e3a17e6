"""A narrower network: the least important channels of a float32 ONNX file are taken out.

    python3 -m mobilens_train.prune --card models/ssdlite_mobilenet_v2_coco.yaml --keep 0.5 --out runs/half
    python3 -m mobilens_train.distill --teacher models/ssdlite_mobilenet_v2_coco.yaml --student runs/half/half.yaml \\
        --pictures DIR --rate 1e-3 --steps 2000 --out runs/half_trained

Channels go together where the graph ties them: through depthwise convolutions, activations, and both sides of a sum.
What the heads put out stays as it is. Without training the result is of little use: distil it from the whole network.
`--keep-class NAME` instead takes classes out of an SSD, which needs no training.
"""
import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import yaml

from .augment import Craft, Sampler
from .classes import channels_of, keep_classes
from .data import DataError, read_yolo
from .finish import finish, finish_flags
from .onnx_module import OnnxModule
from .options import share

# Operators that treat each channel for itself.
PER_CHANNEL = ("Clip", "Relu", "Sigmoid", "HardSwish", "HardSigmoid", "Identity", "Cast", "Resize", "GlobalAveragePool", "AveragePool", "MaxPool")


class Channels:
    """Which channels of a graph are the same. A value's channels are a list of spaces, one after another; a space is a
    number, and spaces that turn out to be one are joined (union-find)."""

    def __init__(self, module):
        self.module = module
        self.parent, self.size, self.fixed = [], [], set()
        # (value, axis): the spaces of that axis; of values that go with them but say nothing of their importance too.
        self.slices = {}
        self.depthwise, self.depthwise_weights = {}, set()  # output of a depthwise convolution: its spaces; its weights
        self.bias_of = {}  # its weights, by the bias
        self.transposed = set()  # weights whose first axis is the input's
        self._walk()

    def _new(self, size):
        self.parent.append(len(self.parent))
        self.size.append(size)
        return len(self.parent) - 1

    def root(self, space):
        while self.parent[space] != space:
            space = self.parent[space]
        return space

    def _fix(self, spaces):
        self.fixed.update(spaces or ())

    def is_fixed(self, space):
        root = self.root(space)
        return any(self.root(other) == root for other in self.fixed)

    def _join(self, a, b):
        """Makes two lists of spaces one; where they are not cut alike, both stay as they are."""
        if [self.size[s] for s in a] != [self.size[s] for s in b]:
            self._fix([*a, *b])
        else:
            for x, y in zip(a, b):
                self.parent[self.root(y)] = self.root(x)

    def _walk(self):
        module = self.module
        values, spaces = module.named_values(), {}
        uses = Counter(name for _, inputs, *_ in module.nodes for name in inputs)
        for op, inputs, outputs, attributes in module.nodes:
            known = [spaces.get(name) for name in inputs if name and name not in values and name not in module.constants]
            # Weights that two nodes share are left alone.
            alone = all(uses[name] == 1 for name in inputs if name in values)
            made = None
            if op in ("Conv", "ConvTranspose") and alone and inputs[1] in values:
                made = self._convolution(op == "ConvTranspose", inputs, outputs, attributes, spaces)
            elif op == "Gemm" and alone and inputs[1] in values and known[0]:
                axis = 1 if attributes.get("transB") else 0
                self.slices[inputs[1], axis] = known[0]
                if axis == 0:
                    self.transposed.add(inputs[1])
            elif op in PER_CHANNEL and known:
                made = known[0]
            elif op == "Flatten" and self._is_pooled(inputs[0]):
                made = known[0]
            elif op == "BatchNormalization" and known[0] and alone:
                made = known[0]
                for name in inputs[1:]:
                    self.slices[name, 0] = made
            elif op in ("Add", "Mul", "Div"):
                made = self._pairwise(inputs, spaces, alone)
            elif op == "Concat" and attributes["axis"] == 1 and all(known) and len(known) == len(inputs):
                made = [space for part in known for space in part]
            if made is None:
                for part in known:
                    if not (op in ("Conv", "ConvTranspose", "Gemm") and (inputs[1], self._input_axis(op, attributes)) in self.slices):
                        self._fix(part)
            for name in outputs:
                spaces[name] = made
        for name in module.output_names:
            self._fix(spaces.get(name))

    @staticmethod
    def _input_axis(op, attributes):
        return {"Conv": 1, "ConvTranspose": 0}.get(op, 1 if attributes.get("transB") else 0)

    def _is_pooled(self, name):
        return any(op == "GlobalAveragePool" and outputs[0] == name for op, _, outputs, _ in self.module.nodes)

    def _convolution(self, transposed, inputs, outputs, attributes, spaces):
        weights = self.module.named_values()[inputs[1]]
        group, before = attributes.get("group", 1), spaces.get(inputs[0])
        if group == 1:
            input_axis, output_axis = (0, 1) if transposed else (1, 0)
            if transposed:
                self.transposed.add(inputs[1])
            if before:
                self.slices[inputs[1], input_axis] = before
            after = [self._new(weights.shape[output_axis])]
            self.slices[inputs[1], output_axis] = after
        elif before and weights.shape[1] == 1 and weights.shape[0] == group == sum(self.size[s] for s in before):
            after = before
            self.slices[inputs[1], 0] = after
            self.depthwise[outputs[0]] = after
            self.depthwise_weights.add(inputs[1])
        else:
            return None
        if len(inputs) > 2 and inputs[2]:
            self.slices[inputs[2], 0] = after
            self.bias_of[inputs[2]] = inputs[1]
        return after

    def _pairwise(self, inputs, spaces, alone):
        values, constants = self.module.named_values(), self.module.constants
        sides = [name for name in inputs if name not in values and name not in constants]
        if len(sides) == 2:
            a, b = (spaces.get(name) for name in sides)
            if not a or not b:
                return None
            self._join(a, b)
            return a
        numbers = next(name for name in inputs if name not in sides)
        shape = values[numbers].shape if numbers in values else constants[numbers].shape
        space = spaces.get(sides[0]) if sides else None
        if not space or int(np.prod(shape)) == 1:
            return space
        axis = len(shape) - 3
        if not alone or numbers not in values or axis < 0 or shape[axis] != int(np.prod(shape)):
            return None
        self.slices[numbers, axis] = space
        return space

    def role(self, name, axis):
        """Whether a slice of a value makes the channels or reads them."""
        return "read" if (axis == 1) != (name in self.transposed) else "made"

    def free(self):
        """The spaces that may be pruned, each with all slices of it: (value, axis, first channel)."""
        found = {}
        for (name, axis), spaces in self.slices.items():
            start = 0
            for space in spaces:
                if not self.is_fixed(space):
                    found.setdefault(self.root(space), []).append((name, axis, start))
                start += self.size[space]
        return found

    def has_depthwise(self, root):
        return any(self.root(s) == root for spaces in self.depthwise.values() for s in spaces)

    def cut(self, kept):
        """Takes out the channels of each space that are not in `kept` (by root, rising)."""
        module = self.module
        values = module.named_values()
        for name in dict.fromkeys(name for name, _ in self.slices):
            value = values[name].detach().numpy()
            for (other, axis), spaces in self.slices.items():
                if other == name:
                    chosen, start = [], 0
                    for space in spaces:
                        rows = kept.get(self.root(space), np.arange(self.size[space]))
                        chosen.append(rows + start)
                        start += self.size[space]
                    value = np.take(value, np.concatenate(chosen), axis)
            module._add(name, value)
        groups = {output: sum(len(kept.get(self.root(s), range(self.size[s]))) for s in spaces) for output, spaces in self.depthwise.items()}
        for _, _, outputs, attributes in module.nodes:
            if outputs[0] in groups:
                attributes["group"] = groups[outputs[0]]
        for node in module.model.graph.node:
            if node.output[0] in groups:
                next(a for a in node.attribute if a.name == "group").i = groups[node.output[0]]
        del module.model.graph.value_info[:]


def summed(value, axis):
    """Sums over all axes but one."""
    others = tuple(i for i in range(value.ndim) if i != axis)
    return value.sum(others) if others else value


def l1_importance(channels, root, rows):
    """The L1 norm of the filters that make each channel (Li et al., "Pruning Filters for Efficient ConvNets", section
    3.1), times those of its depthwise filters and of what reads it: what is not made, passed on or read counts nothing.
    A bias counts as what makes a channel, as it does so alone where the weights are zero."""
    values, size = channels.module.named_values(), channels.size[root]
    made, passed, constant, read = (np.zeros(size) for _ in range(4))
    has_depthwise = False
    for name, axis, start in rows:
        weights = channels.bias_of.get(name, name)
        if values[weights].ndim < 2:
            continue
        norms = summed(values[name].detach().abs(), axis).numpy()[start:start + size]
        # Of a bias: by the weights' own mean, over the axis that makes the channels.
        over = axis if weights == name else int(weights in channels.transposed)
        by = max(float(summed(values[weights].detach().abs(), over).mean()), 1e-12)
        if weights in channels.depthwise_weights:
            has_depthwise = True
            (passed if weights == name else constant).__iadd__(norms / by)
        else:
            (made if weights != name or channels.role(name, axis) == "made" else read).__iadd__(norms / by)
    return (made * (passed if has_depthwise else 1.0) + constant) * (read if read.any() else 1.0)


def taylor_importance(channels, root, rows, gradients):
    """How far the outputs move without the channel, to first order (Molchanov et al., "Importance Estimation for Neural
    Network Pruning", equation 8). `gradients`: of random projections of the outputs, by value."""
    values, total = channels.module.named_values(), 0.0
    for name, axis, start in rows:
        # Each channel is taken out once: where it is made, not where it is read.
        if values[name].ndim > 1 and channels.role(name, axis) == "made" and name not in channels.depthwise_weights:
            for gradient in gradients[name]:
                moved = summed(values[name].detach() * gradient, axis).numpy()[start:start + channels.size[root]]
                total = total + moved**2
    return total


def projections(module, card, pictures, n, seed):
    """Gradients of `n` random projections of what is read from the outputs, by value."""
    generator = torch.Generator().manual_seed(seed)
    mean, std = (torch.tensor(card["input"][key]) for key in ("mean", "std"))
    craft = Craft(colour=0, noise=0, blur=0, flip=False)
    sampler = Sampler(pictures, card["input"]["width_px"], craft, seed)
    gradients = {name: [] for name in module.named_values()}
    for _ in range(n):
        x = ((torch.from_numpy(sampler.one().pixels).float() - mean) / std).permute(2, 0, 1)[None].contiguous()
        loss = 0.0
        for name, output in zip(module.output_names, module(x)):
            if "ssd" in card["head"] and name == card["head"]["ssd"]["scores"]:
                output = output.sigmoid()
            signs = torch.randint(0, 2, output.shape, generator=generator) * 2.0 - 1
            loss = loss + (output * signs).sum() / output.detach().norm().clamp(min=1e-9)
        module.zero_grad()
        loss.backward()
        for name, value in module.named_values().items():
            if value.grad is not None and value.ndim > 1:
                gradients[name].append(value.grad.clone())
    module.zero_grad()
    return gradients


def narrow(module, keep, of="all", multiple=8, importance=l1_importance):
    """Keeps the share `keep` of the channels of each space, a multiple of `multiple` where there are enough. Returns
    what was and what is left of each."""
    if module.codes:
        raise DataError("a quantised file cannot be pruned: prune the float32 one and quantise it again")
    channels = Channels(module)
    kept, report = {}, []
    for root, rows in channels.free().items():
        size = channels.size[root]
        n = min(size, max(multiple, int(size * keep / multiple + 0.5) * multiple)) if size > multiple else size
        if n == size or (of == "expanded" and not channels.has_depthwise(root)):
            continue
        scores = importance(channels, root, rows)
        kept[root] = np.sort(np.argsort(-scores, kind="stable")[:n])
        report.append((rows[0][0], size, n))
    if not kept:
        raise DataError("nothing to prune: no channels are free, or all are kept")
    channels.cut(kept)
    return report


def main(argv=None):
    p = argparse.ArgumentParser(prog="mobilens_train.prune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--card", type=Path, required=True)
    p.add_argument("--keep", type=share, metavar="SHARE", help="of the channels of each layer")
    p.add_argument("--of", choices=("all", "expanded"), default="all", help="expanded: only those of depthwise convolutions")
    p.add_argument("--by", choices=("l1", "taylor"), default="l1", help="importance; taylor wants --pictures")
    p.add_argument("--pictures", type=Path, metavar="DIR")
    p.add_argument("--samples", type=int, default=32, help="pictures for taylor")
    p.add_argument("--multiple", type=int, default=8, help="channels are kept in multiples of this")
    p.add_argument("--keep-class", action="append", default=[], metavar="NAME", help="of an SSD, only these classes; may be repeated")
    p.add_argument("--seed", type=int, default=0)
    finish_flags(p)
    args = p.parse_args(argv)
    if not args.keep and not args.keep_class:
        p.error("say what is kept: --keep SHARE or --keep-class NAME")
    if args.by == "taylor" and not args.pictures:
        p.error("--by taylor wants --pictures DIR")
    try:
        card = yaml.safe_load(args.card.read_text())
        module = OnnxModule(args.card.parent / card["file"])
        changes, notes = {}, []
        if args.keep_class:
            head = card["head"].get("ssd")
            labels = {label["name"]: label for label in card["labels"]}
            missing = [name for name in args.keep_class if name not in labels]
            if not head or missing:
                raise DataError(f"{args.card}: " + (f"has no class {', '.join(missing)}" if head else "not an SSD"))
            keep_classes(module, head["scores"], channels_of(module, head["scores"]), [0, *(labels[name]["id"] for name in args.keep_class)])
            changes["labels"] = [{**labels[name], "id": i} for i, name in enumerate(args.keep_class, 1)]
            notes.append(f"{len(args.keep_class)} of {len(labels)} classes kept")
        pictures = read_yolo(args.pictures, []) if args.pictures else None
        if args.keep:
            importance = l1_importance
            if args.by == "taylor":
                gradients = projections(module, card, pictures, args.samples, args.seed)
                importance = lambda channels, root, rows: taylor_importance(channels, root, rows, gradients)  # noqa: E731
            before = sum(v.numel() for v in module.parameters())
            report = narrow(module, args.keep, args.of, args.multiple, importance)
            for name, was, now in report:
                print(f"{name}: {now} of {was}")
            after = sum(v.numel() for v in module.parameters())
            notes.append(f"{args.keep} of the channels kept by {args.by} ({after / 1e6:.2f} of {before / 1e6:.2f} million parameters)")
            print(notes[-1], flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        calibration = Sampler(pictures, card["input"]["width_px"], Craft(colour=0, noise=0, blur=0, flip=False), args.seed).pixels() if pictures else None
        return finish(args, module, card, calibration=calibration, source=f"{card.get('source', card['name'])}; {'; '.join(notes)}", **changes)
    except (OSError, ValueError, KeyError) as error:
        print(f"prune: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

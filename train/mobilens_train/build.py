"""Networks that are built, not loaded: the flags, the backbone with its head, and what the programs share.

With random weights, with a file of torchvision's or timm's weights (`--weights`), or with those that the library
downloads (`--pretrained`).
"""
from pathlib import Path

import torch
from torch import nn

from . import export, heads
from .backbones import FAMILIES, Backbone
from .finish import finish_flags, sha256_of
from .options import share, training_flags


class Built(nn.Module):
    """A built network as the programs train it: outputs in the order of `output_names`, and `save`.

    size: side of the input in pixels. freeze_norms: batch norms of the backbone keep their running means and
    variances, which small batches would disturb.
    """

    def __init__(self, net, size, freeze_norms=False, free_size=False):
        super().__init__()
        self.net, self.size, self.freeze_norms, self.free_size = net, size, freeze_norms, free_size
        self.output_names = list(net.output_names)

    def forward(self, x):
        return self.net(x)

    def train(self, mode=True):
        super().train(mode)
        if self.freeze_norms:
            for module in getattr(self.net, "backbone", self.net).modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def save(self, path):
        """Writes the ONNX file, and holds its outputs to the module's."""
        export.write_onnx(self.net, path, self.size, self.free_size)


def add_backbone_arguments(p, size, start=None):
    """`--backbone` and what belongs to it. start: the group of the parser that `--backbone` is put into."""
    (start or p).add_argument("--backbone", metavar="NAME", required=start is None, help=f"build a network: {', '.join(FAMILIES)}")
    p.add_argument("--alpha", type=float, help="width of the backbone; default: 1, or that in its name, as in mobilenetv2_050")
    p.add_argument("--rho-size", type=int, default=size, metavar="PX", help=f"side of the input; default: {size}")
    p.add_argument("--weights", type=Path, metavar="FILE", help="weights to start from: a state dict of torchvision or timm, .pth or .safetensors")
    p.add_argument("--pretrained", action="store_true", help="start from the weights that torchvision or timm downloads")
    p.add_argument("--freeze-norms", action="store_true", help="batch norms of the backbone keep their statistics")


def add_detector_arguments(p, start):
    """The flags of a detector that is built instead of loaded from a card; `start` is the group of `--card`."""
    add_backbone_arguments(p, 300, start)
    p.add_argument("--head", choices=["ssd", "ssdlite"], default="ssdlite", help="of a network that is built")


def add_run_arguments(p, task, steps, batch, rate):
    """The flags of every training of a built network that is no detector."""
    training_flags(p, steps, batch, rate)
    p.add_argument("--backbone-rate", type=share, default=0.25, metavar="SHARE", help="of --rate, for a backbone that has weights to start from (.25)")
    p.add_argument("--smoothing", type=share, default=0.0, help="label smoothing")
    p.add_argument("--colour", type=share, default=0.3, metavar="AMOUNT", help="strength of the changes of colour (.3)")
    p.add_argument("--validate-every", type=int, default=0, metavar="STEPS", help="in PyTorch, each so many steps; 0: at the end only")
    finish_flags(p, task, held=True)


def origin(args, spec):
    """Where the weights start from, for the card's `source`."""
    of = f"{spec.family} (alpha {spec.alpha:g})"
    if args.weights:
        return f"{of} with the weights of {args.weights.name} (SHA-256 {sha256_of(args.weights)[:16]}...)"
    return f"{of} with {spec.library}'s weights" if args.pretrained else f"{of} with random weights"


def detector(args):
    """SSD or SSDLite (`args.head`) for the classes of `args`, and the card that it is trained and written with."""
    size = args.rho_size
    if not 32 <= size <= 2048:
        raise ValueError(f"--rho-size {size}: expected 32 to 2048 pixels")
    backbone = Backbone(args.backbone, args.alpha, expansion=True, last_conv=True, weights=args.weights, pretrained=args.pretrained)
    if backbone.has_weights:
        backbone.freeze(args.freeze)
    net = heads.Ssd(backbone, size, len(args.classes), lite=args.head == "ssdlite")
    # A class starts from no other's weights: the names are those that the program looks up.
    labels = [{"id": i + 1, "name": start} for i, (_, _, start) in enumerate(args.classes)]
    card = {
        "name": f"{args.head} on {origin(args, backbone.spec)}", "input": export.input_of(size, resize="stretch"),
        "head": net.head(), "labels": labels,
    }
    return Built(net, size, args.freeze_norms).train(), card


def normalised(pixels, device):
    """Pixels [n, side, side, 3] uint8 as the network's input."""
    x = (torch.from_numpy(pixels).float() - torch.tensor(export.MEAN)) / torch.tensor(export.STD)
    return x.permute(0, 3, 1, 2).to(device)


def groups_of(trainer, new, share, decay):
    """Sets the optimiser's groups: parameters of `new` at the full rate, the others at `share` of it; weight decay for
    the weights of convolutions only (He et al., "Bag of Tricks for Image Classification", section 3.1)."""
    new = {id(p) for p in new}
    groups = {}
    for p in trainer.parameters:
        groups.setdefault((1.0 if id(p) in new else share, decay if p.dim() > 1 else 0.0), []).append(p)
    rate = trainer.rate
    trainer.optimizer = torch.optim.AdamW(
        [{"params": ps, "share": of, "weight_decay": d, "lr": rate} for (of, d), ps in groups.items()], lr=rate
    )


def averaged(trainer, module, measure):
    """What `measure()` returns of the module in evaluation mode, with the average of its weights."""
    module.eval()
    try:
        with torch.no_grad():
            return trainer.averaged(measure)
    finally:
        module.train()

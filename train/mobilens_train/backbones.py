"""MobileNets V1 to V4 at any width, as maps of features at strides 4, 8, 16 and 32.

The layers are those of torchvision (V2, V3) and timm (V1, V4, and V2 and V3 where its weights are given): Howard et
al., "MobileNets", section 3; Sandler et al., "MobileNetV2", table 2; Howard et al., "Searching for MobileNetV3",
tables 1 and 2; Qin et al., "MobileNetV4", appendix. `alpha` multiplies the number of channels of every layer; what
the papers call rho is the size of the input, which any of these networks takes.
"""
import re
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import efficientnet, mobilenetv3
from torch import nn
from torchvision.models import mobilenetv2 as torchvision_v2
from torchvision.models import mobilenetv3 as torchvision_v3

# Family: its name in timm, which is followed by the width; its own library.
FAMILIES = {
    "mobilenet_v1": ("mobilenetv1", "timm"),
    "mobilenet_v2": ("mobilenetv2", "torchvision"),
    "mobilenet_v3_large": ("mobilenetv3_large", "torchvision"),
    "mobilenet_v3_small": ("mobilenetv3_small", "torchvision"),
    "mobilenet_v4_conv_small": ("mobilenetv4_conv_small", "timm"),
    "mobilenet_v4_conv_medium": ("mobilenetv4_conv_medium", "timm"),
    "mobilenet_v4_conv_large": ("mobilenetv4_conv_large", "timm"),
}
STRIDES = (4, 8, 16, 32)


class BackboneError(ValueError):
    """A backbone that cannot be built, or weights that do not fit it; the message is one line."""


@dataclass(frozen=True)
class Spec:
    """Which network: a name of `FAMILIES`, its width, and the library that builds it, `torchvision` or `timm`."""

    family: str
    alpha: float
    library: str

    @property
    def timm_name(self):
        """The name that timm would give it: `mobilenetv2_050`. V4 at full width has no number."""
        name = FAMILIES[self.family][0]
        return name if "v4" in name and self.alpha == 1 else f"{name}_{round(self.alpha * 100):03}"


def spec_of(name, alpha=None, library=None):
    """The network that `name` means: `mobilenet_v2`, or with a width as timm writes it, `mobilenetv2_050`.

    alpha: the width; None: the name's, or 1. library: None is the family's own.
    """
    plain = re.sub(r"^mobilenet_?v", "mobilenet_v", name.lower())
    match = re.fullmatch(r"(.+?)_(\d{3})", plain)
    width = None
    if match:
        plain, width = match[1], int(match[2]) / 100
    if plain not in FAMILIES:
        raise BackboneError(f"no backbone {name}: expected one of {', '.join(FAMILIES)}")
    if width and alpha and abs(width - alpha) > 1e-9:
        raise BackboneError(f"{name} is of width {width:g}, but alpha is {alpha:g}: give one of them")
    alpha = alpha or width or 1.0
    if not 0.1 <= alpha <= 4:
        raise BackboneError(f"alpha is {alpha:g}: expected .1 to 4")
    own = FAMILIES[plain][1]
    if library == "torchvision" and own == "timm":
        raise BackboneError(f"torchvision has no {plain}: its weights must be timm's")
    return Spec(plain, alpha, library or own)


def network(spec, classes=1000, dropout=0.2, pretrained=False):
    """The whole network of `spec` with its classifier of `classes`, with random weights.

    pretrained: with the weights that the library has for it, which it downloads from its own site.
    """
    if spec.library == "torchvision":
        arguments = {"num_classes": classes, "dropout": dropout}
        if pretrained and spec.alpha != 1:
            raise BackboneError(f"torchvision has no weights of {spec.family} at alpha {spec.alpha:g}")
        if pretrained:
            return _downloaded(torchvision.models.get_model, spec.family, weights="DEFAULT", dropout=dropout)
        return torchvision.models.get_model(spec.family, weights=None, width_mult=spec.alpha, **arguments)
    if pretrained:
        if spec.timm_name not in timm.list_models():
            raise BackboneError(f"timm has no weights of {spec.family} at alpha {spec.alpha:g}")
        return _downloaded(timm.create_model, spec.timm_name, pretrained=True, drop_rate=dropout)
    name = FAMILIES[spec.family][0]
    build = {"mobilenetv1": efficientnet._gen_mobilenet_v1, "mobilenetv2": efficientnet._gen_mobilenet_v2}.get(
        name, mobilenetv3._gen_mobilenet_v4 if "v4" in name else mobilenetv3._gen_mobilenet_v3
    )
    # The generator behind the registered names, which takes any width; the name is that of its settings.
    registered = name if "v4" in name else f"{name}_100"
    return build(registered, spec.alpha, num_classes=classes, drop_rate=dropout)


def _downloaded(build, name, **arguments):
    print(f"downloading the weights of {name}, if they are not there already", flush=True)
    try:
        return build(name, **arguments)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise BackboneError(f"{name}: no weights: {type(error).__name__} {reason}; give a file (--weights)") from error


def read_weights(path):
    """The state dict of a `.pth` or `.safetensors` file of torchvision or timm: name: tensor."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise BackboneError(f"{path}: not a file of weights: {type(error).__name__} {reason}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(torch.is_tensor(value) for value in state.values()):
        raise BackboneError(f"{path}: holds no state dict, but {type(state).__name__}")
    return {key.removeprefix("module."): value for key, value in state.items()}


def library_of(state):
    """Whose names a state dict has: `torchvision` or `timm`."""
    return "torchvision" if any(key.startswith("features.") for key in state) else "timm"


def load_weights(net, state, path):
    """Puts a state dict into a network of the same library; a last layer for other classes is left out."""
    own = net.state_dict()
    # The last two entries are the last layer: weights and bias.
    last = list(own)[-2:]
    state = {key: value for key, value in state.items() if key not in last or own[key].shape == value.shape}
    missing = [key for key in own if key not in state and key not in last and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    other = [f"{key} {list(value.shape)} instead of {list(own[key].shape)}" for key, value in state.items() if key in own and own[key].shape != value.shape]
    for what, keys in (("has no", missing), ("has another network's", unknown), ("has another width:", other)):
        if keys:
            raise BackboneError(f"{path}: {what} {keys[0]}{f' and {len(keys) - 1} more' if keys[1:] else ''}: other --backbone or --alpha?")
    net.load_state_dict(state, strict=False)


def built(name, alpha=None, classes=1000, weights=None, pretrained=False, dropout=0.2):
    """A whole network, with the weights of a file or of a download where asked for, and its `Spec`."""
    if weights:
        state = read_weights(weights)
        spec = spec_of(name, alpha, library_of(state))
        net = network(spec, classes, dropout)
        load_weights(net, state, weights)
        return net, spec
    spec = spec_of(name, alpha)
    if pretrained:
        if spec.library == "torchvision" and spec.alpha != 1:
            spec = spec_of(name, alpha, "timm")
        net = network(spec, classes, dropout)
        load_weights(net, network(spec, dropout=dropout, pretrained=True).state_dict(), spec.timm_name)
        return net, spec
    net = network(spec, classes, dropout)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            # torchvision's V3 has .01, with which the statistics of a short training would be those of the start.
            module.momentum = 0.1
    return net, spec


def blocks_of(net, spec):
    """The network's blocks in order, without classifier, and its last convolution where that is apart from them."""
    if spec.library == "torchvision":
        blocks = list(net.features)
        return (blocks[:-1], blocks[-1]) if spec.family == "mobilenet_v2" else (blocks, None)
    blocks = [nn.Sequential(net.conv_stem, net.bn1), *(block for stage in net.blocks for block in stage)]
    return blocks, nn.Sequential(net.conv_head, net.bn2) if spec.family == "mobilenet_v2" else None


def halves(block):
    """An inverted residual without shortcut as its expansion and the rest; None for a block without expansion."""
    if isinstance(block, (torchvision_v2.InvertedResidual, torchvision_v3.InvertedResidual)):
        layers = list(block.conv if isinstance(block, torchvision_v2.InvertedResidual) else block.block)
        cut = 1
    elif hasattr(block, "pw_exp"):
        layers = [block.dw_start, block.pw_exp, block.dw_mid, block.se, block.pw_proj, block.dw_end, block.layer_scale]
        cut = 2
    elif hasattr(block, "conv_pwl") and hasattr(block, "conv_dw"):
        layers = [block.conv_pw, block.bn1, block.conv_dw, block.bn2, block.aa, block.se, block.conv_pwl, block.bn3]
        cut = 2
    else:
        return None
    first = [module for layer in layers[:cut] for module in layer.modules() if isinstance(module, nn.Conv2d)]
    if not first or first[-1].kernel_size != (1, 1) or any(conv.stride != (1, 1) for conv in first):
        return None
    return nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])


def set_output_stride(blocks, output_stride):
    """No further stride once `output_stride` is reached; the later convolutions are dilated instead.

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.2: a convolution that loses
    its stride doubles the rate of those behind it. The weights stay as they are.
    """
    stride = rate = 1
    for block in blocks:
        for conv in block.modules():
            if not isinstance(conv, nn.Conv2d):
                continue
            here = rate
            if conv.stride[0] == 2:
                if stride >= output_stride:
                    conv.stride, rate = (1, 1), rate * 2
                else:
                    stride *= 2
            if conv.kernel_size[0] > 1 and here > 1:
                conv.dilation = (here, here)
                conv.padding = tuple(here * (k - 1) // 2 for k in conv.kernel_size)


class Backbone(nn.Module):
    """Maps of features of a picture, `[n, 3, h, w]`: a list of four, each `[n, channels[i], h / strides[i], w /
    strides[i]]`, where sizes are rounded up.

    output_stride: 8, 16 or 32; maps behind it have the same stride and dilated convolutions.
    expansion: the map of stride 16 is the expansion of the block that follows it, as SSDLite takes it (Sandler et
    al., section 6.2); of a network without expansions, the last of its stride.
    last_conv: V2's last convolution, to 1280 channels, is part of the map of stride 32; in V3 and V4 the like always is.
    """

    def __init__(self, name, alpha=None, output_stride=32, expansion=False, last_conv=False, weights=None, pretrained=False):
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise BackboneError(f"output stride {output_stride}: expected 8, 16 or 32")
        net, self.spec = built(name, alpha, weights=weights, pretrained=pretrained)
        self.has_weights = bool(weights or pretrained)
        blocks, last = blocks_of(net, self.spec)
        stages = self._stages(net.eval(), blocks, expansion)
        if last and last_conv:
            stages[-1].append(last)
        set_output_stride([block for stage in stages for block in stage], output_stride)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.strides = [min(stride, output_stride) for stride in STRIDES]
        with torch.no_grad():
            self.channels = [x.shape[1] for x in self.eval()(torch.zeros(1, 3, 64, 64))]
        self.train()

    @staticmethod
    def _stages(net, blocks, expansion):
        """The blocks up to each of `STRIDES`; a stage ends before the block that makes the map smaller."""
        side, stages = 64, [[]]
        x = torch.zeros(1, 3, side, side)
        with torch.no_grad():
            for block in blocks:
                x = block(x)
                if x.shape[2] < side and side < 64 // 2:
                    parts = halves(block) if expansion and side == 64 // 16 else None
                    if parts:
                        stages[-1].append(parts[0])
                    stages.append([parts[1] if parts else block])
                else:
                    stages[-1].append(block)
                side = x.shape[2]
        if len(stages) != len(STRIDES):
            raise BackboneError(f"{type(net).__name__}: has no maps of strides {STRIDES}")
        return stages

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def freeze(self, convolutions):
        """The first so many convolutions keep their weights, and their batch norms theirs."""
        done = 0
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                done += 1
            if done > convolutions:
                break
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                module.requires_grad_(False)

"""DeepLabv3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution", 2018) out of a DeepLabv3 file.

    python3 -m mobilens_train.deeplab_plus --card models/deeplabv3_mobilenet_v2_voc_os16.yaml --out runs/start

The blocks behind stride 16 lose their dilation and step down to stride 32, where they cost a quarter; depthwise
atrous branches are added beside the file's own; a decoder adds what stride 16 sees to the features of the classifier,
and what strides 8 and 4 see to its logits, which come out at stride 4. Every weight of the file is kept. What is new
starts so that the first logits are the old classifier's: the last convolution of each addition is zero. OUT/NAME.onnx and its card are then
trained by `distill_segmentation`.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import helper, numpy_helper

from .finish import write_card

# The last maps of strides 4, 8 and 16 in a DeepLab of MobileNetV2: outputs of blocks 3, 6 and 13.
BLOCKS = {4: 2, 8: 5, 16: 12}


class Graph:
    """Appends nodes to a model; new weights come from a seeded generator (He et al., "Delving Deep into Rectifiers",
    equation 10)."""

    def __init__(self, model, seed):
        self.model, self.graph, self.rng = model, model.graph, np.random.default_rng(seed)

    def constant(self, name, value):
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, op, inputs, name, **attributes):
        self.graph.node.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def relu6(self, x):
        return self.node("Clip", [x, "zero", "six"], f"{x}/relu6")

    def pointwise(self, x, name, inputs, outputs, zero=False):
        weight = self.rng.normal(0, 0 if zero else np.sqrt(2 / inputs), (outputs, inputs, 1, 1))
        return self._conv(x, name, weight, 1, 1)

    def depthwise(self, x, name, channels, rate=1):
        weight = self.rng.normal(0, np.sqrt(2 / 9), (channels, 1, 3, 3))
        # Begins near to the identity, as the map that comes in is already of use.
        weight[:, 0, 1, 1] += 1
        return self._conv(x, name, weight, channels, rate)

    def _conv(self, x, name, weight, group, rate):
        kernel = weight.shape[2]
        pads = [rate * (kernel // 2)] * 4
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", np.zeros(len(weight)))]
        return self.node("Conv", inputs, name, kernel_shape=[kernel] * 2, pads=pads, group=group, dilations=[rate] * 2, strides=[1, 1])

    def upsample(self, x, like, name):
        """Bilinear with aligned corners, as every grid of TensorFlow's DeepLab is, to the size of `like`."""
        size = self.node("Shape", [like], f"{name}/size")
        return self.node("Resize", [x, "", "", size], name, mode="linear", coordinate_transformation_mode="align_corners")


def channels_of(graph, conv_output):
    weights = {i.name: i.dims for i in graph.initializer}
    for node in graph.node:
        if node.output[0] == conv_output:
            name = node.input[1]
            for cast in graph.node:
                if cast.op_type == "Cast" and cast.output[0] == name:
                    name = cast.input[0]
            return weights[name][0]
    raise ValueError(f"{conv_output}: no such convolution")


def step_down(graph):
    """Stride 32: the first dilated depthwise convolution's block steps down, none is dilated."""
    depthwise = [n for n in graph.node if n.op_type == "Conv" and next(a.i for a in n.attribute if a.name == "group") > 1]
    dilated = [i for i, n in enumerate(depthwise) if next(a.ints for a in n.attribute if a.name == "dilations")[0] > 1]
    if not dilated:
        raise ValueError("no dilated convolution: not a DeepLab with output stride 16")
    for index in (dilated[0] - 1, *dilated):
        for a in depthwise[index].attribute:
            if a.name == "dilations":
                a.ints[:] = [1, 1]
            elif a.name == "pads":
                a.ints[:] = [1, 1, 1, 1]
            elif a.name == "strides" and index == dilated[0] - 1:
                a.ints[:] = [2, 2]


def block_output(graph, index):
    """The map that the block of this number hands on: the input of the next block's expansion."""
    wanted = f"expanded_conv_{index + 1}/expand"
    for node in graph.node:
        if node.op_type == "Conv" and wanted in node.output[0]:
            return node.input[0]
    raise ValueError(f"no convolution {wanted}")


def build(model, widths, rates, branch, seed):
    """`widths`: channels of the decoder at strides 16, 8 and 4; `branch`: those of an atrous branch."""
    graph = model.graph
    step_down(graph)
    g = Graph(model, seed)
    skips = {stride: block_output(graph, block) for stride, block in BLOCKS.items()}
    skip_channels = {4: 24, 8: 32, 16: 96}
    aspp = next(n for n in graph.node if n.op_type == "Conv" and n.output[0].startswith("aspp0/"))
    features = aspp.input[0]
    total = next(n for n in graph.node if n.op_type == "Add" and n.output[0].startswith("concat_projection/"))
    after = next(n for n in graph.node if n.op_type == "Relu" and n.input[0] == total.output[0])
    classes = channels_of(graph, "logits/semantic/Conv2D")
    # The nodes behind the sum come after the new branches.
    tail = [n for n in graph.node if n is after or n.output[0] in ("logits/semantic/Conv2D", "logits")]
    tail = [copy_of(n) for n in tail if n.output[0] != "logits"]
    names = {n.output[0] for n in tail} | {"logits"}
    kept = [n for n in graph.node if n.output[0] not in names]
    del graph.node[:]
    graph.node.extend(kept)
    summed = total.output[0]
    for rate in rates:
        x = g.relu6(g.depthwise(features, f"aspp_rate{rate}/depthwise", 320, rate))
        x = g.relu6(g.pointwise(x, f"aspp_rate{rate}/pointwise", 320, branch))
        x = g.pointwise(x, f"aspp_rate{rate}/project", branch, 256, zero=True)
        summed = g.node("Add", [summed, x], f"aspp_rate{rate}/sum")
    for node in tail:
        if node.op_type == "Relu":
            node.input[0] = summed
            graph.node.append(node)
    classifier = next(n for n in tail if n.op_type == "Conv")
    # What stride 16 adds to the features that the old classifier reads, at first nothing.
    features, (wide, middle, narrow) = after.output[0], widths
    skip = g.pointwise(skips[16], "decoder16/skip", skip_channels[16], wide)
    down = g.pointwise(features, "decoder16/project", 256, wide)
    x = g.node("Add", [g.upsample(down, skip, "decoder16/upsample"), skip], "decoder16/sum")
    x = g.relu6(g.depthwise(x, "decoder16/depthwise", wide))
    added = g.pointwise(x, "decoder16/features", wide, 256, zero=True)
    features = g.node("Add", [g.upsample(features, added, "features/upsample"), added], "features")
    classifier.input[0] = features
    graph.node.append(classifier)
    # What strides 8 and 4 add to the classes, at first nothing.
    channels = wide
    for stride, width in ((8, middle), (4, narrow)):
        name = f"decoder{stride}"
        x = g.pointwise(x, f"{name}/project", channels, width)
        skip = g.pointwise(skips[stride], f"{name}/skip", skip_channels[stride], width)
        x = g.node("Add", [g.upsample(x, skip, f"{name}/upsample"), skip], f"{name}/sum")
        # The sum stays linear, as in the residuals of the encoder: int8 kernels add codes without a float32 step.
        x, channels = g.relu6(g.depthwise(x, f"{name}/depthwise", width)), width
    refined = g.pointwise(x, "refinement", channels, classes, zero=True)
    coarse = g.upsample(classifier.output[0], refined, "coarse")
    g.node("Add", [coarse, refined], "logits")
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    for axis in (2, 3):
        graph.output[0].type.tensor_type.shape.dim[axis].dim_value = (size - 1) // 4 + 1
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def copy_of(node):
    new = onnx.NodeProto()
    new.CopyFrom(node)
    return new


def main(argv=None):
    p = argparse.ArgumentParser(prog="mobilens_train.deeplab_plus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--card", type=Path, required=True, help="card of a DeepLabv3 with output stride 16")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--name", default="deeplabv3plus_mobilenet_v2_voc")
    p.add_argument("--widths", type=int, nargs=3, default=[96, 48, 32], metavar="N", help="channels of the decoder at strides 16, 8, 4")
    p.add_argument("--rates", type=int, nargs="*", default=[3, 6], metavar="R", help="dilations of the added branches")
    p.add_argument("--branch", type=int, default=64, metavar="N", help="channels of each of them")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args(argv)
    try:
        card = yaml.safe_load(args.card.read_text())
        model = build(onnx.load(args.card.parent / card["file"]), args.widths, args.rates, args.branch, args.seed)
    except (OSError, ValueError, KeyError) as error:
        print(f"deeplab_plus: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    write_card(args.out / f"{args.name}.yaml", card, head={"deeplab": {"logits": "logits", "output_stride": 4, "align_corners": True}})
    return 0


if __name__ == "__main__":
    sys.exit(main())

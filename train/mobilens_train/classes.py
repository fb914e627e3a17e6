"""Class heads of an SSD graph: which convolutions they are, fewer classes, and another threshold."""
import math

import torch


def class_heads(module, scores_output):
    """Names of weights and bias of each class head, and the reshapes behind it.

    A class head is the convolution whose output goes, through transposes and reshapes, into the concatenation of
    `scores_output`; its output channels are anchors times classes.
    """
    makers = {outputs[0]: (op, inputs) for op, inputs, outputs, _ in module.nodes}
    # With a quantised file, values stand in between that do not change the shape.
    passed = ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast")
    name = scores_output
    while makers[name][0] in passed:
        name = makers[name][1][0]
    op, parts = makers[name]
    if op != "Concat":
        raise ValueError(f"{scores_output}: comes from {op}, expected the Concat of the class heads")
    heads, reshapes = [], []
    for name in parts:
        while makers[name][0] in ("Transpose", "Reshape", *passed):
            op, inputs = makers[name]
            if op == "Reshape":
                reshapes.append(inputs[1])
            name = inputs[0]
        op, inputs = makers[name]
        if op != "Conv":
            raise ValueError(f"{name}: comes from {op}, expected the Conv of a class head")
        heads.append(inputs[1:])
    return heads, reshapes


def keep_classes(module, scores_output, channels, wanted):
    """Cuts the class heads down to the channels `wanted` of `channels`: pruning of classes."""
    heads, reshapes = class_heads(module, scores_output)
    if module.codes:
        raise ValueError("classes are pruned in the float32 file, which is quantised after that")
    for name in dict.fromkeys(reshapes):
        shape = module.constants[name].copy()
        shape[shape == channels] = len(wanted)
        module.constants[name] = shape
    for values in heads:
        for value in values:
            old = module.named_values()[value].detach()
            per_anchor = old.reshape(-1, channels, *old.shape[1:])
            module._add(value, per_anchor[:, wanted].reshape(-1, *old.shape[1:]).numpy())
    for output in module.model.graph.output:
        if output.name == scores_output:
            output.type.tensor_type.shape.dim[2].dim_value = len(wanted)
    del module.model.graph.value_info[:]


def channels_of(module, scores_output):
    """How many classes the file has, the background with them."""
    output = next(o for o in module.model.graph.output if o.name == scores_output)
    return output.type.tensor_type.shape.dim[2].dim_value


def shift_scores(module, card, old, new):
    """Shifts the biases of the class heads so that what scored `old` scores `new`; the order of scores stays."""
    head = card["head"]["ssd"]
    if head.get("activation", "sigmoid") != "sigmoid":
        raise ValueError("scores are calibrated by the bias for a sigmoid head only")
    shift = math.log(new / (1 - new)) - math.log(old / (1 - old))
    channels = channels_of(module, head["scores"])
    # The background's logit is never read; without one, all channels are classes.
    first = 1 if head.get("background", True) else 0
    values = module.named_values()
    with torch.no_grad():
        for _, *bias in class_heads(module, head["scores"])[0]:
            if not bias:
                raise ValueError("a class head has no bias to shift")
            values[bias[0]].view(-1, channels)[:, first:] += shift
    return shift


def head_values(module):
    """Names of the values that lead to some outputs only: the heads, where a network has several outputs; else the last
    convolution."""
    reaches = {name: {name} for name in module.output_names}
    values = module.named_values()
    last = None
    for op, inputs, outputs, _ in reversed(module.nodes):
        reached = set().union(*(reaches.get(name, set()) for name in outputs))
        if last is None and op in ("Conv", "Gemm"):
            last = [name for name in inputs[1:] if name in values]
        for name in inputs:
            reaches.setdefault(name, set()).update(reached)
    if len(module.output_names) == 1:
        return set(last or ())
    return {name for name in values if len(reaches.get(name, ())) < len(module.output_names)}


def freeze(module, convolutions):
    """The first so many convolutions keep their weights."""
    done = 0
    values = module.named_values()
    for op, inputs, *_ in module.nodes:
        if op == "Conv" and done < convolutions:
            done += 1
            for name in inputs[1:]:
                if name in values:
                    values[name].requires_grad_(False)

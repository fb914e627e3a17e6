"""ONNX files of packages: fixed sizes, names that say what the tensors are, an input with its channels first."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference


def save(model, graph, name, path):
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", model.opset_import[0].version)],
                             ir_version=max(model.ir_version, 4), producer_name="mobilens models/import")
    made = shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    del made.graph.value_info[:]
    made.graph.name = name
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString(deterministic=True))


def rename(nodes, names):
    for node in nodes:
        node.doc_string = ""
        for part in (node.input, node.output):
            part[:] = [names.get(n, n) for n in part]


def to_opset_11(nodes, found):
    """Nodes of opset 10 as opset 11 has them: Resize and Clip, the only ones here that changed. Opset 10 left open how
    Resize rounds; ONNX Runtime takes the pixel above and to the left."""
    for node in nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Resize":
            roi = f"{node.output[0]}.roi"
            found[roi] = np.zeros(0, np.float32)
            node.input[:] = [node.input[0], roi, node.input[1]]
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
        elif node.op_type == "Clip":
            for limit in ("min", "max"):
                name = f"{node.output[0]}.{limit}"
                found[name] = np.array(attributes[limit], np.float32)
                node.input.append(name)
            del node.attribute[:]


def needed(nodes, outputs):
    """The nodes that `outputs` are computed from, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def value(name, shape=None):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constants(model):
    """Initialisers, and the Constant nodes as such, by name."""
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def fixed(source, path, shape, outputs, reshapes=None):
    """The file at one size of its single input; `outputs` are pairs of the old name and the new one, `reshapes` the
    shapes of values that the file computes the shape of."""
    model = onnx.load(source)
    found = constants(model)
    (old,) = [i.name for i in model.graph.input if i.name not in found]
    nodes = [n for n in model.graph.node if n.op_type != "Constant"]
    for node in nodes:
        if node.output[0] in (reshapes or {}):
            node.input[1] = node.output[0] + ".shape"
            found[node.input[1]] = np.array(reshapes[node.output[0]], np.int64)
    if model.opset_import[0].version == 10:
        to_opset_11(nodes, found)
        model.opset_import[0].version = 11
    nodes = needed(nodes, {a for a, _ in outputs})
    used = {i for n in nodes for i in n.input}
    names = {old: "input", **{a: b for a, b in outputs}}
    rename(nodes, names)
    weights = [numpy_helper.from_array(array, name) for name, array in found.items() if name in used]
    graph = helper.make_graph(nodes, path.stem, [value("input", shape)], [value(b) for _, b in outputs], weights)
    save(model, graph, path.stem, path)


def blazeface(source, path):
    """BlazeFace as `tf2onnx` wrote it: without the first Transpose, zeros joined along the channels as Pad, and its
    outputs of the two maps joined: boxes [1, 896, 16] and scores [1, 896, 1]."""
    model = onnx.load(source)
    found, nodes = constants(model), []
    (old,) = [i for i in model.graph.input if i.name not in found]
    side = old.type.tensor_type.shape.dim[1].dim_value
    zeros = {n.output[0]: found[n.input[0]] for n in model.graph.node if n.op_type == "ConstantOfShape"}
    names = {old.name: "unused"}
    for node in model.graph.node:
        if node.op_type == "Transpose" and node.input[0] == old.name:
            names[node.output[0]] = "input"
        elif node.op_type == "Concat" and set(node.input) & set(zeros):
            x, added = node.input
            pads = f"{node.output[0]}.pads"
            found[pads] = np.array([0, 0, 0, 0, 0, zeros[added][1], 0, 0], np.int64)
            nodes.append(helper.make_node("Pad", [x, pads], [node.output[0]], node.name))
        elif node.op_type not in ("ConstantOfShape", "Constant"):
            nodes.append(node)
    rename(nodes, names)
    for name, parts in (("boxes", ("Identity_2:0", "Identity_3:0")), ("scores", ("Identity:0", "Identity_1:0"))):
        nodes.append(helper.make_node("Concat", parts, [name], name, axis=1))
    used = {i for n in nodes for i in n.input}
    weights = [numpy_helper.from_array(array, name) for name, array in found.items() if name in used]
    shape = [1, 3, side, side]
    graph = helper.make_graph(nodes, path.stem, [value("input", shape)], [value("boxes"), value("scores")], weights)
    save(model, graph, path.stem, path)

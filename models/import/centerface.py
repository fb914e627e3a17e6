"""CenterFace (Xu et al., arXiv:1911.03599) of the package's own ONNX file: one picture of a fixed size, names that
say what the outputs are, and large weights as float16."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 640, 480
NAMES = {"input.1": "input", "537": "heatmap", "538": "size", "539": "offset", "540": "landmarks"}
# Smaller weights, and those of depthwise convolutions, stay in float32.
LARGE = 4096


def convert(path, target):
    model = onnx.load(path)
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    weights, casts = [], []
    for tensor in graph.initializer:
        if tensor.name not in read:
            continue
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4 and values.shape[1] > 1 and values.size >= LARGE:
            half = f"{tensor.name}.f16"
            weights.append(numpy_helper.from_array(values.astype(np.float16), half))
            casts.append(helper.make_node("Cast", [half], [tensor.name], tensor.name, to=TensorProto.FLOAT))
        else:
            weights.append(tensor)
    nodes = casts + list(graph.node)
    for node in nodes:
        node.doc_string = ""
        for names in (node.input, node.output):
            names[:] = [NAMES.get(name, name) for name in names]

    def value(name, channels, stride):
        shape = [1, channels, HEIGHT // stride, WIDTH // stride]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    outputs = [value(name, channels, 4)
               for name, channels in (("heatmap", 1), ("size", 2), ("offset", 2), ("landmarks", 10))]
    made = helper.make_graph(nodes, "centerface", [value("input", 3, 1)], outputs, weights)
    opset = [helper.make_opsetid("", model.opset_import[0].version)]
    made = helper.make_model(made, opset_imports=opset, ir_version=model.ir_version, producer_name="mobilens")
    onnx.checker.check_model(made)
    target.write_bytes(made.SerializeToString(deterministic=True))

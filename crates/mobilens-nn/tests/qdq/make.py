#!/usr/bin/env python3
"""Makes the quantised files of this folder: what exporters write for small networks of random weights.

    python3 crates/mobilens-nn/tests/qdq/make.py [ort] [nncf] [tf2onnx]

For each NAME.onnx there are NAME.input.f32 and NAME.output.f32: little-endian float32, one input and
what ONNX Runtime gives for it. README.md says with which versions they were made.
"""
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
SHAPE = (1, 3, 12, 14)
RANDOM = np.random.default_rng(7)


def picture():
    return RANDOM.uniform(-1, 1, SHAPE).astype(np.float32)


PICTURES = [picture() for _ in range(4)]


def keep(name, model=None, shape=SHAPE):
    """Runs the file and keeps input and output beside it."""
    path = HERE / f"{name}.onnx"
    if model is not None:
        onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    # As the file says, with no int8 kernels of its own choice.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = PICTURES[0] if shape == SHAPE else PICTURES[0].transpose(0, 2, 3, 1)
    (output,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x)})
    x.astype("<f4").tofile(HERE / f"{name}.input.f32")
    output.astype("<f4").tofile(HERE / f"{name}.output.f32")
    print(name, path.stat().st_size, "bytes,", output.shape)


def float_network():
    """An inverted residual, squeeze-and-excite without its gate, a resize and two heads, joined."""
    nodes, tensors = [], []

    def constant(name, values, dtype=np.float32):
        tensors.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(kind, *inputs, **attributes):
        name = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(x, inputs, outputs, kernel=1, stride=1, group=1):
        i = len(nodes)
        weight = RANDOM.normal(0, 1.2 / np.sqrt(inputs / group * kernel * kernel),
                               (outputs, inputs // group, kernel, kernel))
        # Channels of different ranges, so that a scale for each is worth it.
        weight *= RANDOM.uniform(0.2, 2, (outputs, 1, 1, 1))
        parts = [x, constant(f"w{i}", weight), constant(f"b{i}", RANDOM.normal(0, 0.2, outputs))]
        return op("Conv", *parts, kernel_shape=[kernel] * 2, strides=[stride] * 2, group=group,
                  pads=[kernel // 2] * 4)

    def relu6(x):
        return op("Clip", x, constant(f"low{len(nodes)}", 0), constant(f"high{len(nodes)}", 6))

    x = relu6(conv("input", 3, 8, 3, 2))
    y = relu6(conv(x, 8, 16))
    y = op("HardSwish", conv(y, 16, 16, 3, 1, 16))
    x = op("Add", conv(y, 16, 8), x)
    pooled = op("GlobalAveragePool", x)
    pooled = op("Relu", conv(pooled, 8, 8))
    x = op("Mul", x, pooled)
    heads = []
    for i, layer in enumerate((x, op("Relu", conv(x, 8, 8, 3, 2)))):
        head = op("Transpose", conv(layer, 8, 4), perm=[0, 2, 3, 1])
        heads.append(op("Reshape", head, constant(f"shape{i}", [1, -1, 2], np.int64)))
    output = op("Concat", *heads, axis=1)
    graph = helper.make_graph(
        nodes, "test",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 2 * (42 + 12), 2])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def ort():
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"input": x} for x in PICTURES])

        def get_next(self):
            return next(self.left, None)

    float_path = Path(tempfile.mkdtemp()) / "float.onnx"
    onnx.save(float_network(), float_path)
    qdq, u8, s8 = QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8
    variants = {
        "ort_qdq_u8s8_per_channel": dict(quant_format=qdq, activation_type=u8, weight_type=s8, per_channel=True),
        "ort_qdq_s8s8_symmetric": dict(quant_format=qdq, activation_type=s8, weight_type=s8,
                                       extra_options=dict(ActivationSymmetric=True)),
        "ort_qdq_u8u8_reduce_range": dict(quant_format=qdq, activation_type=u8, weight_type=u8, reduce_range=True),
        "ort_qoperator_u8s8_per_channel": dict(quant_format=QuantFormat.QOperator, activation_type=u8,
                                               weight_type=s8, per_channel=True),
        "ort_qoperator_u8u8": dict(quant_format=QuantFormat.QOperator, activation_type=u8, weight_type=u8),
    }
    for name, options in variants.items():
        quantize_static(float_path, HERE / f"{name}.onnx", Reader(), **options)
        keep(name)


def nncf():
    import nncf as nncf_package

    dataset = nncf_package.Dataset([{"input": x} for x in PICTURES])
    keep("nncf", nncf_package.quantize(float_network(), dataset))


def tf2onnx():
    """As TensorFlow's quantisation-aware training leaves a graph: fake quantisation of weights (for each
    output channel) and of activations."""
    import tensorflow as tf
    import tf2onnx as tf2onnx_package

    def random(*shape):
        return RANDOM.normal(0, 1.2 / np.sqrt(np.prod(shape[:2]) * max(1, shape[2] % 8)), shape).astype(np.float32)

    def weights(values, axis):
        most = np.abs(values).max(axis=tuple(i for i in range(4) if i != axis))
        if axis == 3:
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(values, -most, most, narrow_range=True)
        # That operator knows the last axis only.
        most = float(most.max())
        return tf.quantization.fake_quant_with_min_max_vars(values, -most, most, narrow_range=True)

    first, depthwise, project = random(3, 3, 3, 8), random(3, 3, 8, 1), random(1, 1, 8, 8)
    bias = RANDOM.normal(0, 0.2, 8).astype(np.float32)

    def quantized(x, low, high):
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high)

    @tf.function(input_signature=[tf.TensorSpec([1, *SHAPE[2:], SHAPE[1]], tf.float32, name="input")])
    def network(x):
        x = quantized(x, -1.0, 1.0)
        x = quantized(tf.nn.relu6(tf.nn.conv2d(x, weights(first, 3), 2, "SAME") + bias), 0.0, 6.0)
        y = quantized(tf.nn.relu6(tf.nn.depthwise_conv2d(x, weights(depthwise, 2), [1, 1, 1, 1], "SAME")), 0.0, 6.0)
        y = quantized(tf.nn.conv2d(y, weights(project, 3), 1, "SAME") + bias, -5.0, 5.0)
        return quantized(x + y, -5.0, 9.0)

    path = HERE / "tf2onnx.onnx"
    tf2onnx_package.convert.from_function(network, network.input_signature, opset=13, output_path=str(path))
    keep("tf2onnx", shape=(1, *SHAPE[2:], SHAPE[1]))


def main():
    wanted = sys.argv[1:] or ["ort", "nncf", "tf2onnx"]
    makers = dict(ort=ort, nncf=nncf, tf2onnx=tf2onnx)
    for name in wanted:
        makers[name]()


if __name__ == "__main__":
    main()

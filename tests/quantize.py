"""An int8 file in ONNX Runtime and OpenVINO against the float32 file, on one picture.

python3 tests/quantize.py FLOAT32.onnx INT8.onnx PICTURE

Held to what the file says, node by node (ONNX Runtime without optimisation, which computes in float32 between
the roundings):
- ONNX Runtime with its int8 kernels gives the same codes within two, at all but one in a thousand places of
  each of the first twelve rounded values. Further on, roundings that fall on the other side add up.
- The outputs' SQNR against float32 is no more than 3 dB lower, in ONNX Runtime and in OpenVINO, which leaves
  out some of the roundings.
"""
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from PIL import Image

FIRST = 12
float_file, int8_file, picture_file = sys.argv[1:]
model = onnx.load(int8_file)
onnx.checker.check_model(model, full_check=True)
assert max(o.version for o in model.opset_import) >= 13

info = model.graph.input[0]
_, _, height, width = (d.dim_value for d in info.type.tensor_type.shape.dim)
picture = Image.open(picture_file).convert("RGB").resize((width, height))
picture = ((np.asarray(picture, np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]


def with_onnxruntime(file, optimise=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {info.name: picture})))


def with_openvino(file):
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(picture)
    return {name: result[output] for output in compiled.outputs for name in output.names}


def db(truth, got):
    return 10 * np.log10(np.sum(truth**2.0) / np.sum((truth - got) ** 2.0))


failed = False
truth, literal = with_onnxruntime(float_file), with_onnxruntime(int8_file, optimise=False)
for name, other in (("ONNX Runtime", with_onnxruntime(int8_file)), ("OpenVINO", with_openvino(int8_file))):
    for output in truth:
        of_file, of_other = db(truth[output], literal[output]), db(truth[output], other[output])
        print(f"{name}: {output}: SQNR {of_other:.1f} dB, by the file {of_file:.1f} dB")
        failed |= not of_other > of_file - 3

codes = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"][:FIRST]
for name in codes:
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
with_codes = model.SerializeToString()
literal, other = with_onnxruntime(with_codes, optimise=False), with_onnxruntime(with_codes)
least = min(np.mean(np.abs(literal[name].astype(int) - other[name]) <= 2) for name in codes)
print(f"ONNX Runtime: {least:.3%} of the codes within two, in each of the first {len(codes)} values")
failed |= not least >= 0.999
sys.exit(failed)

//! Planning of the operators that work on codes of one byte.

use crate::graph::{Codes, ConvInt8, Node, Op};
use crate::kernels::{
    Activation, BinaryInt8Step, ConvStage, ConvWeights, Int8Op, Int8Weights, PackedDepthwiseInt8,
    PackedGemmInt8, ResizeInt8, addends_of,
};
use crate::memory_plan::PlannedOp;
use crate::plan::{NHWC, Planner, ValueLayout, report};
use crate::plan_conv::{MATRIX_PRODUCT, channels_innermost, conv_name};
use crate::precision::NumberFormat;

/// Global sum pooling of codes.
pub(super) fn global_sum_pool_int8(codes: Codes) -> Int8Op {
    Int8Op::GlobalSumPool {
        scale: codes.scale,
        zero_point: codes.zero_point,
    }
}

/// Weights `[output][k]` as the GEMM takes them, in signed bytes, and the number of addends that a
/// weight is cut into. Where a file's weights have a zero point (uint8, per tensor), some are outside
/// of a signed byte: each is then the sum of two, `[output][addend][k]`, for the same inputs.
fn signed_bytes(weights: &[i16], k: usize) -> (Vec<i8>, usize) {
    let bytes: Result<Vec<i8>, _> = weights.iter().map(|w| i8::try_from(*w)).collect();
    match bytes {
        Ok(bytes) => (bytes, 1),
        Err(_) => {
            let rows = weights.chunks_exact(k.max(1));
            let halves = rows.flat_map(|row| {
                let addends = |n: usize| row.iter().map(move |w| addends_of(*w)[n]);
                addends(0).chain(addends(1))
            });
            (halves.collect(), 2)
        }
    }
}

impl Planner<'_> {
    pub(super) fn node_int8(&mut self, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let shape = &graph.shapes[node.output];
        let (op, name) = match &node.op {
            Op::ConvInt8(conv) => return self.conv_int8(node, conv),
            Op::BinaryInt8(binary) => {
                let same = graph.shapes[node.inputs[1]] == graph.shapes[node.inputs[0]];
                let order = if same {
                    self.layout(node.inputs[0])?.order.clone()
                } else {
                    NHWC.to_vec()
                };
                let left = self.in_order(node.inputs[0], &order)?;
                let right = self.in_order(node.inputs[1], &order)?;
                let output = self.define(node.output, order);
                let step = BinaryInt8Step::new(
                    binary.function,
                    (binary.left.scale, binary.left.zero_point),
                    (binary.right.scale, binary.right.zero_point),
                    (binary.output.scale, binary.output.range()),
                );
                let reports = vec![report(&node.name, "binary int8", shape, 0, 0)];
                self.push(PlannedOp::BinaryInt8(step, left, right), output, reports);
                return Ok(());
            }
            Op::ResizeInt8 { indices, from, to } => {
                let input_shape = &graph.shapes[node.inputs[0]];
                let input = self.in_order(node.inputs[0], &NHWC)?;
                let output = self.define(node.output, NHWC.to_vec());
                let resize = ResizeInt8 {
                    input_row: input_shape[3] * input_shape[1],
                    channels: shape[1],
                    rows: indices.rows.clone(),
                    columns: indices.columns.clone(),
                    zero_point: from.zero_point,
                    multiplier: from.scale / to.scale,
                };
                let reports = vec![report(&node.name, "resize int8", shape, 0, 0)];
                let range = to.range();
                let op = PlannedOp::ResizeInt8 {
                    input,
                    resize,
                    range,
                };
                self.push(op, output, reports);
                return Ok(());
            }
            Op::Quantize(rounding) => {
                let op = Int8Op::Quantize {
                    scale: rounding.scale,
                    range: rounding.range(),
                };
                (op, "quantize")
            }
            Op::Dequantize => {
                let codes = graph.codes.get(&node.inputs[0]);
                let codes = codes.ok_or("a value without codes is dequantised")?;
                let op = Int8Op::Dequantize {
                    scale: codes.scale,
                    zero_point: codes.zero_point,
                };
                (op, "dequantize")
            }
            Op::Lookup(table) => (Int8Op::Lookup(table.clone()), "lookup int8"),
            _ => return Err(format!("{}: rounding that was not lowered", node.name)),
        };
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let output = self.define(node.output, order);
        let reports = vec![report(&node.name, name, shape, 0, 0)];
        self.push(PlannedOp::Int8(op, allocation), output, reports);
        Ok(())
    }

    fn conv_int8(&mut self, node: &Node, conv: &ConvInt8) -> Result<(), String> {
        let input_shape = self.feature_map(node, node.inputs[0])?;
        let output_shape = self.feature_map(node, node.output)?;
        let input = self.in_order(node.inputs[0], &self.channels_last(node.inputs[0]))?;
        let residual = match node.inputs.get(1) {
            Some(value) if conv.residual => {
                Some(self.in_order(*value, &self.channels_last(*value))?)
            }
            _ => None,
        };
        let kernel = conv.window.kernel;
        let (requantize, zero_point) = (&conv.requantize, conv.zero_point);
        let weights = if conv.depthwise {
            let packed = PackedDepthwiseInt8::new(&conv.weights, &conv.bias, kernel, requantize);
            let packed = packed.ok_or_else(|| format!("{}: sums that overflow", node.name))?;
            ConvWeights::DepthwiseInt8(Int8Weights { packed, zero_point })
        } else {
            let taps = kernel.0 * kernel.1;
            let weights = channels_innermost(&conv.weights, input_shape.c, taps);
            let (weights, addends) = signed_bytes(&weights, input_shape.c * taps);
            let segments = if conv.window.dilation.1 == 1 {
                kernel.0
            } else {
                taps
            };
            ConvWeights::DenseInt8(Int8Weights {
                packed: PackedGemmInt8::new(
                    &weights,
                    &conv.bias,
                    segments * addends,
                    requantize,
                    self.isa.int8,
                ),
                zero_point,
            })
        };
        let stage = ConvStage {
            weights,
            window: conv.window,
            input: input_shape,
            output: output_shape,
            activation: Activation::NONE,
        };
        let name = match self.graph.shapes[node.output].len() {
            4 => conv_name(conv.depthwise, kernel),
            _ => MATRIX_PRODUCT,
        };
        let parameters = (conv.weights.len() + conv.bias.len()) as u64;
        let shape = &self.graph.shapes[node.output];
        let mut layer = report(&node.name, name, shape, stage.macs(), parameters);
        layer.format = NumberFormat::Int8;
        let output = self.define(node.output, self.channels_last(node.output));
        let op = PlannedOp::Conv {
            stages: vec![stage],
            input,
            residual,
            residual_first: false,
            bias: None,
        };
        self.push(op, output, vec![layer]);
        Ok(())
    }
}

//! Planning of convolutions in float32 and bfloat16.

use crate::graph::{Conv, Node, Op, ValueId};
use crate::kernels::{
    ConvStage, ConvWeights, PackedDepthwise, PackedDepthwiseBf16, PackedGemm, PackedGemmBf16,
    PackedGroups, Shape, find_groups,
};
use crate::memory_plan::PlannedOp;
use crate::plan::{Planner, ValueLayout, report};
use crate::precision::NumberFormat;

impl Planner<'_> {
    /// Shape of a feature map, or of a matrix's rows as pixels.
    pub(super) fn feature_map(&self, node: &Node, value: ValueId) -> Result<Shape, String> {
        match self.graph.shapes[value][..] {
            [1, c, h, w] => Ok(Shape { h, w, c }),
            [rows, c] => Ok(Shape { h: 1, w: rows, c }),
            [matrices, rows, c] => Ok(Shape {
                h: 1,
                w: matrices * rows,
                c,
            }),
            _ => Err(format!(
                "{}: no [1, c, h, w] feature map, nor a matrix",
                node.name
            )),
        }
    }

    /// Plans a convolution in float32, or in bfloat16 with an output that may be float32.
    pub(super) fn conv(
        &mut self,
        node: &Node,
        conv: &Conv,
        bf16: Option<bool>,
    ) -> Result<(), String> {
        let graph = self.graph;
        let shape_of = |value| self.feature_map(node, value);
        let (input_shape, output_shape) = (shape_of(node.inputs[0])?, shape_of(node.output)?);
        // A 1x1 kernel takes pixels in any order.
        let order = if conv.is_pointwise() {
            self.channels_innermost(node.inputs[0])?
        } else {
            self.channels_last(node.inputs[0])
        };
        let input = self.in_order(node.inputs[0], &order)?;
        let mut more = node.inputs[1..].iter();
        let mut next = |wanted: bool| -> Result<Option<usize>, String> {
            match more.next() {
                Some(value) if wanted => self.in_order(*value, &order).map(Some),
                _ => Ok(None),
            }
        };
        let residual = if conv.residual { next(true)? } else { None };
        let bias = if conv.bias_input { next(true)? } else { None };
        let kernel = conv.window.kernel;
        // Another step's bias is one of all channels.
        let groups = if conv.depthwise || conv.bias_input {
            None
        } else {
            find_groups(&conv.weights, conv.outputs(), input_shape.c)
        };
        let weights = if conv.depthwise {
            match bf16 {
                Some(_) => ConvWeights::DepthwiseBf16(PackedDepthwiseBf16::new(
                    &conv.weights,
                    &conv.bias,
                    kernel,
                )),
                None => ConvWeights::Depthwise(PackedDepthwise::new(&conv.weights, &conv.bias)),
            }
        } else {
            let (channels, k) = (input_shape.c, conv.weights_per_output());
            let weights = channels_innermost(&conv.weights, channels, k / channels.max(1));
            match bf16 {
                Some(float_output) => {
                    let segment = channels
                        * if conv.window.dilation.1 == 1 {
                            kernel.1
                        } else {
                            1
                        };
                    ConvWeights::DenseBf16 {
                        packed: PackedGemmBf16::new(&weights, &conv.bias, k, segment),
                        float_output,
                    }
                }
                None => match groups {
                    Some(groups) => ConvWeights::Grouped(PackedGroups::new(
                        &weights,
                        &conv.bias,
                        kernel.0 * kernel.1,
                        groups,
                    )),
                    None => ConvWeights::Dense(PackedGemm::new(&weights, &conv.bias, k)),
                },
            }
        };
        let stage = ConvStage {
            weights,
            window: conv.window,
            input: input_shape,
            output: output_shape,
            activation: conv.activation,
        };
        let op = match graph.shapes[node.output].len() {
            4 if groups.is_some() && bf16.is_none() => "grouped conv",
            4 => conv_name(conv.depthwise, kernel),
            _ => MATRIX_PRODUCT,
        };
        let parameters = (conv.weights.len() / groups.unwrap_or(1) + conv.bias.len()) as u64;
        let shape = &graph.shapes[node.output];
        let mut layer = report(&node.name, op, shape, stage.macs(), parameters);
        if bf16.is_some() {
            layer.format = NumberFormat::Bf16;
        }
        let output = self.define(node.output, order);
        self.push(
            PlannedOp::Conv {
                stages: vec![stage],
                input,
                residual,
                residual_first: false,
                bias,
            },
            output,
            vec![layer],
        );
        Ok(())
    }

    /// Plans a conversion from or to bfloat16.
    pub(super) fn convert_bf16(&mut self, node: &Node) -> Result<(), String> {
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let output = self.define(node.output, order);
        let shape = &self.graph.shapes[node.output];
        let (name, op) = match node.op {
            Op::ToBf16 => ("to bf16", PlannedOp::ToBf16(allocation)),
            _ => ("from bf16", PlannedOp::FromBf16(allocation)),
        };
        let reports = vec![report(&node.name, name, shape, 0, 0)];
        self.push(op, output, reports);
        Ok(())
    }
}

/// The name of a matrix product in reports.
pub(super) const MATRIX_PRODUCT: &str = "matmul";

/// The name of a convolution in reports.
pub(super) fn conv_name(depthwise: bool, kernel: (usize, usize)) -> &'static str {
    match (depthwise, kernel) {
        (true, (3, 3)) => "depthwise 3x3",
        (true, (5, 5)) => "depthwise 5x5",
        (true, _) => "depthwise",
        (false, (1, 1)) => "pointwise",
        (false, (3, 3)) => "conv 3x3",
        (false, _) => "conv",
    }
}

/// Weights `[out][in][kernel_h][kernel_w]` as `[out][kernel_h][kernel_w][in]`.
pub(super) fn channels_innermost<T: Copy>(weights: &[T], channels: usize, taps: usize) -> Vec<T> {
    let mut reordered = Vec::with_capacity(weights.len());
    for row in weights.chunks_exact((channels * taps).max(1)) {
        for tap in 0..taps {
            reordered.extend((0..channels).map(|channel| row[channel * taps + tap]));
        }
    }
    reordered
}

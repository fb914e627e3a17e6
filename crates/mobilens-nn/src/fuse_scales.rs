//! Fusion of channel scales around a rounding: an activation that was quantised with a scale for each
//! channel is divided by the scales, rounded at scale 1, and multiplied by them. The convolutions
//! before and after it take over the two; then one scale is left, as for any other activation.

use crate::fuse::{scale_outputs, sole_producer};
use crate::graph::{Graph, Op};
use crate::kernels::Activation;

/// The factors of a multiplication by numbers above 0.
fn factors(op: &Op) -> Option<&[f32]> {
    let Op::Affine { mul, add } = op else {
        return None;
    };
    let is_scale = |factor: &f32| factor.is_finite() && *factor > 0.0;
    (add.iter().all(|add| *add == 0.0) && mul.iter().all(is_scale)).then_some(mul)
}

/// The division goes into a convolution of quantised weights with ReLU or ReLU6. The upper limit of
/// ReLU6 is left out, where the rounding that follows has a lower one in every channel.
pub(super) fn fold_division_into_conv(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Some(mul) = factors(&node.op) else {
        return false;
    };
    let Some(before) = sole_producer(graph, node.inputs[0]) else {
        return false;
    };
    let Op::Conv(conv) = &graph.nodes[before].op else {
        return false;
    };
    let Activation::Clamp { low: 0.0, high } = conv.activation else {
        return false;
    };
    if conv.residual || conv.bias_input || conv.weight_scales.is_none() {
        return false;
    }
    let mut readers = graph
        .nodes
        .iter()
        .filter(|n| n.inputs.contains(&node.output));
    let (Some(reader), None) = (readers.next(), readers.next()) else {
        return false;
    };
    let Op::FakeQuantize(rounding) = &reader.op else {
        return false;
    };
    if graph.outputs.contains(&node.output) {
        return false;
    }
    // What is rounded to the greatest code anyway.
    let codes = f32::from(rounding.high) - f32::from(rounding.zero_point);
    let most = (codes - 0.499) * rounding.scale;
    if mul.iter().any(|factor| high * factor < most) {
        return false;
    }
    let mut conv = conv.clone();
    scale_outputs(&mut conv, mul, &[0.0]);
    conv.activation = Activation::Clamp {
        low: 0.0,
        high: f32::INFINITY,
    };
    let output = node.output;
    graph.nodes[before].op = Op::Conv(conv);
    graph.nodes[before].output = output;
    graph.nodes.remove(at);
    true
}

/// The multiplication goes into a depthwise convolution of quantised weights. Its padding with zeros
/// stays right, as nothing is added.
pub(super) fn fold_multiplication_into_depthwise(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Op::Conv(conv) = &node.op else {
        return false;
    };
    if !conv.depthwise || conv.weight_scales.is_none() {
        return false;
    }
    let Some(before) = sole_producer(graph, node.inputs[0]) else {
        return false;
    };
    let Some(mul) = factors(&graph.nodes[before].op) else {
        return false;
    };
    let input = graph.nodes[before].inputs[0];
    let rounding = graph.producer(input).map(|index| &graph.nodes[index].op);
    if !matches!(rounding, Some(Op::FakeQuantize(_))) {
        return false;
    }
    let mut conv = conv.clone();
    let bias = std::mem::take(&mut conv.bias);
    conv.bias = vec![0.0; bias.len()];
    scale_outputs(&mut conv, mul, &[0.0]);
    conv.bias = bias;
    graph.nodes[at].op = Op::Conv(conv);
    graph.nodes[at].inputs[0] = input;
    graph.nodes.remove(before);
    true
}

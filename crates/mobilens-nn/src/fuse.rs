//! Operator fusion: patterns of several nodes that one kernel computes become one node.
//!
//! Those of transformers come first (`fuse_transformers`).
//!
//! Each rule matches one pattern, as one or another exporter writes it; all are tried until none
//! matches any more:
//! - zero padding goes into the convolution that follows it;
//! - an elementwise function goes before a transpose, to meet the convolution there;
//! - scales and offsets (batch normalisation, a `Mul` or `Add`) are folded into the weights before
//!   them;
//! - ReLU, ReLU6 (a `Max` and a `Min`), decomposed h-sigmoid and h-swish become one activation;
//! - an activation, and a residual sum, go into the epilogue of the convolution before them;
//! - a pointwise convolution of feature maps concatenated with one expanded vector (DeepLab's
//!   image pooling branch) becomes a smaller one, whose bias is computed once a frame.

use crate::fuse_activations::{fuse_gelu, fuse_prelu, fuse_silu, sigmoid_as_activation};
use crate::fuse_layout::{
    fuse_focus, join_slices, lower_conv_transposes, move_before_depth_to_space,
};
use crate::fuse_scales::{fold_division_into_conv, fold_multiplication_into_depthwise};
use crate::fuse_transformers::{fuse_transformers, move_reshape_after_unary};
use crate::graph::{Conv, Graph, Node, Op, ValueId};
use crate::kernels::{Activation, BinaryOp, UnaryOp};

/// Applies all rules until none matches.
pub(super) fn fuse(graph: &mut Graph) {
    const RULES: [fn(&mut Graph, usize) -> bool; 19] = [
        move_reshape_after_unary,
        fuse_pad_into_conv,
        move_transpose_after_unary,
        merge_affines,
        merge_clamps,
        fuse_hard_sigmoid,
        fuse_hard_swish,
        fuse_silu,
        fuse_gelu,
        fuse_prelu,
        sigmoid_as_activation,
        move_before_depth_to_space,
        fuse_focus,
        join_slices,
        fold_affine_into_conv,
        fuse_activation_into_conv,
        fuse_residual_into_conv,
        fold_division_into_conv,
        fold_multiplication_into_depthwise,
    ];
    fuse_transformers(graph);
    lower_conv_transposes(graph);
    while (0..graph.nodes.len()).any(|at| RULES.iter().any(|rule| rule(graph, at))) {}
    while (0..graph.nodes.len()).any(|at| split_expanded_input_into_bias(graph, at)) {}
    graph.remove_dead_nodes();
}

/// The producer of the value, if the value has no other consumer.
pub(super) fn sole_producer(graph: &Graph, value: ValueId) -> Option<usize> {
    let producer = graph.producer(value)?;
    (graph.consumers(value) == 1).then_some(producer)
}

/// Merges node `from` into `into`, which takes over its inputs.
fn merge_nodes(graph: &mut Graph, from: usize, into: usize) {
    graph.nodes[into].inputs = graph.nodes[from].inputs.clone();
    graph.nodes.remove(from);
}

fn fuse_pad_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Conv(_) = graph.nodes[at].op else {
        return false;
    };
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let (top, left) = match &graph.nodes[before].op {
        Op::Pad { before, value: 0.0 } => match before[..] {
            [0, 0, top, left] => (top, left),
            _ => return false,
        },
        _ => return false,
    };
    if graph.shapes[graph.nodes[before].inputs[0]][..2]
        != graph.shapes[graph.nodes[before].output][..2]
    {
        return false;
    }
    let input = graph.nodes[before].inputs[0];
    let node = &mut graph.nodes[at];
    node.inputs[0] = input;
    if let Op::Conv(conv) = &mut node.op {
        conv.window.pad.0 += top;
        conv.window.pad.1 += left;
    }
    graph.nodes.remove(before);
    true
}

fn move_transpose_after_unary(graph: &mut Graph, at: usize) -> bool {
    let is_elementwise = match &graph.nodes[at].op {
        Op::Unary(_) | Op::FakeQuantize(_) => true,
        op => scalar_affine(op).is_some(),
    };
    if !is_elementwise {
        return false;
    }
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Transpose { .. } = graph.nodes[before].op else {
        return false;
    };
    // The value between the two now has the axis order of the input.
    let between = graph.nodes[before].output;
    graph.shapes[between] = graph.shapes[graph.nodes[before].inputs[0]].clone();
    let function = graph.nodes[at].op.clone();
    graph.nodes[at].op = std::mem::replace(&mut graph.nodes[before].op, function);
    true
}

fn merge_affines(graph: &mut Graph, at: usize) -> bool {
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let (Op::Affine { mul: m1, add: a1 }, Op::Affine { mul: m2, add: a2 }) =
        (&graph.nodes[before].op, &graph.nodes[at].op)
    else {
        return false;
    };
    let len = m1.len().max(m2.len());
    let pick = |values: &[f32], i: usize| values[i.min(values.len() - 1)];
    let mul = (0..len).map(|i| pick(m1, i) * pick(m2, i)).collect();
    let add = (0..len)
        .map(|i| pick(a1, i) * pick(m2, i) + pick(a2, i))
        .collect();
    graph.nodes[at].op = Op::Affine { mul, add };
    merge_nodes(graph, before, at);
    true
}

fn merge_clamps(graph: &mut Graph, at: usize) -> bool {
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let (Op::Unary(UnaryOp::Activation(first)), Op::Unary(UnaryOp::Activation(second))) =
        (&graph.nodes[before].op, &graph.nodes[at].op)
    else {
        return false;
    };
    let Some(merged) = merge_activations(*first, *second) else {
        return false;
    };
    graph.nodes[at].op = Op::Unary(UnaryOp::Activation(merged));
    merge_nodes(graph, before, at);
    true
}

/// Two consecutive clamps as one.
fn merge_activations(first: Activation, second: Activation) -> Option<Activation> {
    match (first, second) {
        (Activation::NONE, other) | (other, Activation::NONE) => Some(other),
        (Activation::Clamp { low: a, high: b }, Activation::Clamp { low: c, high: d }) => {
            // Clamping the ends of the first range by the second is what happens to its values.
            let clamp = |x: f32| x.max(c).min(d);
            Some(Activation::Clamp {
                low: clamp(a),
                high: clamp(b),
            })
        }
        _ => None,
    }
}

pub(super) fn near(value: f32, wanted: f32) -> bool {
    (value - wanted).abs() < 1e-6
}

pub(super) fn scalar_affine(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Affine { mul, add } if mul.len() == 1 => Some((mul[0], add[0])),
        _ => None,
    }
}

fn clamp_of(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Unary(UnaryOp::Activation(Activation::Clamp { low, high })) => Some((*low, *high)),
        _ => None,
    }
}

/// `clamp(x / 6 + 1/2, 0, 1)` or `clamp(x + 3, 0, 6) / 6`.
fn fuse_hard_sigmoid(graph: &mut Graph, at: usize) -> bool {
    let hard_sigmoid = Op::Unary(UnaryOp::Activation(Activation::HardSigmoid));
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let (last, middle) = (&graph.nodes[at].op, &graph.nodes[before].op);
    if let (Some((low, high)), Some((mul, add))) = (clamp_of(last), scalar_affine(middle))
        && near(low, 0.0)
        && near(high, 1.0)
        && near(mul, 1.0 / 6.0)
        && near(add, 0.5)
    {
        graph.nodes[at].op = hard_sigmoid;
        merge_nodes(graph, before, at);
        return true;
    }
    if let (Some((mul, add)), Some((low, high))) = (scalar_affine(last), clamp_of(middle))
        && near(mul, 1.0 / 6.0)
        && near(add, 0.0)
        && near(low, 0.0)
        && near(high, 6.0)
        && let Some(first) = sole_producer(graph, graph.nodes[before].inputs[0])
        && scalar_affine(&graph.nodes[first].op) == Some((1.0, 3.0))
    {
        graph.nodes[at].op = hard_sigmoid;
        graph.nodes[at].inputs = graph.nodes[first].inputs.clone();
        graph.nodes.remove(before.max(first));
        graph.nodes.remove(before.min(first));
        return true;
    }
    false
}

/// `x * hard_sigmoid(x)`, or `x * clamp(x + 3, 0, 6)` and then a division by 6.
fn fuse_hard_swish(graph: &mut Graph, at: usize) -> bool {
    let hard_swish = Op::Unary(UnaryOp::Activation(Activation::HardSwish));
    let node = &graph.nodes[at];
    if matches!(node.op, Op::Binary(BinaryOp::Mul)) {
        for (x, gate) in [
            (node.inputs[0], node.inputs[1]),
            (node.inputs[1], node.inputs[0]),
        ] {
            if let Some(before) = sole_producer(graph, gate)
                && graph.nodes[before].inputs[..] == [x]
                && matches!(
                    graph.nodes[before].op,
                    Op::Unary(UnaryOp::Activation(Activation::HardSigmoid))
                )
            {
                graph.nodes[at].op = hard_swish;
                graph.nodes[at].inputs = vec![x];
                graph.nodes.remove(before);
                return true;
            }
        }
        return false;
    }
    if let Some((mul, add)) = scalar_affine(&node.op)
        && near(mul, 1.0 / 6.0)
        && near(add, 0.0)
        && let Some(multiply) = sole_producer(graph, node.inputs[0])
        && matches!(graph.nodes[multiply].op, Op::Binary(BinaryOp::Mul))
    {
        let (a, b) = (
            graph.nodes[multiply].inputs[0],
            graph.nodes[multiply].inputs[1],
        );
        for (x, gate) in [(a, b), (b, a)] {
            if let Some(clamp) = sole_producer(graph, gate)
                && clamp_of(&graph.nodes[clamp].op) == Some((0.0, 6.0))
                && let Some(plus) = sole_producer(graph, graph.nodes[clamp].inputs[0])
                && scalar_affine(&graph.nodes[plus].op) == Some((1.0, 3.0))
                && graph.nodes[plus].inputs[..] == [x]
            {
                graph.nodes[at].op = hard_swish;
                graph.nodes[at].inputs = vec![x];
                // The three other nodes are dead now.
                graph.remove_dead_nodes();
                return true;
            }
        }
    }
    false
}

fn fold_affine_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Affine { mul, add } = &graph.nodes[at].op else {
        return false;
    };
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Conv(conv) = &graph.nodes[before].op else {
        return false;
    };
    if conv.activation != Activation::NONE || conv.residual || conv.bias_input {
        return false;
    }
    let mut conv = conv.clone();
    scale_outputs(&mut conv, mul, add);
    graph.nodes[at].op = Op::Conv(conv);
    merge_named_nodes(graph, before, at);
    true
}

/// Multiplies each output channel by a number and adds another; one of each, or one for each channel.
pub(super) fn scale_outputs(conv: &mut Conv, mul: &[f32], add: &[f32]) {
    let per_output = conv.weights_per_output().max(1);
    for (channel, weights) in conv.weights.chunks_exact_mut(per_output).enumerate() {
        let mul = mul[channel.min(mul.len() - 1)];
        let add = add[channel.min(add.len() - 1)];
        for weight in weights {
            *weight *= mul;
        }
        conv.bias[channel] = conv.bias[channel] * mul + add;
    }
    conv.weight_scales = conv.weight_scales.take().and_then(|scales| {
        let scaled = scales.iter().enumerate();
        let scaled = scaled.map(|(channel, scale)| scale * mul[channel.min(mul.len() - 1)].abs());
        let scaled: Vec<f32> = scaled.collect();
        let is_scale = |scale: &f32| scale.is_finite() && *scale > 0.0;
        scaled.iter().all(is_scale).then_some(scaled)
    });
}

fn fuse_activation_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Unary(UnaryOp::Activation(activation)) = graph.nodes[at].op else {
        return false;
    };
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Conv(conv) = &graph.nodes[before].op else {
        return false;
    };
    let merged = if conv.residual {
        None
    } else {
        merge_activations(conv.activation, activation)
    };
    let Some(merged) = merged else {
        return false;
    };
    let mut conv = conv.clone();
    conv.activation = merged;
    graph.nodes[at].op = Op::Conv(conv);
    merge_named_nodes(graph, before, at);
    true
}

/// The convolution moves to where the sum is, as the other side may be made between.
fn fuse_residual_into_conv(graph: &mut Graph, at: usize) -> bool {
    if !matches!(graph.nodes[at].op, Op::Binary(BinaryOp::Add)) {
        return false;
    }
    let (a, b) = (graph.nodes[at].inputs[0], graph.nodes[at].inputs[1]);
    if a == b || graph.shapes[a] != graph.shapes[b] {
        return false;
    }
    for (sum, other) in [(a, b), (b, a)] {
        if let Some(before) = sole_producer(graph, sum)
            && let Op::Conv(conv) = &graph.nodes[before].op
            && !conv.depthwise
            && !conv.residual
            && !conv.bias_input
        {
            let mut conv = conv.clone();
            conv.residual = true;
            graph.nodes[at].op = Op::Conv(conv);
            merge_named_nodes(graph, before, at);
            let at = at - 1;
            graph.nodes[at].inputs.push(other);
            return true;
        }
    }
    false
}

/// As [`merge_nodes`], keeping the name of `from`, the convolution, which lies before `into`.
fn merge_named_nodes(graph: &mut Graph, from: usize, into: usize) {
    graph.nodes[into].name = graph.nodes[from].name.clone();
    merge_nodes(graph, from, into);
}

fn split_expanded_input_into_bias(graph: &mut Graph, at: usize) -> bool {
    let Op::Conv(conv) = &graph.nodes[at].op else {
        return false;
    };
    if !conv.is_pointwise() || conv.bias_input || conv.residual {
        return false;
    }
    let Some(concat) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    if !matches!(graph.nodes[concat].op, Op::Concat { axis: 1 }) {
        return false;
    }
    let parts = graph.nodes[concat].inputs.clone();
    let expand = parts.iter().enumerate().find_map(|(index, part)| {
        let producer = graph.producer(*part)?;
        matches!(graph.nodes[producer].op, Op::Expand).then_some((index, producer))
    });
    let Some((index, expand)) = expand else {
        return false;
    };
    if parts.len() != 2 {
        return false;
    }
    let rest = parts[1 - index];
    let width = graph.shapes[parts[index]][1];
    let first = if index == 0 { 0 } else { graph.shapes[rest][1] };
    let (outputs, per_output) = (conv.outputs(), conv.weights_per_output());
    let mut vector = conv.clone();
    vector.activation = Activation::NONE;
    vector.weights.clear();
    let mut pixels: Conv = conv.clone();
    pixels.bias = vec![0.0; outputs];
    pixels.bias_input = true;
    pixels.weights.clear();
    for row in conv.weights.chunks_exact(per_output) {
        vector.weights.extend_from_slice(&row[first..first + width]);
        pixels.weights.extend_from_slice(&row[..first]);
        pixels.weights.extend_from_slice(&row[first + width..]);
    }
    let pooled = graph.nodes[expand].inputs[0];
    let bias = graph.add_value(vec![1, outputs, 1, 1]);
    let name = format!("{}.bias", graph.nodes[at].name);
    graph.nodes[at].op = Op::Conv(pixels);
    graph.nodes[at].inputs = vec![rest, bias];
    let node = Node {
        name,
        op: Op::Conv(vector),
        inputs: vec![pooled],
        output: bias,
    };
    graph.nodes.insert(at, node);
    graph.remove_dead_nodes();
    true
}

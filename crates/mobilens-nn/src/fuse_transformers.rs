//! Operator fusion for transformers: layer normalisation and attention, which exporters and tract's parser write
//! as their parts, become one operator each.

use std::sync::Arc;

use crate::fuse::sole_producer;
use crate::graph::{Attention, BroadcastConstant, Graph, LayerNorm, Node, Op, ValueId};
use crate::kernels::{BinaryOp, ReduceOp, UnaryOp};

/// Applies the rules until none matches. It comes before the other rules, which change what these look for.
pub(super) fn fuse_transformers(graph: &mut Graph) {
    const RULES: [fn(&mut Graph, usize) -> bool; 5] = [
        drop_same_reshape,
        lower_linear,
        fuse_layer_norm,
        fuse_affine_into_layer_norm,
        fuse_attention,
    ];
    graph.remove_dead_nodes();
    let mut at = 0;
    while at < graph.nodes.len() {
        if RULES.iter().any(|rule| rule(graph, at)) {
            graph.remove_dead_nodes();
            at = 0;
        } else {
            at += 1;
        }
    }
}

/// A reshape to the shape that the value has.
fn drop_same_reshape(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let (input, output) = (node.inputs[0], node.output);
    let is_same = matches!(node.op, Op::Reshape) && graph.shapes[input] == graph.shapes[output];
    if !is_same || graph.outputs.contains(&output) {
        return false;
    }
    graph.nodes.remove(at);
    for node in &mut graph.nodes {
        for value in &mut node.inputs {
            if *value == output {
                *value = input;
            }
        }
    }
    true
}

/// A product of the last of many axes with weights is that of a matrix, between two reshapes. A constant that is
/// added for each column comes along.
fn lower_linear(graph: &mut Graph, at: usize) -> bool {
    let Op::Linear(conv) = &graph.nodes[at].op else {
        return false;
    };
    let mut conv = (**conv).clone();
    let (input, mut output) = (graph.nodes[at].inputs[0], graph.nodes[at].output);
    let columns = conv.outputs();
    let next = graph.nodes.iter().position(|node| {
        matches!(&node.op, Op::BroadcastConstant(constant) if node.inputs[..] == [output]
            && constant.function == BinaryOp::Add
            && constant.values.len() == columns
            && constant.shape.last() == Some(&columns))
    });
    if let Some(next) = next
        && graph.consumers(output) == 1
        && let Op::BroadcastConstant(constant) = &graph.nodes[next].op
    {
        for (bias, value) in conv.bias.iter_mut().zip(constant.values.iter()) {
            *bias += value;
        }
        output = graph.nodes[next].output;
        // Nothing lies between the two that the result depends on.
        graph.nodes.remove(next);
    }
    let rows = graph.len_of(input) / conv.weights_per_output().max(1);
    let matrix = graph.add_value(vec![rows, conv.weights_per_output()]);
    let product = graph.add_value(vec![rows, columns]);
    let name = graph.nodes[at].name.clone();
    let node = |op, input, output| Node {
        name: name.clone(),
        op,
        inputs: vec![input],
        output,
    };
    let nodes = [
        node(Op::Reshape, input, matrix),
        node(Op::Conv(conv), matrix, product),
        node(Op::Reshape, product, output),
    ];
    graph.nodes.splice(at..=at, nodes);
    true
}

/// An elementwise function comes before the reshape of a product's rows, to meet the product there.
pub(super) fn move_reshape_after_unary(graph: &mut Graph, at: usize) -> bool {
    if !matches!(graph.nodes[at].op, Op::Unary(_)) {
        return false;
    }
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let rows = graph.nodes[before].inputs[0];
    let is_product = matches!(graph.nodes[before].op, Op::Reshape)
        && graph.shapes[rows].len() == 2
        && sole_node(graph, rows).is_some_and(|node| matches!(node.op, Op::Conv(_)));
    if !is_product {
        return false;
    }
    let between = graph.nodes[before].output;
    graph.shapes[between] = graph.shapes[rows].clone();
    let function = graph.nodes[at].op.clone();
    graph.nodes[at].op = std::mem::replace(&mut graph.nodes[before].op, function);
    true
}

/// The node that alone reads the value's producer's output.
fn sole_node(graph: &Graph, value: ValueId) -> Option<&Node> {
    sole_producer(graph, value).map(|index| &graph.nodes[index])
}

fn scalar(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Affine { mul, add } if mul.len() == 1 => Some((mul[0], add[0])),
        _ => None,
    }
}

/// The value as `mul * source + add`, with the last source that this leads to.
fn scalar_chain(graph: &Graph, mut value: ValueId) -> (f32, f32, ValueId) {
    let (mut mul, mut add) = (1.0, 0.0);
    while let Some(node) = sole_node(graph, value)
        && let Some((m, a)) = scalar(&node.op)
    {
        add += mul * a;
        mul *= m;
        value = node.inputs[0];
    }
    (mul, add, value)
}

/// The mean that the value is: of which value, over which axes; and what is added to it.
fn mean_of(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>, f32)> {
    let (mul, add, sum) = scalar_chain(graph, value);
    let node = sole_node(graph, sum)?;
    let source = node.inputs[0];
    let axes = match &node.op {
        Op::Reduce {
            function: ReduceOp::Sum,
            axes,
        } => axes.clone(),
        Op::GlobalSumPool => vec![2, 3],
        _ => return None,
    };
    let count: usize = axes
        .iter()
        .map(|axis| graph.shapes[source][*axis])
        .product();
    let is_mean = (mul * count as f32 - 1.0).abs() < 1e-4;
    is_mean.then_some((source, axes, add))
}

fn is_binary(op: &Op, function: BinaryOp) -> bool {
    matches!(op, Op::Binary(f) | Op::Broadcast(f) if *f == function)
}

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)`, the division perhaps by a factor `1 / sqrt`.
fn fuse_layer_norm(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let [a, b] = node.inputs[..] else {
        return false;
    };
    let divides = is_binary(&node.op, BinaryOp::Div);
    if !divides && !is_binary(&node.op, BinaryOp::Mul) {
        return false;
    }
    let orders = if divides {
        vec![(a, b)]
    } else {
        vec![(a, b), (b, a)]
    };
    let found = orders.into_iter().find_map(|(difference, scale)| {
        let variance = inverse_root(graph, scale, divides)?;
        let (square, axes, epsilon) = mean_of(graph, variance)?;
        let squared = sole_node(graph, square)?;
        let is_square = match &squared.op {
            Op::Unary(UnaryOp::Square) => squared.inputs[0] == difference,
            Op::Binary(BinaryOp::Mul) => squared.inputs[..] == [difference, difference],
            _ => false,
        };
        let less = &graph.nodes[graph.producer(difference)?];
        if !is_square || !is_binary(&less.op, BinaryOp::Sub) {
            return None;
        }
        let (x, mean) = (less.inputs[0], less.inputs[1]);
        let (source, mean_axes, add) = mean_of(graph, mean)?;
        (source == x && mean_axes == axes && add == 0.0).then_some((x, axes, epsilon))
    });
    let Some((x, axes, epsilon)) = found else {
        return false;
    };
    let node = &mut graph.nodes[at];
    node.inputs = vec![x];
    node.op = Op::LayerNorm(LayerNorm {
        axes,
        epsilon,
        gamma: Vec::new(),
        beta: Vec::new(),
    });
    true
}

/// The value whose root a factor is the inverse of, or a divisor is.
fn inverse_root(graph: &Graph, scale: ValueId, divides: bool) -> Option<ValueId> {
    let node = sole_node(graph, scale)?;
    match (&node.op, divides) {
        (Op::Unary(UnaryOp::Sqrt), true) | (Op::Unary(UnaryOp::Rsqrt), false) => {
            Some(node.inputs[0])
        }
        (Op::Unary(UnaryOp::Reciprocal), false) => {
            let root = sole_node(graph, node.inputs[0])?;
            matches!(root.op, Op::Unary(UnaryOp::Sqrt)).then(|| root.inputs[0])
        }
        _ => None,
    }
}

/// Factors or addends for each index of the axis that is normalised over.
fn fuse_affine_into_layer_norm(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Some(before) = sole_producer(graph, node.inputs[0]) else {
        return false;
    };
    let Op::LayerNorm(norm) = &graph.nodes[before].op else {
        return false;
    };
    let [axis] = norm.axes[..] else {
        return false;
    };
    let shape = &graph.shapes[node.output];
    let n = shape[axis];
    let channels = if shape.len() == 4 { 1 } else { shape.len() - 1 };
    let all =
        |values: &[f32]| -> Vec<f32> { (0..n).map(|i| values[i.min(values.len() - 1)]).collect() };
    let (mul, add) = match &node.op {
        Op::Affine { mul, add } if mul.len() == 1 || axis == channels => (all(mul), all(add)),
        Op::BroadcastConstant(BroadcastConstant {
            function,
            values,
            shape,
            ..
        }) if shape[axis] == n && values.len() == n => match function {
            BinaryOp::Mul => (values.to_vec(), vec![0.0; n]),
            BinaryOp::Add => (vec![1.0; n], values.to_vec()),
            _ => return false,
        },
        _ => return false,
    };
    let mut norm = norm.clone();
    if norm.gamma.is_empty() {
        (norm.gamma, norm.beta) = (mul, add);
    } else {
        for i in 0..n {
            norm.gamma[i] *= mul[i];
            norm.beta[i] = norm.beta[i] * mul[i] + add[i];
        }
    }
    let input = graph.nodes[before].inputs[0];
    let name = graph.nodes[before].name.clone();
    let node = &mut graph.nodes[at];
    (node.op, node.inputs, node.name) = (Op::LayerNorm(norm), vec![input], name);
    graph.nodes.remove(before);
    true
}

/// Whether it exchanges the last two axes and leaves the others.
fn swaps_last_two(op: &Op) -> bool {
    let Op::Transpose { order } = op else {
        return false;
    };
    let rank = order.len();
    rank >= 2 && *order == swap(rank)
}

fn swap(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    order
}

/// The softmax over the last axis that alone makes the value.
fn softmax_of(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = sole_node(graph, value)?;
    let last = graph.shapes[value].len() - 1;
    matches!(node.op, Op::Softmax { axis } if axis == last).then(|| node.inputs[0])
}

/// Scores on their way to a softmax: Q, K, the factor, and the constant that is added.
struct Scores {
    q: ValueId,
    k: ValueId,
    attention: Attention,
}

fn scores_of(graph: &Graph, mut value: ValueId) -> Option<Scores> {
    let mut scale = 1.0;
    let mut bias: Option<(Arc<[f32]>, Vec<usize>)> = None;
    loop {
        let node = sole_node(graph, value)?;
        match &node.op {
            Op::MatMul => {
                let attention = Attention { scale, bias };
                let (q, k) = (node.inputs[0], node.inputs[1]);
                return Some(Scores { q, k, attention });
            }
            Op::BroadcastConstant(constant)
                if constant.function == BinaryOp::Add && bias.is_none() =>
            {
                let scaled: Vec<f32> = constant.values.iter().map(|value| value * scale).collect();
                bias = Some((scaled.into(), constant.shape.clone()));
            }
            // What is added to all scores alike does not change their softmax.
            op => scale *= scalar(op)?.0,
        }
        value = node.inputs[0];
    }
}

/// Takes a factor out of the value's way through transposes and reshapes that only it goes.
fn take_factor(graph: &mut Graph, mut value: ValueId) -> f32 {
    while let Some(index) = sole_producer(graph, value) {
        let node = &mut graph.nodes[index];
        match (&node.op, scalar(&node.op)) {
            (_, Some((mul, 0.0))) => {
                node.op = Op::Reshape;
                return mul;
            }
            (Op::Transpose { .. } | Op::Reshape, _) => value = node.inputs[0],
            _ => break,
        }
    }
    1.0
}

/// A softmax between two products: `softmax(Q K) V`, or, channels first, `V' softmax(Q K)'`.
fn fuse_attention(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    if !matches!(node.op, Op::MatMul) {
        return false;
    }
    let (left, right) = (node.inputs[0], node.inputs[1]);
    let (scores, v, channels_first) = if let Some(scores) = softmax_of(graph, left) {
        (scores, right, false)
    } else if let Some(transpose) = sole_node(graph, right)
        && swaps_last_two(&transpose.op)
        && let Some(scores) = softmax_of(graph, transpose.inputs[0])
    {
        (scores, left, true)
    } else {
        return false;
    };
    let Some(Scores {
        q,
        k,
        mut attention,
    }) = scores_of(graph, scores)
    else {
        return false;
    };
    // Leading axes of Q are not broadcast.
    let (output, rank) = (graph.nodes[at].output, graph.shapes[q].len());
    if graph.shapes[q][..rank - 2] != graph.shapes[output][..rank - 2] {
        return false;
    }
    if q != k {
        attention.scale *= take_factor(graph, q) * take_factor(graph, k);
    }
    let at = graph
        .nodes
        .iter()
        .position(|node| node.output == output)
        .unwrap_or(at);
    let op = Op::Attention(attention);
    if !channels_first {
        (graph.nodes[at].op, graph.nodes[at].inputs) = (op, vec![q, k, v]);
        return true;
    }
    let swapped =
        |shape: &[usize]| -> Vec<usize> { swap(rank).iter().map(|axis| shape[*axis]).collect() };
    let (v_shape, output_shape) = (swapped(&graph.shapes[v]), swapped(&graph.shapes[output]));
    let (rows, result) = (graph.add_value(v_shape), graph.add_value(output_shape));
    let transpose = || Op::Transpose { order: swap(rank) };
    let name = graph.nodes[at].name.clone();
    let node = |op, inputs, output| Node {
        name: name.clone(),
        op,
        inputs,
        output,
    };
    let nodes = [
        node(transpose(), vec![v], rows),
        node(op, vec![q, k, rows], result),
        node(transpose(), vec![result], output),
    ];
    graph.nodes.splice(at..=at, nodes);
    true
}

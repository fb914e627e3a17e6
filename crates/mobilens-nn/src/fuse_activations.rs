//! Operator fusion of the activations that exporters write as several nodes: SiLU, GELU by the error
//! function and by tanh, PReLU.

use crate::fuse::{near, scalar_affine, sole_producer};
use crate::graph::{Graph, Op, ValueId};
use crate::kernels::{Activation, BinaryOp, UnaryOp};

/// The two ways to read a commutative node of two inputs.
fn both_ways(graph: &Graph, at: usize, function: BinaryOp) -> Option<[(ValueId, ValueId); 2]> {
    match (&graph.nodes[at].op, &graph.nodes[at].inputs[..]) {
        (Op::Binary(op), &[a, b]) if *op == function => Some([(a, b), (b, a)]),
        _ => None,
    }
}

/// Makes node `at` a function of `x` alone.
fn replace(graph: &mut Graph, at: usize, x: ValueId, op: Op) -> bool {
    graph.nodes[at].op = op;
    graph.nodes[at].inputs = vec![x];
    graph.remove_dead_nodes();
    true
}

/// The unary function that alone makes the value for its only reader, and its argument.
fn unary_before(graph: &Graph, value: ValueId) -> Option<(UnaryOp, ValueId)> {
    let node = &graph.nodes[sole_producer(graph, value)?];
    match node.op {
        Op::Unary(function) => Some((function, node.inputs[0])),
        _ => None,
    }
}

/// `x * factor + offset` before the value, and x; the value itself where there is none.
fn affine_before(graph: &Graph, value: ValueId) -> (f32, f32, ValueId) {
    let node = sole_producer(graph, value).map(|index| &graph.nodes[index]);
    match node.and_then(|node| Some((scalar_affine(&node.op)?, node.inputs[0]))) {
        Some(((factor, offset), x)) => (factor, offset, x),
        None => (1.0, 0.0, value),
    }
}

/// `x * sigmoid(x)`.
pub(super) fn fuse_silu(graph: &mut Graph, at: usize) -> bool {
    for (x, gate) in both_ways(graph, at, BinaryOp::Mul).into_iter().flatten() {
        if unary_before(graph, gate) == Some((UnaryOp::Sigmoid, x)) {
            let silu = Op::Unary(UnaryOp::Activation(Activation::Silu));
            return replace(graph, at, x, silu);
        }
    }
    false
}

/// Sigmoid after a convolution goes into its epilogue, as other activations.
pub(super) fn sigmoid_as_activation(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    if !matches!(node.op, Op::Unary(UnaryOp::Sigmoid)) {
        return false;
    }
    let Some(before) = sole_producer(graph, node.inputs[0]) else {
        return false;
    };
    match &graph.nodes[before].op {
        Op::Conv(conv) if conv.activation == Activation::NONE && !conv.residual => {
            graph.nodes[at].op = Op::Unary(UnaryOp::Activation(Activation::Sigmoid));
            true
        }
        _ => false,
    }
}

/// `s x * m (1 + f(inner(x)))` with f the error function or tanh, where `s m` is 1/2, or a factor behind it
/// makes it that.
pub(super) fn fuse_gelu(graph: &mut Graph, at: usize) -> bool {
    for (left, gate) in both_ways(graph, at, BinaryOp::Mul).into_iter().flatten() {
        let (m, plus, f) = affine_before(graph, gate);
        let Some((function, inner)) = unary_before(graph, f) else {
            continue;
        };
        if (m - plus).abs() > 1e-6 * m.abs() {
            continue;
        }
        let (x, activation) = match function {
            UnaryOp::Erf => {
                let (factor, offset, x) = affine_before(graph, inner);
                if !near(factor, std::f32::consts::FRAC_1_SQRT_2) || offset != 0.0 {
                    continue;
                }
                (x, Activation::Gelu)
            }
            UnaryOp::Tanh => match argument_of_tanh(graph, inner) {
                Some(x) => (x, Activation::GeluTanh),
                None => continue,
            },
            _ => continue,
        };
        let (s, offset, before) = affine_before(graph, left);
        let s = match (left == x, before == x && offset == 0.0) {
            (true, _) => 1.0,
            (_, true) => s,
            _ => continue,
        };
        let gelu = Op::Unary(UnaryOp::Activation(activation));
        if near(s * m, 0.5) {
            return replace(graph, at, x, gelu);
        }
        // A multiplication that follows.
        let output = graph.nodes[at].output;
        let mut readers =
            (0..graph.nodes.len()).filter(|i| graph.nodes[*i].inputs.contains(&output));
        if let (Some(next), 1) = (readers.next(), graph.consumers(output))
            && let Some((factor, 0.0)) = scalar_affine(&graph.nodes[next].op)
            && near(s * m * factor, 0.5)
        {
            return replace(graph, next, x, gelu);
        }
    }
    false
}

/// The x of `sqrt(2 / pi) (x + 0.044715 x^3)`.
fn argument_of_tanh(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (outer, offset, sum) = affine_before(graph, value);
    if (outer - 0.797_884_6).abs() > 1e-5 || offset != 0.0 {
        return None;
    }
    let sum = sole_producer(graph, sum)?;
    let ways = both_ways(graph, sum, BinaryOp::Add)?;
    ways.into_iter().find_map(|(x, scaled)| {
        let (factor, offset, cube) = affine_before(graph, scaled);
        let is_cube = near(factor, 0.044_715) && offset == 0.0 && cube_of(graph, cube) == Some(x);
        is_cube.then_some(x)
    })
}

/// The x of `x^3`, or of `x * (x * x)`.
fn cube_of(graph: &Graph, value: ValueId) -> Option<ValueId> {
    if let Some((UnaryOp::Cube, x)) = unary_before(graph, value) {
        return Some(x);
    }
    let ways = both_ways(graph, sole_producer(graph, value)?, BinaryOp::Mul)?;
    ways.into_iter().find_map(|(x, square)| {
        let square = sole_producer(graph, square)?;
        let is_square = matches!(graph.nodes[square].op, Op::Binary(BinaryOp::Mul))
            && graph.nodes[square].inputs[..] == [x, x];
        is_square.then_some(x)
    })
}

/// `max(x, 0) + slope * min(x, 0)`: leaky ReLU where all slopes are the same, else PReLU.
pub(super) fn fuse_prelu(graph: &mut Graph, at: usize) -> bool {
    for (positive, negative) in both_ways(graph, at, BinaryOp::Add).into_iter().flatten() {
        let clamp = |value, wanted: (f32, f32)| match unary_before(graph, value) {
            Some((UnaryOp::Activation(Activation::Clamp { low, high }), x)) => {
                ((low, high) == wanted).then_some(x)
            }
            _ => None,
        };
        let Some(x) = clamp(positive, (0.0, f32::INFINITY)) else {
            continue;
        };
        let Some(scaled) = sole_producer(graph, negative) else {
            continue;
        };
        let Op::Affine { mul, add } = &graph.nodes[scaled].op else {
            continue;
        };
        if add.iter().any(|add| *add != 0.0)
            || clamp(graph.nodes[scaled].inputs[0], (f32::NEG_INFINITY, 0.0)) != Some(x)
        {
            continue;
        }
        let op = match mul[..] {
            [slope, ref others @ ..] if others.iter().all(|other| *other == slope) => {
                Op::Unary(UnaryOp::Activation(Activation::LeakyRelu { slope }))
            }
            _ => Op::PRelu(mul.clone()),
        };
        return replace(graph, at, x, op);
    }
    false
}

//! Makes the graph smaller: several nodes that one kernel can do become one.
//!
//! Each rule looks for one pattern, as one or another exporter writes it, and is tried until none
//! finds anything more:
//! - zeros around a picture go into the convolution that reads it;
//! - a function of each value goes before a transpose, to meet the convolution there;
//! - scales and offsets (a batch normalisation, a `Mul` or `Add`) go into the weights before them;
//! - ReLU, ReLU6 (a `Max` and a `Min`), h-sigmoid and h-swish written out become one function;
//! - a function, and a residual sum, go into the convolution that they follow;
//! - a pointwise convolution over pixels joined with one repeated vector (DeepLab's pooled
//!   branch) becomes a smaller one whose bias is computed once a picture.

use crate::graph::{Conv, Graph, Node, Op, ValueId};
use crate::kernels::{Activation, Binary, Unary};

/// Applies all rules.
pub(super) fn fuse(graph: &mut Graph) {
    const RULES: [fn(&mut Graph, usize) -> bool; 9] = [
        pad_into_conv,
        permute_behind_function,
        join_affines,
        join_clamps,
        written_hard_sigmoid,
        written_hard_swish,
        affine_into_conv,
        function_into_conv,
        residual_into_conv,
    ];
    graph.drop_unread();
    while (0..graph.nodes.len()).any(|at| RULES.iter().any(|rule| rule(graph, at))) {}
    while (0..graph.nodes.len()).any(|at| spread_into_bias(graph, at)) {}
    graph.drop_unread();
}

/// The node before, if nobody else reads it.
fn only_before(graph: &Graph, value: ValueId) -> Option<usize> {
    let maker = graph.maker(value)?;
    (graph.readers(value) == 1).then_some(maker)
}

/// Removes node `gone`, whose value and inputs `kept` takes over, at `kept`'s place.
fn take_over(graph: &mut Graph, gone: usize, kept: usize) {
    graph.nodes[kept].inputs = graph.nodes[gone].inputs.clone();
    graph.nodes.remove(gone);
}

fn pad_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Conv(_) = graph.nodes[at].op else {
        return false;
    };
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Pad { above, left } = graph.nodes[before].op else {
        return false;
    };
    let input = graph.nodes[before].inputs[0];
    let node = &mut graph.nodes[at];
    node.inputs[0] = input;
    if let Op::Conv(conv) = &mut node.op {
        conv.window.pad.0 += above;
        conv.window.pad.1 += left;
    }
    graph.nodes.remove(before);
    true
}

fn permute_behind_function(graph: &mut Graph, at: usize) -> bool {
    let each_alike = match &graph.nodes[at].op {
        Op::Unary(_) => true,
        op => scalar_affine(op).is_some(),
    };
    if !each_alike {
        return false;
    }
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Permute { .. } = graph.nodes[before].op else {
        return false;
    };
    // The value between the two now has the order of axes that came in.
    let between = graph.nodes[before].output;
    graph.shapes[between] = graph.shapes[graph.nodes[before].inputs[0]].clone();
    let function = graph.nodes[at].op.clone();
    graph.nodes[at].op = std::mem::replace(&mut graph.nodes[before].op, function);
    true
}

fn join_affines(graph: &mut Graph, at: usize) -> bool {
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
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
    take_over(graph, before, at);
    true
}

fn join_clamps(graph: &mut Graph, at: usize) -> bool {
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let (Op::Unary(Unary::Activation(first)), Op::Unary(Unary::Activation(second))) =
        (&graph.nodes[before].op, &graph.nodes[at].op)
    else {
        return false;
    };
    let Some(joined) = join(*first, *second) else {
        return false;
    };
    graph.nodes[at].op = Op::Unary(Unary::Activation(joined));
    take_over(graph, before, at);
    true
}

/// Two clamps in a row as one.
fn join(first: Activation, second: Activation) -> Option<Activation> {
    match (first, second) {
        (Activation::NONE, other) | (other, Activation::NONE) => Some(other),
        (Activation::Clamp { low: a, high: b }, Activation::Clamp { low: c, high: d }) => {
            // Clamping the ends of the first range by the second is what happens to its values.
            let of = |x: f32| x.max(c).min(d);
            Some(Activation::Clamp {
                low: of(a),
                high: of(b),
            })
        }
        _ => None,
    }
}

fn near(value: f32, wanted: f32) -> bool {
    (value - wanted).abs() < 1e-6
}

fn scalar_affine(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Affine { mul, add } if mul.len() == 1 => Some((mul[0], add[0])),
        _ => None,
    }
}

fn clamp_of(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Unary(Unary::Activation(Activation::Clamp { low, high })) => Some((*low, *high)),
        _ => None,
    }
}

/// `clamp(x / 6 + 1/2, 0, 1)` or `clamp(x + 3, 0, 6) / 6`.
fn written_hard_sigmoid(graph: &mut Graph, at: usize) -> bool {
    let hard_sigmoid = Op::Unary(Unary::Activation(Activation::HardSigmoid));
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
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
        take_over(graph, before, at);
        return true;
    }
    if let (Some((mul, add)), Some((low, high))) = (scalar_affine(last), clamp_of(middle))
        && near(mul, 1.0 / 6.0)
        && near(add, 0.0)
        && near(low, 0.0)
        && near(high, 6.0)
        && let Some(first) = only_before(graph, graph.nodes[before].inputs[0])
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
fn written_hard_swish(graph: &mut Graph, at: usize) -> bool {
    let hard_swish = Op::Unary(Unary::Activation(Activation::HardSwish));
    let node = &graph.nodes[at];
    if matches!(node.op, Op::Binary(Binary::Mul)) {
        for (x, gate) in [
            (node.inputs[0], node.inputs[1]),
            (node.inputs[1], node.inputs[0]),
        ] {
            if let Some(before) = only_before(graph, gate)
                && graph.nodes[before].inputs[..] == [x]
                && matches!(
                    graph.nodes[before].op,
                    Op::Unary(Unary::Activation(Activation::HardSigmoid))
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
        && let Some(product) = only_before(graph, node.inputs[0])
        && matches!(graph.nodes[product].op, Op::Binary(Binary::Mul))
    {
        let (a, b) = (
            graph.nodes[product].inputs[0],
            graph.nodes[product].inputs[1],
        );
        for (x, gate) in [(a, b), (b, a)] {
            if let Some(clamp) = only_before(graph, gate)
                && clamp_of(&graph.nodes[clamp].op) == Some((0.0, 6.0))
                && let Some(plus) = only_before(graph, graph.nodes[clamp].inputs[0])
                && scalar_affine(&graph.nodes[plus].op) == Some((1.0, 3.0))
                && graph.nodes[plus].inputs[..] == [x]
            {
                graph.nodes[at].op = hard_swish;
                graph.nodes[at].inputs = vec![x];
                // The three others are unread from now on.
                graph.drop_unread();
                return true;
            }
        }
    }
    false
}

fn affine_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Affine { mul, add } = &graph.nodes[at].op else {
        return false;
    };
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Conv(conv) = &graph.nodes[before].op else {
        return false;
    };
    if conv.activation != Activation::NONE || conv.residual || conv.bias_input {
        return false;
    }
    let mut conv = conv.clone();
    let taps = conv.taps().max(1);
    for (channel, weights) in conv.weights.chunks_exact_mut(taps).enumerate() {
        let mul = mul[channel.min(mul.len() - 1)];
        let add = add[channel.min(add.len() - 1)];
        for weight in weights {
            *weight *= mul;
        }
        conv.bias[channel] = conv.bias[channel] * mul + add;
    }
    graph.nodes[at].op = Op::Conv(conv);
    take_name_and_inputs(graph, before, at);
    true
}

fn function_into_conv(graph: &mut Graph, at: usize) -> bool {
    let Op::Unary(Unary::Activation(activation)) = graph.nodes[at].op else {
        return false;
    };
    let Some(before) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let Op::Conv(conv) = &graph.nodes[before].op else {
        return false;
    };
    let joined = if conv.residual {
        None
    } else {
        join(conv.activation, activation)
    };
    let Some(joined) = joined else {
        return false;
    };
    let mut conv = conv.clone();
    conv.activation = joined;
    graph.nodes[at].op = Op::Conv(conv);
    take_name_and_inputs(graph, before, at);
    true
}

/// The convolution moves to where the sum is, as the other side may be made between.
fn residual_into_conv(graph: &mut Graph, at: usize) -> bool {
    if !matches!(graph.nodes[at].op, Op::Binary(Binary::Add)) {
        return false;
    }
    let (a, b) = (graph.nodes[at].inputs[0], graph.nodes[at].inputs[1]);
    if a == b || graph.shapes[a] != graph.shapes[b] {
        return false;
    }
    for (sum, other) in [(a, b), (b, a)] {
        if let Some(before) = only_before(graph, sum)
            && let Op::Conv(conv) = &graph.nodes[before].op
            && !conv.depthwise
            && !conv.residual
            && !conv.bias_input
        {
            let mut conv = conv.clone();
            conv.residual = true;
            graph.nodes[at].op = Op::Conv(conv);
            take_name_and_inputs(graph, before, at);
            let at = at - 1;
            graph.nodes[at].inputs.push(other);
            return true;
        }
    }
    false
}

/// As [`take_over`], keeping the convolution's name. `gone` lies before `kept`.
fn take_name_and_inputs(graph: &mut Graph, gone: usize, kept: usize) {
    graph.nodes[kept].name = graph.nodes[gone].name.clone();
    take_over(graph, gone, kept);
}

fn spread_into_bias(graph: &mut Graph, at: usize) -> bool {
    let Op::Conv(conv) = &graph.nodes[at].op else {
        return false;
    };
    if !conv.is_pointwise() || conv.bias_input || conv.residual {
        return false;
    }
    let Some(concat) = only_before(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    if !matches!(graph.nodes[concat].op, Op::Concat { axis: 1 }) {
        return false;
    }
    let parts = graph.nodes[concat].inputs.clone();
    let spread = parts.iter().enumerate().find_map(|(index, part)| {
        let maker = graph.maker(*part)?;
        matches!(graph.nodes[maker].op, Op::Spread).then_some((index, maker))
    });
    let Some((index, spread)) = spread else {
        return false;
    };
    if parts.len() != 2 {
        return false;
    }
    let rest = parts[1 - index];
    let width = graph.shapes[parts[index]][1];
    let first = if index == 0 { 0 } else { graph.shapes[rest][1] };
    let (outputs, taps) = (conv.outputs(), conv.taps());
    let mut vector = conv.clone();
    vector.activation = Activation::NONE;
    vector.weights.clear();
    let mut pixels: Conv = conv.clone();
    pixels.bias = vec![0.0; outputs];
    pixels.bias_input = true;
    pixels.weights.clear();
    for row in conv.weights.chunks_exact(taps) {
        vector.weights.extend_from_slice(&row[first..first + width]);
        pixels.weights.extend_from_slice(&row[..first]);
        pixels.weights.extend_from_slice(&row[first + width..]);
    }
    let pooled = graph.nodes[spread].inputs[0];
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
    graph.drop_unread();
    true
}

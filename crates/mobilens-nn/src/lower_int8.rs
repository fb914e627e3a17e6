//! Lowering to int8: which operators of a quantised graph run on codes of one byte.
//!
//! A quantised file marks where values are rounded to codes ([`Op::FakeQuantize`]). This pass turns
//! each of these into a tensor of codes, and each operator that reads and writes codes into one
//! that works on them; where an operator has no such kernel its inputs are dequantised, it runs in
//! float32, and its output is rounded where the file says so.
//!
//! The rules, each for one node, are tried until none matches:
//! - a convolution of codes with quantised weights, and the rounding after it, are one int8
//!   convolution; one whose output is not rounded writes float32;
//! - a sum of codes, and the int8 convolution before it, are one with a residual;
//! - a function of one value, between codes, is a table of 256 codes;
//! - sums, products, resizing and concatenation of codes, and the rounding after them, are one;
//! - transposes, reshapes and expansion keep their codes.

use crate::graph::{BinaryInt8, Codes, Graph, Node, Op, ValueId};
use crate::kernels::{
    Activation, BinaryOp, CodeFunction, CodeRange, FakeQuantize, Int8Output, PoolFunction,
    Residual, ResidualRounding, UnaryOp,
};
use crate::lower_conv_int8::{conv_int8, has_code_function};

/// Lowers the graph, which has been fused.
pub(super) fn lower_int8(graph: &mut Graph) {
    const RULES: [fn(&mut Graph, usize) -> bool; 8] = [
        drop_repeated_rounding,
        keep_codes,
        lower_conv,
        lower_binary,
        lower_function,
        lower_resize,
        lower_concat,
        fuse_residual,
    ];
    if !graph
        .nodes
        .iter()
        .any(|n| matches!(n.op, Op::FakeQuantize(_)))
    {
        return;
    }
    for node in &mut graph.nodes {
        if let Op::FakeQuantize(rounding) = node.op {
            graph.codes.insert(node.output, rounding.codes());
            node.op = Op::Quantize(rounding);
        }
    }
    while (0..graph.nodes.len()).any(|at| RULES.iter().any(|rule| rule(graph, at))) {}
    insert_dequantize(graph);
    graph.remove_dead_nodes();
}

/// An input that is only read rounded is given as codes.
pub(super) fn take_codes_as_input(graph: &mut Graph) {
    for index in 0..graph.inputs.len() {
        let input = graph.inputs[index];
        if let Some((at, rounding)) = sole_rounding(graph, input) {
            let codes = graph.nodes.remove(at).output;
            graph.input_roundings.insert(codes, rounding);
            graph.inputs[index] = codes;
        }
    }
}

/// Runs a quantised file in float32: values are limited to the range of their codes but not rounded.
pub(super) fn drop_rounding(graph: &mut Graph) {
    for node in &mut graph.nodes {
        if let Op::FakeQuantize(rounding) = node.op {
            node.op = Op::Unary(UnaryOp::Activation(Activation::Clamp {
                low: rounding.value(rounding.low),
                high: rounding.value(rounding.high),
            }));
        }
    }
}

impl FakeQuantize {
    pub(super) fn codes(self) -> Codes {
        Codes {
            scale: self.scale,
            zero_point: self.zero_point,
        }
    }

    pub(super) fn range(self) -> CodeRange {
        CodeRange {
            zero_point: self.zero_point,
            low: self.low,
            high: self.high,
        }
    }
}

impl Codes {
    fn value(self, code: u8) -> f32 {
        self.scale * f32::from(i16::from(code) - i16::from(self.zero_point))
    }
}

/// The rounding that alone reads the value: its node and itself.
pub(super) fn sole_rounding(graph: &Graph, value: ValueId) -> Option<(usize, FakeQuantize)> {
    if graph.consumers(value) != 1 {
        return None;
    }
    graph
        .nodes
        .iter()
        .enumerate()
        .find_map(|(at, node)| match node.op {
            Op::Quantize(rounding) if node.inputs[..] == [value] => Some((at, rounding)),
            _ => None,
        })
}

/// Puts `op` in the place of node `at` and of the rounding `rounding` of its output.
fn replace_with_rounding(graph: &mut Graph, at: usize, rounding: usize, op: Op) {
    graph.nodes[at].op = op;
    graph.nodes[at].output = graph.nodes[rounding].output;
    graph.nodes.remove(rounding);
}

/// A rounding of codes to the same codes is nothing; one to others is a table.
fn drop_repeated_rounding(graph: &mut Graph, at: usize) -> bool {
    let Op::Quantize(rounding) = graph.nodes[at].op else {
        return false;
    };
    let (input, output) = (graph.nodes[at].inputs[0], graph.nodes[at].output);
    let Some(codes) = graph.codes.get(&input).copied() else {
        return false;
    };
    let limits = (rounding.low, rounding.high) == (0, u8::MAX);
    if codes == rounding.codes() && limits && !graph.outputs.contains(&output) {
        for node in &mut graph.nodes {
            for value in &mut node.inputs {
                if *value == output {
                    *value = input;
                }
            }
        }
        graph.nodes.remove(at);
    } else {
        graph.nodes[at].op = Op::Lookup(table(codes, rounding, |x| x));
    }
    true
}

fn table(from: Codes, to: FakeQuantize, function: impl Fn(f32) -> f32) -> Box<[u8; 256]> {
    let mut table = Box::new([0; 256]);
    for (code, entry) in (0..=u8::MAX).zip(table.iter_mut()) {
        *entry = to.code(function(from.value(code)));
    }
    table
}

/// Operators that only move values.
fn keep_codes(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let keeps = matches!(
        node.op,
        Op::Transpose { .. }
            | Op::Reshape
            | Op::Expand
            | Op::Slice { .. }
            | Op::ResizeNearest { .. }
            | Op::DepthToSpace { .. }
            | Op::Focus
            | Op::Pool {
                function: PoolFunction::Max,
                ..
            }
    );
    if !keeps {
        return false;
    }
    let output = node.output;
    match graph.codes.get(&node.inputs[0]) {
        Some(codes) if !graph.codes.contains_key(&output) => {
            graph.codes.insert(output, *codes);
            true
        }
        _ => false,
    }
}

fn lower_conv(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Op::Conv(conv) = &node.op else {
        return false;
    };
    let Some(input) = graph.codes.get(&node.inputs[0]).copied() else {
        return false;
    };
    let rounding = sole_rounding(graph, node.output).filter(|_| has_code_function(conv.activation));
    let residual = if conv.residual {
        match graph.codes.get(&node.inputs[1]) {
            Some(codes) => Some(*codes),
            None => return false,
        }
    } else {
        None
    };
    let lowered = conv_int8(
        conv,
        input,
        residual,
        rounding.map(|(_, rounding)| rounding),
    );
    let Some(lowered) = lowered else {
        return false;
    };
    let op = Op::ConvInt8(lowered);
    match rounding {
        Some((rounding, _)) => replace_with_rounding(graph, at, rounding, op),
        None => graph.nodes[at].op = op,
    }
    true
}

fn lower_binary(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Op::Binary(function @ (BinaryOp::Add | BinaryOp::Mul)) = node.op else {
        return false;
    };
    let codes = |input: usize| graph.codes.get(&node.inputs[input]).copied();
    let (Some(left), Some(right)) = (codes(0), codes(1)) else {
        return false;
    };
    let Some((rounding, to)) = sole_rounding(graph, node.output) else {
        return false;
    };
    let op = Op::BinaryInt8(BinaryInt8 {
        function,
        left,
        right,
        output: to,
    });
    replace_with_rounding(graph, at, rounding, op);
    true
}

/// A function of each value by itself.
fn lower_function(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let function: Box<dyn Fn(f32) -> f32> = match &node.op {
        Op::Unary(function) => {
            let function = *function;
            Box::new(move |x| function.apply(x))
        }
        Op::Affine { mul, add } if mul.len() == 1 && add.len() == 1 => {
            let (mul, add) = (mul[0], add[0]);
            Box::new(move |x| x * mul + add)
        }
        _ => return false,
    };
    let Some(from) = graph.codes.get(&node.inputs[0]).copied() else {
        return false;
    };
    let Some((rounding, to)) = sole_rounding(graph, node.output) else {
        return false;
    };
    let op = Op::Lookup(table(from, to, function));
    replace_with_rounding(graph, at, rounding, op);
    true
}

fn lower_resize(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Op::Resize(indices) = &node.op else {
        return false;
    };
    let Some(from) = graph.codes.get(&node.inputs[0]).copied() else {
        return false;
    };
    let Some((rounding, to)) = sole_rounding(graph, node.output) else {
        return false;
    };
    let op = Op::ResizeInt8 {
        indices: indices.clone(),
        from,
        to,
    };
    replace_with_rounding(graph, at, rounding, op);
    true
}

/// All inputs in the codes of the output.
fn lower_concat(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    if !matches!(node.op, Op::Concat { .. }) || graph.codes.contains_key(&node.output) {
        return false;
    }
    let codes: Option<Vec<Codes>> = node
        .inputs
        .iter()
        .map(|value| graph.codes.get(value).copied())
        .collect();
    let Some(codes) = codes else {
        return false;
    };
    let rounding = sole_rounding(graph, node.output);
    let to = match rounding {
        Some((_, to)) => to,
        None if codes.iter().all(|c| *c == codes[0]) => {
            let output = node.output;
            graph.codes.insert(output, codes[0]);
            return true;
        }
        None => return false,
    };
    let op = node.op.clone();
    if let Some((rounding, _)) = rounding {
        replace_with_rounding(graph, at, rounding, op);
    }
    let mut at = at;
    for (index, from) in codes.into_iter().enumerate() {
        if from == to.codes() && (to.low, to.high) == (0, u8::MAX) {
            continue;
        }
        let input = graph.nodes[at].inputs[index];
        let output = graph.add_value(graph.shapes[input].clone());
        graph.codes.insert(output, to.codes());
        graph.nodes[at].inputs[index] = output;
        let node = Node {
            name: format!("{}.requantize", graph.nodes[at].name),
            op: Op::Lookup(table(from, to, |x| x)),
            inputs: vec![input],
            output,
        };
        graph.nodes.insert(at, node);
        at += 1;
    }
    true
}

/// The sum of an inverted residual in the epilogue of its last convolution.
fn fuse_residual(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    let Op::BinaryInt8(BinaryInt8 {
        function: BinaryOp::Add,
        left,
        right,
        output: to,
    }) = node.op
    else {
        return false;
    };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    if a == b || graph.shapes[a] != graph.shapes[b] {
        return false;
    }
    for (sum, other, from, residual) in [(a, b, left, right), (b, a, right, left)] {
        if graph.consumers(sum) != 1 {
            continue;
        }
        let Some(before) = graph.producer(sum) else {
            continue;
        };
        let Op::ConvInt8(conv) = &graph.nodes[before].op else {
            continue;
        };
        let Int8Output::Codes {
            function: CodeFunction::None,
            residual: None,
            range,
        } = conv.requantize.output
        else {
            continue;
        };
        if conv.depthwise {
            continue;
        }
        let mut conv = conv.clone();
        let worth = |codes: Codes| (f64::from(codes.scale) / f64::from(to.scale)) as f32;
        let from_zero = |code: u8| f32::from(i16::from(code) - i16::from(range.zero_point));
        conv.residual = true;
        conv.requantize.output = Int8Output::Codes {
            function: CodeFunction::None,
            residual: Some(Residual {
                rounding: Some(ResidualRounding {
                    low: from_zero(range.low),
                    high: from_zero(range.high),
                    multiplier: worth(from),
                }),
                multiplier: worth(residual),
                zero_point: residual.zero_point,
            }),
            range: to.range(),
        };
        let input = graph.nodes[before].inputs[0];
        let name = graph.nodes[before].name.clone();
        let node = &mut graph.nodes[at];
        (node.op, node.inputs, node.name) = (Op::ConvInt8(conv), vec![input, other], name);
        graph.nodes.remove(before);
        return true;
    }
    false
}

/// Whether the operator reads codes where its input has them.
fn reads_codes(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::ConvInt8(_)
        | Op::BinaryInt8(_)
        | Op::Lookup(_)
        | Op::ResizeInt8 { .. }
        | Op::GlobalSumPool
        | Op::Dequantize => true,
        Op::Transpose { .. }
        | Op::Reshape
        | Op::Expand
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::ResizeNearest { .. }
        | Op::DepthToSpace { .. }
        | Op::Focus
        | Op::Pool { .. } => graph.codes.contains_key(&node.output),
        _ => false,
    }
}

/// Dequantises what is read in float32.
fn insert_dequantize(graph: &mut Graph) {
    let mut float_of = std::collections::HashMap::new();
    let mut at = 0;
    while at < graph.nodes.len() {
        if reads_codes(graph, &graph.nodes[at]) {
            at += 1;
            continue;
        }
        for input in 0..graph.nodes[at].inputs.len() {
            let value = graph.nodes[at].inputs[input];
            if graph.codes.contains_key(&value) {
                let (float, inserted) = dequantized(graph, value, at, &mut float_of);
                at += usize::from(inserted);
                graph.nodes[at].inputs[input] = float;
            }
        }
        at += 1;
    }
    for output in 0..graph.outputs.len() {
        let value = graph.outputs[output];
        if graph.codes.contains_key(&value) {
            let end = graph.nodes.len();
            graph.outputs[output] = dequantized(graph, value, end, &mut float_of).0;
        }
    }
}

/// The codes as float32, by a node that is inserted at `at` where there is none yet.
fn dequantized(
    graph: &mut Graph,
    value: ValueId,
    at: usize,
    known: &mut std::collections::HashMap<ValueId, ValueId>,
) -> (ValueId, bool) {
    if let Some(float) = known.get(&value) {
        return (*float, false);
    }
    let float = graph.add_value(graph.shapes[value].clone());
    known.insert(value, float);
    let node = Node {
        name: "dequantize".to_owned(),
        op: Op::Dequantize,
        inputs: vec![value],
        output: float,
    };
    graph.nodes.insert(at, node);
    (float, true)
}

//! Lowering to bfloat16: convolutions work on bfloat16, everything else on float32.
//!
//! A value between convolutions stays bfloat16; where another operator reads or writes it, it is
//! converted. The last convolution of a head writes float32 straight from its sums.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Op, ValueId};

/// Lowers the graph, which has been fused.
pub(super) fn lower_bf16(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let output = graph.nodes[at].output;
        let only_convs_read = !graph.outputs.contains(&output)
            && graph
                .nodes
                .iter()
                .all(|node| reads(node, output).all(|input| takes_bf16(node, input)));
        if let Op::Conv(conv) = &graph.nodes[at].op {
            // Kernels write float32 only for dense convolutions without a residual.
            let writes_bf16 = only_convs_read || conv.depthwise || conv.residual;
            let conv = conv.clone();
            if writes_bf16 {
                graph.bf16.insert(output);
            }
            graph.nodes[at].op = Op::ConvBf16 {
                conv,
                float_output: !writes_bf16,
            };
        }
    }
    let mut converted = HashMap::new();
    let mut at = 0;
    while at < graph.nodes.len() {
        for input in 0..graph.nodes[at].inputs.len() {
            let value = graph.nodes[at].inputs[input];
            let wanted = takes_bf16(&graph.nodes[at], input);
            if wanted != graph.bf16.contains(&value) {
                let (other, inserted) = convert(graph, value, at, &mut converted);
                at += usize::from(inserted);
                graph.nodes[at].inputs[input] = other;
            }
        }
        at += 1;
    }
    for output in 0..graph.outputs.len() {
        let value = graph.outputs[output];
        if graph.bf16.contains(&value) {
            let end = graph.nodes.len();
            graph.outputs[output] = convert(graph, value, end, &mut converted).0;
        }
    }
}

/// The inputs of the node that are this value.
fn reads(node: &Node, value: ValueId) -> impl Iterator<Item = usize> {
    let inputs = node.inputs.iter().enumerate();
    inputs.filter_map(move |(index, input)| (*input == value).then_some(index))
}

/// Whether the node takes this input in bfloat16: feature maps of convolutions, but no bias.
fn takes_bf16(node: &Node, input: usize) -> bool {
    match &node.op {
        Op::Conv(conv) | Op::ConvBf16 { conv, .. } => input == 0 || (input == 1 && conv.residual),
        Op::FromBf16 => true,
        _ => false,
    }
}

/// The value in the other format, by a node that is inserted at `at` where there is none yet.
fn convert(
    graph: &mut Graph,
    value: ValueId,
    at: usize,
    known: &mut HashMap<ValueId, ValueId>,
) -> (ValueId, bool) {
    if let Some(other) = known.get(&value) {
        return (*other, false);
    }
    let other = graph.add_value(graph.shapes[value].clone());
    known.insert(value, other);
    let op = if graph.bf16.contains(&value) {
        Op::FromBf16
    } else {
        graph.bf16.insert(other);
        Op::ToBf16
    };
    let node = Node {
        name: "convert".to_owned(),
        op,
        inputs: vec![value],
        output: other,
    };
    graph.nodes.insert(at, node);
    (other, true)
}

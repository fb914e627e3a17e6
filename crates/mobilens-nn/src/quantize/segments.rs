//! The network in parts, from rounded value to rounded value, each run by the ordinary engine.

use std::collections::BTreeSet;

use tract_onnx::pb::{GraphProto, ModelProto};

use super::fold::subgraphs;
use super::placement::Placement;
use super::proto::{float_value, name_of, producer};

/// What a segment computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A value that is rounded then.
    Value(usize),
    /// An output of the network.
    Output(usize),
}

/// The nodes between rounded values and one more, or an output of the network.
#[derive(Debug)]
pub(super) struct Segment {
    pub target: Target,
    /// Name of what is computed.
    pub name: String,
    /// Indices of the rounded values that are read, in the order in which the nodes do.
    pub inputs: Vec<usize>,
    /// Whether the network's input is read as it is.
    pub reads_picture: bool,
    /// Indices of the nodes, in the order of the file.
    pub nodes: Vec<usize>,
    /// Indices of the quantised convolutions among them.
    pub convs: Vec<usize>,
}

/// All segments, in an order in which they can be computed.
///
/// # Errors
/// When a node holds a graph of its own.
pub(super) fn segments(graph: &GraphProto, placement: &Placement) -> Result<Vec<Segment>, String> {
    if let Some(node) = graph.node.iter().find(|node| !subgraphs(node).is_empty()) {
        return Err(format!(
            "{} ({}) holds a graph of its own, which cannot be quantised",
            name_of(node),
            node.op_type
        ));
    }
    let values = placement.values.iter().enumerate();
    let values = values.map(|(index, name)| (Target::Value(index), name));
    let outputs = graph.output.iter().enumerate();
    let outputs = outputs.map(|(index, output)| (Target::Output(index), &output.name));
    let mut computed: Vec<_> = values
        .chain(outputs)
        .filter_map(|(target, name)| Some((producer(graph, name)?, target, name)))
        .collect();
    computed.sort_by_key(|(last, target, _)| (*last, matches!(target, Target::Output(_))));
    Ok(computed
        .into_iter()
        .map(|(last, target, name)| segment(graph, placement, target, name, last))
        .collect())
}

fn segment(
    graph: &GraphProto,
    placement: &Placement,
    target: Target,
    name: &str,
    last: usize,
) -> Segment {
    let mut nodes = BTreeSet::new();
    let mut open = vec![last];
    while let Some(index) = open.pop() {
        if !nodes.insert(index) {
            continue;
        }
        for input in &graph.node[index].input {
            if placement.index(input).is_none() {
                open.extend(producer(graph, input));
            }
        }
    }
    let (mut inputs, mut reads_picture) = (Vec::new(), false);
    for input in nodes.iter().flat_map(|index| &graph.node[*index].input) {
        match placement.index(input) {
            Some(value) if !inputs.contains(&value) => inputs.push(value),
            Some(_) => {}
            None => reads_picture |= graph.input.iter().any(|i| i.name == *input),
        }
    }
    let convs = placement.convs.iter().enumerate();
    let convs = convs.filter(|(_, conv)| nodes.contains(&conv.node));
    Segment {
        target,
        name: name.to_owned(),
        inputs,
        reads_picture,
        convs: convs.map(|(index, _)| index).collect(),
        nodes: nodes.into_iter().collect(),
    }
}

impl Segment {
    /// The segment as a file of its own; the picture, where it is read, is the last input.
    pub fn file(
        &self,
        model: &ModelProto,
        graph: &GraphProto,
        placement: &Placement,
        shapes: &[Vec<usize>],
    ) -> ModelProto {
        let nodes: Vec<_> = self.nodes.iter().map(|i| graph.node[*i].clone()).collect();
        let is_read = |name: &String| nodes.iter().any(|node| node.input.contains(name));
        let values = self.inputs.iter();
        let mut inputs: Vec<_> = values
            .map(|value| float_value(&placement.values[*value], Some(&shapes[*value])))
            .collect();
        if self.reads_picture {
            inputs.extend(graph.input.iter().cloned());
        }
        let constants = graph.initializer.iter();
        let graph = GraphProto {
            name: graph.name.clone(),
            initializer: constants.filter(|c| is_read(&c.name)).cloned().collect(),
            input: inputs,
            output: vec![float_value(&self.name, None)],
            node: nodes,
            ..GraphProto::default()
        };
        ModelProto {
            graph: Some(graph),
            ir_version: model.ir_version,
            opset_import: model.opset_import.clone(),
            ..ModelProto::default()
        }
    }
}

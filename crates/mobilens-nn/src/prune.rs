//! Class pruning: relayout_nodes the output channels of unwanted classes from a detector's heads.
//!
//! The scores `[1, anchors, classes]` of an SSD are the channels of its class heads, a group of
//! `classes` channels for each anchor of a pixel. An output channel depends on no other output
//! channel of its own layer, so removing those of unwanted classes changes nothing for the others;
//! it only saves their multiply-accumulates. (A softmax over all classes needs them all: the
//! caller must know whether the scores go through one.)

use crate::graph::{Graph, Node, Op, ValueId};

/// Prunes the output to the columns `classes`, which are ascending. Returns whether the graph
/// allows that; it is unchanged if not.
pub(super) fn prune_classes(graph: &mut Graph, output: ValueId, classes: &[usize]) -> bool {
    let mut pruned = graph.clone();
    if prune_output(&mut pruned, output, classes).is_none() {
        return false;
    }
    pruned.remove_dead_nodes();
    *graph = pruned;
    true
}

fn prune_output(graph: &mut Graph, output: ValueId, classes: &[usize]) -> Option<()> {
    let [1, _, count] = graph.shapes[output][..] else {
        return None;
    };
    let ascending = classes.windows(2).all(|pair| pair[0] < pair[1]);
    if classes.is_empty() || !ascending || classes.iter().any(|class| *class >= count) {
        return None;
    }
    // Functions of each value by itself may stand between the joined heads and the output.
    let mut value = output;
    loop {
        graph.shapes[value][2] = classes.len();
        let producer = graph.producer(value)?;
        let node = &graph.nodes[producer];
        match &node.op {
            Op::Unary(_) | Op::FakeQuantize(_) => value = node.inputs[0],
            Op::Affine { mul, .. } if mul.len() == 1 => value = node.inputs[0],
            Op::Concat { axis: 1 } => {
                let mut heads = node.inputs.clone();
                for head in &mut heads {
                    *head = prune_head(graph, *head, classes, count)?;
                }
                // The new nodes of the heads were inserted before the concatenation.
                let producer = graph.producer(value)?;
                graph.nodes[producer].inputs = heads;
                return Some(());
            }
            _ => return None,
        }
        if graph.consumers(value) != 1 {
            return None;
        }
    }
}

/// Prunes one head: from `[1, n, count]` back over transposes and reshapes to its convolution,
/// which loses output channels.
fn prune_head(
    graph: &mut Graph,
    scores: ValueId,
    classes: &[usize],
    count: usize,
) -> Option<ValueId> {
    let shape = graph.shapes[scores].clone();
    if shape.len() != 3 || shape[2] != count {
        return None;
    }
    let mut layout_nodes = Vec::new();
    // Roundings, from the last to the first. They may as well stand before the layout changes.
    let mut roundings = Vec::new();
    let mut value = scores;
    let conv = loop {
        if graph.consumers(value) != 1 {
            return None;
        }
        let producer = graph.producer(value)?;
        let node = &graph.nodes[producer];
        match node.op {
            Op::Transpose { .. } | Op::Reshape => {
                layout_nodes.push(producer);
                value = node.inputs[0];
            }
            Op::FakeQuantize(rounding) => {
                roundings.push(rounding);
                value = node.inputs[0];
            }
            Op::Conv(_) => break producer,
            _ => return None,
        }
    };
    let [1, channels, h, w] = graph.shapes[value][..] else {
        return None;
    };
    if channels % count != 0 || !is_nhwc_order(graph, value, &layout_nodes) {
        return None;
    }
    let Op::Conv(conv_op) = &mut graph.nodes[conv].op else {
        return None;
    };
    if conv_op.depthwise || conv_op.residual || conv_op.bias_input {
        return None;
    }
    let per_output = conv_op.weights_per_output();
    let kept = || (0..channels).filter(|channel| classes.contains(&(channel % count)));
    let rows = |channel: usize| &conv_op.weights[channel * per_output..][..per_output];
    let weights = kept().flat_map(rows).copied().collect();
    let bias: Vec<f32> = kept().map(|channel| conv_op.bias[channel]).collect();
    let channels_left = bias.len();
    let scales = conv_op.weight_scales.take();
    conv_op.weight_scales = scales.map(|scales| kept().map(|channel| scales[channel]).collect());
    conv_op.weights = weights;
    conv_op.bias = bias;
    graph.shapes[value] = vec![1, channels_left, h, w];
    let name = graph.nodes[conv].name.clone();
    let mut nodes = Vec::new();
    let mut from = value;
    for rounding in roundings.into_iter().rev() {
        let rounded = graph.add_value(vec![1, channels_left, h, w]);
        nodes.push((Op::FakeQuantize(rounding), from, rounded));
        from = rounded;
    }
    let transposed = graph.add_value(vec![1, h, w, channels_left]);
    let head = graph.add_value(vec![1, shape[1], classes.len()]);
    let order = vec![0, 2, 3, 1];
    nodes.push((Op::Transpose { order }, from, transposed));
    nodes.push((Op::Reshape, transposed, head));
    let nodes = nodes.into_iter().map(|(op, input, output)| Node {
        name: name.clone(),
        op,
        inputs: vec![input],
        output,
    });
    graph.nodes.splice(conv + 1..conv + 1, nodes);
    Some(head)
}

/// Whether the transposes and reshapes, given from the last to the first, turn `[1, c, h, w]` into
/// NHWC order.
fn is_nhwc_order(graph: &Graph, value: ValueId, layout_nodes: &[usize]) -> bool {
    let mut shape = graph.shapes[value].clone();
    let (channels, pixels) = (shape[1], shape[2] * shape[3]);
    let mut source: Vec<usize> = (0..channels * pixels).collect();
    for index in layout_nodes.iter().rev() {
        let node = &graph.nodes[*index];
        if let Op::Transpose { order } = &node.op {
            let stride_of = |axis: usize| -> usize { shape[axis + 1..].iter().product() };
            let sizes: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
            source = (0..source.len())
                .map(|index| {
                    let (mut rest, mut from) = (index, 0);
                    for (axis, size) in order.iter().zip(&sizes).rev() {
                        from += rest % size * stride_of(*axis);
                        rest /= size;
                    }
                    source[from]
                })
                .collect();
            shape = sizes;
        } else {
            shape = graph.shapes[node.output].clone();
        }
    }
    let mut sources = source.iter().enumerate();
    sources.all(|(index, from)| *from == index % channels * pixels + index / channels)
}

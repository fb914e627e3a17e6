//! Cuts the classes that nobody asks for out of a detector's heads.
//!
//! The scores `[1, anchors, classes]` of an SSD are convolutions' channels put side by side, a
//! group of `classes` channels for each of a pixel's anchors. A channel's value depends on no
//! other channel of its own layer, so leaving out those of unwanted classes changes nothing for
//! the ones that stay; it only saves their products. (A softmax over all classes needs them all:
//! whoever reads the scores must know whether it has one.)

use crate::graph::{Graph, Node, Op, ValueId};

/// Keeps only the columns `classes` of the output, which are ascending. Returns whether it could;
/// the graph is as before if not.
pub(super) fn keep_classes(graph: &mut Graph, output: ValueId, classes: &[usize]) -> bool {
    let mut pruned = graph.clone();
    if prune(&mut pruned, output, classes).is_none() {
        return false;
    }
    pruned.drop_unread();
    *graph = pruned;
    true
}

fn prune(graph: &mut Graph, output: ValueId, classes: &[usize]) -> Option<()> {
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
        let maker = graph.maker(value)?;
        let node = &graph.nodes[maker];
        match &node.op {
            Op::Unary(_) => value = node.inputs[0],
            Op::Affine { mul, .. } if mul.len() == 1 => value = node.inputs[0],
            Op::Concat { axis: 1 } => {
                let mut heads = node.inputs.clone();
                for head in &mut heads {
                    *head = prune_head(graph, *head, classes, count)?;
                }
                // The heads' new nodes were put before the join.
                let maker = graph.maker(value)?;
                graph.nodes[maker].inputs = heads;
                return Some(());
            }
            _ => return None,
        }
        if graph.readers(value) != 1 {
            return None;
        }
    }
}

/// One head: from `[1, n, count]` back over moves to its convolution, which loses channels.
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
    let mut moves = Vec::new();
    let mut value = scores;
    let conv = loop {
        if graph.readers(value) != 1 {
            return None;
        }
        let maker = graph.maker(value)?;
        let node = &graph.nodes[maker];
        match node.op {
            Op::Permute { .. } | Op::Reshape => {
                moves.push(maker);
                value = node.inputs[0];
            }
            Op::Conv(_) => break maker,
            _ => return None,
        }
    };
    let [1, channels, h, w] = graph.shapes[value][..] else {
        return None;
    };
    if channels % count != 0 || !is_pixel_order(graph, value, &moves) {
        return None;
    }
    let Op::Conv(conv_op) = &mut graph.nodes[conv].op else {
        return None;
    };
    if conv_op.depthwise || conv_op.residual || conv_op.bias_input {
        return None;
    }
    let taps = conv_op.taps();
    let kept = || (0..channels).filter(|channel| classes.contains(&(channel % count)));
    let rows = |channel: usize| &conv_op.weights[channel * taps..][..taps];
    let weights = kept().flat_map(rows).copied().collect();
    let bias: Vec<f32> = kept().map(|channel| conv_op.bias[channel]).collect();
    let left = bias.len();
    conv_op.weights = weights;
    conv_op.bias = bias;
    graph.shapes[value] = vec![1, left, h, w];
    let name = graph.nodes[conv].name.clone();
    let moved = graph.add_value(vec![1, h, w, left]);
    let head = graph.add_value(vec![1, shape[1], classes.len()]);
    let order = vec![0, 2, 3, 1];
    let nodes = [
        (Op::Permute { order }, value, moved),
        (Op::Reshape, moved, head),
    ];
    let nodes = nodes.map(|(op, input, output)| Node {
        name: name.clone(),
        op,
        inputs: vec![input],
        output,
    });
    graph.nodes.splice(conv + 1..conv + 1, nodes);
    Some(head)
}

/// Whether the moves, given from the last to the first, end with the values of `[1, c, h, w]`
/// pixel by pixel, the channels of each together.
fn is_pixel_order(graph: &Graph, value: ValueId, moves: &[usize]) -> bool {
    let mut shape = graph.shapes[value].clone();
    let (channels, pixels) = (shape[1], shape[2] * shape[3]);
    let mut at: Vec<usize> = (0..channels * pixels).collect();
    for index in moves.iter().rev() {
        let node = &graph.nodes[*index];
        if let Op::Permute { order } = &node.op {
            let step_of = |axis: usize| -> usize { shape[axis + 1..].iter().product() };
            let moved: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
            at = (0..at.len())
                .map(|place| {
                    let (mut rest, mut from) = (place, 0);
                    for (axis, size) in order.iter().zip(&moved).rev() {
                        from += rest % size * step_of(*axis);
                        rest /= size;
                    }
                    at[from]
                })
                .collect();
            shape = moved;
        } else {
            shape = graph.shapes[node.output].clone();
        }
    }
    let mut places = at.iter().enumerate();
    places.all(|(place, from)| *from == place % channels * pixels + place / channels)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{KeptClasses, LoadOptions, Network};

    #[test]
    fn kept_classes_score_as_in_the_whole_network() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("models/ssdlite_mobilenet_v2_coco.onnx");
        let classes = vec![0, 1, 3, 90];
        let keep = Some(KeptClasses {
            output: "scores".to_owned(),
            classes: classes.clone(),
        });
        let whole = Network::load(&path, &LoadOptions::default()).expect("it loads");
        let options = LoadOptions {
            keep,
            ..LoadOptions::default()
        };
        let pruned = Network::load(&path, &options).expect("it loads");
        let cut = pruned.pruned_classes().expect("classes were cut");
        assert_eq!((&cut.classes, cut.of), (&classes, 91));
        assert_eq!(pruned.outputs()[1].shape, [1, 1917, 4]);
        let input: Vec<f32> = (0..whole.input().len())
            .map(|i| (i % 300) as f32 / 150.0 - (i / 301 % 7) as f32 * 0.2 - 0.3)
            .collect();
        let run = |network: &Network| {
            let mut session = network.session(1).expect("a session");
            session.set_input(&input);
            session.run().expect("it runs");
            session
        };
        let (whole, pruned) = (run(&whole), run(&pruned));
        assert_eq!(whole.output(0), pruned.output(0));
        let rows = whole.output(1).chunks(91).zip(pruned.output(1).chunks(4));
        for (all, kept) in rows {
            let wanted: Vec<f32> = classes.iter().map(|class| all[*class]).collect();
            assert_eq!(wanted, kept, "bit by bit");
        }
    }
}

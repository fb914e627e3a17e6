//! Rules for operators that only move values: transposed convolutions become convolutions and depth to
//! space; slices that are concatenated again become what they are together.

use crate::fuse::sole_producer;
use crate::graph::{Conv, ConvTranspose, Graph, Node, Op, ValueId};
use crate::kernels::{Activation, Window};

/// Transposed convolutions as sub-pixel convolutions (Shi et al., Is the deconvolution layer the same as a
/// convolutional layer, 2016): one convolution of stride 1 computes all pixels of a block of
/// `stride x stride` as channels, which depth to space then puts in their places.
pub(super) fn lower_conv_transposes(graph: &mut Graph) {
    let mut at = 0;
    while at < graph.nodes.len() {
        if let Op::ConvTranspose(conv) = &graph.nodes[at].op {
            let conv = conv.clone();
            at += lower_conv_transpose(graph, at, &conv);
        }
        at += 1;
    }
}

/// The taps of one axis: output `stride * q + r` is the sum over `j` of input `q + j` times the weight at
/// `(r + pad - stride * j) / dilation`.
struct Taps {
    /// The least j; at most 0.
    first: isize,
    count: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
    kernel: usize,
}

impl Taps {
    fn new(kernel: usize, stride: usize, dilation: usize, pad: usize) -> Self {
        let reach = (kernel - 1) * dilation;
        let first = -((reach.saturating_sub(pad) / stride) as isize);
        let last = pad.div_ceil(stride) as isize;
        Self {
            first,
            count: (last - first + 1) as usize,
            stride,
            dilation,
            pad,
            kernel,
        }
    }

    /// Which weight of the kernel output `r` of a block multiplies with tap `tap`.
    fn weight(&self, r: usize, tap: usize) -> Option<usize> {
        let j = self.first + tap as isize;
        let at = (r + self.pad) as isize - self.stride as isize * j;
        let at = usize::try_from(at).ok()?;
        (at.is_multiple_of(self.dilation) && at / self.dilation < self.kernel)
            .then_some(at / self.dilation)
    }
}

/// Returns how many nodes were added behind node `at`.
fn lower_conv_transpose(graph: &mut Graph, at: usize, conv: &ConvTranspose) -> usize {
    let Window {
        kernel,
        stride,
        dilation,
        pad,
    } = conv.window;
    let (input, output) = (graph.nodes[at].inputs[0], graph.nodes[at].output);
    let inputs = graph.shapes[input][1];
    let shape = graph.shapes[output].clone();
    let (c, h, w) = (shape[1], shape[2], shape[3]);
    let rows = Taps::new(kernel.0, stride.0, dilation.0, pad.0);
    let columns = Taps::new(kernel.1, stride.1, dilation.1, pad.1);
    let mut weights = Vec::new();
    let mut bias = Vec::new();
    for (i, j) in (0..stride.0).flat_map(|i| (0..stride.1).map(move |j| (i, j))) {
        bias.extend_from_slice(&conv.bias);
        for channel in (0..c * inputs).map(|channel| channel * kernel.0 * kernel.1) {
            for row in (0..rows.count).map(|tap| rows.weight(i, tap)) {
                for column in (0..columns.count).map(|tap| columns.weight(j, tap)) {
                    weights.push(match (row, column) {
                        (Some(y), Some(x)) => conv.weights[channel + y * kernel.1 + x],
                        _ => 0.0,
                    });
                }
            }
        }
    }
    let dense = Conv {
        weights,
        weight_scales: None,
        bias,
        depthwise: false,
        window: Window {
            kernel: (rows.count, columns.count),
            stride: (1, 1),
            dilation: (1, 1),
            pad: (rows.first.unsigned_abs(), columns.first.unsigned_abs()),
        },
        activation: Activation::NONE,
        residual: false,
        bias_input: false,
    };
    let blocks = (h.div_ceil(stride.0), w.div_ceil(stride.1));
    let name = graph.nodes[at].name.clone();
    let deep = graph.add_value(vec![1, stride.0 * stride.1 * c, blocks.0, blocks.1]);
    graph.nodes[at].op = Op::Conv(dense);
    graph.nodes[at].output = deep;
    let whole = [1, c, blocks.0 * stride.0, blocks.1 * stride.1];
    let mut steps = vec![(
        Op::DepthToSpace {
            rows: stride.0,
            columns: stride.1,
        },
        whole.to_vec(),
    )];
    for (axis, size) in [(2, h), (3, w)] {
        if size < whole[axis] {
            let mut shape = steps[steps.len() - 1].1.clone();
            shape[axis] = size;
            let op = Op::Slice {
                axis,
                start: 0,
                step: 1,
            };
            steps.push((op, shape));
        }
    }
    let (count, mut from) = (steps.len(), deep);
    for (index, (op, shape)) in steps.into_iter().enumerate() {
        let to = if index + 1 == count {
            output
        } else {
            graph.add_value(shape)
        };
        let node = Node {
            name: format!("{name}.depth_to_space"),
            op,
            inputs: vec![from],
            output: to,
        };
        graph.nodes.insert(at + 1 + index, node);
        from = to;
    }
    count
}

/// A function of each value goes before depth to space, to meet the convolution there.
pub(super) fn move_before_depth_to_space(graph: &mut Graph, at: usize) -> bool {
    if !matches!(
        graph.nodes[at].op,
        Op::Unary(_) | Op::PRelu(_) | Op::Affine { .. }
    ) {
        return false;
    }
    let Some(before) = sole_producer(graph, graph.nodes[at].inputs[0]) else {
        return false;
    };
    let repeats = match graph.nodes[before].op {
        Op::DepthToSpace { rows, columns } => rows * columns,
        // What was cut off it.
        Op::Slice { axis: 2 | 3, .. } => {
            let source = sole_producer(graph, graph.nodes[before].inputs[0]);
            let ends = source.is_some_and(|source| {
                matches!(
                    graph.nodes[source].op,
                    Op::DepthToSpace { .. } | Op::Slice { axis: 2 | 3, .. }
                )
            });
            if !ends {
                return false;
            }
            1
        }
        _ => return false,
    };
    let between = graph.nodes[before].output;
    graph.shapes[between] = graph.shapes[graph.nodes[before].inputs[0]].clone();
    let repeat = |values: &[f32]| match values.len() {
        1 => values.to_vec(),
        _ => values.repeat(repeats),
    };
    let function = match &graph.nodes[at].op {
        Op::Affine { mul, add } => Op::Affine {
            mul: repeat(mul),
            add: repeat(add),
        },
        Op::PRelu(slopes) => Op::PRelu(repeat(slopes)),
        other => other.clone(),
    };
    graph.nodes[at].op = std::mem::replace(&mut graph.nodes[before].op, function);
    true
}

/// The value that a chain of slices takes its pixels from, with start and step along rows and columns.
fn source_of_pixels(graph: &Graph, mut value: ValueId) -> (ValueId, [(usize, usize); 2]) {
    let mut axes = [(0, 1); 2];
    while let Some(index) = graph.producer(value) {
        let Op::Slice { axis, start, step } = graph.nodes[index].op else {
            break;
        };
        let Some(outer) = axis.checked_sub(2).and_then(|axis| axes.get_mut(axis)) else {
            break;
        };
        *outer = (start + outer.0 * step, outer.1 * step);
        value = graph.nodes[index].inputs[0];
    }
    (value, axes)
}

/// The four pixels of each block of 2 x 2, concatenated: the first layer of YOLOX and YOLOv5 up to 5.0.
pub(super) fn fuse_focus(graph: &mut Graph, at: usize) -> bool {
    let node = &graph.nodes[at];
    if !matches!(node.op, Op::Concat { axis: 1 }) || node.inputs.len() != 4 {
        return false;
    }
    let parts: Vec<_> = node
        .inputs
        .iter()
        .map(|input| source_of_pixels(graph, *input))
        .collect();
    let source = parts[0].0;
    let (from, to) = (&graph.shapes[source], &graph.shapes[node.output]);
    let halves = from.len() == 4
        && from[0] == 1
        && to[1] == 4 * from[1]
        && from[2] == 2 * to[2]
        && from[3] == 2 * to[3];
    let in_order = parts.iter().enumerate().all(|(index, (value, axes))| {
        *value == source && *axes == [(index % 2, 2), (index / 2, 2)]
    });
    if !halves || !in_order {
        return false;
    }
    graph.nodes[at].op = Op::Focus;
    graph.nodes[at].inputs = vec![source];
    graph.remove_dead_nodes();
    true
}

/// All parts of a value, concatenated again in their order, are the value.
pub(super) fn join_slices(graph: &mut Graph, at: usize) -> bool {
    let Op::Concat { axis } = graph.nodes[at].op else {
        return false;
    };
    let inputs = graph.nodes[at].inputs.clone();
    let part = |value: ValueId| {
        let node = &graph.nodes[graph.producer(value)?];
        match node.op {
            Op::Slice {
                axis: along,
                start,
                step: 1,
            } if along == axis => Some((node.inputs[0], start)),
            _ => None,
        }
    };
    for first in 0..inputs.len() {
        let Some((source, 0)) = part(inputs[first]) else {
            continue;
        };
        let (mut end, mut next) = (graph.shapes[inputs[first]][axis], first + 1);
        while next < inputs.len() && part(inputs[next]) == Some((source, end)) {
            end += graph.shapes[inputs[next]][axis];
            next += 1;
        }
        if end == graph.shapes[source][axis] && next > first + 1 {
            graph.nodes[at].inputs.splice(first..next, [source]);
            graph.remove_dead_nodes();
            return true;
        }
    }
    false
}

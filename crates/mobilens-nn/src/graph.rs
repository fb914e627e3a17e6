//! The small graph that the kernels are planned from.
//!
//! It holds only what the kernels know (`import` leaves the rest to tract), each value with a
//! fixed shape in the file's order of axes. `fuse` makes it smaller, `plan` lays it out in memory.

use crate::kernels::{Activation, Binary, Unary, Window};

/// A value's number.
pub(super) type ValueId = usize;

/// What a node computes.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A convolution over `[1, c, h, w]`, dense or depthwise.
    Conv(Conv),
    /// `x * mul + add`, either one number for all or one for each index of axis 1.
    Affine { mul: Vec<f32>, add: Vec<f32> },
    /// A function of each value.
    Unary(Unary),
    /// A function of two values; the second may be broadcast.
    Binary(Binary),
    /// The sum over all pixels: `[1, c, h, w]` to `[1, c, 1, 1]`.
    GlobalSum,
    /// Zeros around a picture: above, left; those below and right follow from the shapes.
    Pad { above: usize, left: usize },
    /// Axes in another order: output axis `i` is input axis `order[i]`.
    Permute { order: Vec<usize> },
    /// The same values in the same order under another shape.
    Reshape,
    /// Inputs one behind the other along an axis.
    Concat { axis: usize },
    /// A `[1, c, 1, 1]` repeated over all pixels.
    Spread,
    /// Bilinear interpolation; for each output row and column its two taps.
    Resize(ResizeTaps),
}

/// For each output index the two inputs that it lies between, and the second one's weight.
pub(super) type AxisTaps = Vec<(usize, usize, f32)>;

/// The taps of both axes of a bilinear resize.
#[derive(Clone, Debug)]
pub(super) struct ResizeTaps {
    pub down: AxisTaps,
    pub right: AxisTaps,
}

/// A convolution with what was fused into it.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    /// `[out][in / groups][kernel_h][kernel_w]`.
    pub weights: Vec<f32>,
    /// One for each output channel.
    pub bias: Vec<f32>,
    /// Whether each channel is by itself; otherwise each output sums all inputs.
    pub depthwise: bool,
    pub window: Window,
    pub activation: Activation,
    /// Input 1 is added after the activation.
    pub residual: bool,
    /// The last input replaces the bias: `[1, c, 1, 1]`.
    pub bias_input: bool,
}

/// One node; it makes exactly one value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
}

/// Nodes in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    /// Each value's shape.
    pub shapes: Vec<Vec<usize>>,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
}

impl Graph {
    pub fn add_value(&mut self, shape: Vec<usize>) -> ValueId {
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    /// Number of values in a tensor.
    pub fn len_of(&self, value: ValueId) -> usize {
        self.shapes[value].iter().product()
    }

    /// How many nodes read the value, counting the graph's outputs.
    pub fn readers(&self, value: ValueId) -> usize {
        let nodes = self.nodes.iter().flat_map(|node| &node.inputs);
        nodes.chain(&self.outputs).filter(|v| **v == value).count()
    }

    /// Index of the node that makes the value.
    pub fn maker(&self, value: ValueId) -> Option<usize> {
        self.nodes.iter().position(|node| node.output == value)
    }

    /// Drops nodes whose value nobody reads.
    pub fn drop_unread(&mut self) {
        let mut read = vec![false; self.shapes.len()];
        for output in &self.outputs {
            read[*output] = true;
        }
        for node in self.nodes.iter().rev() {
            if read[node.output] {
                for input in &node.inputs {
                    read[*input] = true;
                }
            }
        }
        self.nodes.retain(|node| read[node.output]);
    }
}

impl Conv {
    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Weights of one output channel.
    pub fn taps(&self) -> usize {
        self.weights.len() / self.outputs().max(1)
    }

    /// Whether it reads each pixel by itself.
    pub fn is_pointwise(&self) -> bool {
        !self.depthwise
            && self.window.kernel == (1, 1)
            && self.window.stride == (1, 1)
            && self.window.pad == (0, 0)
    }
}

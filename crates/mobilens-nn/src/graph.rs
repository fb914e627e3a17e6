//! The graph intermediate representation (IR) that programs are compiled from.
//!
//! It holds only operators that have kernels (`import` leaves the rest to tract), each value with
//! a static shape in the axis order of the file. `fuse` fuses operators, `plan` chooses memory
//! layouts and compiles the graph to a program.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::kernels::{
    Activation, BinaryOp, FakeQuantize, PoolFunction, PoolTaps, ReduceOp, Requantize, UnaryOp,
    Window,
};

/// Index of a value (tensor) in [`Graph::shapes`].
pub(super) type ValueId = usize;

/// The operator of a node.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A convolution over `[1, c, h, w]`, dense or depthwise; or one with a 1x1 kernel over the rows of a matrix
    /// `[.., c]`, which is its product with the weights.
    Conv(Conv),
    /// `x * mul + add`, either one number for all or one for each channel: each index of axis 1 of four, else of
    /// the last axis.
    Affine { mul: Vec<f32>, add: Vec<f32> },
    /// An elementwise function.
    Unary(UnaryOp),
    /// Rounding to the values of 8-bit codes: where the file has a quantised activation.
    FakeQuantize(FakeQuantize),
    /// An elementwise function of two tensors; the second may be broadcast over the pixels.
    Binary(BinaryOp),
    /// An elementwise function of two tensors of as many axes, either broadcast along any of them.
    Broadcast(BinaryOp),
    /// The same with a constant as the second argument.
    BroadcastConstant(BroadcastConstant),
    /// Every `step`th index of an axis from `start` on; how many follows from the shapes.
    Slice {
        axis: usize,
        start: usize,
        step: usize,
    },
    /// Softmax over an axis.
    Softmax { axis: usize },
    /// Reduction over axes, which are left with size 1.
    Reduce {
        function: ReduceOp,
        axes: Vec<usize>,
    },
    /// Layer normalisation.
    LayerNorm(LayerNorm),
    /// Products of matrices `[.., m, k]` and `[.., k, n]`; leading axes of size 1 are broadcast.
    MatMul,
    /// The product of the last axis `[.., k]` of more than three with constant weights, as a 1x1 convolution.
    Linear(Box<Conv>),
    /// `softmax(scale * Q K + bias) V` of matrices `[.., m, d]`, `[.., d, n]`, `[.., n, e]`; leading axes of K
    /// and V of size 1 are broadcast.
    Attention(Attention),
    /// PReLU: `max(x, 0) + slope * min(x, 0)`, with a slope for each channel as in `Affine`.
    PRelu(Vec<f32>),
    /// Global sum pooling: `[1, c, h, w]` to `[1, c, 1, 1]`.
    GlobalSumPool,
    /// Padding with a constant: how much of it lies before the values along each axis; that behind them
    /// follows from the shapes.
    Pad { before: Vec<usize>, value: f32 },
    /// Max or average pooling of `[1, c, h, w]`.
    Pool {
        function: PoolFunction,
        rows: Vec<PoolTaps>,
        columns: Vec<PoolTaps>,
    },
    /// Nearest neighbour resize of `[1, c, h, w]`: the input row of each output row, and column.
    ResizeNearest {
        rows: Vec<usize>,
        columns: Vec<usize>,
    },
    /// `[1, rows * columns * c, h, w]` to `[1, c, h * rows, w * columns]`: channel `(i * columns + j) * c + k`
    /// holds channel `k` of the pixels at row `i` and column `j` of each block.
    DepthToSpace { rows: usize, columns: usize },
    /// `[1, c, 2 h, 2 w]` to `[1, 4 c, h, w]`: the pixels of each block of 2 x 2, column by column.
    Focus,
    /// A transposed convolution.
    ConvTranspose(ConvTranspose),
    /// Axes in another order: output axis `i` is input axis `order[i]`.
    Transpose { order: Vec<usize> },
    /// The same values in the same order under another shape.
    Reshape,
    /// Concatenation along an axis.
    Concat { axis: usize },
    /// A `[1, c, 1, 1]` broadcast to all pixels.
    Expand,
    /// Bilinear resize.
    Resize(ResizeIndices),
    /// Float32 to codes.
    Quantize(FakeQuantize),
    /// Codes to float32.
    Dequantize,
    /// A convolution of codes.
    ConvInt8(ConvInt8),
    /// A sum or product of codes; the second may be broadcast over the pixels.
    BinaryInt8(BinaryInt8),
    /// A convolution in bfloat16.
    ConvBf16 {
        conv: Conv,
        /// Whether float32 is written instead of bfloat16.
        float_output: bool,
    },
    /// Float32 to bfloat16.
    ToBf16,
    /// Bfloat16 to float32.
    FromBf16,
    /// Any function of codes: the output code of each input code.
    Lookup(Box<[u8; 256]>),
    /// Bilinear resize of codes.
    ResizeInt8 {
        indices: ResizeIndices,
        from: Codes,
        to: FakeQuantize,
    },
}

/// A constant argument of an elementwise function.
#[derive(Clone, Debug)]
pub(super) struct BroadcastConstant {
    pub function: BinaryOp,
    pub values: Arc<[f32]>,
    /// As many axes as the other argument.
    pub shape: Vec<usize>,
    /// The constant is the first argument.
    pub swapped: bool,
}

/// Layer normalisation over some axes.
#[derive(Clone, Debug)]
pub(super) struct LayerNorm {
    pub axes: Vec<usize>,
    /// Added to the variance.
    pub epsilon: f32,
    /// Factors and addends of the normalised values: one for each, or none, which is 1 and 0.
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// Attention, apart from Q, K and V.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub scale: f32,
    /// Added to the scaled scores; broadcast to their shape.
    pub bias: Option<(Arc<[f32]>, Vec<usize>)>,
}

/// A sum or product of codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BinaryInt8 {
    /// `Add` or `Mul`.
    pub function: BinaryOp,
    pub left: Codes,
    pub right: Codes,
    pub output: FakeQuantize,
}

/// A convolution of codes with the operators that were fused into it.
#[derive(Clone, Debug)]
pub(super) struct ConvInt8 {
    /// `[out][in / groups][kernel_h][kernel_w]`, -255 to 254: a code of one byte less a zero point.
    pub weights: Vec<i16>,
    /// One for each output channel, in units of the sums, with the input's zero point folded in.
    pub bias: Vec<i32>,
    /// Depthwise, or else dense.
    pub depthwise: bool,
    pub window: Window,
    pub requantize: Requantize,
    /// Zero point of the input.
    pub zero_point: u8,
    /// Input 1 is a residual.
    pub residual: bool,
}

/// For each output index the two input indices that it lies between, and the weight of the second.
pub(super) type AxisIndices = Vec<(usize, usize, f32)>;

/// Source indices and weights of a bilinear resize, of each output row and column.
#[derive(Clone, Debug)]
pub(super) struct ResizeIndices {
    pub rows: AxisIndices,
    pub columns: AxisIndices,
}

/// What the codes of a quantised tensor stand for: `scale * (code - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Codes {
    pub scale: f32,
    pub zero_point: u8,
}

/// A convolution with the operators that were fused into it.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    /// `[out][in / groups][kernel_h][kernel_w]`.
    pub weights: Vec<f32>,
    /// The scale of each output channel, where the file has quantised weights: each weight is about
    /// a whole number times its scale.
    pub weight_scales: Option<Vec<f32>>,
    /// One for each output channel.
    pub bias: Vec<f32>,
    /// Depthwise, or else dense.
    pub depthwise: bool,
    pub window: Window,
    pub activation: Activation,
    /// Input 1 is a residual, added after the activation.
    pub residual: bool,
    /// The last input replaces the bias: `[1, c, 1, 1]`.
    pub bias_input: bool,
}

/// A dense transposed convolution.
#[derive(Clone, Debug)]
pub(super) struct ConvTranspose {
    /// `[out][in][kernel_h][kernel_w]`.
    pub weights: Vec<f32>,
    /// One for each output channel.
    pub bias: Vec<f32>,
    /// Its padding is what is cut off at the top and left.
    pub window: Window,
}

/// One node; it has exactly one output.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
}

/// Nodes in topological order.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    /// Each value's shape.
    pub shapes: Vec<Vec<usize>>,
    /// The values that are codes of one byte.
    pub codes: HashMap<ValueId, Codes>,
    /// The values that are bfloat16; all others are float32.
    pub bf16: HashSet<ValueId>,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
    /// The inputs that are given as codes, and how values are rounded to them.
    pub input_roundings: HashMap<ValueId, FakeQuantize>,
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

    /// Bytes of one of its values.
    pub fn element_size(&self, value: ValueId) -> usize {
        if self.codes.contains_key(&value) {
            size_of::<u8>()
        } else if self.bf16.contains(&value) {
            size_of::<u16>()
        } else {
            size_of::<f32>()
        }
    }

    /// Bytes of a tensor.
    pub fn bytes_of(&self, value: ValueId) -> usize {
        self.len_of(value) * self.element_size(value)
    }

    /// Number of consumers of the value, counting the graph's outputs.
    pub fn consumers(&self, value: ValueId) -> usize {
        let nodes = self.nodes.iter().flat_map(|node| &node.inputs);
        nodes.chain(&self.outputs).filter(|v| **v == value).count()
    }

    /// Index of the node that produces the value.
    pub fn producer(&self, value: ValueId) -> Option<usize> {
        self.nodes.iter().position(|node| node.output == value)
    }

    /// Dead code elimination: removes nodes whose output nobody reads.
    pub fn remove_dead_nodes(&mut self) {
        let mut live = vec![false; self.shapes.len()];
        for output in &self.outputs {
            live[*output] = true;
        }
        for node in self.nodes.iter().rev() {
            if live[node.output] {
                for input in &node.inputs {
                    live[*input] = true;
                }
            }
        }
        self.nodes.retain(|node| live[node.output]);
    }
}

impl Conv {
    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Number of weights of one output channel.
    pub fn weights_per_output(&self) -> usize {
        self.weights.len() / self.outputs().max(1)
    }

    /// Whether it is a 1x1 convolution of stride 1 without padding.
    pub fn is_pointwise(&self) -> bool {
        !self.depthwise
            && self.window.kernel == (1, 1)
            && self.window.stride == (1, 1)
            && self.window.pad == (0, 0)
    }
}

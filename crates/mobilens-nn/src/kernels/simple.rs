//! The operators between convolutions: cheap, and written in plain Rust over slices.

use super::activation::Activation;
use super::arena::{Arena, Slot};
use super::buffer::Buffer;
use super::workers::Team;

/// Operators that work on values one by one or move them.
#[derive(Debug)]
pub enum Simple {
    /// The sum over all pixels of each channel: `[pixels, channels]` to `[channels]`.
    GlobalSum {
        /// `[pixels, channels]`.
        input: Slot,
        /// `[channels]`.
        output: Slot,
    },
    /// A function of each value.
    Unary {
        /// What is done.
        function: Unary,
        /// Values.
        input: Slot,
        /// As many.
        output: Slot,
    },
    /// A function of two values.
    Binary {
        /// What is done.
        function: Binary,
        /// `[outer, inner]`.
        left: Slot,
        /// The other side, repeated over the outer axis where it is shorter.
        right: Operand,
        /// As long as `left`.
        output: Slot,
    },
    /// Values in another order of axes.
    Permute {
        /// Values with axes of `sizes`, the last the innermost.
        input: Slot,
        /// As many.
        output: Slot,
        /// The output's sizes.
        sizes: Vec<usize>,
        /// For each of the output's axes, floats between neighbours in the input.
        steps: Vec<usize>,
    },
    /// Rows of `len` floats copied to or from between others.
    Copy {
        /// Values.
        input: Slot,
        /// Values.
        output: Slot,
        /// Number of rows.
        rows: usize,
        /// Floats in a row.
        len: usize,
        /// Floats between the input's rows; 0 repeats one.
        input_step: usize,
        /// Floats between the output's rows.
        output_step: usize,
    },
    /// Bilinear interpolation between pixels.
    Resize(Resize),
}

/// Functions of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// As in a convolution's epilogue.
    Activation(Activation),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Functions of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The greater.
    Max,
    /// The lesser.
    Min,
}

/// The right side of a [`Simple::Binary`].
#[derive(Debug)]
pub enum Operand {
    /// A tensor.
    Slot(Slot),
    /// A constant.
    Constant(Buffer),
}

/// Bilinear resize of `[h, w, channels]`, with the taps of each axis worked out beforehand.
#[derive(Debug)]
pub struct Resize {
    /// The picture.
    pub input: Slot,
    /// The picture in its new size.
    pub output: Slot,
    /// Floats in an input row.
    pub input_row: usize,
    /// Channels.
    pub channels: usize,
    /// For each output row its two input rows and the second one's weight.
    pub down: Vec<(usize, usize, f32)>,
    /// The same for columns.
    pub right: Vec<(usize, usize, f32)>,
}

impl Unary {
    /// The function itself.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Activation(activation) => activation.of(x),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }
}

impl Binary {
    /// The function itself.
    pub fn of(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }
}

impl Operand {
    fn len(&self) -> usize {
        match self {
            Self::Slot(slot) => slot.len,
            Self::Constant(values) => values.len(),
        }
    }
}

/// The work of one piece of many rows, for threads.
const ROWS_A_TASK: usize = 4;

impl Simple {
    fn slots(&self) -> (Slot, Slot, Option<Slot>) {
        match self {
            Self::GlobalSum { input, output }
            | Self::Unary { input, output, .. }
            | Self::Permute { input, output, .. }
            | Self::Copy { input, output, .. }
            | Self::Resize(Resize { input, output, .. }) => (*input, *output, None),
            Self::Binary {
                left,
                right,
                output,
                ..
            } => match right {
                Operand::Slot(slot) => (*left, *output, Some(*slot)),
                Operand::Constant(_) => (*left, *output, None),
            },
        }
    }

    /// Fails where a slot lies outside or the output overlaps an input.
    pub(super) fn check(&self, arena_len: usize) {
        let (input, output, other) = self.slots();
        for slot in [Some(input), Some(output), other].into_iter().flatten() {
            let end = slot.offset.checked_add(slot.len);
            assert!(
                end.is_some_and(|end| end <= arena_len),
                "slot inside the arena"
            );
        }
        assert!(!input.overlaps(output), "input and output overlap");
        assert!(
            other.is_none_or(|other| !other.overlaps(output)),
            "inputs and output overlap"
        );
    }

    /// Runs the step.
    ///
    /// # Safety
    /// [`Simple::check`] passed for an arena of this size, and nobody else uses the output.
    pub(super) unsafe fn run(&self, arena: &Arena, team: &mut Team) {
        let (input, output, other) = self.slots();
        // SAFETY: inside, and the inputs do not overlap the output.
        let (from, to) = unsafe { (arena.slice(input), arena.slice_mut(output)) };
        match self {
            Self::GlobalSum { .. } => global_sum(from, to),
            Self::Unary { function, .. } => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = function.of(*from);
                }
            }
            Self::Binary {
                function, right, ..
            } => {
                let right_values = match (right, other) {
                    (Operand::Constant(values), _) => values,
                    // SAFETY: as above.
                    (Operand::Slot(_), Some(slot)) => unsafe { arena.slice(slot) },
                    (Operand::Slot(_), None) => return,
                };
                binary(*function, from, right_values, right.len(), to);
            }
            Self::Permute { sizes, steps, .. } => permute(from, to, sizes, steps),
            Self::Copy {
                rows,
                len,
                input_step,
                output_step,
                ..
            } => {
                for row in 0..*rows {
                    let from = &from[row * input_step..][..*len];
                    to[row * output_step..][..*len].copy_from_slice(from);
                }
            }
            Self::Resize(resize) => {
                let row = resize.right.len() * resize.channels;
                let height = resize.down.len();
                team.run(height.div_ceil(ROWS_A_TASK), &|task, _| {
                    let rows = task * ROWS_A_TASK..height.min((task + 1) * ROWS_A_TASK);
                    for y in rows {
                        let slot = Slot {
                            offset: output.offset + y * row,
                            len: row,
                        };
                        // SAFETY: a row of the output that only this task has.
                        let to = unsafe { arena.slice_mut(slot) };
                        resize.row(from, to, y);
                    }
                });
            }
        }
    }
}

fn global_sum(from: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    for pixel in from.chunks_exact(to.len().max(1)) {
        for (to, from) in to.iter_mut().zip(pixel) {
            *to += *from;
        }
    }
}

fn binary(function: Binary, left: &[f32], right: &[f32], inner: usize, to: &mut [f32]) {
    let inner = inner.max(1);
    for (to, left) in to.chunks_mut(inner).zip(left.chunks(inner)) {
        for ((to, left), right) in to.iter_mut().zip(left).zip(right) {
            *to = function.of(*left, *right);
        }
    }
}

fn permute(from: &[f32], to: &mut [f32], sizes: &[usize], steps: &[usize]) {
    let (Some(inner), Some(step)) = (sizes.last().copied(), steps.last().copied()) else {
        to.copy_from_slice(from);
        return;
    };
    let outer = sizes.len() - 1;
    for (row, to) in to.chunks_exact_mut(inner.max(1)).enumerate() {
        let mut rest = row;
        let mut at = 0;
        for axis in (0..outer).rev() {
            at += rest % sizes[axis] * steps[axis];
            rest /= sizes[axis];
        }
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[at + i * step];
        }
    }
}

impl Resize {
    fn row(&self, from: &[f32], to: &mut [f32], y: usize) {
        let (above, below, down) = self.down[y];
        let above = &from[above * self.input_row..][..self.input_row];
        let below = &from[below * self.input_row..][..self.input_row];
        let c = self.channels;
        for (to, (left, right, weight)) in to.chunks_exact_mut(c).zip(&self.right) {
            let corners = [
                &above[left * c..][..c],
                &above[right * c..][..c],
                &below[left * c..][..c],
                &below[right * c..][..c],
            ];
            for (channel, to) in to.iter_mut().enumerate() {
                let top =
                    corners[0][channel] + (corners[1][channel] - corners[0][channel]) * weight;
                let low =
                    corners[2][channel] + (corners[3][channel] - corners[2][channel]) * weight;
                *to = top + (low - top) * down;
            }
        }
    }
}

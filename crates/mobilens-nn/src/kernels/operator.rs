//! The operators between convolutions: cheap, and written in plain Rust over slices.

use super::arena::{Arena, Slot};
use super::buffer::Buffer;
use super::elementwise::{BinaryOp, UnaryOp};
use super::global_sum_pool::global_sum_pool;
use super::resize::Resize;
use super::thread_pool::ThreadPool;
use super::transpose::transpose;

/// An operator other than a convolution.
#[derive(Debug)]
pub enum Operator {
    /// The sum over all pixels of each channel: `[pixels, channels]` to `[channels]`.
    GlobalSumPool {
        /// `[pixels, channels]`.
        input: Slot,
        /// `[channels]`.
        output: Slot,
    },
    /// An elementwise function of one tensor.
    Unary {
        /// The function.
        function: UnaryOp,
        /// The argument.
        input: Slot,
        /// As long as `input`.
        output: Slot,
    },
    /// An elementwise function of two tensors.
    Binary {
        /// The function.
        function: BinaryOp,
        /// `[outer, inner]`.
        left: Slot,
        /// The second argument, broadcast over the outer axis where it is shorter.
        right: Operand,
        /// As long as `left`.
        output: Slot,
    },
    /// Values in another order of axes.
    Transpose {
        /// The values.
        input: Slot,
        /// As long as `input`.
        output: Slot,
        /// The output's sizes, the innermost axis last.
        sizes: Vec<usize>,
        /// For each of the output's axes its stride in the input, in floats.
        strides: Vec<usize>,
    },
    /// Rows of `len` floats copied between tensors of different row strides: a part of a
    /// concatenation, or an expansion.
    StridedCopy {
        /// The source.
        input: Slot,
        /// The destination.
        output: Slot,
        /// Number of rows.
        rows: usize,
        /// Floats in a row.
        len: usize,
        /// Floats from one input row to the next; 0 repeats one row.
        input_stride: usize,
        /// Floats from one output row to the next.
        output_stride: usize,
    },
    /// Bilinear resize.
    Resize(Resize),
}

/// The second argument of [`Operator::Binary`].
#[derive(Debug)]
pub enum Operand {
    /// A tensor in the arena.
    Slot(Slot),
    /// A constant.
    Constant(Buffer),
}

impl Operator {
    /// The input, the output, and the second input if there is one.
    fn slots(&self) -> (Slot, Slot, Option<Slot>) {
        match self {
            Self::GlobalSumPool { input, output }
            | Self::Unary { input, output, .. }
            | Self::Transpose { input, output, .. }
            | Self::StridedCopy { input, output, .. }
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

    /// Panics where a slot lies outside the arena or the output overlaps an input.
    pub(super) fn check(&self, arena_len: usize) {
        let (input, output, second) = self.slots();
        for slot in [Some(input), Some(output), second].into_iter().flatten() {
            let end = slot.offset.checked_add(slot.len);
            assert!(
                end.is_some_and(|end| end <= arena_len),
                "slot inside the arena"
            );
        }
        assert!(!input.overlaps(output), "input and output overlap");
        assert!(
            second.is_none_or(|second| !second.overlaps(output)),
            "inputs and output overlap"
        );
    }

    /// Runs the operator.
    ///
    /// # Safety
    /// [`Operator::check`] passed for an arena of this size, and nobody else uses the output.
    pub(super) unsafe fn run(&self, arena: &Arena, pool: &mut ThreadPool) {
        // SAFETY: inside the arena; nobody writes the inputs, which do not overlap the output.
        let read = |slot: &Slot| unsafe { arena.slice(*slot) };
        // SAFETY: as above; each arm below takes the output once.
        let write = |slot: &Slot| unsafe { arena.slice_mut(*slot) };
        match self {
            Self::GlobalSumPool { input, output } => global_sum_pool(read(input), write(output)),
            Self::Unary {
                function,
                input,
                output,
            } => function.run(read(input), write(output)),
            Self::Binary {
                function,
                left,
                right,
                output,
            } => {
                let right = match right {
                    Operand::Slot(slot) => read(slot),
                    Operand::Constant(values) => values,
                };
                function.run(read(left), right, write(output));
            }
            Self::Transpose {
                input,
                output,
                sizes,
                strides,
            } => transpose(read(input), write(output), sizes, strides),
            Self::StridedCopy {
                input,
                output,
                rows,
                len,
                input_stride,
                output_stride,
            } => {
                let (input, output) = (read(input), write(output));
                for row in 0..*rows {
                    let input = &input[row * input_stride..][..*len];
                    output[row * output_stride..][..*len].copy_from_slice(input);
                }
            }
            // SAFETY: the caller's promise is handed on.
            Self::Resize(resize) => unsafe { resize.run(arena, pool) },
        }
    }
}

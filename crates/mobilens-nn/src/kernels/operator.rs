//! The operators between convolutions: cheap, and written in plain Rust over slices.

use super::arena::{Arena, Slot};
use super::bf16::{from_bf16, to_bf16};
use super::buffer::Buffer;
use super::elementwise::{BinaryOp, UnaryOp};
use super::feature_map::FeatureMapOp;
use super::global_sum_pool::global_sum_pool;
use super::int8_step::{BinaryInt8Step, Int8Op, run_resize};
use super::isa::IsaSet;
use super::requantize::CodeRange;
use super::resize::Resize;
use super::resize_int8::ResizeInt8;
use super::tensor_step::TensorStep;
use super::thread_pool::ThreadPool;
use super::transpose::Transpose;

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
        /// Bytes of a value.
        element: usize,
        /// The output's sizes, the innermost axis last.
        sizes: Vec<usize>,
        /// For each of the output's axes its stride in the input, in values.
        strides: Vec<usize>,
    },
    /// Rows of `len` bytes copied between tensors of different row strides: a part of a
    /// concatenation, or an expansion.
    StridedCopy {
        /// The source.
        input: Slot,
        /// The destination.
        output: Slot,
        /// Number of rows.
        rows: usize,
        /// Bytes in a row.
        len: usize,
        /// Bytes from one input row to the next; 0 repeats one row.
        input_stride: usize,
        /// Bytes from one output row to the next.
        output_stride: usize,
    },
    /// Bilinear resize.
    Resize(Resize),
    /// Pooling, padding, nearest neighbour resize.
    FeatureMap(FeatureMapOp),
    /// Float32 to bfloat16, rounded to nearest even.
    ToBf16 {
        /// The values.
        input: Slot,
        /// As many.
        output: Slot,
    },
    /// Bfloat16 to float32.
    FromBf16 {
        /// The values.
        input: Slot,
        /// As many.
        output: Slot,
    },
    /// An int8 operator of one tensor.
    Int8 {
        /// The operator.
        op: Int8Op,
        /// The argument.
        input: Slot,
        /// The result.
        output: Slot,
    },
    /// A sum or product of two tensors of codes.
    BinaryInt8 {
        /// The function.
        op: BinaryInt8Step,
        /// `[outer, inner]`.
        left: Slot,
        /// The second argument, broadcast over the outer axis where it is shorter.
        right: Slot,
        /// As long as `left`.
        output: Slot,
    },
    /// An operator of a transformer.
    Tensor(Box<TensorStep>),
    /// Bilinear resize of codes.
    ResizeInt8 {
        /// Where each output value comes from.
        resize: ResizeInt8,
        /// Zero point and limits of the output.
        range: CodeRange,
        /// `[h, w, channels]`.
        input: Slot,
        /// `[h, w, channels]`.
        output: Slot,
    },
}

/// The second argument of [`Operator::Binary`].
#[derive(Debug)]
pub enum Operand {
    /// A tensor in the arena.
    Slot(Slot),
    /// A constant.
    Constant(Buffer),
}

/// Bytes of a task of an elementwise step.
const PART: usize = 64 << 10;

/// A part of tensors that have as many values each.
struct Part {
    first: usize,
    len: usize,
}

impl Part {
    /// This part of a tensor.
    fn of(&self, slot: Slot) -> Slot {
        Slot {
            offset: slot.offset + self.first,
            len: self.len,
        }
    }
}

/// Calls `body` for each part of `len` bytes, on all threads.
fn parallel(len: usize, pool: &mut ThreadPool, body: &(dyn Fn(Part) + Sync)) {
    pool.parallel_for(len.div_ceil(PART), &|task, _| {
        let first = task * PART;
        let len = PART.min(len - first);
        body(Part { first, len });
    });
}

impl Operator {
    /// The input, the output, and the second input if there is one.
    fn slots(&self) -> (Slot, Slot, Option<Slot>) {
        match self {
            Self::FeatureMap(op) => {
                let (input, output) = op.slots();
                (input, output, None)
            }
            Self::GlobalSumPool { input, output }
            | Self::Unary { input, output, .. }
            | Self::Transpose { input, output, .. }
            | Self::StridedCopy { input, output, .. }
            | Self::Resize(Resize { input, output, .. })
            | Self::ToBf16 { input, output }
            | Self::FromBf16 { input, output }
            | Self::Int8 { input, output, .. }
            | Self::ResizeInt8 { input, output, .. } => (*input, *output, None),
            Self::Tensor(step) => (step.inputs[0], step.output, step.inputs.get(1).copied()),
            Self::BinaryInt8 {
                left,
                right,
                output,
                ..
            } => (*left, *output, Some(*right)),
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
        if let Self::Tensor(step) = self {
            step.check(arena_len);
        }
        let (input, output, second) = self.slots();
        if let Self::Int8 { op, .. } = self {
            op.check(input, output);
        }
        if let Self::FeatureMap(op) = self {
            op.check();
        }
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

    /// Bytes of scratch memory that a thread needs.
    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::FeatureMap(op) => op.scratch_len(),
            Self::Tensor(step) => step.scratch_len(),
            Self::ResizeInt8 { resize, .. } => resize.scratch_len() * size_of::<f32>(),
            _ => 0,
        }
    }

    /// Runs the operator.
    ///
    /// # Safety
    /// [`Operator::check`] passed for an arena of this size, and nobody else uses the output.
    pub(super) unsafe fn run(&self, isa: IsaSet, arena: &Arena, pool: &mut ThreadPool) {
        // SAFETY: inside the arena; nobody writes the inputs, which do not overlap the output.
        let read = |slot: &Slot| unsafe { arena.slice::<f32>(*slot) };
        // SAFETY: as above; each arm below takes the output once.
        let write = |slot: &Slot| unsafe { arena.slice_mut::<f32>(*slot) };
        // SAFETY: as above.
        let bytes = |slot: &Slot| unsafe { arena.slice::<u8>(*slot) };
        match self {
            Self::GlobalSumPool { input, output } => global_sum_pool(read(input), write(output)),
            Self::Unary {
                function,
                input,
                output,
            } => parallel(input.len, pool, &|part| {
                // SAFETY: parts of the slots that only this task has.
                let (input, output) = unsafe {
                    (
                        arena.slice(part.of(*input)),
                        arena.slice_mut(part.of(*output)),
                    )
                };
                function.run(isa.float, input, output);
            }),
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
                if size_of_val(right) < left.len && right.len() > 1 {
                    function.run(isa.float, read(left), right, write(output));
                    return;
                }
                parallel(left.len, pool, &|part| {
                    let right = match right {
                        [one] => std::slice::from_ref(one),
                        all => &all[part.first / size_of::<f32>()..][..part.len / size_of::<f32>()],
                    };
                    // SAFETY: parts of the slots that only this task has.
                    let (left, output) = unsafe {
                        (
                            arena.slice(part.of(*left)),
                            arena.slice_mut(part.of(*output)),
                        )
                    };
                    function.run(isa.float, left, right, output);
                });
            }
            Self::Transpose {
                input,
                output,
                element,
                sizes,
                strides,
            } => {
                let transpose = Transpose::new(sizes, strides);
                let (from, to) = (*input, *output);
                // SAFETY: `check` saw that input and output lie apart in the arena, and nobody else uses the output.
                unsafe {
                    match *element {
                        1 => transpose.run::<u8>(arena, pool, from, to),
                        2 => transpose.run::<u16>(arena, pool, from, to),
                        _ => transpose.run::<f32>(arena, pool, from, to),
                    }
                }
            }
            Self::StridedCopy {
                input,
                output,
                rows,
                len,
                input_stride,
                output_stride,
            } => {
                let input = bytes(input);
                let in_task = PART.div_ceil((*len).max(1));
                pool.parallel_for(rows.div_ceil(in_task), &|task, _| {
                    let first = task * in_task;
                    let count = in_task.min(rows - first);
                    let slot = Slot {
                        offset: output.offset + first * output_stride,
                        len: (count - 1) * output_stride + len,
                    };
                    // SAFETY: rows of the output that only this task has.
                    let output: &mut [u8] = unsafe { arena.slice_mut(slot) };
                    for row in 0..count {
                        let input = &input[(first + row) * input_stride..][..*len];
                        output[row * output_stride..][..*len].copy_from_slice(input);
                    }
                });
            }
            // SAFETY: the caller's promise is handed on.
            Self::FeatureMap(op) => unsafe { op.run(isa.float, arena, pool) },
            // SAFETY: the caller's promise is handed on.
            Self::Tensor(step) => unsafe { step.run(isa.float, arena, pool) },
            // SAFETY: the caller's promise is handed on.
            Self::Resize(resize) => unsafe { resize.run(arena, pool) },
            // SAFETY: as above; slots of bfloat16 values.
            Self::ToBf16 { input, output } => unsafe {
                to_bf16(read(input), arena.slice_mut(*output));
            },
            // SAFETY: as above.
            Self::FromBf16 { input, output } => unsafe {
                from_bf16(arena.slice(*input), write(output));
            },
            // SAFETY: as above; `check` saw that the slots suit the types.
            Self::Int8 { op, input, output } => unsafe { op.run(arena, *input, *output) },
            Self::BinaryInt8 {
                op,
                left,
                right,
                output,
                // SAFETY: as above.
            } => unsafe { op.run(arena, *left, *right, *output) },
            Self::ResizeInt8 {
                resize,
                range,
                input,
                output,
                // SAFETY: as above; `scratch_len` says what it needs.
            } => unsafe { run_resize(resize, *range, arena, pool, (*input, *output)) },
        }
    }
}

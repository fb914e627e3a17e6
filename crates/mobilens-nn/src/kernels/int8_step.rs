//! The int8 operators as steps of a program.

use super::arena::{Arena, Slot};
use super::elementwise::BinaryOp;
use super::operator_int8::{
    CodeOperand, add_int8, dequantize, global_sum_pool_int8, lookup, multiply_int8, quantize,
};
use super::requantize::CodeRange;
use super::resize_int8::ResizeInt8;
use super::thread_pool::ThreadPool;

/// An int8 operator of one tensor.
#[derive(Clone, Debug)]
pub enum Int8Op {
    /// Float32 to codes.
    Quantize {
        /// Scale of the codes.
        scale: f32,
        /// Their zero point and limits.
        range: CodeRange,
    },
    /// Codes to float32.
    Dequantize {
        /// Scale of the codes.
        scale: f32,
        /// Their zero point.
        zero_point: u8,
    },
    /// Codes to codes by a table.
    Lookup(Box<[u8; 256]>),
    /// The sum over all pixels of each channel in float32: `[pixels, channels]` to `[channels]`.
    GlobalSumPool {
        /// Scale of the codes.
        scale: f32,
        /// Their zero point.
        zero_point: u8,
    },
}

impl Int8Op {
    /// # Safety
    /// The slots lie in the arena, apart from each other, and suit the types; nobody else uses the
    /// output.
    pub(super) unsafe fn run(&self, arena: &Arena, input: Slot, output: Slot) {
        // SAFETY: the caller's promise; each arm takes the output once.
        unsafe {
            match self {
                Self::Quantize { scale, range } => {
                    quantize(arena.slice(input), *scale, *range, arena.slice_mut(output));
                }
                Self::Dequantize { scale, zero_point } => {
                    let output = arena.slice_mut(output);
                    dequantize(arena.slice(input), *scale, *zero_point, output);
                }
                Self::Lookup(table) => lookup(arena.slice(input), table, arena.slice_mut(output)),
                Self::GlobalSumPool { scale, zero_point } => {
                    let sums: &mut [i32] = arena.slice_mut(output);
                    global_sum_pool_int8(arena.slice(input), *zero_point, sums);
                    // The sums become floats where they are.
                    for sum in sums {
                        *sum = (*sum as f32 * scale).to_bits().cast_signed();
                    }
                }
            }
        }
    }

    /// Bytes of an input value and of an output value.
    fn sizes(&self) -> (usize, usize) {
        match self {
            Self::Quantize { .. } => (size_of::<f32>(), size_of::<u8>()),
            Self::Dequantize { .. } | Self::GlobalSumPool { .. } => {
                (size_of::<u8>(), size_of::<f32>())
            }
            Self::Lookup(_) => (size_of::<u8>(), size_of::<u8>()),
        }
    }

    /// Panics where a slot does not suit the type of its values.
    pub(super) fn check(&self, input: Slot, output: Slot) {
        let sizes = self.sizes();
        for (slot, size) in [(input, sizes.0), (output, sizes.1)] {
            let suits = slot.offset.is_multiple_of(size) && slot.len.is_multiple_of(size);
            assert!(suits, "a slot of whole values");
        }
    }
}

/// A sum or product of two tensors of codes.
#[derive(Clone, Debug)]
pub struct BinaryInt8Step {
    function: BinaryOp,
    zero_points: (u8, u8),
    /// What one code of each is worth in codes of the output; of a product, the first alone.
    multipliers: (f32, f32),
    range: CodeRange,
}

impl BinaryInt8Step {
    /// `function` is `Add` or `Mul`; the tensors are given by scale and zero point, the output by
    /// scale and range.
    ///
    /// # Panics
    /// For another function.
    pub fn new(
        function: BinaryOp,
        left: (f32, u8),
        right: (f32, u8),
        output: (f32, CodeRange),
    ) -> Self {
        let worth = |scale: f64| (scale / f64::from(output.0)) as f32;
        let (a, b) = (f64::from(left.0), f64::from(right.0));
        let multipliers = match function {
            BinaryOp::Add => (worth(a), worth(b)),
            BinaryOp::Mul => (worth(a * b), 1.0),
            _ => panic!("a sum or a product"),
        };
        Self {
            function,
            zero_points: (left.1, right.1),
            multipliers,
            range: output.1,
        }
    }

    /// # Safety
    /// As [`Int8Op::run`].
    pub(super) unsafe fn run(&self, arena: &Arena, left: Slot, right: Slot, output: Slot) {
        // SAFETY: the caller's promise.
        let (left, right, output): (&[u8], &[u8], &mut [u8]) = unsafe {
            (
                arena.slice(left),
                arena.slice(right),
                arena.slice_mut(output),
            )
        };
        if self.function == BinaryOp::Mul {
            let (left, right) = ((left, self.zero_points.0), (right, self.zero_points.1));
            multiply_int8(left, right, self.multipliers.0, self.range, output);
            return;
        }
        let left = CodeOperand {
            codes: left,
            zero_point: self.zero_points.0,
            multiplier: self.multipliers.0,
        };
        let right = CodeOperand {
            codes: right,
            zero_point: self.zero_points.1,
            multiplier: self.multipliers.1,
        };
        add_int8(left, right, self.range, output);
    }
}

/// Output rows in a task of the thread pool.
const ROWS_PER_TASK: usize = 4;

/// Resizes codes, rows in parallel.
///
/// # Safety
/// As [`Int8Op::run`]; each thread's scratch memory holds [`ResizeInt8::scratch_len`] floats.
pub(super) unsafe fn run_resize(
    resize: &ResizeInt8,
    range: CodeRange,
    arena: &Arena,
    pool: &mut ThreadPool,
    (input, output): (Slot, Slot),
) {
    // SAFETY: inside the arena, and nobody writes it.
    let input: &[u8] = unsafe { arena.slice(input) };
    let (row, height) = (resize.output_row(), resize.rows.len());
    pool.parallel_for(height.div_ceil(ROWS_PER_TASK), &|task, thread| {
        // SAFETY: this thread's own scratch memory, aligned and long enough.
        let scratch = unsafe {
            std::slice::from_raw_parts_mut(arena.scratch(thread).cast(), resize.scratch_len())
        };
        let mut rows = resize.rows_of(input, scratch);
        for y in task * ROWS_PER_TASK..height.min((task + 1) * ROWS_PER_TASK) {
            let slot = Slot {
                offset: output.offset + y * row,
                len: row,
            };
            // SAFETY: a row of the output that only this task has.
            rows.codes(y, range, unsafe { arena.slice_mut(slot) });
        }
    });
}

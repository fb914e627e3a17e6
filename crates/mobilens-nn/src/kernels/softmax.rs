//! Softmax along any axis: `exp(x - max) / sum(exp(x - max))`.

use super::activation_functions::scalar::exp;
use super::arena::{Arena, Slot};
use super::isa::Isa;
use super::thread_pool::ThreadPool;
use super::vectorize::{Loop, vectorized};

/// Softmax of `[outer, len, inner]` along the middle axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Values of the axes before.
    pub outer: usize,
    /// Values of the axis.
    pub len: usize,
    /// Values of the axes behind.
    pub inner: usize,
}

/// Values in a task of the thread pool, about.
const VALUES_PER_TASK: usize = 16 << 10;
/// Partial results side by side, so that they fill registers.
const LANES: usize = 16;

impl Softmax {
    /// Panics where the slots do not have the sizes.
    pub(super) fn check(&self, input: Slot, output: Slot) {
        let len = self.outer * self.len * self.inner * size_of::<f32>();
        assert!(
            len > 0 && input.len == len && output.len == len,
            "sizes of a softmax"
        );
    }

    /// Bytes of scratch memory of a thread: maxima and sums.
    pub(super) fn scratch_len(&self) -> usize {
        2 * self.inner * size_of::<f32>()
    }
}

/// Computes the softmax, the outer axis in parallel.
///
/// # Safety
/// [`Softmax::check`] passed; input and output lie in the arena, apart from each other, and nobody else uses
/// the output meanwhile.
pub(super) unsafe fn softmax(
    isa: Isa,
    softmax: &Softmax,
    (input, output): (Slot, Slot),
    arena: &Arena,
    pool: &mut ThreadPool,
) {
    let row = softmax.len * softmax.inner;
    let rows = VALUES_PER_TASK.div_ceil(row);
    pool.parallel_for(softmax.outer.div_ceil(rows), &|task, thread| {
        let first = task * rows;
        let part = |slot: Slot| Slot {
            offset: slot.offset + first * row * size_of::<f32>(),
            len: rows.min(softmax.outer - first) * row * size_of::<f32>(),
        };
        // SAFETY: the rows of this task, and this thread's own scratch memory, which is aligned and long
        // enough.
        let (input, output, scratch) = unsafe {
            (
                arena.slice(part(input)),
                arena.slice_mut(part(output)),
                std::slice::from_raw_parts_mut(arena.scratch(thread).cast(), 2 * softmax.inner),
            )
        };
        if softmax.inner == 1 {
            vectorized(isa, Rows(softmax.len, input, output));
        } else {
            vectorized(isa, Columns(*softmax, input, output, scratch));
        }
    });
}

/// Of each row of so many values.
struct Rows<'a>(usize, &'a [f32], &'a mut [f32]);

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        let Self(len, input, output) = self;
        for (input, output) in input.chunks_exact(len).zip(output.chunks_exact_mut(len)) {
            let most = folded(input, f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
            for (to, x) in output.iter_mut().zip(input) {
                *to = exp(x - most);
            }
            let factor = 1.0 / folded(output, 0.0, |a, b| a + b);
            for to in output {
                *to *= factor;
            }
        }
    }
}

/// A fold in an order that does not depend on the instruction set.
#[inline(always)]
fn folded(values: &[f32], start: f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = fold(lanes[lane], chunk[lane]);
        }
    }
    let lanes = lanes.iter().fold(start, |a, b| fold(a, *b));
    rest.iter().fold(lanes, |a, b| fold(a, *b))
}

/// Of columns, all of a row at a time.
struct Columns<'a>(Softmax, &'a [f32], &'a mut [f32], &'a mut [f32]);

impl Loop for Columns<'_> {
    #[inline(always)]
    fn run(self) {
        let Self(softmax, input, output, scratch) = self;
        let (inner, row) = (softmax.inner, softmax.len * softmax.inner);
        let (most, sums) = scratch.split_at_mut(inner);
        for (input, output) in input.chunks_exact(row).zip(output.chunks_exact_mut(row)) {
            most.fill(f32::NEG_INFINITY);
            sums.fill(0.0);
            for input in input.chunks_exact(inner) {
                for (most, x) in most.iter_mut().zip(input) {
                    *most = if *most > *x { *most } else { *x };
                }
            }
            for (input, output) in input
                .chunks_exact(inner)
                .zip(output.chunks_exact_mut(inner))
            {
                let sides = most.iter().zip(sums.iter_mut());
                for ((to, x), (most, sum)) in output.iter_mut().zip(input).zip(sides) {
                    *to = exp(x - most);
                    *sum += *to;
                }
            }
            for output in output.chunks_exact_mut(inner) {
                for (to, sum) in output.iter_mut().zip(sums.iter()) {
                    *to /= sum;
                }
            }
        }
    }
}

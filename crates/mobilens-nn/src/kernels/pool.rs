//! Max and average pooling of feature maps in NHWC, by rows and then by columns: both are separable, so
//! a window of k x k takes 2 k operations for each value and not k^2.

use super::arena::{Arena, Slot};
use super::buffer::Element;
use super::isa::Isa;
use super::isa_loop::{IsaLoop, run_on};
use super::thread_pool::ThreadPool;

/// What is made of the values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolFunction {
    /// The greatest.
    Max,
    /// Their sum, divided by the product of the divisors of row and column.
    Average,
}

/// The values of one axis that an output reads: `first`, `first + step`, ..., `count` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolTaps {
    /// The first row or column.
    pub first: usize,
    /// How many; at least one.
    pub count: usize,
    /// Distance of two: the dilation.
    pub step: usize,
    /// The axis's part of what an average is divided by.
    pub divisor: usize,
}

/// Pooling of `[h, w, channels]`.
#[derive(Debug)]
pub struct Pool {
    /// The input.
    pub input: Slot,
    /// The output.
    pub output: Slot,
    /// What is made of the values of a window.
    pub function: PoolFunction,
    /// Whether the values are codes of one byte, for which only the maximum is defined, or float32.
    pub codes: bool,
    /// Columns of the input.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// For each output row its input rows.
    pub rows: Vec<PoolTaps>,
    /// The same for each output column.
    pub columns: Vec<PoolTaps>,
}

/// Output rows in a task of the thread pool.
const ROWS_PER_TASK: usize = 4;

impl Pool {
    fn element(&self) -> usize {
        if self.codes { 1 } else { size_of::<f32>() }
    }

    /// Bytes of scratch memory of a thread: one row of the input.
    pub(super) fn scratch_len(&self) -> usize {
        self.width * self.channels * self.element()
    }

    /// Panics where a window leaves the input or the slots do not have the sizes.
    pub(super) fn check(&self) {
        let row = self.width * self.channels * self.element();
        assert!(row > 0, "pooling of something");
        let height = self.input.len / row;
        let inside = |taps: &PoolTaps, size: usize| {
            taps.count > 0 && taps.divisor > 0 && taps.first + (taps.count - 1) * taps.step < size
        };
        assert!(
            self.rows.iter().all(|taps| inside(taps, height))
                && self.columns.iter().all(|taps| inside(taps, self.width)),
            "windows inside the input"
        );
        let outputs = self.rows.len() * self.columns.len() * self.channels;
        assert!(
            self.output.len == outputs * self.element(),
            "output of the pooling"
        );
        assert!(
            !self.codes || self.function == PoolFunction::Max,
            "codes have no average here"
        );
    }

    /// Pools, rows in parallel.
    ///
    /// # Safety
    /// [`Pool::check`] passed; input and output lie in the arena, apart from each other, and nobody else
    /// uses the output meanwhile.
    pub(super) unsafe fn run(&self, isa: Isa, arena: &Arena, pool: &mut ThreadPool) {
        // SAFETY: the caller's promise is handed on.
        unsafe {
            match (self.codes, self.function) {
                (true, _) => self.run_as::<u8, Max>(isa, arena, pool),
                (false, PoolFunction::Max) => self.run_as::<f32, Max>(isa, arena, pool),
                (false, PoolFunction::Average) => self.run_as::<f32, Sum>(isa, arena, pool),
            }
        }
    }

    /// # Safety
    /// As [`Pool::run`].
    unsafe fn run_as<T: Element, F: Fold<T>>(
        &self,
        isa: Isa,
        arena: &Arena,
        pool: &mut ThreadPool,
    ) {
        // SAFETY: inside the arena, and nobody writes it.
        let input: &[T] = unsafe { arena.slice(self.input) };
        let row = self.columns.len() * self.channels;
        let height = self.rows.len();
        pool.parallel_for(height.div_ceil(ROWS_PER_TASK), &|task, thread| {
            // SAFETY: this thread's own scratch memory, aligned and long enough.
            let scratch: &mut [T] = unsafe {
                std::slice::from_raw_parts_mut(
                    arena.scratch(thread).cast(),
                    self.width * self.channels,
                )
            };
            for y in task * ROWS_PER_TASK..height.min((task + 1) * ROWS_PER_TASK) {
                let slot = Slot {
                    offset: self.output.offset + y * row * size_of::<T>(),
                    len: row * size_of::<T>(),
                };
                // SAFETY: a row of the output that only this task has.
                let output = unsafe { arena.slice_mut(slot) };
                let work = PoolRow::<T, F> {
                    pool: self,
                    input,
                    scratch,
                    output,
                    taps: self.rows[y],
                    fold: std::marker::PhantomData,
                };
                run_on(isa, work);
            }
        });
    }
}

/// A function of two values that is taken over a window.
trait Fold<T> {
    fn fold(a: T, b: T) -> T;
    /// The result for a window of these divisors.
    fn finish(value: T, divisor: usize) -> T;
}

struct Max;

impl<T: PartialOrd> Fold<T> for Max {
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a > b { a } else { b }
    }

    #[inline(always)]
    fn finish(value: T, _: usize) -> T {
        value
    }
}

struct Sum;

impl Fold<f32> for Sum {
    #[inline(always)]
    fn fold(a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn finish(value: f32, divisor: usize) -> f32 {
        value / divisor as f32
    }
}

/// One row of the output.
struct PoolRow<'a, T, F> {
    pool: &'a Pool,
    input: &'a [T],
    scratch: &'a mut [T],
    output: &'a mut [T],
    taps: PoolTaps,
    fold: std::marker::PhantomData<F>,
}

impl<T: Element, F: Fold<T>> IsaLoop for PoolRow<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (taps, c) = (self.taps, self.pool.channels);
        let len = self.scratch.len();
        let row = |tap: usize| &self.input[(taps.first + tap * taps.step) * len..][..len];
        if taps.count == 1 {
            self.scratch.copy_from_slice(row(0));
        } else {
            for ((to, a), b) in self.scratch.iter_mut().zip(row(0)).zip(row(1)) {
                *to = F::fold(*a, *b);
            }
            for tap in 2..taps.count {
                for (to, value) in self.scratch.iter_mut().zip(row(tap)) {
                    *to = F::fold(*to, *value);
                }
            }
        }
        for (output, columns) in self.output.chunks_exact_mut(c).zip(&self.pool.columns) {
            let column =
                |tap: usize| &self.scratch[(columns.first + tap * columns.step) * c..][..c];
            output.copy_from_slice(column(0));
            for tap in 1..columns.count {
                for (to, value) in output.iter_mut().zip(column(tap)) {
                    *to = F::fold(*to, *value);
                }
            }
            let divisor = taps.divisor * columns.divisor;
            for value in output.iter_mut() {
                *value = F::finish(*value, divisor);
            }
        }
    }
}

/// The taps of one axis with `size` values, of a kernel of `kernel` values `dilation` apart, for each of
/// `outputs`. `after` is the padding after the input that an average counts as zeros, as it counts that
/// before it; `None` where it counts no padding.
pub fn pool_taps(
    size: usize,
    (kernel, stride, dilation): (usize, usize, usize),
    before: usize,
    outputs: usize,
    after: Option<usize>,
) -> Option<Vec<PoolTaps>> {
    (0..outputs)
        .map(|output| {
            let places = (0..kernel).map(|tap| output * stride + tap * dilation);
            let mut inside = places
                .clone()
                .filter(|at| (before..before + size).contains(at));
            let first = inside.next()? - before;
            let count = 1 + inside.count();
            let divisor = match after {
                Some(after) => places.filter(|at| *at < before + size + after).count(),
                None => count,
            };
            Some(PoolTaps {
                first,
                count,
                step: dilation,
                divisor,
            })
        })
        .collect()
}

/// Pooling by its definition: each window by itself.
#[cfg(test)]
pub(super) fn reference(pool: &Pool, input: &[f32]) -> Vec<f32> {
    let c = pool.channels;
    let mut output = Vec::new();
    for rows in &pool.rows {
        for columns in &pool.columns {
            for channel in 0..c {
                let window = (0..rows.count).flat_map(|i| {
                    let y = rows.first + i * rows.step;
                    (0..columns.count).map(move |j| {
                        let x = columns.first + j * columns.step;
                        input[(y * pool.width + x) * c + channel]
                    })
                });
                output.push(match pool.function {
                    PoolFunction::Max => window.fold(f32::NEG_INFINITY, f32::max),
                    PoolFunction::Average => {
                        window.sum::<f32>() / (rows.divisor * columns.divisor) as f32
                    }
                });
            }
        }
    }
    output
}

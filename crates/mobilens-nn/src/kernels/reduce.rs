//! Reduction over one axis: sum, mean, largest and least value.

use super::isa::Isa;
use super::isa_loop::{IsaLoop, LANES, fold, run_on};

/// What values are reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The least.
    Min,
}

impl ReduceOp {
    #[inline(always)]
    fn start(self) -> f32 {
        match self {
            Self::Sum => 0.0,
            Self::Max => f32::NEG_INFINITY,
            Self::Min => f32::INFINITY,
        }
    }

    #[inline(always)]
    fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Sum => a + b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }
}

/// The reference: reduces the middle axis of `[outer, n, inner]`, in float64.
#[cfg(test)]
pub fn reference(function: ReduceOp, input: &[f32], n: usize, inner: usize) -> Vec<f32> {
    let mut output = Vec::new();
    for block in input.chunks_exact(n * inner) {
        for column in 0..inner {
            let values = block.iter().skip(column).step_by(inner);
            output.push(match function {
                ReduceOp::Sum => values.map(|x| f64::from(*x)).sum::<f64>() as f32,
                ReduceOp::Max => values.copied().fold(f32::NEG_INFINITY, f32::max),
                ReduceOp::Min => values.copied().fold(f32::INFINITY, f32::min),
            });
        }
    }
    output
}

/// Reduces the middle axis of `[outer, n, inner]`, to `[outer, inner]`.
pub(super) fn reduce(
    isa: Isa,
    function: ReduceOp,
    input: &[f32],
    output: &mut [f32],
    n: usize,
    inner: usize,
) {
    run_on(
        isa,
        Reduce {
            function,
            input,
            output,
            n,
            inner,
        },
    );
}

struct Reduce<'a> {
    function: ReduceOp,
    input: &'a [f32],
    output: &'a mut [f32],
    n: usize,
    inner: usize,
}

impl IsaLoop for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (function, inner) = (self.function, self.inner.max(1));
        let blocks = self.input.chunks_exact((self.n * inner).max(1));
        for (block, output) in blocks.zip(self.output.chunks_exact_mut(inner)) {
            if inner == 1 {
                output[0] = reduced(function, block);
                continue;
            }
            output.fill(function.start());
            for row in block.chunks_exact(inner) {
                for (output, value) in output.iter_mut().zip(row) {
                    *output = function.apply(*output, *value);
                }
            }
        }
    }
}

#[inline(always)]
fn reduced(function: ReduceOp, values: &[f32]) -> f32 {
    let mut lanes = [function.start(); LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (value, lane) in chunk.iter().zip(&mut lanes) {
            *lane = function.apply(*lane, *value);
        }
    }
    for (value, lane) in rest.iter().zip(&mut lanes) {
        *lane = function.apply(*lane, *value);
    }
    fold(lanes, |a, b| function.apply(a, b))
}

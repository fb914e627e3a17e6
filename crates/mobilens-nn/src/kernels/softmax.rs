//! Softmax over one axis: `exp(x - max) / sum(exp(x - max))`.

use super::isa::Isa;
use super::isa_loop::{IsaLoop, LANES, Lanes, exp, fold, larger, multiply_add, run_on, sum_of};

/// The reference: softmax over the middle axis of `[outer, n, inner]`.
#[cfg(test)]
pub fn reference(input: &[f32], n: usize, inner: usize) -> Vec<f32> {
    let mut output = input.to_vec();
    for block in output.chunks_exact_mut(n * inner) {
        for column in 0..inner {
            let values = || block.iter().skip(column).step_by(inner).copied();
            let most = values().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = values().map(|x| (x - most).exp()).sum();
            for x in block.iter_mut().skip(column).step_by(inner) {
                *x = (*x - most).exp() / sum;
            }
        }
    }
    output
}

/// Scores to exponentials, a row at a time, in place: `x` becomes `exp(scale * x + bias - m)`, where m is the
/// largest of `scale * x + bias` in the row.
pub(super) struct ExpRows<'a> {
    /// Rows of `stride` values, a multiple of [`LANES`]; what does not count becomes 0 where it is
    /// [`ExpRows::unused`].
    pub rows: &'a mut [f32],
    pub stride: usize,
    pub scale: f32,
    /// Added to the scores: rows as long, `bias.1` values from one to the next.
    pub bias: Option<(&'a [f32], usize)>,
    /// The sum of each row of exponentials.
    pub sums: &'a mut [f32],
}

impl ExpRows<'_> {
    /// A score that no other is below.
    pub(super) fn unused(scale: f32) -> f32 {
        if scale < 0.0 {
            f32::INFINITY
        } else {
            f32::NEG_INFINITY
        }
    }
}

impl IsaLoop for ExpRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.rows.chunks_mut(self.stride).zip(self.sums);
        for (index, (row, sum)) in rows.enumerate() {
            let most = match self.bias {
                Some((bias, stride)) => {
                    let bias = &bias[index * stride..][..self.stride];
                    scaled::<FMA>(row, self.scale, bias)
                }
                None => largest(row, self.scale),
            };
            // With a bias the row is scaled already.
            let scale = if self.bias.is_some() { 1.0 } else { self.scale };
            *sum = exp_row::<FMA>(row, scale, most);
        }
    }
}

/// The rest of a row that is no whole vector, filled up with `fill`.
#[inline(always)]
fn padded(rest: &[f32], fill: f32) -> Lanes {
    let mut lanes = [fill; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// `x` becomes `scale * x + bias` in whole vectors; returns the largest.
#[inline(always)]
fn scaled<const FMA: bool>(row: &mut [f32], scale: f32, bias: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (values, _) = row.as_chunks_mut::<LANES>();
    let (biases, _) = bias.as_chunks::<LANES>();
    for (values, biases) in values.iter_mut().zip(biases) {
        for ((value, bias), most) in values.iter_mut().zip(biases).zip(&mut most) {
            *value = multiply_add::<FMA>(*value, scale, *bias);
            *most = larger(*value, *most);
        }
    }
    fold(most, larger)
}

/// The largest of `scale * x`.
#[inline(always)]
fn largest(row: &[f32], scale: f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (values, rest) = row.as_chunks::<LANES>();
    for values in values {
        for (value, most) in values.iter().zip(&mut most) {
            *most = larger(*value * scale, *most);
        }
    }
    for (value, most) in rest.iter().zip(&mut most) {
        *most = larger(*value * scale, *most);
    }
    fold(most, larger)
}

/// `x` becomes `exp(scale * x - most)`; returns the sum.
#[inline(always)]
fn exp_row<const FMA: bool>(row: &mut [f32], scale: f32, most: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (values, rest) = row.as_chunks_mut::<LANES>();
    for values in values {
        for (value, sum) in values.iter_mut().zip(&mut sums) {
            *value = exp::<FMA>(multiply_add::<FMA>(*value, scale, -most));
            *sum += *value;
        }
    }
    if !rest.is_empty() {
        let mut last = padded(rest, 0.0);
        for value in &mut last {
            *value = exp::<FMA>(multiply_add::<FMA>(*value, scale, -most));
        }
        rest.copy_from_slice(&last[..rest.len()]);
        for (value, sum) in rest.iter().zip(&mut sums) {
            *sum += *value;
        }
    }
    sum_of(sums)
}

/// Softmax over the middle axis of `[outer, n, inner]`.
pub(super) fn softmax(isa: Isa, input: &[f32], output: &mut [f32], n: usize, inner: usize) {
    run_on(
        isa,
        Softmax {
            input,
            output,
            n,
            inner,
        },
    );
}

struct Softmax<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
    n: usize,
    inner: usize,
}

impl IsaLoop for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = (self.n * self.inner).max(1);
        let blocks = self.output.chunks_exact_mut(len);
        for (output, input) in blocks.zip(self.input.chunks_exact(len)) {
            if self.inner == 1 {
                output.copy_from_slice(input);
                let most = largest(output, 1.0);
                let factor = 1.0 / exp_row::<FMA>(output, 1.0, most);
                for value in output {
                    *value *= factor;
                }
            } else {
                let mut first = 0;
                while first < self.inner {
                    let columns = LANES.min(self.inner - first);
                    softmax_columns::<FMA>(input, output, self.inner, first, columns);
                    first += columns;
                }
            }
        }
    }
}

/// Softmax of a few columns of rows of `inner` values.
#[inline(always)]
fn softmax_columns<const FMA: bool>(
    input: &[f32],
    output: &mut [f32],
    inner: usize,
    first: usize,
    columns: usize,
) {
    let (mut most, mut sums) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
    for row in input.chunks_exact(inner) {
        for (value, most) in row[first..first + columns].iter().zip(&mut most) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    for (row, output) in input
        .chunks_exact(inner)
        .zip(output.chunks_exact_mut(inner))
    {
        let values = row[first..first + columns].iter().zip(&mut output[first..]);
        for (((value, output), most), sum) in values.zip(&most).zip(&mut sums) {
            *output = exp::<FMA>(*value - *most);
            *sum += *output;
        }
    }
    let factors = sums.map(|sum| 1.0 / sum);
    for output in output.chunks_exact_mut(inner) {
        for (value, factor) in output[first..first + columns].iter_mut().zip(&factors) {
            *value *= factor;
        }
    }
}

//! The exponentials of a softmax over rows of scores, in place, for attention.

use super::isa_loop::{IsaLoop, LANES, Lanes, exp, fold, larger, multiply_add, sum_of};

/// Scores to exponentials, a row at a time, in place: `x` becomes `exp(scale * x + bias - m)`, where m is the
/// largest of `scale * x + bias` in the row.
pub(super) struct ExpRows<'a> {
    /// Rows of `stride` values, of which the first `columns` count.
    pub rows: &'a mut [f32],
    pub columns: usize,
    pub stride: usize,
    pub scale: f32,
    /// Added to the scores: as many rows, `bias.1` values from one to the next.
    pub bias: Option<(&'a [f32], usize)>,
    /// The sum of each row of exponentials.
    pub sums: &'a mut [f32],
}

impl IsaLoop for ExpRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.rows.chunks_mut(self.stride).zip(self.sums);
        for (index, (row, sum)) in rows.enumerate() {
            let row = &mut row[..self.columns];
            let most = match self.bias {
                Some((bias, stride)) => {
                    let bias = &bias[index * stride..][..self.columns];
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

/// `x` becomes `scale * x + bias`; returns the largest.
#[inline(always)]
fn scaled<const FMA: bool>(row: &mut [f32], scale: f32, bias: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let mut scale_lanes = |values: &mut Lanes, biases: &Lanes| {
        for i in 0..LANES {
            values[i] = multiply_add::<FMA>(values[i], scale, biases[i]);
            most[i] = larger(values[i], most[i]);
        }
    };
    let (values, rest) = row.as_chunks_mut::<LANES>();
    let (biases, bias_rest) = bias.as_chunks::<LANES>();
    for (values, biases) in values.iter_mut().zip(biases) {
        scale_lanes(values, biases);
    }
    if !rest.is_empty() {
        let mut last = padded(rest, 0.0);
        scale_lanes(&mut last, &padded(bias_rest, f32::NEG_INFINITY));
        rest.copy_from_slice(&last[..rest.len()]);
    }
    fold(most, larger)
}

/// The largest of `scale * x`.
#[inline(always)]
fn largest(row: &[f32], scale: f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (values, rest) = row.as_chunks::<LANES>();
    for values in values {
        for i in 0..LANES {
            most[i] = larger(values[i] * scale, most[i]);
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
        for i in 0..LANES {
            values[i] = exp::<FMA>(multiply_add::<FMA>(values[i], scale, -most));
            sums[i] += values[i];
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

//! Layer normalisation (Ba, Kiros, Hinton: Layer Normalization, 2016, section 3): each row less its mean, over
//! its standard deviation, times gamma plus beta. Group and instance normalisation are the same over other axes.

use super::isa::Isa;
use super::isa_loop::{IsaLoop, LANES, multiply_add, run_on, sum_of};

/// The reference: rows as long as `gamma` and `beta`, in float64.
#[cfg(test)]
pub fn reference(input: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Vec<f32> {
    let mut output = Vec::new();
    for row in input.chunks_exact(gamma.len()) {
        let n = row.len() as f64;
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let squares = row.iter().map(|x| (f64::from(*x) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / n + f64::from(epsilon)).sqrt();
        for ((x, gamma), beta) in row.iter().zip(gamma).zip(beta) {
            let normalised = (f64::from(*x) - mean) / deviation;
            output.push((normalised * f64::from(*gamma) + f64::from(*beta)) as f32);
        }
    }
    output
}

/// Normalises rows as long as `gamma` and `beta`.
pub(super) fn layer_norm(
    isa: Isa,
    input: &[f32],
    output: &mut [f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) {
    run_on(
        isa,
        LayerNormRows {
            input,
            output,
            gamma,
            beta,
            epsilon,
        },
    );
}

struct LayerNormRows<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl IsaLoop for LayerNormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let n = self.gamma.len().max(1);
        let share = 1.0 / n as f32;
        let rows = self
            .input
            .chunks_exact(n)
            .zip(self.output.chunks_exact_mut(n));
        for (input, output) in rows {
            let mean = sum(input, |x| x) * share;
            let variance = sum(input, |x| (x - mean) * (x - mean)) * share;
            let factor = 1.0 / (variance + self.epsilon).sqrt();
            let parameters = self.gamma.iter().zip(self.beta);
            for ((x, output), (gamma, beta)) in input.iter().zip(output).zip(parameters) {
                *output = multiply_add::<FMA>((*x - mean) * factor, *gamma, *beta);
            }
        }
    }
}

/// The sum of a function of the values, in an order that depends on their number only.
#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (value, sum) in chunk.iter().zip(&mut sums) {
            *sum += f(*value);
        }
    }
    for (value, sum) in rest.iter().zip(&mut sums) {
        *sum += f(*value);
    }
    sum_of(sums)
}

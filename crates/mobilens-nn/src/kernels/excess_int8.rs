//! What AVX2 cannot sum in 16 bits.
//!
//! `vpmaddubsw` multiplies bytes and adds two products with saturation in 16 bits. The kernel for AVX2 adds
//! the results of two steps of K in 16 bits as well, before it widens them: four products. With activations
//! up to 255 that is exact where the positive weights of the four, and the negative ones, are not more than 128
//! together: 255 x 128 < 32768. What is more is taken out of the packed weights and kept here, to be added
//! in steps of its own. So every sum is exact.

use super::packed_gemm_int8::{MAX_REGISTERS, Panel, STEP};

/// 32-bit lanes of a register.
const LANES: usize = 8;
/// Weights of a register.
const WEIGHTS: usize = LANES * STEP;
/// Largest sum of weights of one sign whose products cannot leave 16 bits together.
const MAX_WEIGHTS: i32 = 128;

/// Addends of weights for `vpmaddubsw`.
#[derive(Debug, Default)]
pub(super) struct Excess {
    steps: Vec<ExcessStep>,
    /// For each register of each panel the end of its steps.
    ends: Vec<usize>,
}

/// A step of one register that is computed once more, with other weights.
#[derive(Debug)]
pub(super) struct ExcessStep {
    /// The segment of K.
    pub segment: usize,
    /// First byte in the segment.
    pub offset: usize,
    /// The second addends.
    pub weights: [i8; WEIGHTS],
}

impl Excess {
    /// Takes out of `weights`, packed for registers of eight lanes, what could leave 16 bits.
    pub fn split(
        weights: &mut [i8],
        panels: &[Panel],
        segments: usize,
        segment_steps: usize,
    ) -> Self {
        let mut excess = Self::default();
        let mut panel_weights = weights;
        for panel in panels {
            let len = segments * segment_steps * panel.registers * WEIGHTS;
            let (here, after) = panel_weights.split_at_mut(len);
            panel_weights = after;
            let registers = here.as_chunks_mut::<WEIGHTS>().0;
            for register in 0..MAX_REGISTERS {
                for segment in (0..segments).filter(|_| register < panel.registers) {
                    for step in (0..segment_steps).step_by(2) {
                        let at = |step: usize| {
                            (segment * segment_steps + step) * panel.registers + register
                        };
                        let mut pair = [[0; WEIGHTS]; 2];
                        let count = 2.min(segment_steps - step);
                        for (i, weights) in pair.iter_mut().enumerate().take(count) {
                            *weights = registers[at(step + i)];
                        }
                        let taken = take_excess(&mut pair);
                        for (i, taken) in taken.into_iter().enumerate().take(count) {
                            registers[at(step + i)] = pair[i];
                            excess.push(segment, (step + i) * STEP, taken);
                        }
                    }
                }
                excess.ends.push(excess.steps.len());
            }
        }
        excess
    }

    /// Adds steps for the weights, as many as it takes for none to saturate by itself.
    fn push(&mut self, segment: usize, offset: usize, mut weights: [i8; WEIGHTS]) {
        while weights.iter().any(|weight| *weight != 0) {
            let mut pair = [weights, [0; WEIGHTS]];
            let [more, _] = take_excess(&mut pair);
            self.steps.push(ExcessStep {
                segment,
                offset,
                weights: pair[0],
            });
            weights = more;
        }
    }

    /// The steps of a register of a panel.
    pub fn of(&self, panel: usize, register: usize) -> &[ExcessStep] {
        let index = panel * MAX_REGISTERS + register;
        let end_of = |index: usize| self.ends.get(index).copied().unwrap_or(0);
        &self.steps[index.checked_sub(1).map_or(0, end_of)..end_of(index)]
    }
}

/// Takes out of the weights of two steps, whose products are added in pairs and then to each other, what could
/// leave 16 bits; out of one of the two alone where that is enough.
fn take_excess(steps: &mut [[i8; WEIGHTS]; 2]) -> [[i8; WEIGHTS]; 2] {
    let fits = |weights: &[i8; WEIGHTS]| {
        let mut pairs = weights.as_chunks::<2>().0.iter();
        pairs.all(|pair| {
            [1, -1]
                .iter()
                .all(|sign| of_sign(pair, *sign) <= MAX_WEIGHTS)
        })
    };
    let mut taken = [[0; WEIGHTS]; 2];
    // A step that does not fit by itself gives first.
    let order = if fits(&steps[0]) { [1, 0] } else { [0, 1] };
    for place in 0..WEIGHTS / 2 {
        for sign in [1, -1] {
            let pair = |steps: &[[i8; WEIGHTS]; 2], step: usize| {
                let [a, b] = [0, 1].map(|i| steps[step][2 * place + i]);
                of_sign(&[a, b], sign)
            };
            let mut over = pair(steps, 0) + pair(steps, 1) - MAX_WEIGHTS;
            for step in order {
                for i in [2 * place, 2 * place + 1] {
                    let moved = (i32::from(steps[step][i]) * sign).clamp(0, over.max(0));
                    over -= moved;
                    // At most the weight itself.
                    steps[step][i] -= (moved * sign) as i8;
                    taken[step][i] += (moved * sign) as i8;
                }
            }
        }
    }
    taken
}

/// The sum of the weights of one sign, without it.
fn of_sign(pair: &[i8; 2], sign: i32) -> i32 {
    pair.iter()
        .map(|weight| (i32::from(*weight) * sign).max(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_add_up_and_none_leaves_16_bits(
            first in prop::collection::vec(any::<i8>(), WEIGHTS),
            second in prop::collection::vec(prop_oneof![any::<i8>(), Just(127), Just(-128), Just(0)], WEIGHTS),
        ) {
            let given: [[i8; WEIGHTS]; 2] =
                [first, second].map(|weights| weights.try_into().expect("as many"));
            let mut left = given;
            let taken = take_excess(&mut left);
            for step in 0..2 {
                for i in 0..WEIGHTS {
                    let sum = i32::from(left[step][i]) + i32::from(taken[step][i]);
                    prop_assert_eq!(sum, i32::from(given[step][i]));
                }
            }
            for place in 0..WEIGHTS / 2 {
                for sign in [1, -1] {
                    let pairs = left.map(|step| [step[2 * place], step[2 * place + 1]]);
                    let sum: i32 = pairs.iter().map(|pair| of_sign(pair, sign)).sum();
                    prop_assert!(sum <= MAX_WEIGHTS, "{sum} at {place}");
                }
            }
            let mut excess = Excess::default();
            excess.push(0, 0, taken[0]);
            let mut sums = [0_i32; WEIGHTS];
            for step in &excess.steps {
                for (sum, weight) in sums.iter_mut().zip(step.weights) {
                    *sum += i32::from(weight);
                }
                for pair in step.weights.as_chunks::<2>().0 {
                    prop_assert!(of_sign(pair, 1) <= MAX_WEIGHTS && of_sign(pair, -1) <= MAX_WEIGHTS);
                }
            }
            prop_assert_eq!(sums, taken[0].map(i32::from));
        }
    }
}

//! Which weights of the float graph were dequantised, and with which scales.

use std::collections::HashMap;

/// Scales of dequantised weights, found by the contents of the weights: a tensor has no name any
/// more where convolutions are imported from tract.
///
/// A weight divided by the scale of its output channel is a whole number, up to the rounding of one
/// multiplication: the code less its zero point. For symmetric int8 weights it lies in -128..=127;
/// weights with a zero point, as the uint8 ones of TensorFlow Lite, have an entry too, and theirs
/// lies in -255..=255.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeightScales {
    /// By the bit patterns of the weights; several where their numbers of outputs differ.
    by_bits: HashMap<Vec<u32>, Vec<Vec<f32>>>,
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

impl WeightScales {
    /// Records weights and the scale of each of their output channels, the outermost axis.
    pub fn insert(&mut self, weights: &[f32], scales: Vec<f32>) {
        let known = self.by_bits.entry(bits(weights)).or_default();
        if known.iter().all(|other| other.len() != scales.len()) {
            known.push(scales);
        }
    }

    /// Whether no weights were dequantised.
    pub fn is_empty(&self) -> bool {
        self.by_bits.is_empty()
    }

    /// The scale of each of `outputs` output channels, if the weights were dequantised.
    pub fn find(&self, weights: &[f32], outputs: usize) -> Option<Vec<f32>> {
        if self.by_bits.is_empty() {
            return None;
        }
        let known = self.by_bits.get(&bits(weights))?;
        known.iter().find(|scales| scales.len() == outputs).cloned()
    }
}

/// The coarsest scale of each output channel at which all its weights are whole numbers of
/// -128..=127 times the scale, up to a thousandth of it; none if a channel has no such scale.
///
/// TensorFlow's converter and torch's optimiser compute the weights of a network that was trained
/// quantised while they export it: the values are still on their grid, but its scales are lost.
pub(super) fn grid_scales(weights: &[f32], outputs: usize) -> Option<Vec<f32>> {
    if outputs == 0 || !weights.len().is_multiple_of(outputs) {
        return None;
    }
    let per_output = (weights.len() / outputs).max(1);
    weights.chunks(per_output).map(grid_scale).collect()
}

fn grid_scale(channel: &[f32]) -> Option<f32> {
    if !channel.iter().all(|weight| weight.is_finite()) {
        return None;
    }
    let largest = channel.iter().fold(0f32, |m, weight| m.max(weight.abs()));
    if largest == 0.0 {
        return Some(1.0);
    }
    (1..=128u8).find_map(|code| {
        let scale = largest / f32::from(code);
        let on_grid = |weight: &f32| {
            let code = weight / scale;
            let whole = code.round_ties_even();
            (code - whole).abs() < 1e-3 && (-128.0..=127.0).contains(&whole)
        };
        // The smallest floats have no parts.
        (scale > 0.0 && channel.iter().all(on_grid)).then_some(scale)
    })
}

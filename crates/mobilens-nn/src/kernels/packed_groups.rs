//! Weight packing of grouped convolutions: one GEMM for some groups at a time.
//!
//! Groups of fewer output channels than a register holds would leave most of it idle, so as many
//! neighbours as pay share a GEMM, whose weights are zero between them.

use super::packed_gemm::{PANEL, PackedGemm};

/// Packed weights of a convolution in groups of channels: the outputs of a group sum its inputs only.
#[derive(Debug)]
pub struct PackedGroups {
    packed: Vec<PackedGemm>,
    /// Groups of the convolution.
    pub groups: usize,
}

/// Steps of K that a tile of a GEMM costs besides its own.
const TILE_STEPS: usize = 12;
/// A panel's least cost in a step: three read, eight multiplied.
const HALF_PANELS: usize = 3;

impl PackedGroups {
    /// Packs weights given as `[output][tap][input]`, over all inputs, of `groups` groups; what lies
    /// outside of a group is not read.
    ///
    /// # Panics
    /// When there are not as many weights, or input or output channels are no multiple of `groups`.
    pub fn new(weights: &[f32], bias: &[f32], taps: usize, groups: usize) -> Self {
        let outputs = bias.len();
        let k = weights.len() / outputs.max(1);
        let inputs = k / taps.max(1);
        assert!(
            weights.len() == outputs * taps * inputs
                && inputs.is_multiple_of(groups)
                && outputs.is_multiple_of(groups),
            "whole groups"
        );
        let (inputs_each, outputs_each) = (inputs / groups, outputs / groups);
        let cost = |merged: usize| {
            let panels = (2 * (merged * outputs_each).div_ceil(PANEL)).max(HALF_PANELS);
            groups / merged * (merged * inputs_each * taps + TILE_STEPS) * panels
        };
        let merged = (1..=groups)
            .filter(|merged| groups.is_multiple_of(*merged))
            .min_by_key(|merged| cost(*merged))
            .unwrap_or(1);
        let (inputs_gemm, outputs_gemm) = (merged * inputs_each, merged * outputs_each);
        let pack = |gemm: usize| {
            let mut dense = vec![0.0; outputs_gemm * taps * inputs_gemm];
            let rows = dense.chunks_exact_mut((taps * inputs_gemm).max(1));
            for (output, row) in rows.enumerate() {
                let group = output / outputs_each;
                let from = &weights[(gemm * outputs_gemm + output) * k..][..k];
                for tap in 0..taps {
                    let from = &from[tap * inputs + gemm * inputs_gemm + group * inputs_each..];
                    row[tap * inputs_gemm + group * inputs_each..][..inputs_each]
                        .copy_from_slice(&from[..inputs_each]);
                }
            }
            let bias = &bias[gemm * outputs_gemm..][..outputs_gemm];
            PackedGemm::new(&dense, bias, taps * inputs_gemm)
        };
        Self {
            packed: (0..groups / merged).map(pack).collect(),
            groups,
        }
    }

    /// The GEMMs, in the order of their channels; all of one size.
    pub fn packed(&self) -> &[PackedGemm] {
        &self.packed
    }
}

/// The most groups into which a convolution with weights `[output][input][tap]` falls apart, if
/// there is more than one.
pub fn find_groups(weights: &[f32], outputs: usize, inputs: usize) -> Option<usize> {
    let per_output = weights.len() / outputs.max(1);
    let taps = per_output / inputs.max(1);
    if per_output == 0 || taps == 0 {
        return None;
    }
    (2..=inputs.min(outputs)).rev().find(|groups| {
        let whole = inputs.is_multiple_of(*groups) && outputs.is_multiple_of(*groups);
        whole && {
            let (inputs, outputs) = (inputs / groups * taps, outputs / groups);
            weights
                .chunks_exact(per_output)
                .enumerate()
                .all(|(output, row)| {
                    let first = output / outputs * inputs;
                    let outside = row[..first].iter().chain(&row[first + inputs..]);
                    outside.copied().all(|weight| weight == 0.0)
                })
        }
    })
}

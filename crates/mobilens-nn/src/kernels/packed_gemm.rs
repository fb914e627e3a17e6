//! Weight packing for the GEMM microkernels.
//!
//! Weights are packed once, at load, into panels of [`PANEL`] output channels, `[panel][k][16]`,
//! so that a microkernel reads them front to back. The layout is the same for every instruction
//! set.

use super::buffer::Buffer;

/// Output channels in one panel of packed weights.
pub const PANEL: usize = 16;

/// Weights `[n][k]` and bias of a dense convolution, packed in panels of [`PANEL`] output channels.
#[derive(Debug)]
pub struct PackedGemm {
    weights: Buffer,
    bias: Buffer,
    /// The reduction dimension K of the GEMM: values summed for one output,
    /// `kernel_h * kernel_w * in`.
    pub k: usize,
    /// Output channels, the dimension N of the GEMM.
    pub outputs: usize,
}

impl PackedGemm {
    /// Packs weights given as `[output][k]`.
    ///
    /// # Panics
    /// When there are not `outputs * k` weights, with one output for each value of `bias`.
    pub fn new(weights: &[f32], bias: &[f32], k: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(
            weights.len(),
            outputs * k,
            "k weights for each output channel"
        );
        let panels = outputs.div_ceil(PANEL);
        let mut packed = Buffer::zeroed(panels * k * PANEL);
        for (output, row) in weights.chunks_exact(k.max(1)).enumerate() {
            let panel = output / PANEL * k * PANEL + output % PANEL;
            for (i, weight) in row.iter().enumerate() {
                packed[panel + i * PANEL] = *weight;
            }
        }
        let mut padded = Buffer::zeroed(panels * PANEL);
        padded[..outputs].copy_from_slice(bias);
        Self {
            weights: packed,
            bias: padded,
            k,
            outputs,
        }
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// The bias, padded with zeros to whole panels.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The packed weights, `[panel][k][16]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

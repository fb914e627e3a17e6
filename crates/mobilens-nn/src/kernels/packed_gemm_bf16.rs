//! Weight packing for the bfloat16 GEMM microkernels.
//!
//! Panels of [`PANEL`] output channels as in float32, but with two neighbouring values of K for each
//! channel, `[panel][k / 2][16][2]`: `vdpbf16ps` and `tdpbf16ps` sum products of such pairs. A segment of K of
//! odd length ends with a pair of the last weight and a zero.

use super::bf16::bf16_from_f32;
use super::buffer::Buffer;
use super::packed_gemm::PANEL;

/// The pairs of a panel are filled up with zeros to a multiple of this, which AMX takes at a time.
const PAIRS: usize = 16;

/// Weights `[n][k]` and bias of a dense convolution, packed in panels of [`PANEL`] output channels;
/// the weights in bfloat16, the bias in float32.
#[derive(Debug)]
pub struct PackedGemmBf16 {
    weights: Buffer<u16>,
    bias: Buffer,
    /// The reduction dimension K of the GEMM: values summed for one output.
    pub k: usize,
    /// Values of K that lie side by side in the input: `in` of a 1x1 convolution,
    /// `kernel_w * in` of a larger one without dilation.
    pub segment_len: usize,
    /// Output channels, the dimension N of the GEMM.
    pub outputs: usize,
}

impl PackedGemmBf16 {
    /// Rounds weights given as `[output][k]` and packs them, where K consists of segments of
    /// `segment_len`.
    ///
    /// # Panics
    /// When there are not `outputs * k` weights, with one output for each value of `bias`, or K is
    /// zero or not a multiple of `segment_len`.
    pub fn new(weights: &[f32], bias: &[f32], k: usize, segment_len: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(
            weights.len(),
            outputs * k,
            "k weights for each output channel"
        );
        assert!(
            k > 0 && segment_len > 0 && k.is_multiple_of(segment_len),
            "whole segments of K"
        );
        let panels = outputs.div_ceil(PANEL);
        let panel_len = panel_len(k, segment_len);
        let mut packed = Buffer::zeroed(panels * panel_len);
        for (output, row) in weights.chunks_exact(k.max(1)).enumerate() {
            let channel = output / PANEL * panel_len + output % PANEL * 2;
            for (segment, values) in row.chunks_exact(segment_len).enumerate() {
                let first = segment * segment_len.div_ceil(2);
                for (i, weight) in values.iter().enumerate() {
                    let pair = channel + (first + i / 2) * 2 * PANEL;
                    packed[pair + i % 2] = bf16_from_f32(*weight);
                }
            }
        }
        let mut padded = Buffer::zeroed(panels * PANEL);
        padded[..outputs].copy_from_slice(bias);
        Self {
            weights: packed,
            bias: padded,
            k,
            segment_len,
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

    /// The packed weights, `[panel][k / 2][16][2]`.
    pub(super) fn weights(&self) -> &[u16] {
        &self.weights
    }

    /// Values from one panel to the next.
    pub(super) fn panel_len(&self) -> usize {
        panel_len(self.k, self.segment_len)
    }
}

fn panel_len(k: usize, segment_len: usize) -> usize {
    let pairs = k / segment_len * segment_len.div_ceil(2);
    pairs.next_multiple_of(PAIRS) * 2 * PANEL
}

//! Weight packing for the depthwise kernels: blocks of [`BLOCK`] channels, channels innermost.

use super::buffer::Buffer;

/// Channels in one block of packed weights.
pub const BLOCK: usize = 16;

/// Weights `[block][kernel_h][kernel_w][16]` and bias of a depthwise convolution.
#[derive(Debug)]
pub struct PackedDepthwise {
    weights: Buffer,
    bias: Buffer,
    /// Kernel taps: `kernel_h * kernel_w`.
    pub taps: usize,
    /// Channels.
    pub channels: usize,
}

impl PackedDepthwise {
    /// Packs weights given as `[channel][kernel_h][kernel_w]`.
    ///
    /// # Panics
    /// When the number of weights is not a multiple of the number of channels.
    pub fn new(weights: &[f32], bias: &[f32]) -> Self {
        let channels = bias.len();
        let taps = weights.len() / channels.max(1);
        assert_eq!(
            weights.len(),
            channels * taps,
            "as many weights for each channel"
        );
        let blocks = channels.div_ceil(BLOCK);
        let mut packed = Buffer::zeroed(blocks * taps * BLOCK);
        for (channel, row) in weights.chunks_exact(taps.max(1)).enumerate() {
            let block = channel / BLOCK * taps * BLOCK + channel % BLOCK;
            for (tap, weight) in row.iter().enumerate() {
                packed[block + tap * BLOCK] = *weight;
            }
        }
        let mut padded = Buffer::zeroed(blocks * BLOCK);
        padded[..channels].copy_from_slice(bias);
        Self {
            weights: packed,
            bias: padded,
            taps,
            channels,
        }
    }

    /// The packed weights.
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The bias, padded with zeros to whole blocks.
    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }
}

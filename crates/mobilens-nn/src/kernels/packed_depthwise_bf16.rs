//! Weight packing for the bfloat16 depthwise kernels.
//!
//! The weights are rounded to bfloat16. For any window they are then kept in float32, in blocks of
//! 16 channels as [`PackedDepthwise`] does. For 3x3 also as `depthwise3x3_bf16_avx512` takes them,
//! in blocks of [`BLOCK_BF16`] channels: a register of 32 channels of one row is interleaved with
//! that of the next row into two registers of pairs, which hold the channels in the order of
//! [`channel_of`].

use super::bf16::{bf16_from_f32, round_to_bf16};
use super::buffer::Buffer;
use super::depthwise3x3::SIDE;
use super::packed_depthwise::PackedDepthwise;

/// Channels in one block.
pub const BLOCK_BF16: usize = 32;

/// Lanes of a register of pairs.
const LANES: usize = BLOCK_BF16 / 2;

/// The channel of a block in lane `lane` of its first or second register of pairs: an interleave
/// takes eight channels of each 16 bytes, four for the first and four for the second register.
pub(super) const fn channel_of(register: usize, lane: usize) -> usize {
    lane / 4 * 8 + register * 4 + lane % 4
}

/// Weights and bias of a depthwise convolution on bfloat16 activations.
#[derive(Debug)]
pub struct PackedDepthwiseBf16 {
    /// Rounded, for any window.
    pub(super) floats: PackedDepthwise,
    /// For 3x3, `[block][kernel_w][2][16][2]`: the weights of the first two kernel rows.
    pairs: Buffer<u16>,
    /// For 3x3, `[block][kernel_h][kernel_w][2][16]`: all weights.
    rows: Buffer,
    /// For 3x3, `[block][2][16]`.
    bias: Buffer,
    /// Kernel height and width.
    pub kernel: (usize, usize),
    /// Channels.
    pub channels: usize,
}

impl PackedDepthwiseBf16 {
    /// Rounds and packs weights given as `[channel][kernel_h][kernel_w]`.
    ///
    /// # Panics
    /// When there are not as many weights, with one channel for each value of `bias`.
    pub fn new(weights: &[f32], bias: &[f32], kernel: (usize, usize)) -> Self {
        let channels = bias.len();
        let taps = kernel.0 * kernel.1;
        assert_eq!(weights.len(), channels * taps, "weights for each channel");
        let rounded: Vec<f32> = weights.iter().map(|w| round_to_bf16(*w)).collect();
        let blocks = if kernel == (SIDE, SIDE) {
            channels.div_ceil(BLOCK_BF16)
        } else {
            0
        };
        let mut packed = Self {
            floats: PackedDepthwise::new(&rounded, bias),
            pairs: Buffer::zeroed(blocks * SIDE * BLOCK_BF16 * 2),
            rows: Buffer::zeroed(blocks * SIDE * SIDE * BLOCK_BF16),
            bias: Buffer::zeroed(blocks * BLOCK_BF16),
            kernel,
            channels,
        };
        for at in 0..blocks * BLOCK_BF16 {
            let (block, register, lane) = (at / BLOCK_BF16, at / LANES % 2, at % LANES);
            let channel = block * BLOCK_BF16 + channel_of(register, lane);
            if channel >= channels {
                continue;
            }
            packed.bias[at] = bias[channel];
            let weights = &rounded[channel * taps..][..taps];
            for column in 0..SIDE {
                let to = (block * SIDE + column) * BLOCK_BF16 + register * LANES + lane;
                packed.pairs[2 * to] = bf16_from_f32(weights[column]);
                packed.pairs[2 * to + 1] = bf16_from_f32(weights[SIDE + column]);
                for row in 0..SIDE {
                    let to = ((block * SIDE + row) * SIDE + column) * BLOCK_BF16;
                    packed.rows[to + register * LANES + lane] = weights[row * SIDE + column];
                }
            }
        }
        packed
    }

    /// Number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK_BF16)
    }

    /// For 3x3 the weights and the bias of a block, as described at the fields.
    pub(super) fn block3x3(&self, block: usize) -> (&[u16], &[f32], &[f32]) {
        let weights = SIDE * BLOCK_BF16;
        (
            &self.pairs[block * 2 * weights..][..2 * weights],
            &self.rows[block * SIDE * weights..][..SIDE * weights],
            &self.bias[block * BLOCK_BF16..][..BLOCK_BF16],
        )
    }
}

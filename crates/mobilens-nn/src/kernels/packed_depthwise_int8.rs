//! Weight packing for the int8 depthwise kernels.
//!
//! `vpdpbusd` sums four products of bytes in each 32-bit lane, so the taps of a channel are taken
//! in groups of four. Interleaving the bytes of four registers by `punpck{l,h}bw` and
//! `punpck{l,h}wd` leaves, in each of four registers, the four taps of some channels: 32-bit lane
//! `t` of 128-bit lane `i` of register `j` holds channel `16 i + 4 j + t`. That is the order that
//! `packssdw` and `packuswb` undo, so weights, bias and multipliers are packed in it, and the
//! results are stored without a shuffle.
//!
//! Channels are packed in blocks of 64, one 64-byte register; what is left over in one block of as
//! many 128-bit lanes as it needs, 4, 2 or 1.
//!
//! Weights outside of a signed byte are sums of two: each tap is then there twice.

use super::depthwise_int8::MAX_TAPS;
use super::requantize::{CodeFunction, CodeRange, Int8Output, Requantize};

/// Channels in one 128-bit lane.
pub(super) const LANE: usize = 16;
/// Channels in a whole block: one 64-byte register.
pub(super) const BLOCK_INT8: usize = 64;
/// Taps in a group.
pub(super) const GROUP_TAPS: usize = 4;
/// The bias and the multipliers, which come before a block's weights.
pub(super) const CONSTANTS: usize = 2;
/// Values in codes stay below it, far from the ends of an `i32`.
const LARGEST_VALUE: f64 = (1u32 << 30) as f64;

/// A cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Weights, bias and multipliers of an int8 depthwise convolution.
#[derive(Debug)]
pub struct PackedDepthwiseInt8 {
    /// Channels.
    pub channels: usize,
    kernel: (usize, usize),
    /// For each block its bias, its multipliers and its groups of taps, four registers each.
    lines: Vec<Line>,
    /// The taps of the groups, the last repeated in a group that is not full.
    grouped_taps: Vec<Tap>,
    /// Whether each tap is there twice in the groups, as weights do not fit in a signed byte.
    doubled: bool,
    /// The taps one by one.
    taps: Vec<Tap>,
    /// For each 16 channels, whether a sum of two products may leave an `i16`.
    saturates: Vec<bool>,
    /// `[kernel_h][kernel_w][channel]`.
    weights: Vec<i16>,
    bias: Vec<i32>,
    requantize: Requantize,
    function: CodeFunction,
    range: CodeRange,
}

/// Row and column of a tap in the kernel.
pub(super) type Tap = (usize, usize);

/// One block of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its first channel.
    pub first: usize,
    /// Channels that exist.
    pub channels: usize,
    /// Number of 128-bit lanes, 4, 2 or 1.
    pub lanes: usize,
}

impl PackedDepthwiseInt8 {
    /// Packs weights given as `[channel][kernel_h][kernel_w]`, the bias of each channel, into which
    /// the zero point of the input has been folded (less the zero point times the sum of all of
    /// the channel's weights), and the epilogue.
    ///
    /// `None` where the kernels cannot compute the convolution with the same result everywhere: a
    /// sum may leave an `i32` or a value in codes come near its ends, or the epilogue writes
    /// float32, adds a residual, or has no code between its limits; or where weights are outside of
    /// -255 to 254, or outside of a signed byte in a kernel of more than 26 taps.
    ///
    /// # Panics
    /// When there are not as many weights as channels times taps, or fewer multipliers than
    /// channels.
    pub fn new(
        weights: &[i16],
        bias: &[i32],
        kernel: (usize, usize),
        requantize: &Requantize,
    ) -> Option<Self> {
        let channels = bias.len();
        let count = kernel.0 * kernel.1;
        assert_eq!(
            weights.len(),
            channels * count,
            "as many weights for each channel"
        );
        assert!(
            requantize.multipliers.len() >= channels,
            "a multiplier for each channel"
        );
        let Int8Output::Codes {
            function,
            residual: None,
            range,
        } = requantize.output
        else {
            return None;
        };
        let bounded = (0..channels).all(|channel| {
            let weights = &weights[channel * count..][..count];
            let multiplier = requantize.multipliers[channel];
            is_bounded(weights, bias[channel], multiplier, function)
        });
        let doubled = weights.iter().any(|weight| i8::try_from(*weight).is_err());
        let of_two = weights.iter().all(|weight| (-255..=254).contains(weight));
        if !bounded || range.low > range.high || !of_two || doubled && 2 * count > MAX_TAPS {
            return None;
        }
        let mut plain = vec![0; weights.len()];
        for (channel, row) in weights.chunks_exact(count.max(1)).enumerate() {
            for (tap, weight) in row.iter().enumerate() {
                plain[tap * channels + channel] = *weight;
            }
        }
        let mut packed = Self {
            channels,
            kernel,
            lines: Vec::new(),
            grouped_taps: grouped_taps(kernel, doubled),
            doubled,
            taps: row_major_taps(kernel),
            saturates: vec![false; channels.div_ceil(LANE)],
            weights: plain,
            bias: bias.to_vec(),
            requantize: requantize.clone(),
            function,
            range,
        };
        let lanes: usize = (0..packed.blocks()).map(|b| packed.block(b).lanes).sum();
        packed.lines = vec![Line([0; 64]); lanes * (CONSTANTS + packed.groups())];
        for block in 0..packed.blocks() {
            packed.pack_block(packed.block(block));
        }
        Some(packed)
    }

    /// Number of channel blocks, the units in which a caller may share channels among threads.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK_INT8)
    }

    /// Height and width of the kernel.
    pub fn kernel(&self) -> (usize, usize) {
        self.kernel
    }

    /// The epilogue.
    pub fn requantize(&self) -> &Requantize {
        &self.requantize
    }

    /// Block number `index`.
    pub(super) fn block(&self, index: usize) -> Block {
        let first = index * BLOCK_INT8;
        let channels = (self.channels - first).min(BLOCK_INT8);
        Block {
            first,
            channels,
            lanes: channels.div_ceil(LANE).next_power_of_two(),
        }
    }

    /// Whether each tap is there twice in the groups.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_doubled(&self) -> bool {
        self.doubled
    }

    /// Number of groups of four taps.
    pub(super) fn groups(&self) -> usize {
        self.grouped_taps.len() / GROUP_TAPS
    }

    /// The taps of the groups. Some are there twice; their weights add up to the tap's.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn grouped_taps(&self) -> &[Tap] {
        &self.grouped_taps
    }

    /// The taps in the order of [`Self::weights`].
    pub(super) fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// A block's bias, multipliers and groups of weights, each of four registers of
    /// `block.lanes * 16` bytes.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn registers(&self, block: Block) -> *const u8 {
        let lines = CONSTANTS + self.groups();
        let first = block.first / LANE * lines;
        self.lines[first..first + block.lanes * lines]
            .as_ptr()
            .cast()
    }

    /// Bytes that [`Self::registers`] gives of a whole block.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn block_bytes(&self) -> usize {
        (CONSTANTS + self.groups()) * BLOCK_INT8 * GROUP_TAPS
    }

    /// Whether the sum of two products of a group may leave an `i16` in one of these channels.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn saturates(&self, first: usize, channels: usize) -> bool {
        self.saturates[first / LANE..(first + channels).div_ceil(LANE)].contains(&true)
    }

    /// The weights as they are, `[kernel_h][kernel_w][channel]`.
    pub(super) fn weights(&self) -> &[i16] {
        &self.weights
    }

    /// The bias.
    pub(super) fn bias(&self) -> &[i32] {
        &self.bias
    }

    /// The function of the epilogue.
    pub(super) fn function(&self) -> CodeFunction {
        self.function
    }

    /// Zero point and limits of the output.
    pub(super) fn range(&self) -> CodeRange {
        self.range
    }

    fn pack_block(&mut self, block: Block) {
        let lines = CONSTANTS + self.groups();
        let start = block.first / LANE * lines;
        for channel in block.first..block.first + block.channels {
            let at = channel - block.first;
            // Which 32 bits of four registers are the channel's.
            let word = at % LANE / 4 * block.lanes * 4 + at / LANE * 4 + at % 4;
            let mut put = |section: usize, bytes: [u8; 4]| {
                let line = start + section * block.lanes + word / 16;
                self.lines[line].0[word % 16 * 4..][..4].copy_from_slice(&bytes);
            };
            put(0, self.bias[channel].to_ne_bytes());
            put(1, self.requantize.multipliers[channel].to_ne_bytes());
            let count = self.kernel.0 * self.kernel.1;
            let weight = |tap: usize| self.weights[tap * self.channels + channel];
            for group in 0..self.grouped_taps.len() / GROUP_TAPS {
                let weights = if self.doubled {
                    let places = [0, 1, 2, 3].map(|place| group * GROUP_TAPS + place);
                    let addend = |place: usize| addends_of(weight(place / 2))[place % 2].into();
                    places.map(|place| if place < 2 * count { addend(place) } else { 0 })
                } else if self.kernel == (3, 3) {
                    column_weights([0, 1, 2].map(|ky| weight(ky * 3 + group)))
                } else {
                    let taps = [0, 1, 2, 3].map(|tap| group * GROUP_TAPS + tap);
                    taps.map(|tap| if tap < count { weight(tap) } else { 0 })
                };
                if pair_saturates(weights[0], weights[1]) || pair_saturates(weights[2], weights[3])
                {
                    self.saturates[channel / LANE] = true;
                }
                put(CONSTANTS + group, weights.map(|weight| weight as u8));
            }
        }
    }
}

/// Whether no sum of a channel leaves an `i32` and no value comes near the ends of one.
fn is_bounded(weights: &[i16], bias: i32, multiplier: f32, function: CodeFunction) -> bool {
    let sum_of = |sign: i64| {
        let of_sign = weights.iter().map(|w| (i64::from(*w) * sign).max(0));
        of_sign.sum::<i64>() * 255
    };
    let (least, greatest) = (i64::from(bias) - sum_of(-1), i64::from(bias) + sum_of(1));
    let value =
        least.unsigned_abs().max(greatest.unsigned_abs()) as f64 * f64::from(multiplier).abs();
    let codes = match function {
        CodeFunction::None => value,
        CodeFunction::HardSwish { inverse_scale } => value * f64::from(inverse_scale).abs(),
        CodeFunction::HardSigmoid { inverse_scale } => value + f64::from(inverse_scale).abs(),
    };
    i32::try_from(least).is_ok() && i32::try_from(greatest).is_ok() && codes < LARGEST_VALUE
}

/// The taps in groups of four. Those of 3x3 go by columns, as the kernel slides along the row, and
/// have the middle one twice, see [`column_weights`].
fn grouped_taps(kernel: (usize, usize), doubled: bool) -> Vec<Tap> {
    if kernel == (3, 3) && !doubled {
        let columns = (0..3).flat_map(|kx| [0, 1, 2, 1].map(|ky| (ky, kx)));
        return columns.collect();
    }
    let mut taps = row_major_taps(kernel);
    if doubled {
        taps = taps.into_iter().flat_map(|tap| [tap; 2]).collect();
    }
    if let Some(last) = taps.last().copied() {
        taps.resize(taps.len().next_multiple_of(GROUP_TAPS), last);
    }
    taps
}

/// The taps row by row.
fn row_major_taps(kernel: (usize, usize)) -> Vec<Tap> {
    let rows = (0..kernel.0).flat_map(|ky| (0..kernel.1).map(move |kx| (ky, kx)));
    rows.collect()
}

/// The weights of one column of a 3x3 kernel, the middle one shared between the two pairs so that
/// neither pair saturates, where that can be done: `vpmaddubsw`, which adds in pairs with
/// saturation, is then exact.
fn column_weights([above, middle, below]: [i16; 3]) -> [i16; 4] {
    let moved = if pair_saturates(above, middle) {
        middle - middle.signum() * (PAIR_LIMIT - above.abs())
    } else {
        0
    };
    [above, middle - moved, below, moved]
}

/// Two signed bytes whose sum is the weight, -255 to 254.
pub fn addends_of(weight: i16) -> [i8; 2] {
    let half = weight >> 1;
    [half as i8, (weight - half) as i8]
}

/// The greatest sum of two weights of one sign of which no two products with codes up to 255
/// leave an `i16` together: 128 * 255 < 32768.
const PAIR_LIMIT: i16 = 128;

/// Whether two products of codes up to 255 with these weights may leave an `i16` together.
fn pair_saturates(a: i16, b: i16) -> bool {
    a.signum() * b.signum() > 0 && a.abs() + b.abs() > PAIR_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requantize(multiplier: f32, channels: usize) -> Requantize {
        let range = CodeRange {
            zero_point: 0,
            low: 0,
            high: 255,
        };
        Requantize {
            multipliers: vec![multiplier; channels.next_multiple_of(64)],
            output: Int8Output::Codes {
                function: CodeFunction::None,
                residual: None,
                range,
            },
        }
    }

    #[test]
    fn blocks_cover_all_channels_once() {
        for channels in 0..300 {
            let packed = PackedDepthwiseInt8::new(
                &vec![1; channels * 9],
                &vec![0; channels],
                (3, 3),
                &requantize(1.0, channels),
            )
            .unwrap();
            let mut next = 0;
            for index in 0..packed.blocks() {
                let block = packed.block(index);
                assert_eq!(block.first, next, "{channels}");
                assert!(block.channels <= block.lanes * LANE && block.channels > 0);
                next += block.channels;
            }
            assert_eq!(next, channels);
        }
    }

    #[test]
    fn a_column_sums_to_its_weights_and_is_flagged_only_where_it_must_be() {
        for above in -128..=127_i16 {
            for middle in -128..=127_i16 {
                for below in [-128, -127, -100, -30, -1, 0, 1, 2, 64, 126, 127] {
                    let [a, b, c, d] = column_weights([above, middle, below]);
                    assert_eq!((a, b + d, c), (above, middle, below));
                    assert!([b, d].iter().all(|w| (-128..=127).contains(w)));
                    let signs = [above, middle, below].map(i16::signum);
                    let total = above.abs() + middle.abs() + below.abs();
                    let all = signs == [signs[0]; 3] && total > 2 * PAIR_LIMIT;
                    let flagged = pair_saturates(a, b) || pair_saturates(c, d);
                    assert_eq!(flagged, all, "{above} {middle} {below}");
                }
            }
        }
    }

    #[test]
    fn sums_that_may_overflow_are_refused() {
        let pack = |bias: i32, multiplier: f32| {
            let requantize = requantize(multiplier, 1);
            PackedDepthwiseInt8::new(&[127; 9], &[bias], (3, 3), &requantize).is_some()
        };
        assert!(pack(0, 1.0));
        assert!(pack(i32::MAX - 9 * 127 * 255, 0.25));
        assert!(!pack(i32::MAX - 9 * 127 * 255 + 1, 0.25));
        assert!(!pack(i32::MAX - 9 * 127 * 255, 1.0));
        assert!(!pack(0, f32::INFINITY));
        assert!(!pack(0, f32::NAN));
    }
}

//! Depthwise 3x3 convolution on bfloat16 in AVX-512 BF16, at stride 1 and 2: a sliding window along
//! each row that reads each input value once, as in `depthwise3x3`.
//!
//! 32 channels of the first kernel row are interleaved with those of the second into pairs, which
//! `vdpbf16ps` multiplies and sums; those of the third with zeros, which makes them float32. Where
//! `vdpbf16ps` takes longer than two FMAs, as on CPUs that have AMX, all three are made float32. A
//! kernel row in the padding has zero weights, and reads one that lies inside in its place.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx512::{activate, clamp};
use super::depthwise_bf16::DepthwiseBf16Job;
use super::depthwise_row::OutputRow;
use super::depthwise3x3::{Phase, SIDE, limits};
use super::isa_bf16::Bf16Isa;
use super::packed_depthwise_bf16::{BLOCK_BF16, channel_of};
use super::simd::{load16, unrolled};
use super::simd_bf16::{dot16, load32, round_both};

/// Lanes of a register of pairs.
const LANES: usize = BLOCK_BF16 / 2;

/// One row of one block of channels, in one dilation phase.
#[derive(Clone, Copy, Debug)]
struct Row3x3 {
    /// Where the kernel rows begin; one that lies outside reads another.
    taps: [*const u16; SIDE],
    /// Which of them lie inside.
    inside: [bool; SIDE],
    /// Values from the start of an input row to the channels of column 0.
    column: usize,
    /// Columns of the input.
    columns: usize,
    /// Columns of padding at the left that the first output reads.
    pad: usize,
    pairs: *const u16,
    weights: *const f32,
    bias: *const f32,
    output: *mut u16,
    /// Outputs in the row.
    outputs: usize,
    /// Values from one column to the next, and from one output to the next.
    stride: usize,
    /// The channels that exist.
    mask: __mmask32,
    activation: Activation,
}

/// Some output rows of all of the job's channel blocks.
///
/// # Safety
/// As [`depthwise_bf16`](super::depthwise_bf16::depthwise_bf16) for each row, of a window that
/// [`supports_window`](super::depthwise3x3::supports_window) accepts.
pub(super) unsafe fn depthwise3x3(
    isa: Bf16Isa,
    job: &DepthwiseBf16Job<'_>,
    rows: &[OutputRow<u16>],
) {
    let (c, dilation) = (job.packed.channels, job.window.dilation.1);
    for block in job.blocks.0..job.blocks.1 {
        let (pairs, weights, bias) = job.packed.block3x3(block);
        let channel = block * BLOCK_BF16;
        let mask = match c - channel {
            BLOCK_BF16.. => __mmask32::MAX,
            channels => (1 << channels) - 1,
        };
        for phase in 0..dilation.min(job.width) {
            let place = Phase::new(&job.window, job.input_size.1, job.width, phase);
            for row in rows {
                let inside = |ky: usize| (row.skipped..row.skipped + row.count).contains(&ky);
                let kernel_rows = [0, 1, 2];
                let args = Row3x3 {
                    taps: kernel_rows
                        .map(|ky| row.taps[if inside(ky) { ky - row.skipped } else { 0 }]),
                    inside: kernel_rows.map(inside),
                    column: place.first * c + channel,
                    columns: place.columns,
                    pad: place.pad,
                    pairs: pairs.as_ptr(),
                    weights: weights.as_ptr(),
                    bias: bias.as_ptr(),
                    output: row.output.wrapping_add(phase * c + channel),
                    outputs: place.outputs,
                    stride: dilation * c,
                    mask,
                    activation: job.activation,
                };
                // SAFETY: columns and outputs of the row, weights and bias of the block.
                unsafe {
                    match (row.count, isa) {
                        (0, _) => bias_alone(&args),
                        (_, Bf16Isa::AmxBf16) => run::<false>(&args, job.window.stride.1),
                        _ => run::<true>(&args, job.window.stride.1),
                    }
                }
            }
        }
    }
}

/// A row by pairs and `vdpbf16ps` if `PAIRS`, else by FMA.
///
/// # Safety
/// As [`depthwise3x3`].
unsafe fn run<const PAIRS: bool>(row: &Row3x3, stride: usize) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (stride, row.mask == __mmask32::MAX) {
            (1, true) => stride1::<PAIRS, true>(row),
            (1, false) => stride1::<PAIRS, false>(row),
            (_, true) => stride2::<PAIRS, true>(row),
            (_, false) => stride2::<PAIRS, false>(row),
        }
    }
}

/// Where each channel of a block lies after rounding: those of the first register of pairs, then
/// those of the second.
const ORDER: [i16; BLOCK_BF16] = {
    let mut order = [0; BLOCK_BF16];
    let mut at = 0;
    while at < BLOCK_BF16 {
        order[channel_of(at / LANES, at % LANES)] = at as i16;
        at += 1;
    }
    order
};

/// Rounds two registers of sums and stores them as 32 channels.
macro_rules! store {
    ($row:ident, $full:expr, $order:ident, $output:expr, $sums:expr) => {
        let rounded = _mm512_permutexvar_epi16($order, round_both($sums[1], $sums[0]));
        if $full {
            _mm512_mask_storeu_epi32($output.cast(), 0xffff, rounded);
        } else {
            _mm512_mask_storeu_epi16($output.cast(), $row.mask, rounded);
        }
    };
}

/// One column: two registers of pairs of the first two kernel rows, unless they are all made
/// float32, and two for each other kernel row.
macro_rules! column {
    ($row:ident, $full:expr, $at:expr) => {{
        let zero = _mm512_setzero_si512();
        let mut values = [zero; SIDE];
        let mut floats = [[_mm512_setzero_ps(); 2]; SIDE];
        unrolled!([0 1 2] I < SIDE, {
            let at = $row.taps[I].wrapping_add($at);
            values[I] = if $full { load32(at) } else { _mm512_maskz_loadu_epi16($row.mask, at.cast()) };
            floats[I] = [
                _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, values[I])),
                _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, values[I])),
            ];
        });
        let pairs = [
            _mm512_unpacklo_epi16(values[0], values[1]),
            _mm512_unpackhi_epi16(values[0], values[1]),
        ];
        (pairs, floats)
    }};
}

/// Adds a column's products with the weights of kernel column `$tap`.
macro_rules! add {
    ($sums:ident, $column:ident, $weights:ident, $tap:literal) => {
        unrolled!([0 1] I < 2, {
            if PAIRS {
                $sums[I] = dot16($sums[I], $column.0[I], $weights.0[$tap][I]);
            } else {
                $sums[I] = _mm512_fmadd_ps($column.1[0][I], $weights.1[0][$tap][I], $sums[I]);
                $sums[I] = _mm512_fmadd_ps($column.1[1][I], $weights.1[1][$tap][I], $sums[I]);
            }
            $sums[I] = _mm512_fmadd_ps($column.1[2][I], $weights.1[2][$tap][I], $sums[I]);
        });
    };
}

/// The weights, of pairs and of each kernel row; zeros for rows that lie outside.
macro_rules! weights {
    ($row:ident) => {{
        let half = |inside: bool| if inside { 0xffff_u32 } else { 0 };
        let inside = (half($row.inside[1]) << 16 | half($row.inside[0])).cast_signed();
        let mut pairs = [[_mm512_setzero_si512(); 2]; SIDE];
        let mut floats = [[[_mm512_setzero_ps(); 2]; SIDE]; SIDE];
        unrolled!([0 1 2] I < SIDE, {
            unrolled!([0 1] J < 2, {
                let at = I * BLOCK_BF16 + J * LANES;
                let all = load32($row.pairs.wrapping_add(2 * at));
                pairs[I][J] = _mm512_and_si512(all, _mm512_set1_epi32(inside));
                unrolled!([0 1 2] K < SIDE, {
                    let mask = if $row.inside[K] { 0xffff } else { 0 };
                    let at = $row.weights.wrapping_add(K * SIDE * BLOCK_BF16 + at);
                    floats[K][I][J] = _mm512_maskz_loadu_ps(mask, at);
                });
            });
        });
        (pairs, floats)
    }};
}

/// The function of the epilogue, on both registers of sums.
macro_rules! finish {
    ($row:ident, $sums:expr, $clamps:ident, $low:ident, $high:ident) => {
        if $clamps {
            [clamp($sums[0], $low, $high), clamp($sums[1], $low, $high)]
        } else {
            [
                activate($sums[0], $row.activation),
                activate($sums[1], $row.activation),
            ]
        }
    };
}

/// A row that has no kernel row inside the input.
///
/// # Safety
/// As [`depthwise3x3`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn bias_alone(row: &Row3x3) {
    // SAFETY: a whole block of bias, and outputs of the row.
    unsafe {
        let order = load32(ORDER.as_ptr().cast());
        let bias = [load16(row.bias), load16(row.bias.wrapping_add(LANES))];
        let values = bias.map(|bias| activate(bias, row.activation));
        for output in 0..row.outputs {
            let at = row.output.wrapping_add(output * row.stride);
            store!(row, false, order, at, values);
        }
    }
}

/// Stride 1; `FULL` if the block has all of its channels.
///
/// # Safety
/// As [`depthwise3x3`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn stride1<const PAIRS: bool, const FULL: bool>(row: &Row3x3) {
    // SAFETY: columns and outputs of the row, weights of whole blocks.
    unsafe {
        let order = load32(ORDER.as_ptr().cast());
        let weights = weights!(row);
        let bias = [load16(row.bias), load16(row.bias.wrapping_add(LANES))];
        let clamps = matches!(row.activation, Activation::Clamp { .. });
        let (low, high) = limits(row.activation);
        let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
        let mut at = row.column;
        let (mut a, mut b) = (bias, bias);
        let lead = (SIDE - 1 - row.pad).min(row.columns);
        for _ in 0..lead {
            let column = column!(row, FULL, at);
            let mut next = bias;
            add!(b, column, weights, 1);
            add!(next, column, weights, 0);
            at = at.wrapping_add(row.stride);
            (a, b) = (b, next);
        }
        let mut output = row.output;
        let whole = (row.columns - lead).min(row.outputs);
        for _ in 0..whole {
            let column = column!(row, FULL, at);
            let mut next = bias;
            add!(a, column, weights, 2);
            add!(b, column, weights, 1);
            add!(next, column, weights, 0);
            at = at.wrapping_add(row.stride);
            let values = finish!(row, a, clamps, low, high);
            store!(row, FULL, order, output, values);
            output = output.wrapping_add(row.stride);
            (a, b) = (b, next);
        }
        // Those that lack columns to the right.
        for _ in whole..row.outputs {
            let values = finish!(row, a, clamps, low, high);
            store!(row, FULL, order, output, values);
            output = output.wrapping_add(row.stride);
            a = b;
        }
    }
}

/// Stride 2; `FULL` if the block has all of its channels.
///
/// # Safety
/// As [`depthwise3x3`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn stride2<const PAIRS: bool, const FULL: bool>(row: &Row3x3) {
    // SAFETY: columns and outputs of the row, weights of whole blocks.
    unsafe {
        let order = load32(ORDER.as_ptr().cast());
        let weights = weights!(row);
        let bias = [load16(row.bias), load16(row.bias.wrapping_add(LANES))];
        let clamps = matches!(row.activation, Activation::Clamp { .. });
        let (low, high) = limits(row.activation);
        let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
        let mut at = row.column;
        let mut sum = bias;
        let lead = 1 - row.pad;
        if lead == 1 {
            let column = column!(row, FULL, at);
            add!(sum, column, weights, 0);
            at = at.wrapping_add(row.stride);
        }
        let mut output = row.output;
        let whole = ((row.columns - lead) / 2).min(row.outputs);
        for _ in 0..whole {
            let column = column!(row, FULL, at);
            add!(sum, column, weights, 1);
            at = at.wrapping_add(row.stride);
            let column = column!(row, FULL, at);
            let mut next = bias;
            add!(sum, column, weights, 2);
            add!(next, column, weights, 0);
            at = at.wrapping_add(row.stride);
            let values = finish!(row, sum, clamps, low, high);
            store!(row, FULL, order, output, values);
            output = output.wrapping_add(row.stride);
            sum = next;
        }
        if whole < row.outputs {
            if lead + 2 * whole < row.columns {
                let column = column!(row, FULL, at);
                add!(sum, column, weights, 1);
            }
            let values = finish!(row, sum, clamps, low, high);
            store!(row, FULL, order, output, values);
        }
    }
}

//! Depthwise convolution in AVX2 and FMA: 8 channels a register, a block in two registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx2::{activate, smooth_all};
use super::depthwise_portable;
use super::depthwise_row::DepthwiseRow;
use super::packed_depthwise::BLOCK;
use super::simd::{load8, store8, unrolled};

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// As [`DepthwiseRow`].
pub(super) unsafe fn depthwise_row(row: &DepthwiseRow) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (row.channels == BLOCK, row.kernel_w) {
            (true, 3) => taps::<3, 2>(row),
            (true, 5) => taps::<5, 2>(row),
            (true, _) => taps::<0, 2>(row),
            (false, _) => partial_block(row),
        }
    }
}

/// A block of fewer than 16 channels: 8 of them if there are, the remainder one by one.
///
/// # Safety
/// As [`DepthwiseRow`].
unsafe fn partial_block(row: &DepthwiseRow) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        if row.channels < LANES {
            return depthwise_portable::depthwise_row(row);
        }
        taps::<0, 1>(row);
        if row.channels > LANES {
            row.pixels(
                |x, columns| remainder(row, x, columns),
                |x, pixels| (x..x + pixels).for_each(|x| remainder(row, x, (0, row.kernel_w))),
            );
        }
    }
}

/// The channels of one pixel past the first eight.
///
/// # Safety
/// As [`DepthwiseRow`]; the taps in `columns` lie inside.
unsafe fn remainder(row: &DepthwiseRow, x: usize, columns: (usize, usize)) {
    for channel in LANES..row.channels {
        // SAFETY: single floats at taps, weights and outputs that the row names.
        unsafe {
            let mut sum = *row.bias.wrapping_add(channel);
            for ky in 0..row.row_count {
                for column in columns.0..columns.1 {
                    let tap = row
                        .tap(ky, x)
                        .wrapping_add(column * row.tap_stride + channel);
                    let weight = (ky * row.kernel_w + column) * BLOCK + channel;
                    sum += *tap * *row.weights.wrapping_add(weight);
                }
            }
            *row.output_at(x).wrapping_add(channel) = row.activation.apply(sum);
        }
    }
}

/// A row with `K` taps in each kernel row, or any number where `K` is 0, for the first `8 H`
/// channels.
///
/// # Safety
/// As [`DepthwiseRow`]; so many channels exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn taps<const K: usize, const H: usize>(row: &DepthwiseRow) {
    let all = (0, row.kernel_w);
    // SAFETY: the caller's promise is handed on.
    unsafe {
        row.pixels(
            |x, columns| tile::<1, 0, H>(row, x, columns),
            |x, pixels| match pixels {
                1 => tile::<1, K, H>(row, x, all),
                2 => tile::<2, K, H>(row, x, all),
                4 => tile::<4, K, H>(row, x, all),
                _ => {
                    tile::<4, K, H>(row, x, all);
                    tile::<4, K, H>(row, x + 4, all);
                }
            },
        );
    }
}

/// `P` pixels from `x` on over the first `K` taps of each row, or `columns` where `K` is 0.
///
/// # Safety
/// As [`DepthwiseRow`]; the taps lie inside, and `8 H` channels exist.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const P: usize, const K: usize, const H: usize>(
    row: &DepthwiseRow,
    x: usize,
    columns: (usize, usize),
) {
    // SAFETY: loads and stores of `8 H` floats at taps, weights and outputs that the row names.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); H]; P];
        unrolled!([0 1] I < H, {
            let bias = load8(row.bias.wrapping_add(I * LANES));
            unrolled!([0 1 2 3] J < P, { sums[J][I] = bias; });
        });
        for ky in 0..row.row_count {
            let first = row.tap(ky, x);
            let weights = row.weights.wrapping_add(ky.wrapping_mul(row.weight_stride));
            if K > 0 {
                unrolled!([0 1 2 3 4] C < K, {
                    let tap = first.wrapping_add(C.wrapping_mul(row.tap_stride));
                    unrolled!([0 1] I < H, {
                        let weight = load8(weights.wrapping_add(C * BLOCK + I * LANES));
                        unrolled!([0 1 2 3] J < P, {
                            let at = tap.wrapping_add(J.wrapping_mul(row.pixel_stride)).wrapping_add(I * LANES);
                            sums[J][I] = _mm256_fmadd_ps(load8(at), weight, sums[J][I]);
                        });
                    });
                });
            } else {
                for column in columns.0..columns.1 {
                    let tap = first.wrapping_add(column.wrapping_mul(row.tap_stride));
                    unrolled!([0 1] I < H, {
                        let weight = load8(weights.wrapping_add(column * BLOCK + I * LANES));
                        unrolled!([0 1 2 3] J < P, {
                            let at = tap.wrapping_add(J.wrapping_mul(row.pixel_stride)).wrapping_add(I * LANES);
                            sums[J][I] = _mm256_fmadd_ps(load8(at), weight, sums[J][I]);
                        });
                    });
                }
            }
        }
        if let Activation::Clamp { low, high } = row.activation {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            unrolled!([0 1 2 3] J < P, {
                unrolled!([0 1] I < H, {
                    sums[J][I] = _mm256_min_ps(_mm256_max_ps(sums[J][I], low), high);
                });
            });
        } else if row.activation.is_smooth() {
            // A copy, so that the sums stay in registers elsewhere.
            let mut values = sums;
            smooth_all(values.as_flattened_mut(), row.activation);
            sums = values;
        } else {
            unrolled!([0 1 2 3] J < P, {
                unrolled!([0 1] I < H, { sums[J][I] = activate(sums[J][I], row.activation); });
            });
        }
        unrolled!([0 1 2 3] J < P, {
            unrolled!([0 1] I < H, {
                store8(row.output_at(x.wrapping_add(J)).wrapping_add(I * LANES), sums[J][I]);
            });
        });
    }
}

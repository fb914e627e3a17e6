//! Depthwise convolution in AVX-512: one register holds the 16 channels of a block.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx512::{activate, smooth_all};
use super::depthwise_row::DepthwiseRow;
use super::packed_depthwise::BLOCK;
use super::simd::{load16, unrolled};

/// # Safety
/// As [`DepthwiseRow`].
pub(super) unsafe fn depthwise_row(row: &DepthwiseRow) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (row.channels == BLOCK, row.kernel_w) {
            (true, 3) => taps::<3, true>(row),
            (true, 5) => taps::<5, true>(row),
            (true, _) => taps::<0, true>(row),
            (false, _) => taps::<0, false>(row),
        }
    }
}

/// A row with `K` taps in each kernel row, or any number where `K` is 0; `FULL` if the block has
/// all of its channels.
///
/// # Safety
/// As [`DepthwiseRow`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn taps<const K: usize, const FULL: bool>(row: &DepthwiseRow) {
    let all = (0, row.kernel_w);
    // SAFETY: the caller's promise is handed on.
    unsafe {
        row.pixels(
            |x, columns| tile::<1, 0, FULL>(row, x, columns),
            |x, pixels| match pixels {
                1 => tile::<1, K, FULL>(row, x, all),
                2 => tile::<2, K, FULL>(row, x, all),
                4 => tile::<4, K, FULL>(row, x, all),
                _ => tile::<8, K, FULL>(row, x, all),
            },
        );
    }
}

/// `P` pixels from `x` on over the first `K` taps of each row, or `columns` where `K` is 0.
///
/// # Safety
/// As [`DepthwiseRow`]; the taps lie inside.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
unsafe fn tile<const P: usize, const K: usize, const FULL: bool>(
    row: &DepthwiseRow,
    x: usize,
    columns: (usize, usize),
) {
    let mask = if FULL {
        0xffff
    } else {
        ((1_u32 << row.channels) - 1) as __mmask16
    };
    // SAFETY: loads and stores of the block's channels at taps and outputs that the row names,
    // lanes past the last channel masked; weights and bias are whole blocks.
    unsafe {
        let mut sums = [load16(row.bias); P];
        for ky in 0..row.row_count {
            let first = row.tap(ky, x);
            let weights = row.weights.wrapping_add(ky.wrapping_mul(row.weight_stride));
            if K > 0 {
                unrolled!([0 1 2 3 4] C < K, {
                    let weight = load16(weights.wrapping_add(C * BLOCK));
                    let tap = first.wrapping_add(C.wrapping_mul(row.tap_stride));
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let at = tap.wrapping_add(J.wrapping_mul(row.pixel_stride));
                        let value = _mm512_maskz_loadu_ps(mask, at);
                        sums[J] = _mm512_fmadd_ps(value, weight, sums[J]);
                    });
                });
            } else {
                for column in columns.0..columns.1 {
                    let weight = load16(weights.wrapping_add(column.wrapping_mul(BLOCK)));
                    let tap = first.wrapping_add(column.wrapping_mul(row.tap_stride));
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let at = tap.wrapping_add(J.wrapping_mul(row.pixel_stride));
                        let value = _mm512_maskz_loadu_ps(mask, at);
                        sums[J] = _mm512_fmadd_ps(value, weight, sums[J]);
                    });
                }
            }
        }
        if let Activation::Clamp { low, high } = row.activation {
            let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                sums[J] = _mm512_min_ps(_mm512_max_ps(sums[J], low), high);
            });
        } else if row.activation.is_smooth() {
            // A copy, so that the sums stay in registers elsewhere.
            let mut values = sums;
            smooth_all(&mut values, row.activation);
            sums = values;
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                sums[J] = activate(sums[J], row.activation);
            });
        }
        unrolled!([0 1 2 3 4 5 6 7] J < P, {
            _mm512_mask_storeu_ps(row.output_at(x.wrapping_add(J)), mask, sums[J]);
        });
    }
}

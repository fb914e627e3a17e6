//! The line of [`super::depthwise`] in AVX-512: one register holds the block's 16 channels.

use std::arch::x86_64::*;

use super::depthwise::{BLOCK, Line};
use super::product_avx512::activate;
use super::registers::{load16, unrolled};

/// # Safety
/// See [`super::depthwise::depthwise`].
pub(super) unsafe fn line(line: &Line) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (line.channels == BLOCK, line.kernel_w) {
            (true, 3) => taps::<3, true>(line),
            (true, 5) => taps::<5, true>(line),
            (true, _) => taps::<0, true>(line),
            (false, _) => taps::<0, false>(line),
        }
    }
}

/// A line with `K` taps in a row, or any number where `K` is 0; `FULL` if the block has all of its
/// channels.
///
/// # Safety
/// See [`super::depthwise::depthwise`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn taps<const K: usize, const FULL: bool>(line: &Line) {
    let all = (0, line.kernel_w);
    // SAFETY: the caller's promise is handed on.
    unsafe {
        line.pixels(
            |x, columns| tile::<1, 0, FULL>(line, x, columns),
            |x, pixels| match pixels {
                1 => tile::<1, K, FULL>(line, x, all),
                2 => tile::<2, K, FULL>(line, x, all),
                4 => tile::<4, K, FULL>(line, x, all),
                _ => tile::<8, K, FULL>(line, x, all),
            },
        );
    }
}

/// `P` pixels from `x` on over the first `K` taps of each row, or `columns` where `K` is 0.
///
/// # Safety
/// See [`super::depthwise::depthwise`]; the taps lie inside.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
unsafe fn tile<const P: usize, const K: usize, const FULL: bool>(
    line: &Line,
    x: usize,
    columns: (usize, usize),
) {
    let mask = if FULL {
        0xffff
    } else {
        ((1_u32 << line.channels) - 1) as __mmask16
    };
    // SAFETY: loads and stores of the block's channels at taps and outputs that the line names,
    // lanes past the last channel masked; weights and bias are whole blocks.
    unsafe {
        let mut sums = [load16(line.bias); P];
        for row in 0..line.row_count {
            let first = line.tap(row, x);
            let weights = line
                .weights
                .wrapping_add(row.wrapping_mul(line.weight_step));
            if K > 0 {
                unrolled!([0 1 2 3 4] C < K, {
                    let weight = load16(weights.wrapping_add(C * BLOCK));
                    let tap = first.wrapping_add(C.wrapping_mul(line.tap_step));
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let at = tap.wrapping_add(J.wrapping_mul(line.pixel_step));
                        let value = _mm512_maskz_loadu_ps(mask, at);
                        sums[J] = _mm512_fmadd_ps(value, weight, sums[J]);
                    });
                });
            } else {
                for column in columns.0..columns.1 {
                    let weight = load16(weights.wrapping_add(column.wrapping_mul(BLOCK)));
                    let tap = first.wrapping_add(column.wrapping_mul(line.tap_step));
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let at = tap.wrapping_add(J.wrapping_mul(line.pixel_step));
                        let value = _mm512_maskz_loadu_ps(mask, at);
                        sums[J] = _mm512_fmadd_ps(value, weight, sums[J]);
                    });
                }
            }
        }
        if let super::Activation::Clamp { low, high } = line.activation {
            let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                sums[J] = _mm512_min_ps(_mm512_max_ps(sums[J], low), high);
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                sums[J] = activate(sums[J], line.activation);
            });
        }
        unrolled!([0 1 2 3 4 5 6 7] J < P, {
            _mm512_mask_storeu_ps(line.output_at(x.wrapping_add(J)), mask, sums[J]);
        });
    }
}

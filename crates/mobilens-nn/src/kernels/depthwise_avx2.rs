//! The line of [`super::depthwise`] in AVX2 and FMA: 8 channels a register, a block in two.

use std::arch::x86_64::*;

use super::depthwise::{BLOCK, Line, line_portable};
use super::product_avx2::activate;
use super::registers::{load8, store8, unrolled};

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// See [`super::depthwise::depthwise`].
pub(super) unsafe fn line(line: &Line) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (line.channels == BLOCK, line.kernel_w) {
            (true, 3) => taps::<3, 2>(line),
            (true, 5) => taps::<5, 2>(line),
            (true, _) => taps::<0, 2>(line),
            (false, _) => odd_block(line),
        }
    }
}

/// A block of fewer than 16 channels: 8 of them if there are, the rest one by one.
///
/// # Safety
/// See [`super::depthwise::depthwise`].
unsafe fn odd_block(line: &Line) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        if line.channels < LANES {
            return line_portable(line);
        }
        taps::<0, 1>(line);
        if line.channels > LANES {
            line.pixels(
                |x, columns| rest(line, x, columns),
                |x, pixels| (x..x + pixels).for_each(|x| rest(line, x, (0, line.kernel_w))),
            );
        }
    }
}

/// The channels of one pixel past the first eight.
///
/// # Safety
/// See [`super::depthwise::depthwise`]; the taps in `columns` lie inside.
unsafe fn rest(line: &Line, x: usize, columns: (usize, usize)) {
    for channel in LANES..line.channels {
        // SAFETY: single floats at taps, weights and outputs that the line names.
        unsafe {
            let mut sum = *line.bias.wrapping_add(channel);
            for row in 0..line.row_count {
                for column in columns.0..columns.1 {
                    let tap = line
                        .tap(row, x)
                        .wrapping_add(column * line.tap_step + channel);
                    let weight = (row * line.kernel_w + column) * BLOCK + channel;
                    sum += *tap * *line.weights.wrapping_add(weight);
                }
            }
            *line.output_at(x).wrapping_add(channel) = line.activation.of(sum);
        }
    }
}

/// A line with `K` taps in a row, or any number where `K` is 0, for the first `8 H` channels.
///
/// # Safety
/// See [`super::depthwise::depthwise`]; so many channels exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn taps<const K: usize, const H: usize>(line: &Line) {
    let all = (0, line.kernel_w);
    // SAFETY: the caller's promise is handed on.
    unsafe {
        line.pixels(
            |x, columns| tile::<1, 0, H>(line, x, columns),
            |x, pixels| match pixels {
                1 => tile::<1, K, H>(line, x, all),
                2 => tile::<2, K, H>(line, x, all),
                4 => tile::<4, K, H>(line, x, all),
                _ => {
                    tile::<4, K, H>(line, x, all);
                    tile::<4, K, H>(line, x + 4, all);
                }
            },
        );
    }
}

/// `P` pixels from `x` on over the first `K` taps of each row, or `columns` where `K` is 0.
///
/// # Safety
/// See [`super::depthwise::depthwise`]; the taps lie inside, and `8 H` channels exist.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const P: usize, const K: usize, const H: usize>(
    line: &Line,
    x: usize,
    columns: (usize, usize),
) {
    // SAFETY: loads and stores of `8 H` floats at taps, weights and outputs that the line names.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); H]; P];
        unrolled!([0 1] I < H, {
            let bias = load8(line.bias.wrapping_add(I * LANES));
            unrolled!([0 1 2 3] J < P, { sums[J][I] = bias; });
        });
        for row in 0..line.row_count {
            let first = line.tap(row, x);
            let weights = line
                .weights
                .wrapping_add(row.wrapping_mul(line.weight_step));
            if K > 0 {
                unrolled!([0 1 2 3 4] C < K, {
                    let tap = first.wrapping_add(C.wrapping_mul(line.tap_step));
                    unrolled!([0 1] I < H, {
                        let weight = load8(weights.wrapping_add(C * BLOCK + I * LANES));
                        unrolled!([0 1 2 3] J < P, {
                            let at = tap.wrapping_add(J.wrapping_mul(line.pixel_step)).wrapping_add(I * LANES);
                            sums[J][I] = _mm256_fmadd_ps(load8(at), weight, sums[J][I]);
                        });
                    });
                });
            } else {
                for column in columns.0..columns.1 {
                    let tap = first.wrapping_add(column.wrapping_mul(line.tap_step));
                    unrolled!([0 1] I < H, {
                        let weight = load8(weights.wrapping_add(column * BLOCK + I * LANES));
                        unrolled!([0 1 2 3] J < P, {
                            let at = tap.wrapping_add(J.wrapping_mul(line.pixel_step)).wrapping_add(I * LANES);
                            sums[J][I] = _mm256_fmadd_ps(load8(at), weight, sums[J][I]);
                        });
                    });
                }
            }
        }
        if let super::Activation::Clamp { low, high } = line.activation {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            unrolled!([0 1 2 3] J < P, {
                unrolled!([0 1] I < H, {
                    sums[J][I] = _mm256_min_ps(_mm256_max_ps(sums[J][I], low), high);
                });
            });
        } else {
            unrolled!([0 1 2 3] J < P, {
                unrolled!([0 1] I < H, { sums[J][I] = activate(sums[J][I], line.activation); });
            });
        }
        unrolled!([0 1 2 3] J < P, {
            unrolled!([0 1] I < H, {
                store8(line.output_at(x.wrapping_add(J)).wrapping_add(I * LANES), sums[J][I]);
            });
        });
    }
}

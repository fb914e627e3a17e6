//! The strip of [`super::depthwise`] in AVX2 and FMA: 8 channels a register.

use std::arch::x86_64::*;

use super::depthwise::{BLOCK, Strip, strip_portable};
use super::product_avx2::activate;

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// See [`super::depthwise::Strip`].
pub(super) unsafe fn strip(strip: &Strip) {
    let mut half = *strip;
    let mut left = strip.channels;
    while left >= LANES {
        macro_rules! pick {
            ($($p:literal)*) => {
                // SAFETY: the caller's promise, for 8 of the block's channels.
                unsafe {
                    match strip.columns {
                        (0, 3) => match strip.pixels { $($p => lanes::<$p, 3>(&half),)* _ => {} },
                        (0, 5) => match strip.pixels { $($p => lanes::<$p, 5>(&half),)* _ => {} },
                        _ => match strip.pixels { $($p => lanes::<$p, 0>(&half),)* _ => {} },
                    }
                }
            };
        }
        pick!(1 2 3 4 5 6 7 8);
        left -= LANES;
        // SAFETY: weights and bias are whole blocks, so the second half exists; the others move
        // on only to what `left` still counts.
        unsafe {
            half.weights = half.weights.add(LANES);
            half.bias = half.bias.add(LANES);
        }
        half.output = half.output.wrapping_add(LANES);
        for taps in &mut half.taps {
            *taps = taps.wrapping_add(LANES);
        }
    }
    if left > 0 {
        half.channels = left;
        // SAFETY: the caller's promise, for the channels that are left; the portable strip reads
        // whole blocks of weights and bias, hence the copy below where only a half is left.
        unsafe { tail(&half, left < strip.channels) }
    }
}

/// The last few channels.
///
/// # Safety
/// See [`super::depthwise::Strip`]; with `second`, weights and bias begin at a block's middle.
unsafe fn tail(strip: &Strip, second: bool) {
    if !second {
        // SAFETY: the caller's promise.
        return unsafe { strip_portable(strip) };
    }
    for pixel in 0..strip.pixels {
        for channel in 0..strip.channels {
            // SAFETY: single floats at taps, weights and outputs that the strip names.
            unsafe {
                let mut sum = *strip.bias.add(channel);
                for row in 0..strip.tap_rows {
                    for column in strip.columns.0..strip.columns.1 {
                        let at = pixel * strip.pixel_step + column * strip.tap_step + channel;
                        let weight = row * strip.weight_step + column * BLOCK + channel;
                        sum += *strip.taps[row].wrapping_add(at) * *strip.weights.add(weight);
                    }
                }
                *strip.output.add(pixel * strip.output_step + channel) = strip.activation.of(sum);
            }
        }
    }
}

/// `P` pixels of 8 channels, with all `K` taps of each row, or with `columns` where `K` is 0.
///
/// # Safety
/// See [`super::depthwise::Strip`].
#[target_feature(enable = "avx2,fma")]
unsafe fn lanes<const P: usize, const K: usize>(strip: &Strip) {
    let columns = if K == 0 { strip.columns } else { (0, K) };
    // SAFETY: loads and stores of 8 floats at taps, weights and outputs that the strip names.
    unsafe {
        let mut sums = [_mm256_loadu_ps(strip.bias); P];
        for row in 0..strip.tap_rows {
            let weights = strip.weights.add(row * strip.weight_step);
            for k in columns.0..columns.1 {
                let weight = _mm256_loadu_ps(weights.add(k * BLOCK));
                let tap = strip.taps[row].wrapping_add(k * strip.tap_step);
                for p in 0..P {
                    let value = _mm256_loadu_ps(tap.add(p * strip.pixel_step));
                    sums[p] = _mm256_fmadd_ps(value, weight, sums[p]);
                }
            }
        }
        for p in 0..P {
            let at = strip.output.add(p * strip.output_step);
            _mm256_storeu_ps(at, activate(sums[p], strip.activation));
        }
    }
}

//! The strip of [`super::depthwise`] in AVX-512: one register holds the block's 16 channels.

use std::arch::x86_64::*;

use super::depthwise::{BLOCK, Strip};
use super::product_avx512::activate;

/// # Safety
/// See [`super::depthwise::Strip`].
pub(super) unsafe fn strip(strip: &Strip) {
    macro_rules! pick {
        ($($p:literal)*) => {
            // SAFETY: the caller's promise is handed on.
            unsafe {
                if strip.channels < BLOCK {
                    match strip.pixels { $($p => masked::<$p>(strip),)* _ => {} }
                } else if strip.columns == (0, 3) {
                    match strip.pixels { $($p => whole::<$p, 3>(strip),)* _ => {} }
                } else if strip.columns == (0, 5) {
                    match strip.pixels { $($p => whole::<$p, 5>(strip),)* _ => {} }
                } else {
                    match strip.pixels { $($p => masked::<$p>(strip),)* _ => {} }
                }
            }
        };
    }
    pick!(1 2 3 4 5 6 7 8);
}

/// `P` pixels of a whole block with all `K` taps of each row.
///
/// # Safety
/// See [`super::depthwise::Strip`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn whole<const P: usize, const K: usize>(strip: &Strip) {
    // SAFETY: loads and stores of 16 floats at taps, weights and outputs that the strip names.
    unsafe {
        let mut sums = [_mm512_loadu_ps(strip.bias); P];
        for row in 0..strip.tap_rows {
            let taps = strip.taps[row];
            let weights = strip.weights.add(row * strip.weight_step);
            for k in 0..K {
                let weight = _mm512_loadu_ps(weights.add(k * BLOCK));
                let tap = taps.add(k * strip.tap_step);
                for p in 0..P {
                    let value = _mm512_loadu_ps(tap.add(p * strip.pixel_step));
                    sums[p] = _mm512_fmadd_ps(value, weight, sums[p]);
                }
            }
        }
        for p in 0..P {
            let at = strip.output.add(p * strip.output_step);
            _mm512_storeu_ps(at, activate(sums[p], strip.activation));
        }
    }
}

/// `P` pixels of any strip.
///
/// # Safety
/// See [`super::depthwise::Strip`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn masked<const P: usize>(strip: &Strip) {
    let mask = ((1_u32 << strip.channels) - 1) as __mmask16;
    // SAFETY: as in `whole`; lanes past the last channel are masked.
    unsafe {
        let mut sums = [_mm512_loadu_ps(strip.bias); P];
        for row in 0..strip.tap_rows {
            let weights = strip.weights.add(row * strip.weight_step);
            for k in strip.columns.0..strip.columns.1 {
                let weight = _mm512_loadu_ps(weights.add(k * BLOCK));
                let tap = strip.taps[row].wrapping_add(k * strip.tap_step);
                for p in 0..P {
                    let value = _mm512_maskz_loadu_ps(mask, tap.add(p * strip.pixel_step));
                    sums[p] = _mm512_fmadd_ps(value, weight, sums[p]);
                }
            }
        }
        for p in 0..P {
            let at = strip.output.add(p * strip.output_step);
            _mm512_mask_storeu_ps(at, mask, activate(sums[p], strip.activation));
        }
    }
}

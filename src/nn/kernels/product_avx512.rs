//! The tile of [`super::product`] in AVX-512: up to 8 pixels times 3 panels in 24 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::product::{PANEL, Tile};

/// # Safety
/// See [`super::product::TileKernel::run`].
pub(super) unsafe fn tile(tile: &Tile<'_>, pixels: usize, panels: usize) {
    macro_rules! pick {
        ($($p:literal)*) => {
            // SAFETY: the caller's promise is handed on; the last panel's columns are counted
            // so that narrower registers and masks cover just what exists.
            unsafe {
                match (panels, tile.channels) {
                    (1, 1..=8) => match pixels { $($p => narrow::<$p>(tile),)* _ => {} },
                    (1, _) => match pixels { $($p => wide::<$p, 1>(tile),)* _ => {} },
                    (2, _) => match pixels { $($p => wide::<$p, 2>(tile),)* _ => {} },
                    _ => match pixels { $($p => wide::<$p, 3>(tile),)* _ => {} },
                }
            }
        };
    }
    pick!(1 2 3 4 5 6 7 8);
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
pub(super) fn activate(x: __m512, activation: Activation) -> __m512 {
    match activation {
        Activation::Clamp { low, high } => {
            _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(low)), _mm512_set1_ps(high))
        }
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm512_mul_ps(x, hard_sigmoid(x)),
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
fn hard_sigmoid(x: __m512) -> __m512 {
    let shifted = _mm512_add_ps(x, _mm512_set1_ps(3.0));
    let kept = _mm512_min_ps(
        _mm512_max_ps(shifted, _mm512_setzero_ps()),
        _mm512_set1_ps(6.0),
    );
    _mm512_mul_ps(kept, _mm512_set1_ps(1.0 / 6.0))
}

/// `P` pixels times `N` panels.
///
/// # Safety
/// See [`super::product::TileKernel::run`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn wide<const P: usize, const N: usize>(tile: &Tile<'_>) {
    // SAFETY: pointers stay in what the tile vouches for: `run_len` taps from each run's start,
    // as many rows of 16 weights a panel, whole panels of bias, and `channels` outputs a pixel,
    // the last panel's under a mask.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; P];
        for n in 0..N {
            let bias = _mm512_loadu_ps(tile.bias.add(n * PANEL));
            for row in &mut sums {
                row[n] = bias;
            }
        }
        let mut weights = tile.weights;
        for run in tile.runs {
            let mut taps = [std::ptr::null(); P];
            for p in 0..P {
                taps[p] = tile.taps[p].add(*run);
            }
            for k in 0..tile.run_len {
                let mut w = [_mm512_setzero_ps(); N];
                for n in 0..N {
                    w[n] = _mm512_loadu_ps(weights.add(n * tile.panel_stride));
                }
                weights = weights.add(PANEL);
                for p in 0..P {
                    let tap = _mm512_set1_ps(*taps[p].add(k));
                    for n in 0..N {
                        sums[p][n] = _mm512_fmadd_ps(tap, w[n], sums[p][n]);
                    }
                }
            }
        }
        let last = (tile.channels - (N - 1) * PANEL).min(PANEL);
        let last_mask = ((1_u32 << last) - 1) as __mmask16;
        for n in 0..N {
            let mask = if n + 1 == N { last_mask } else { 0xffff };
            for p in 0..P {
                let at = p * tile.output_step + n * PANEL;
                let mut value = activate(sums[p][n], tile.activation);
                if !tile.residual.is_null() {
                    let more = _mm512_maskz_loadu_ps(mask, tile.residual.add(at));
                    value = _mm512_add_ps(value, more);
                }
                _mm512_mask_storeu_ps(tile.output.add(at), mask, value);
            }
        }
    }
}

/// `P` pixels times half a panel, so that 8 channels cost half of 16.
///
/// # Safety
/// See [`super::product::TileKernel::run`]; at most 8 channels exist.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn narrow<const P: usize>(tile: &Tile<'_>) {
    // SAFETY: as in `wide`, with the first half of each row of weights.
    unsafe {
        let mut sums = [_mm256_loadu_ps(tile.bias); P];
        let mut weights = tile.weights;
        for run in tile.runs {
            let mut taps = [std::ptr::null(); P];
            for p in 0..P {
                taps[p] = tile.taps[p].add(*run);
            }
            for k in 0..tile.run_len {
                let w = _mm256_loadu_ps(weights);
                weights = weights.add(PANEL);
                for p in 0..P {
                    sums[p] = _mm256_fmadd_ps(_mm256_set1_ps(*taps[p].add(k)), w, sums[p]);
                }
            }
        }
        let mask = ((1_u32 << tile.channels) - 1) as __mmask16;
        for p in 0..P {
            let at = p * tile.output_step;
            let mut value = activate(_mm512_castps256_ps512(sums[p]), tile.activation);
            if !tile.residual.is_null() {
                let more = _mm512_maskz_loadu_ps(mask, tile.residual.add(at));
                value = _mm512_add_ps(value, more);
            }
            _mm512_mask_storeu_ps(tile.output.add(at), mask, value);
        }
    }
}

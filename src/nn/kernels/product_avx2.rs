//! The tile of [`super::product`] in AVX2 and FMA: up to 6 pixels times one panel in 12 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::product::{PANEL, Tile};

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// See [`super::product::TileKernel::run`].
pub(super) unsafe fn tile(tile: &Tile<'_>, pixels: usize, _panels: usize) {
    macro_rules! pick {
        ($($p:literal)*) => {
            // SAFETY: the caller's promise is handed on; half a panel is enough for 8 channels.
            unsafe {
                if tile.channels <= LANES {
                    match pixels { $($p => panel::<$p, 1>(tile),)* _ => {} }
                } else {
                    match pixels { $($p => panel::<$p, 2>(tile),)* _ => {} }
                }
            }
        };
    }
    pick!(1 2 3 4 5 6);
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn activate(x: __m256, activation: Activation) -> __m256 {
    match activation {
        Activation::Clamp { low, high } => {
            _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(low)), _mm256_set1_ps(high))
        }
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm256_mul_ps(x, hard_sigmoid(x)),
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn hard_sigmoid(x: __m256) -> __m256 {
    let shifted = _mm256_add_ps(x, _mm256_set1_ps(3.0));
    let kept = _mm256_min_ps(
        _mm256_max_ps(shifted, _mm256_setzero_ps()),
        _mm256_set1_ps(6.0),
    );
    _mm256_mul_ps(kept, _mm256_set1_ps(1.0 / 6.0))
}

/// `P` pixels times `N` registers of one panel.
///
/// # Safety
/// See [`super::product::TileKernel::run`]; at most `8 N` channels of the panel exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn panel<const P: usize, const N: usize>(tile: &Tile<'_>) {
    // SAFETY: pointers stay in what the tile vouches for: `run_len` taps from each run's start,
    // as many rows of 16 weights, one panel of bias, and `channels` outputs a pixel.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); N]; P];
        for n in 0..N {
            let bias = _mm256_loadu_ps(tile.bias.add(n * LANES));
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
                let mut w = [_mm256_setzero_ps(); N];
                for n in 0..N {
                    w[n] = _mm256_loadu_ps(weights.add(n * LANES));
                }
                weights = weights.add(PANEL);
                for p in 0..P {
                    let tap = _mm256_broadcast_ss(&*taps[p].add(k));
                    for n in 0..N {
                        sums[p][n] = _mm256_fmadd_ps(tap, w[n], sums[p][n]);
                    }
                }
            }
        }
        let channels = tile.channels.min(N * LANES);
        for p in 0..P {
            let at = p * tile.output_step;
            for n in 0..N {
                let mut value = activate(sums[p][n], tile.activation);
                let here = channels.saturating_sub(n * LANES).min(LANES);
                let at = at + n * LANES;
                if here == LANES {
                    if !tile.residual.is_null() {
                        value = _mm256_add_ps(value, _mm256_loadu_ps(tile.residual.add(at)));
                    }
                    _mm256_storeu_ps(tile.output.add(at), value);
                } else {
                    // AMD's masked stores are slow; the few last channels go one by one.
                    let mut lanes = [0.0_f32; LANES];
                    _mm256_storeu_ps(lanes.as_mut_ptr(), value);
                    for (lane, value) in lanes.iter_mut().enumerate().take(here) {
                        if !tile.residual.is_null() {
                            *value += *tile.residual.add(at + lane);
                        }
                        *tile.output.add(at + lane) = *value;
                    }
                }
            }
        }
    }
}

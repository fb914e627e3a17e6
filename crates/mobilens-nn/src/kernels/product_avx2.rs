//! The tiles of [`super::product`] in AVX2 and FMA: up to 6 pixels times one panel in 12 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::product::{PANEL, Sweep, Tile};
use super::registers::{load8, repeat8, store8, unrolled};

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// See [`super::product::product`].
pub(super) unsafe fn sweep(sweep: &Sweep<'_>) {
    // SAFETY: the caller's promise is handed on; half a panel is enough for 8 channels.
    unsafe {
        if sweep.channels <= LANES {
            half_panel(sweep);
        } else {
            whole_panel(sweep);
        }
    }
}

/// # Safety
/// See [`super::product::product`].
#[target_feature(enable = "avx2,fma")]
unsafe fn whole_panel(sweep: &Sweep<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        sweep.tiles(6, |tile, pixels| match pixels {
            1 => run::<1, 2>(sweep, tile),
            2 => run::<2, 2>(sweep, tile),
            3 => run::<3, 2>(sweep, tile),
            4 => run::<4, 2>(sweep, tile),
            5 => run::<5, 2>(sweep, tile),
            _ => run::<6, 2>(sweep, tile),
        });
    }
}

/// # Safety
/// See [`super::product::product`]; at most 8 channels exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn half_panel(sweep: &Sweep<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        sweep.tiles(8, |tile, pixels| match pixels {
            1 => run::<1, 1>(sweep, tile),
            2 => run::<2, 1>(sweep, tile),
            3 => run::<3, 1>(sweep, tile),
            4 => run::<4, 1>(sweep, tile),
            5 => run::<5, 1>(sweep, tile),
            6 => run::<6, 1>(sweep, tile),
            7 => run::<7, 1>(sweep, tile),
            _ => run::<8, 1>(sweep, tile),
        });
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn clamp(x: __m256, low: __m256, high: __m256) -> __m256 {
    _mm256_min_ps(_mm256_max_ps(x, low), high)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn activate(x: __m256, activation: Activation) -> __m256 {
    match activation {
        Activation::Clamp { low, high } => clamp(x, _mm256_set1_ps(low), _mm256_set1_ps(high)),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm256_mul_ps(x, hard_sigmoid(x)),
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn hard_sigmoid(x: __m256) -> __m256 {
    let shifted = _mm256_add_ps(x, _mm256_set1_ps(3.0));
    let zero = _mm256_setzero_ps();
    let kept = _mm256_min_ps(_mm256_max_ps(shifted, zero), _mm256_set1_ps(6.0));
    _mm256_mul_ps(kept, _mm256_set1_ps(1.0 / 6.0))
}

/// One tile of `P` pixels times `N` registers of one panel.
///
/// # Safety
/// See [`super::product::product`]; at most `8 N` channels of the panel exist.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn run<const P: usize, const N: usize>(sweep: &Sweep<'_>, tile: &Tile) {
    let job = sweep.job;
    // SAFETY: pointers stay in what the sweep vouches for: `run_len` taps from each run's start,
    // as many rows of 16 weights, one panel of bias, and `channels` outputs a pixel.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); N]; P];
        unrolled!([0 1] I < N, {
            let bias = load8(sweep.bias.wrapping_add(I * LANES));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
        });
        let mut weights = sweep.weights;
        for run in job.runs {
            let mut taps = [std::ptr::null::<f32>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, { taps[J] = tile.taps[J].wrapping_add(*run); });
            let mut left = job.run_len;
            while left > 0 {
                left -= 1;
                let mut w = [_mm256_setzero_ps(); N];
                unrolled!([0 1] I < N, { w[I] = load8(weights.wrapping_add(I * LANES)); });
                weights = weights.wrapping_add(PANEL);
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    let tap = repeat8(taps[J]);
                    taps[J] = taps[J].wrapping_add(1);
                    unrolled!([0 1] I < N, {
                        sums[J][I] = _mm256_fmadd_ps(tap, w[I], sums[J][I]);
                    });
                });
            }
        }
        if let Activation::Clamp { low, high } = job.activation {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    sums[J][I] = _mm256_min_ps(_mm256_max_ps(sums[J][I], low), high);
                });
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, { sums[J][I] = activate(sums[J][I], job.activation); });
            });
        }
        if sweep.channels >= N * LANES {
            if !tile.residual.is_null() {
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    unrolled!([0 1] I < N, {
                        let at = tile.residual.wrapping_add(J.wrapping_mul(sweep.output_step).wrapping_add(I * LANES));
                        sums[J][I] = _mm256_add_ps(sums[J][I], load8(at));
                    });
                });
            }
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    let at = tile.output.wrapping_add(J.wrapping_mul(sweep.output_step).wrapping_add(I * LANES));
                    store8(at, sums[J][I]);
                });
            });
            return;
        }
        // AMD's masked stores are slow; the few last channels go one by one.
        unrolled!([0 1 2 3 4 5 6 7] J < P, {
            let mut lanes = [0.0_f32; PANEL];
            unrolled!([0 1] I < N, {
                store8(lanes.as_mut_ptr().wrapping_add(I * LANES), sums[J][I]);
            });
            for (lane, value) in lanes.iter_mut().enumerate().take(sweep.channels) {
                let at = J * sweep.output_step + lane;
                if !tile.residual.is_null() {
                    *value += *tile.residual.wrapping_add(at);
                }
                *tile.output.wrapping_add(at) = *value;
            }
        });
    }
}

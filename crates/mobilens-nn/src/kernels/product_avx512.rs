//! The tiles of [`super::product`] in AVX-512: up to 8 pixels times 3 panels in 24 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::product::{PANEL, Sweep, Tile};
use super::registers::{load8, load16, repeat16, unrolled};

/// Most pixels in a tile.
const PIXELS: usize = 8;

/// # Safety
/// See [`super::product::product`].
pub(super) unsafe fn sweep(sweep: &Sweep<'_>) {
    let last = sweep.channels - (sweep.panels - 1) * PANEL;
    // SAFETY: the caller's promise is handed on. Where the last panel holds 8 channels or fewer,
    // half a register is enough for it.
    unsafe {
        match (sweep.panels, last <= PANEL / 2) {
            (1, true) => panels::<0, 1>(sweep),
            (1, false) => panels::<1, 0>(sweep),
            (2, true) => panels::<1, 1>(sweep),
            (2, false) => panels::<2, 0>(sweep),
            (_, true) => panels::<2, 1>(sweep),
            (_, false) => panels::<3, 0>(sweep),
        }
    }
}

/// All pixels times `N` whole panels and `H` halves.
///
/// # Safety
/// See [`super::product::product`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn panels<const N: usize, const H: usize>(sweep: &Sweep<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        sweep.tiles(PIXELS, |tile, pixels| match pixels {
            1 => run::<1, N, H>(sweep, tile),
            2 => run::<2, N, H>(sweep, tile),
            3 => run::<3, N, H>(sweep, tile),
            4 => run::<4, N, H>(sweep, tile),
            5 => run::<5, N, H>(sweep, tile),
            6 => run::<6, N, H>(sweep, tile),
            7 => run::<7, N, H>(sweep, tile),
            _ => run::<8, N, H>(sweep, tile),
        });
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
pub(super) fn clamp(x: __m512, low: __m512, high: __m512) -> __m512 {
    _mm512_min_ps(_mm512_max_ps(x, low), high)
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
pub(super) fn activate(x: __m512, activation: Activation) -> __m512 {
    match activation {
        Activation::Clamp { low, high } => clamp(x, _mm512_set1_ps(low), _mm512_set1_ps(high)),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm512_mul_ps(x, hard_sigmoid(x)),
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
fn hard_sigmoid(x: __m512) -> __m512 {
    let shifted = _mm512_add_ps(x, _mm512_set1_ps(3.0));
    let zero = _mm512_setzero_ps();
    let kept = _mm512_min_ps(_mm512_max_ps(shifted, zero), _mm512_set1_ps(6.0));
    _mm512_mul_ps(kept, _mm512_set1_ps(1.0 / 6.0))
}

/// Activation, residual and store of one panel of a tile; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! finish {
    ($sweep:ident, $tile:ident, $pixels:ident, $channel:expr, $mask:expr, |$j:ident| $sum:expr) => {
        let mut column = [_mm512_setzero_ps(); $pixels];
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, { column[$j] = $sum; });
        if let Activation::Clamp { low, high } = $sweep.job.activation {
            let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = _mm512_min_ps(_mm512_max_ps(column[$j], low), high);
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = activate(column[$j], $sweep.job.activation);
            });
        }
        if !$tile.residual.is_null() {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                let at = $tile.residual.wrapping_add($j.wrapping_mul($sweep.output_step).wrapping_add($channel));
                column[$j] = _mm512_add_ps(column[$j], _mm512_maskz_loadu_ps($mask, at));
            });
        }
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
            let at = $tile.output.wrapping_add($j.wrapping_mul($sweep.output_step).wrapping_add($channel));
            _mm512_mask_storeu_ps(at, $mask, column[$j]);
        });
    };
}

/// One tile of `P` pixels.
///
/// # Safety
/// See [`super::product::product`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
unsafe fn run<const P: usize, const N: usize, const H: usize>(sweep: &Sweep<'_>, tile: &Tile) {
    let job = sweep.job;
    // SAFETY: pointers stay in what the sweep vouches for: `run_len` taps from each run's start,
    // as many rows of 16 weights a panel, whole panels of bias, and `channels` outputs a pixel,
    // the last panel's under a mask.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; P];
        let mut halves = [[_mm256_setzero_ps(); H]; P];
        unrolled!([0 1 2] I < N, {
            let bias = load16(sweep.bias.wrapping_add(I * PANEL));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
        });
        unrolled!([0] I < H, {
            let bias = load8(sweep.bias.wrapping_add(N * PANEL));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { halves[J][I] = bias; });
        });
        let mut weights = sweep.weights;
        for run in job.runs {
            let mut taps = [std::ptr::null::<f32>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, { taps[J] = tile.taps[J].wrapping_add(*run); });
            let mut left = job.run_len;
            while left > 0 {
                left -= 1;
                let mut w = [_mm512_setzero_ps(); N];
                let mut half = [_mm256_setzero_ps(); H];
                unrolled!([0 1 2] I < N, {
                    w[I] = load16(weights.wrapping_add(I.wrapping_mul(sweep.panel_stride)));
                });
                unrolled!([0] I < H, {
                    half[I] = load8(weights.wrapping_add(N.wrapping_mul(sweep.panel_stride)));
                });
                weights = weights.wrapping_add(PANEL);
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    let tap = repeat16(taps[J]);
                    taps[J] = taps[J].wrapping_add(1);
                    unrolled!([0 1 2] I < N, {
                        sums[J][I] = _mm512_fmadd_ps(tap, w[I], sums[J][I]);
                    });
                    unrolled!([0] I < H, {
                        let tap = _mm512_castps512_ps256(tap);
                        halves[J][I] = _mm256_fmadd_ps(tap, half[I], halves[J][I]);
                    });
                });
            }
        }
        let last = (sweep.channels - (N + H - 1) * PANEL).min(PANEL);
        let mask = ((1_u32 << last) - 1) as __mmask16;
        unrolled!([0 1 2] I < N, {
            let mask = if I + 1 == N + H { mask } else { 0xffff };
            finish!(sweep, tile, P, I * PANEL, mask, |J| sums[J][I]);
        });
        unrolled!([0] I < H, {
            finish!(sweep, tile, P, N * PANEL, mask, |J| _mm512_castps256_ps512(halves[J][I]));
        });
    }
}

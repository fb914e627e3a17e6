//! GEMM microkernel in AVX-512: up to 8 pixels times 3 panels in 24 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx512::{activate, smooth_all};
use super::gemm_block::{GemmBlock, PREFETCH_STEPS, Tile, prefetch};
use super::packed_gemm::PANEL;
use super::simd::{broadcast16, load8, load16, store8, store16, unrolled};

/// Most pixels in a tile.
const PIXELS: usize = 8;

/// # Safety
/// As [`GemmBlock`].
pub(super) unsafe fn gemm_block(block: &GemmBlock<'_>) {
    let last = block.channels - (block.panels - 1) * PANEL;
    // SAFETY: the caller's promise is handed on. Where the last panel holds 8 channels or fewer,
    // half a register is enough for it.
    unsafe {
        match (block.panels, last <= PANEL / 2) {
            (1, true) => panels::<0, 1>(block),
            (1, false) => panels::<1, 0>(block),
            (2, true) => panels::<1, 1>(block),
            (2, false) => panels::<2, 0>(block),
            (_, true) => panels::<2, 1>(block),
            (_, false) => panels::<3, 0>(block),
        }
    }
}

/// All pixels times `N` whole panels and `H` halves.
///
/// # Safety
/// As [`GemmBlock`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn panels<const N: usize, const H: usize>(block: &GemmBlock<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        block.tiles(PIXELS, |tile, pixels| match pixels {
            1 => microkernel::<1, N, H>(block, tile),
            2 => microkernel::<2, N, H>(block, tile),
            3 => microkernel::<3, N, H>(block, tile),
            4 => microkernel::<4, N, H>(block, tile),
            5 => microkernel::<5, N, H>(block, tile),
            6 => microkernel::<6, N, H>(block, tile),
            7 => microkernel::<7, N, H>(block, tile),
            _ => microkernel::<8, N, H>(block, tile),
        });
    }
}

/// Activation, residual and store of one panel of a tile; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! epilogue {
    ($block:ident, $tile:ident, $pixels:ident, $channel:expr, $mask:expr, |$j:ident| $sum:expr) => {
        let mut column = [_mm512_setzero_ps(); $pixels];
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, { column[$j] = $sum; });
        let residual = (!$tile.residual.is_null()).then_some($tile.residual);
        if let Some(residual) = residual.filter(|_| $block.job.residual_first) {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                let at = residual.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
                column[$j] = _mm512_add_ps(column[$j], _mm512_maskz_loadu_ps($mask, at));
            });
        }
        if let Activation::Clamp { low, high } = $block.job.activation {
            let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = _mm512_min_ps(_mm512_max_ps(column[$j], low), high);
            });
        } else if $block.job.activation.is_smooth() {
            // A copy, so that `column` stays in registers elsewhere.
            let mut values = column;
            smooth_all(&mut values, $block.job.activation);
            column = values;
        } else {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = activate(column[$j], $block.job.activation);
            });
        }
        if let Some(residual) = residual.filter(|_| !$block.job.residual_first) {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                let at = residual.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
                column[$j] = _mm512_add_ps(column[$j], _mm512_maskz_loadu_ps($mask, at));
            });
        }
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
            let at = $tile.output.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
            _mm512_mask_storeu_ps(at, $mask, column[$j]);
        });
    };
}

/// The microkernel for a tile of `P` pixels.
///
/// # Safety
/// As [`GemmBlock`].
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
unsafe fn microkernel<const P: usize, const N: usize, const H: usize>(
    block: &GemmBlock<'_>,
    tile: &Tile<'_>,
) {
    // SAFETY: pointers stay in what the block promises: the inputs of each segment, as many times 16
    // weights a panel, whole panels of bias and sums, and `channels` outputs a pixel, the last
    // panel's under a mask.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; P];
        let mut halves = [[_mm256_setzero_ps(); H]; P];
        if block.chunk.first {
            unrolled!([0 1 2] I < N, {
                let bias = load16(block.bias.wrapping_add(I * PANEL));
                unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
            });
            unrolled!([0] I < H, {
                let bias = load8(block.bias.wrapping_add(N * PANEL));
                unrolled!([0 1 2 3 4 5 6 7] J < P, { halves[J][I] = bias; });
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1 2] I < N, {
                    sums[J][I] = load16(tile.sums.wrapping_add((J * (N + H) + I) * PANEL));
                });
                unrolled!([0] I < H, {
                    halves[J][I] = load8(tile.sums.wrapping_add((J * (N + H) + N) * PANEL));
                });
            });
        }
        let mut next_weights = tile.next_weights;
        let steps = if tile.ahead != 0 || !next_weights.is_null() {
            PREFETCH_STEPS
        } else {
            usize::MAX
        };
        for segment in tile.segments {
            let mut input = [std::ptr::null::<f32>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                input[J] = (*segment.pixels)[J].wrapping_add(segment.offset);
            });
            let mut weights = segment.weights;
            let mut rest = segment.len;
            while rest > 0 {
                let mut left = rest.min(steps);
                rest -= left;
                if tile.ahead != 0 {
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        prefetch(input[J].wrapping_add(tile.ahead));
                    });
                }
                if !next_weights.is_null() {
                    for _ in 0..tile.next_lines {
                        unrolled!([0 1 2] I < N + H, {
                            prefetch(next_weights.wrapping_add(I.wrapping_mul(block.panel_stride)));
                        });
                        next_weights = next_weights.wrapping_add(PANEL);
                    }
                }
                while left > 0 {
                    left -= 1;
                    let mut w = [_mm512_setzero_ps(); N];
                    let mut half = [_mm256_setzero_ps(); H];
                    unrolled!([0 1 2] I < N, {
                        w[I] = load16(weights.wrapping_add(I.wrapping_mul(block.panel_stride)));
                    });
                    unrolled!([0] I < H, {
                        half[I] = load8(weights.wrapping_add(N.wrapping_mul(block.panel_stride)));
                    });
                    weights = weights.wrapping_add(PANEL);
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let value = broadcast16(input[J]);
                        input[J] = input[J].wrapping_add(1);
                        unrolled!([0 1 2] I < N, {
                            sums[J][I] = _mm512_fmadd_ps(value, w[I], sums[J][I]);
                        });
                        unrolled!([0] I < H, {
                            let value = _mm512_castps512_ps256(value);
                            halves[J][I] = _mm256_fmadd_ps(value, half[I], halves[J][I]);
                        });
                    });
                }
            }
        }
        if !block.chunk.last {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1 2] I < N, {
                    store16(tile.sums.wrapping_add((J * (N + H) + I) * PANEL), sums[J][I]);
                });
                unrolled!([0] I < H, {
                    store8(tile.sums.wrapping_add((J * (N + H) + N) * PANEL), halves[J][I]);
                });
            });
            return;
        }
        let last = (block.channels - (N + H - 1) * PANEL).min(PANEL);
        let mask = ((1_u32 << last) - 1) as __mmask16;
        unrolled!([0 1 2] I < N, {
            let mask = if I + 1 == N + H { mask } else { 0xffff };
            epilogue!(block, tile, P, I * PANEL, mask, |J| sums[J][I]);
        });
        unrolled!([0] I < H, {
            epilogue!(block, tile, P, N * PANEL, mask, |J| _mm512_castps256_ps512(halves[J][I]));
        });
    }
}

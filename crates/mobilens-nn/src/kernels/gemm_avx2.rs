//! GEMM microkernel in AVX2 and FMA: up to 6 pixels times one panel in 12 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx2::{activate, smooth_all};
use super::gemm_block::{GemmBlock, PREFETCH_STEPS, Tile, prefetch};
use super::packed_gemm::PANEL;
use super::simd::{broadcast8, load8, store8, unrolled};

/// Floats in one register.
const LANES: usize = 8;

/// # Safety
/// As [`GemmBlock`].
pub(super) unsafe fn gemm_block(block: &GemmBlock<'_>) {
    // SAFETY: the caller's promise is handed on; half a panel is enough for 8 channels.
    unsafe {
        if block.channels <= LANES {
            half_panel(block);
        } else {
            whole_panel(block);
        }
    }
}

/// # Safety
/// As [`GemmBlock`].
#[target_feature(enable = "avx2,fma")]
unsafe fn whole_panel(block: &GemmBlock<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        block.tiles(6, |tile, pixels| match pixels {
            1 => microkernel::<1, 2>(block, tile),
            2 => microkernel::<2, 2>(block, tile),
            3 => microkernel::<3, 2>(block, tile),
            4 => microkernel::<4, 2>(block, tile),
            5 => microkernel::<5, 2>(block, tile),
            _ => microkernel::<6, 2>(block, tile),
        });
    }
}

/// # Safety
/// As [`GemmBlock`]; at most 8 channels exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn half_panel(block: &GemmBlock<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        block.tiles(8, |tile, pixels| match pixels {
            1 => microkernel::<1, 1>(block, tile),
            2 => microkernel::<2, 1>(block, tile),
            3 => microkernel::<3, 1>(block, tile),
            4 => microkernel::<4, 1>(block, tile),
            5 => microkernel::<5, 1>(block, tile),
            6 => microkernel::<6, 1>(block, tile),
            7 => microkernel::<7, 1>(block, tile),
            _ => microkernel::<8, 1>(block, tile),
        });
    }
}

/// The microkernel for a tile of `P` pixels times `N` registers of one panel.
///
/// # Safety
/// As [`GemmBlock`]; at most `8 N` channels of the panel exist.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn microkernel<const P: usize, const N: usize>(block: &GemmBlock<'_>, tile: &Tile<'_>) {
    let job = block.job;
    // SAFETY: pointers stay in what the block promises: the inputs of each segment, as many times 16
    // weights, one panel of bias and sums, and `channels` outputs a pixel.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); N]; P];
        if block.chunk.first {
            unrolled!([0 1] I < N, {
                let bias = load8(block.bias.wrapping_add(I * LANES));
                unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    sums[J][I] = load8(tile.sums.wrapping_add(J * PANEL + I * LANES));
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
                        prefetch(next_weights);
                        next_weights = next_weights.wrapping_add(PANEL);
                    }
                }
                while left > 0 {
                    left -= 1;
                    let mut w = [_mm256_setzero_ps(); N];
                    unrolled!([0 1] I < N, { w[I] = load8(weights.wrapping_add(I * LANES)); });
                    weights = weights.wrapping_add(PANEL);
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let value = broadcast8(input[J]);
                        input[J] = input[J].wrapping_add(1);
                        unrolled!([0 1] I < N, {
                            sums[J][I] = _mm256_fmadd_ps(value, w[I], sums[J][I]);
                        });
                    });
                }
            }
        }
        if !block.chunk.last {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    store8(tile.sums.wrapping_add(J * PANEL + I * LANES), sums[J][I]);
                });
            });
            return;
        }
        let mut residual = tile.residual;
        if job.residual_first && !residual.is_null() {
            if block.channels >= N * LANES {
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    unrolled!([0 1] I < N, {
                        let at = residual.wrapping_add(J.wrapping_mul(block.output_stride).wrapping_add(I * LANES));
                        sums[J][I] = _mm256_add_ps(sums[J][I], load8(at));
                    });
                });
            } else {
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    let mut lanes = [0.0_f32; PANEL];
                    for (lane, value) in lanes.iter_mut().enumerate().take(block.channels) {
                        *value = *residual.wrapping_add(J * block.output_stride + lane);
                    }
                    unrolled!([0 1] I < N, {
                        let values = load8(lanes.as_ptr().wrapping_add(I * LANES));
                        sums[J][I] = _mm256_add_ps(sums[J][I], values);
                    });
                });
            }
            residual = std::ptr::null();
        }
        if let Activation::Clamp { low, high } = job.activation {
            let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    sums[J][I] = _mm256_min_ps(_mm256_max_ps(sums[J][I], low), high);
                });
            });
        } else if job.activation.is_smooth() {
            // A copy, so that the sums stay in registers elsewhere.
            let mut values = sums;
            smooth_all(values.as_flattened_mut(), job.activation);
            sums = values;
        } else {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, { sums[J][I] = activate(sums[J][I], job.activation); });
            });
        }
        if block.channels >= N * LANES {
            if !residual.is_null() {
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    unrolled!([0 1] I < N, {
                        let at = residual.wrapping_add(J.wrapping_mul(block.output_stride).wrapping_add(I * LANES));
                        sums[J][I] = _mm256_add_ps(sums[J][I], load8(at));
                    });
                });
            }
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1] I < N, {
                    let at = tile.output.wrapping_add(J.wrapping_mul(block.output_stride).wrapping_add(I * LANES));
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
            for (lane, value) in lanes.iter_mut().enumerate().take(block.channels) {
                let at = J * block.output_stride + lane;
                if !residual.is_null() {
                    *value += *residual.wrapping_add(at);
                }
                *tile.output.wrapping_add(at) = *value;
            }
        });
    }
}

//! int8 GEMM microkernel in AVX-VNNI: `vpdpbusd` on 32-byte registers (ymm). A panel has up to four
//! registers of 8 channels.

use std::arch::x86_64::*;
use std::hint::assert_unchecked;
use std::mem::MaybeUninit;

use super::gemm_int8_block::{GemmInt8Block, Int8Tile};
use super::gemm_int8_epilogue::Epilogue;
use super::gemm_int8_ymm_epilogue::*;
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::simd::unrolled;

/// The most pixels in a tile of 1, 2, 3 and 4 registers.
const PIXELS: [usize; MAX_REGISTERS] = [8, 6, 4, 3];

/// # Safety
/// As [`GemmInt8Block`].
pub(super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match block.panel.registers {
            1 => registers::<1>(block),
            2 => registers::<2>(block),
            3 => registers::<3>(block),
            _ => registers::<MAX_REGISTERS>(block),
        }
    }
}

/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn registers<const N: usize>(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        // Larger tiles than the limit do not occur, and are not compiled.
        let mut tiles = block.tiles(PIXELS[N - 1]);
        while let Some((tile, pixels)) = tiles.next() {
            match pixels {
                1 => microkernel::<1, N>(block, &tile),
                2 => microkernel::<2, N>(block, &tile),
                3 if PIXELS[N - 1] >= 3 => microkernel::<3, N>(block, &tile),
                4 if PIXELS[N - 1] >= 4 => microkernel::<4, N>(block, &tile),
                5 if PIXELS[N - 1] >= 5 => microkernel::<5, N>(block, &tile),
                6 if PIXELS[N - 1] >= 6 => microkernel::<6, N>(block, &tile),
                7 if PIXELS[N - 1] >= 7 => microkernel::<7, N>(block, &tile),
                8 if PIXELS[N - 1] >= 8 => microkernel::<8, N>(block, &tile),
                _ => {}
            }
        }
    }
}

/// The microkernel for a tile of `P` pixels times `N` registers of channels,
/// interleaved where `N` is four.
///
/// # Safety
/// As [`GemmInt8Block`].
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn microkernel<const P: usize, const N: usize>(block: &GemmInt8Block<'_>, tile: &Int8Tile) {
    let job = block.job;
    // SAFETY: K has a step at least; pointers stay in what the block promises: whole
    // steps from the start of each segment, as many times `N` registers of weights,
    // `N` of bias and multipliers, and the panel's channels at each output pixel: whole
    // registers, as other panels take the epilogue that counts their channels.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); N]; P];
        unrolled!([0 1 2 3] I < N, {
            let bias = load(block.bias.wrapping_add(I * LANES));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
        });
        // So that no path without a step needs the sums in the same registers.
        assert_unchecked(block.segment_steps > 0 && !job.segments.is_empty());
        let mut weights = block.weights;
        for segment in job.segments {
            let mut input = [std::ptr::null::<u8>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                input[J] = tile.input[J].wrapping_add(*segment);
            });
            let mut left = block.segment_steps;
            while left > 0 {
                left -= 1;
                // The fewer of weights and values wait in registers.
                if N < MAX_REGISTERS {
                    let mut w = [_mm256_setzero_si256(); N];
                    unrolled!([0 1 2] I < N, {
                        w[I] = load(weights.wrapping_add(I * BYTES).cast());
                    });
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        let values = broadcast_step(input[J]);
                        input[J] = input[J].wrapping_add(STEP);
                        unrolled!([0 1 2] I < N, {
                            sums[J][I] = _mm256_dpbusd_avx_epi32(sums[J][I], values, w[I]);
                        });
                    });
                } else {
                    let mut values = [_mm256_setzero_si256(); P];
                    unrolled!([0 1 2] J < P, {
                        values[J] = broadcast_step(input[J]);
                        input[J] = input[J].wrapping_add(STEP);
                    });
                    unrolled!([0 1 2 3] I < N, {
                        let w = load(weights.wrapping_add(I * BYTES).cast());
                        unrolled!([0 1 2] J < P, {
                            sums[J][I] = _mm256_dpbusd_avx_epi32(sums[J][I], values[J], w);
                        });
                    });
                }
                weights = weights.wrapping_add(N * BYTES);
            }
        }
        let mut stored = MaybeUninit::<[[__m256i; N]; P]>::uninit();
        let stored = stored.as_mut_ptr().cast::<__m256i>();
        store_tile!(block, tile.offset, P, N, |J, I| sums[J][I], stored: {
            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                unrolled!([0 1 2 3] I < N, {
                    stored.wrapping_add(J * N + I).write(sums[J][I]);
                });
            });
            stored
        });
    }
}

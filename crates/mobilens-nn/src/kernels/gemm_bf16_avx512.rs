//! bfloat16 GEMM microkernel in AVX-512 BF16: up to 8 pixels times 3 panels in 24 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx512::activate;
use super::gemm_bf16_block::{Bf16Output, Bf16Tile, GemmBf16Block};
use super::packed_gemm::PANEL;
use super::simd::{load8, load16 as load16_f32, unrolled};
use super::simd_bf16::{
    broadcast_last, broadcast_pair, dot8, dot16, load_f32, load16, load32, store_rounded,
};

/// Most pixels in a tile.
const PIXELS: usize = 8;

/// # Safety
/// As [`GemmBf16Block`].
pub(super) unsafe fn gemm_block(block: &GemmBf16Block<'_>) {
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
/// As [`GemmBf16Block`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn panels<const N: usize, const H: usize>(block: &GemmBf16Block<'_>) {
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

/// Products of one pair of k, of whole panels and half ones; the weights go on to the next pair.
macro_rules! accumulate {
    (
        $block:ident, $weights:ident, $pixels:ident, $n:ident, $h:ident, $sums:ident, $halves:ident,
        |$j:ident| $pair:expr
    ) => {
        let mut w = [_mm512_setzero_si512(); $n];
        let mut half = [_mm256_setzero_si256(); $h];
        unrolled!([0 1 2] I < $n, {
            w[I] = load32($weights.wrapping_add(I.wrapping_mul($block.panel_stride)));
        });
        unrolled!([0] I < $h, {
            half[I] = load16($weights.wrapping_add($n.wrapping_mul($block.panel_stride)));
        });
        $weights = $weights.wrapping_add(2 * PANEL);
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
            let pair = $pair;
            unrolled!([0 1 2] I < $n, { $sums[$j][I] = dot16($sums[$j][I], pair, w[I]); });
            unrolled!([0] I < $h, {
                $halves[$j][I] = dot8($halves[$j][I], _mm512_castsi512_si256(pair), half[I]);
            });
        });
    };
}

/// Activation, residual and store of one panel of a tile; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! epilogue {
    ($block:ident, $tile:ident, $pixels:ident, $channel:expr, $mask:expr, |$j:ident| $sum:expr) => {
        let mut column = [_mm512_setzero_ps(); $pixels];
        unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, { column[$j] = $sum; });
        if let Activation::Clamp { low, high } = $block.job.activation {
            let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = _mm512_min_ps(_mm512_max_ps(column[$j], low), high);
            });
        } else {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                column[$j] = activate(column[$j], $block.job.activation);
            });
        }
        if !$tile.residual.is_null() {
            unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                let at = $tile.residual.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
                column[$j] = _mm512_add_ps(column[$j], load_f32($mask, at));
            });
        }
        match $tile.output {
            Bf16Output::Bf16(output) => {
                unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                    let at = output.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
                    store_rounded(at, $mask, column[$j]);
                });
            }
            Bf16Output::Float(output) => {
                unrolled!([0 1 2 3 4 5 6 7] $j < $pixels, {
                    let at = output.wrapping_add($j.wrapping_mul($block.output_stride).wrapping_add($channel));
                    _mm512_mask_storeu_ps(at, $mask, column[$j]);
                });
            }
        }
    };
}

/// The microkernel for a tile of `P` pixels.
///
/// # Safety
/// As [`GemmBf16Block`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
unsafe fn microkernel<const P: usize, const N: usize, const H: usize>(
    block: &GemmBf16Block<'_>,
    tile: &Bf16Tile,
) {
    let job = block.job;
    let (pairs, odd) = (job.packed.segment_len / 2, job.packed.segment_len % 2);
    // SAFETY: pointers stay in what the block promises: `segment_len` inputs from the start of each
    // segment, as many pairs of 16 weights a panel, whole panels of bias, and `channels` outputs a
    // pixel, the last panel's under a mask.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; P];
        let mut halves = [[_mm256_setzero_ps(); H]; P];
        unrolled!([0 1 2] I < N, {
            let bias = load16_f32(block.bias.wrapping_add(I * PANEL));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
        });
        unrolled!([0] I < H, {
            let bias = load8(block.bias.wrapping_add(N * PANEL));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { halves[J][I] = bias; });
        });
        let mut weights = block.weights;
        for segment in job.segments {
            let mut input = [std::ptr::null::<u16>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, { input[J] = tile.input[J].wrapping_add(*segment); });
            let mut left = pairs;
            while left > 0 {
                left -= 1;
                accumulate!(block, weights, P, N, H, sums, halves, |J| {
                    let pair = broadcast_pair(input[J]);
                    input[J] = input[J].wrapping_add(2);
                    pair
                });
            }
            if odd == 1 {
                accumulate!(block, weights, P, N, H, sums, halves, |J| broadcast_last(
                    input[J]
                ));
            }
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

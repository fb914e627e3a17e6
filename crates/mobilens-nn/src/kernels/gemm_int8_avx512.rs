//! int8 GEMM microkernel in AVX-512 VNNI: 6 pixels times a whole panel of 64 channels, or 8 pixels
//! times one to three registers of 16, in at most 24 registers.

use std::arch::x86_64::*;
use std::hint::assert_unchecked;
use std::mem::MaybeUninit;

use super::gemm_int8_avx512_epilogue::{
    BYTES, LANES, Limits, ResidualSum, Rounding, code, general, in_order, load, load_floats,
    load_residual, pack, pack_limited, scaled, store_first,
};
use super::gemm_int8_block::{GemmInt8Block, Int8Tile, MAX_TILE_PIXELS};
use super::gemm_int8_epilogue::Epilogue;
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::simd::unrolled;

/// # Safety
/// As [`GemmInt8Block`].
pub(super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (block.panel.interleaved, block.panel.registers) {
            (true, _) => whole_panel(block),
            (false, 1) => registers::<1>(block),
            (false, 2) => registers::<2>(block),
            (false, _) => registers::<3>(block),
        }
    }
}

/// # Safety
/// As [`GemmInt8Block`]; the panel is interleaved.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn whole_panel(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        let mut tiles = block.tiles(6);
        while let Some((tile, pixels)) = tiles.next() {
            match pixels {
                1 => microkernel::<1, MAX_REGISTERS>(block, &tile),
                2 => microkernel::<2, MAX_REGISTERS>(block, &tile),
                3 => microkernel::<3, MAX_REGISTERS>(block, &tile),
                4 => microkernel::<4, MAX_REGISTERS>(block, &tile),
                5 => microkernel::<5, MAX_REGISTERS>(block, &tile),
                _ => microkernel::<6, MAX_REGISTERS>(block, &tile),
            }
        }
    }
}

/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers of channels in order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn registers<const N: usize>(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        let mut tiles = block.tiles(8);
        while let Some((tile, pixels)) = tiles.next() {
            match pixels {
                1 => microkernel::<1, N>(block, &tile),
                2 => microkernel::<2, N>(block, &tile),
                3 => microkernel::<3, N>(block, &tile),
                4 => microkernel::<4, N>(block, &tile),
                5 => microkernel::<5, N>(block, &tile),
                6 => microkernel::<6, N>(block, &tile),
                7 => microkernel::<7, N>(block, &tile),
                _ => microkernel::<8, N>(block, &tile),
            }
        }
    }
}

/// Packs and stores the codes of a tile, given in 32 bits; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! store_codes {
    (
        $block:ident, $tile:ident, $p:ident, $n:ident,
        |$j:ident, $i:ident, $multiplier:ident| $code:expr, $pack:ident $(, $limits:ident)?
    ) => {
        let mut codes = [[_mm512_setzero_si512(); $n]; $p];
        unrolled!([0 1 2 3] $i < $n, {
            let $multiplier = load_floats($block.multipliers.wrapping_add($i * LANES));
            unrolled!([0 1 2 3 4 5 6 7] $j < $p, { codes[$j][$i] = $code; });
        });
        let (stride, channels) = ($block.output_stride, $block.panel.channels);
        let output = $block.codes.wrapping_add($tile.offset);
        if $n == 4 {
            unrolled!([0 1 2 3 4 5] J < $p, {
                let [a, b, c, d] = [codes[J][0], codes[J][1], codes[J][2], codes[J][3]];
                let at = output.wrapping_add(J.wrapping_mul(stride));
                store_first(at, $pack(a, b, c, d $(, &$limits)?), channels);
            });
        } else if $n == 3 {
            unrolled!([0 1 2 3 4 5 6 7] J < $p, {
                let [a, b, c] = [codes[J][0], codes[J][1], codes[J][2]];
                let at = output.wrapping_add(J.wrapping_mul(stride));
                store_first(at, in_order($pack(a, b, c, _mm512_setzero_si512() $(, &$limits)?)), channels);
            });
        } else if $n == 2 {
            unrolled!([0 2 4 6] J < $p, {
                let [a, b] = [codes[J][0], codes[J][1]];
                // Where the number of pixels is odd the last is packed twice.
                let c = if J + 1 < $p { codes[J + 1][0] } else { a };
                let d = if J + 1 < $p { codes[J + 1][1] } else { b };
                let bytes = in_order($pack(a, b, c, d $(, &$limits)?));
                let at = output.wrapping_add(J.wrapping_mul(stride));
                if J + 1 < $p && stride == 2 * LANES {
                    store_first(at, bytes, BYTES);
                } else {
                    let mask = u32::MAX >> (2 * LANES - channels);
                    let [first, second] = [
                        _mm512_castsi512_si256(bytes),
                        _mm512_extracti64x4_epi64::<1>(bytes),
                    ];
                    _mm256_mask_storeu_epi8(at.cast(), mask, first);
                    if J + 1 < $p {
                        _mm256_mask_storeu_epi8(at.wrapping_add(stride).cast(), mask, second);
                    }
                }
            });
        } else {
            unrolled!([0 4] J < $p, {
                let a = codes[J][0];
                let b = if J + 1 < $p { codes[J + 1][0] } else { a };
                let c = if J + 2 < $p { codes[J + 2][0] } else { a };
                let d = if J + 3 < $p { codes[J + 3][0] } else { a };
                let bytes = in_order($pack(a, b, c, d $(, &$limits)?));
                let at = output.wrapping_add(J.wrapping_mul(stride));
                if J + 3 < $p && stride == LANES {
                    store_first(at, bytes, BYTES);
                } else {
                    let mask = u16::MAX >> (LANES - channels);
                    _mm_mask_storeu_epi8(at.cast(), mask, _mm512_castsi512_si128(bytes));
                    unrolled!([1 2 3] I < 4, {
                        if J + I < $p {
                            let at = at.wrapping_add(I.wrapping_mul(stride));
                            let part = _mm512_extracti32x4_epi32::<{ I as i32 }>(bytes);
                            _mm_mask_storeu_epi8(at.cast(), mask, part);
                        }
                    });
                }
            });
        }
    };
}

/// The epilogue of a tile whose sums are in registers; a macro as [`store_codes`].
macro_rules! write_results {
    ($block:ident, $tile:ident, $p:ident, $n:ident, $sums:ident) => {
        match $block.job.packed.epilogue() {
            Epilogue::Unsigned => {
                store_codes!(
                    $block,
                    $tile,
                    $p,
                    $n,
                    |J, I, multiplier| code(scaled($sums[J][I], multiplier)),
                    pack
                );
            }
            Epilogue::Codes(range) => {
                let limits = Limits::new(range);
                store_codes!(
                    $block,
                    $tile,
                    $p,
                    $n,
                    |J, I, multiplier| code(scaled($sums[J][I], multiplier)),
                    pack_limited,
                    limits
                );
            }
            Epilogue::RoundedResidual(residual, rounding, range) => {
                let limits = Limits::new(range);
                let rounding = Rounding::new(rounding);
                let sum = ResidualSum::new(residual);
                let from = $block.residual.wrapping_add($tile.offset);
                let channels = $block.panel.channels;
                store_codes!(
                    $block,
                    $tile,
                    $p,
                    $n,
                    |J, I, multiplier| {
                        let at = from.wrapping_add(J.wrapping_mul($block.output_stride));
                        let other = load_residual::<$n>(at, channels, I);
                        let own = rounding.apply(scaled($sums[J][I], multiplier));
                        code(sum.add(own, other))
                    },
                    pack_limited,
                    limits
                );
            }
            Epilogue::General => {
                let mut stored = MaybeUninit::<[[__m512i; $n]; $p]>::uninit();
                let start = stored.as_mut_ptr().cast::<__m512i>();
                unrolled!([0 1 2 3 4 5 6 7] J < $p, {
                    unrolled!([0 1 2 3] I < $n, {
                        start.wrapping_add(J * $n + I).write($sums[J][I]);
                    });
                });
                general::<$n>($block, $tile, $p, start);
            }
        }
    };
}

/// The microkernel for a tile of `P` pixels times `N` registers of channels, interleaved where `N`
/// is four.
///
/// # Safety
/// As [`GemmInt8Block`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn microkernel<const P: usize, const N: usize>(block: &GemmInt8Block<'_>, tile: &Int8Tile) {
    let job = block.job;
    // SAFETY: K has a step at least; pointers stay in what the block promises: whole steps from the
    // start of each segment, as many times `N` registers of weights, `N` of bias and multipliers,
    // and the panel's channels at each output pixel, the last register's under a mask.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); N]; P];
        unrolled!([0 1 2 3] I < N, {
            let bias = load(block.bias.wrapping_add(I * LANES));
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = bias; });
        });
        // So that no path without a step needs the sums in the same registers.
        assert_unchecked(block.segment_steps > 0 && !job.segments.is_empty());
        let mut weights = block.weights;
        for segment in job.segments {
            let mut input = [std::ptr::null::<u8>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, { input[J] = tile.input[J].wrapping_add(*segment); });
            let mut left = block.segment_steps;
            while left > 0 {
                left -= 1;
                let mut w = [_mm512_setzero_si512(); N];
                unrolled!([0 1 2 3] I < N, { w[I] = load(weights.wrapping_add(I * BYTES).cast()); });
                weights = weights.wrapping_add(N * BYTES);
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    let values = broadcast_step(input[J]);
                    input[J] = input[J].wrapping_add(STEP);
                    unrolled!([0 1 2 3] I < N, {
                        sums[J][I] = _mm512_dpbusd_epi32(sums[J][I], values, w[I]);
                    });
                });
            }
        }
        write_results!(block, tile, P, N, sums);
    }
}

/// Broadcasts the four bytes of a step to all lanes.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn broadcast_step(from: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_broadcastd_epi32(unsafe { _mm_maskz_loadu_epi32(1, from.cast()) })
}

/// Writes the results of the first of `pixels` pixels, whose sums lie in memory,
/// `[pixel][register][lane]`, to the output from `offset` on. Returns how many: at least four of as
/// many.
///
/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers, interleaved where `N` is four, and the sums
/// are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn write_sums<const N: usize>(
    block: &GemmInt8Block<'_>,
    offset: usize,
    pixels: usize,
    sums: *const i32,
) -> usize {
    let tile = Int8Tile {
        input: [std::ptr::null(); MAX_TILE_PIXELS],
        offset,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match pixels {
            1 => write_tile::<1, N>(block, &tile, sums),
            2 => write_tile::<2, N>(block, &tile, sums),
            3 => write_tile::<3, N>(block, &tile, sums),
            8.. if N < MAX_REGISTERS => write_tile::<8, N>(block, &tile, sums),
            _ => write_tile::<4, N>(block, &tile, sums),
        }
    }
}

/// [`write_sums`] for `P` pixels, which it returns.
///
/// # Safety
/// As [`write_sums`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn write_tile<const P: usize, const N: usize>(
    block: &GemmInt8Block<'_>,
    tile: &Int8Tile,
    from: *const i32,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); N]; P];
        unrolled!([0 1 2 3] I < N, {
            unrolled!([0 1 2 3 4 5 6 7] J < P, { sums[J][I] = load(from.wrapping_add((J * N + I) * LANES)); });
        });
        write_results!(block, tile, P, N, sums);
    }
    P
}

//! int8 GEMM microkernel in AVX2. A panel has up to four registers of 8 channels, which are computed
//! one after the other, as each has its steps in an order of its own: see
//! [`weights_avx2`](super::weights_avx2).
//!
//! The loops over the steps are assembly: the compiler would load the steps of all pixels before it
//! uses the first, for which there are not enough registers.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::gemm_int8_block::{GemmInt8Block, Int8Tile};
use super::gemm_int8_epilogue::Epilogue;
use super::gemm_int8_ymm_epilogue::*;
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::simd::unrolled;
use super::weights_avx2::{Chunk, MAX_CHUNK, WIDENED};

/// Most pixels in a tile: as many registers of sums.
const PIXELS: usize = 8;

/// 16-bit values from one pixel of a wide chunk to the next: another cache line than that of a
/// power of two.
const WIDE_STRIDE: usize = MAX_CHUNK + 32;

/// What a tile needs of memory.
#[repr(C, align(64))]
struct Scratch {
    /// The sums, `[pixel][register]`.
    sums: [__m256i; PIXELS * MAX_REGISTERS],
    /// A chunk in 16 bits, as far as it has wide steps.
    wide: [[u16; WIDE_STRIDE]; PIXELS],
}

/// # Safety
/// As [`GemmInt8Block`].
pub(super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match block.panel.registers {
            1 => panel::<1, 8>(block),
            2 => panel::<2, 4>(block),
            3 => panel::<3, 2>(block),
            _ => panel::<MAX_REGISTERS, 2>(block),
        }
    }
}

/// A panel of `N` registers; results are stored for `Q` pixels at once.
///
/// # Safety
/// As [`GemmInt8Block`].
#[target_feature(enable = "avx2")]
unsafe fn panel<const N: usize, const Q: usize>(block: &GemmInt8Block<'_>) {
    let mut scratch = MaybeUninit::uninit();
    let scratch: *mut Scratch = scratch.as_mut_ptr();
    // SAFETY: the caller's promise is handed on; the sums of all pixels of a tile are computed before
    // they are stored.
    unsafe {
        let mut tiles = block.tiles(PIXELS);
        while let Some((tile, pixels)) = tiles.next() {
            match pixels {
                1 => products::<1, N>(block, &tile, scratch),
                2 => products::<2, N>(block, &tile, scratch),
                3 => products::<3, N>(block, &tile, scratch),
                4 => products::<4, N>(block, &tile, scratch),
                5 => products::<5, N>(block, &tile, scratch),
                6 => products::<6, N>(block, &tile, scratch),
                7 => products::<7, N>(block, &tile, scratch),
                _ => products::<PIXELS, N>(block, &tile, scratch),
            }
            let sums = (&raw const (*scratch).sums).cast();
            let mut pixel = 0;
            while pixel + Q <= pixels {
                store::<Q, N>(block, &tile, pixel, sums);
                pixel += Q;
            }
            while pixel < pixels {
                store::<1, N>(block, &tile, pixel, sums);
                pixel += 1;
            }
        }
    }
}

/// The sums of a tile of `P` pixels.
///
/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn products<const P: usize, const N: usize>(
    block: &GemmInt8Block<'_>,
    tile: &Int8Tile,
    scratch: *mut Scratch,
) {
    let ones = _mm256_set1_epi16(1);
    let mut weights = block.weights;
    // SAFETY: bias for the panel's registers, a register of weights for each step and two for each that
    // is wide, and steps that lie in the chunk, which lies in the segment.
    unsafe {
        let all_sums = (&raw mut (*scratch).sums).cast::<__m256i>();
        let wide = (&raw const (*scratch).wide).cast::<u16>();
        for (index, chunk) in block.chunks.iter().enumerate() {
            let start = block.job.segments[chunk.segment].wrapping_add(chunk.start);
            let mut pixels = [std::ptr::null::<u8>(); P];
            unrolled!([0 1 2 3 4 5 6 7] J < P, { pixels[J] = tile.input[J].wrapping_add(start); });
            widen(chunk, &pixels, scratch);
            for (register, steps) in chunk.registers.iter().enumerate().take(N) {
                let here = all_sums.wrapping_add(register);
                let mut sums = [load(block.bias.wrapping_add(register * LANES)); P];
                if index > 0 {
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        sums[J] = here.wrapping_add(J * N).read();
                    });
                }
                for [first, second] in &steps.pairs {
                    let offsets = [usize::from(*first), usize::from(*second)];
                    let w = [
                        load(weights.cast()),
                        load(weights.wrapping_add(BYTES).cast()),
                    ];
                    weights = weights.wrapping_add(2 * BYTES);
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        sums[J] = add_pair(sums[J], pixels[J], offsets, w, ones);
                    });
                }
                for offset in &steps.singles {
                    let offset = usize::from(*offset);
                    let w = load(weights.cast());
                    weights = weights.wrapping_add(BYTES);
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        sums[J] = add_single(sums[J], pixels[J], offset, w, ones);
                    });
                }
                for offset in &steps.wide {
                    let step = wide.wrapping_add(usize::from(*offset));
                    let w = [
                        load(weights.cast()),
                        load(weights.wrapping_add(BYTES).cast()),
                    ];
                    weights = weights.wrapping_add(2 * BYTES);
                    unrolled!([0 1 2 3 4 5 6 7] J < P, {
                        sums[J] = add_wide::<J>(sums[J], step, w);
                    });
                }
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    here.wrapping_add(J * N).write(sums[J]);
                });
            }
        }
    }
}

/// Copies the wide steps of a chunk, in 16 bits.
///
/// # Safety
/// The chunk is readable at each pixel.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn widen<const P: usize>(chunk: &Chunk, pixels: &[*const u8; P], scratch: *mut Scratch) {
    // SAFETY: blocks lie in the chunk, which is not longer than its copy.
    unsafe {
        let to = (&raw mut (*scratch).wide).cast::<u16>();
        for offset in &chunk.blocks {
            let offset = usize::from(*offset);
            let to = to.wrapping_add(offset);
            if chunk.block_len == WIDENED {
                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                    let bytes = _mm_loadu_si128(pixels[J].wrapping_add(offset).cast());
                    let to = to.wrapping_add(J * WIDE_STRIDE);
                    _mm256_storeu_si256(to.cast(), _mm256_cvtepu8_epi16(bytes));
                });
            } else {
                for (pixel, from) in pixels.iter().enumerate() {
                    let bytes = from.wrapping_add(offset).cast::<i32>().read_unaligned();
                    let to = to.wrapping_add(pixel * WIDE_STRIDE);
                    _mm_storel_epi64(to.cast(), _mm_cvtepu8_epi16(_mm_cvtsi32_si128(bytes)));
                }
            }
        }
    }
}

/// Adds to each lane the products of two steps of a pixel, which are `offsets` bytes from it.
///
/// # Safety
/// The steps are readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_pair(
    sums: __m256i,
    pixel: *const u8,
    offsets: [usize; 2],
    weights: [__m256i; 2],
    ones: __m256i,
) -> __m256i {
    let result;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpbroadcastd {a}, dword ptr [{pixel} + {first}]",
            "vpbroadcastd {b}, dword ptr [{pixel} + {second}]",
            "vpmaddubsw {a}, {a}, {first_weights}",
            "vpmaddubsw {b}, {b}, {second_weights}",
            "vpaddw {a}, {a}, {b}",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {sums}, {sums}, {a}",
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            sums = inout(ymm_reg) sums => result,
            pixel = in(reg) pixel,
            first = in(reg) offsets[0],
            second = in(reg) offsets[1],
            first_weights = in(ymm_reg) weights[0],
            second_weights = in(ymm_reg) weights[1],
            ones = in(ymm_reg) ones,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    result
}

/// Adds to each lane the products of a step of a pixel, which is `offset` bytes from it.
///
/// # Safety
/// The step is readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_single(
    sums: __m256i,
    pixel: *const u8,
    offset: usize,
    weights: __m256i,
    ones: __m256i,
) -> __m256i {
    let result;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpbroadcastd {a}, dword ptr [{pixel} + {offset}]",
            "vpmaddubsw {a}, {a}, {weights}",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {sums}, {sums}, {a}",
            a = out(ymm_reg) _,
            sums = inout(ymm_reg) sums => result,
            pixel = in(reg) pixel,
            offset = in(reg) offset,
            weights = in(ymm_reg) weights,
            ones = in(ymm_reg) ones,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    result
}

/// Adds to each lane the products of a wide step, which `step` points to in the copy of pixel 0, of
/// pixel `J`.
///
/// # Safety
/// The step is readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_wide<const J: usize>(
    sums: __m256i,
    step: *const u16,
    weights: [__m256i; 2],
) -> __m256i {
    let result;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpbroadcastd {a}, dword ptr [{step} + {first}]",
            "vpbroadcastd {b}, dword ptr [{step} + {second}]",
            "vpmaddwd {a}, {a}, {first_weights}",
            "vpmaddwd {b}, {b}, {second_weights}",
            "vpaddd {a}, {a}, {b}",
            "vpaddd {sums}, {sums}, {a}",
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            sums = inout(ymm_reg) sums => result,
            step = in(reg) step,
            first = const J * WIDE_STRIDE * size_of::<u16>(),
            second = const J * WIDE_STRIDE * size_of::<u16>() + STEP,
            first_weights = in(ymm_reg) weights[0],
            second_weights = in(ymm_reg) weights[1],
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    result
}

/// Stores the results of `P` pixels of a tile from a pixel on.
///
/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers, and the sums of the tile are readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store<const P: usize, const N: usize>(
    block: &GemmInt8Block<'_>,
    tile: &Int8Tile,
    pixel: usize,
    sums: *const __m256i,
) {
    let offset = tile.offset + pixel * block.output_stride;
    let sums = sums.wrapping_add(pixel * N);
    // SAFETY: the caller's promise; whole registers of channels, as other panels take the epilogue
    // that counts their channels.
    unsafe {
        store_tile!(
            block, offset, P, N,
            |J, I| load(sums.wrapping_add(J * N + I).cast()), stored: sums
        );
    }
}

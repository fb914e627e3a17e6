//! int8 GEMM microkernels on 32-byte registers (ymm): AVX2, and AVX-VNNI, which has `vpdpbusd` for
//! them. A panel has up to four registers of 8 channels.
//!
//! AVX2 sums products by `vpmaddubsw`, in pairs, and `vpmaddwd`, which widens the sums of two steps. The
//! former saturates, which the packed weights rule out: see `excess_int8`.

use std::arch::x86_64::*;
use std::hint::assert_unchecked;
use std::mem::MaybeUninit;

use super::gemm_int8_block::{GemmInt8Block, Int8Tile};
use super::gemm_int8_epilogue::Epilogue;
use super::gemm_int8_ymm_epilogue::{
    BYTES, LANES, Limits, ResidualSum, Rounding, code, general, in_order, load, load_floats,
    load_residual, pack, pack_limited, scaled,
};
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::simd::unrolled;

/// Packs and stores the codes of a tile, given in 32 bits; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! store_codes {
    (
        $block:ident, $tile:ident, $p:ident, $n:ident,
        |$j:ident, $i:ident, $multiplier:ident| $code:expr, $pack:ident $(, $limits:ident)?
    ) => {
        let mut codes = [[_mm256_setzero_si256(); $n]; $p];
        unrolled!([0 1 2 3] $i < $n, {
            let $multiplier = load_floats($block.multipliers.wrapping_add($i * LANES));
            unrolled!([0 1 2 3 4 5 6 7] $j < $p, { codes[$j][$i] = $code; });
        });
        let stride = $block.output_stride;
        let output = $block.codes.wrapping_add($tile.offset);
        if $n == 4 {
            unrolled!([0 1 2 3 4 5 6 7] J < $p, {
                let [a, b, c, d] = [codes[J][0], codes[J][1], codes[J][2], codes[J][3]];
                let at = output.wrapping_add(J.wrapping_mul(stride));
                _mm256_storeu_si256(at.cast(), $pack(a, b, c, d $(, &$limits)?));
            });
        } else if $n == 3 {
            unrolled!([0 1 2 3 4 5 6 7] J < $p, {
                let [a, b, c] = [codes[J][0], codes[J][1], codes[J][2]];
                let bytes = in_order($pack(a, b, c, _mm256_setzero_si256() $(, &$limits)?));
                let at = output.wrapping_add(J.wrapping_mul(stride));
                let third = _mm256_extracti128_si256::<1>(bytes);
                _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(bytes));
                _mm_storel_epi64(at.wrapping_add(2 * LANES).cast(), third);
            });
        } else if $n == 2 {
            unrolled!([0 2 4 6] J < $p, {
                let [a, b] = [codes[J][0], codes[J][1]];
                // Where the number of pixels is odd the last is packed twice.
                let c = if J + 1 < $p { codes[J + 1][0] } else { a };
                let d = if J + 1 < $p { codes[J + 1][1] } else { b };
                let bytes = in_order($pack(a, b, c, d $(, &$limits)?));
                let at = output.wrapping_add(J.wrapping_mul(stride));
                _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(bytes));
                if J + 1 < $p {
                    let second = _mm256_extracti128_si256::<1>(bytes);
                    _mm_storeu_si128(at.wrapping_add(stride).cast(), second);
                }
            });
        } else {
            unrolled!([0 4] J < $p, {
                let a = codes[J][0];
                let b = if J + 1 < $p { codes[J + 1][0] } else { a };
                let c = if J + 2 < $p { codes[J + 2][0] } else { a };
                let d = if J + 3 < $p { codes[J + 3][0] } else { a };
                let bytes = in_order($pack(a, b, c, d $(, &$limits)?));
                let parts = [
                    _mm256_castsi256_si128(bytes),
                    _mm_bsrli_si128::<8>(_mm256_castsi256_si128(bytes)),
                    _mm256_extracti128_si256::<1>(bytes),
                    _mm_bsrli_si128::<8>(_mm256_extracti128_si256::<1>(bytes)),
                ];
                unrolled!([0 1 2 3] I < 4, {
                    if J + I < $p {
                        let at = output.wrapping_add((J + I).wrapping_mul(stride));
                        _mm_storel_epi64(at.cast(), parts[I]);
                    }
                });
            });
        }
    };
}

/// The kernels of one instruction set: whether its sums of products saturate, the most pixels in a tile of
/// 1, 2, 3 and 4 registers, how four products are added to each lane, and how the eight of two steps are.
macro_rules! kernels {
    (
        $(#[$doc:meta])* $name:ident, $features:literal, $saturates:literal, $pixels:expr,
        |$sums:ident, $values:ident, $weights:ident| $dot:expr, $dot_two:expr
    ) => {
        $(#[$doc])*
        pub(super) mod $name {
            use super::*;

            const PIXELS: [usize; MAX_REGISTERS] = $pixels;

            /// # Safety
            /// As [`GemmInt8Block`].
            pub(in super::super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
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
            #[target_feature(enable = $features)]
            unsafe fn registers<const N: usize>(block: &GemmInt8Block<'_>) {
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    // Larger tiles than the set's limit do not occur, and are not compiled.
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
                    }}
                }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn dot($sums: __m256i, $values: __m256i, $weights: __m256i) -> __m256i {
                $dot
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn dot_two($sums: __m256i, $values: [__m256i; 2], $weights: [__m256i; 2]) -> __m256i {
                $dot_two
            }

            /// The microkernel for a tile of `P` pixels times `N` registers of channels,
            /// interleaved where `N` is four.
            ///
            /// # Safety
            /// As [`GemmInt8Block`].
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn microkernel<const P: usize, const N: usize>(
                block: &GemmInt8Block<'_>,
                tile: &Int8Tile,
            ) {
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
                        // AVX2 adds the products of two steps in 16 bits.
                        while $saturates && left >= 2 {
                            left -= 2;
                            if N < MAX_REGISTERS {
                                let mut w = [[_mm256_setzero_si256(); N]; 2];
                                unrolled!([0 1 2] I < N, {
                                    w[0][I] = load(weights.wrapping_add(I * BYTES).cast());
                                    w[1][I] = load(weights.wrapping_add((N + I) * BYTES).cast());
                                });
                                unrolled!([0 1 2 3 4 5 6 7] J < P, {
                                    let first = broadcast_step(input[J]);
                                    let second = broadcast_step(input[J].wrapping_add(STEP));
                                    input[J] = input[J].wrapping_add(2 * STEP);
                                    unrolled!([0 1 2] I < N, {
                                        sums[J][I] =
                                            dot_two(sums[J][I], [first, second], [w[0][I], w[1][I]]);
                                    });
                                });
                            } else {
                                let mut values = [[_mm256_setzero_si256(); 2]; P];
                                unrolled!([0 1 2] J < P, {
                                    values[J] = [
                                        broadcast_step(input[J]),
                                        broadcast_step(input[J].wrapping_add(STEP)),
                                    ];
                                    input[J] = input[J].wrapping_add(2 * STEP);
                                });
                                unrolled!([0 1 2 3] I < N, {
                                    let w = [
                                        load(weights.wrapping_add(I * BYTES).cast()),
                                        load(weights.wrapping_add((N + I) * BYTES).cast()),
                                    ];
                                    unrolled!([0 1 2] J < P, {
                                        sums[J][I] = dot_two(sums[J][I], values[J], w);
                                    });
                                });
                            }
                            weights = weights.wrapping_add(2 * N * BYTES);
                        }
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
                                        sums[J][I] = dot(sums[J][I], values, w[I]);
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
                                        sums[J][I] = dot(sums[J][I], values[J], w);
                                    });
                                });
                            }
                            weights = weights.wrapping_add(N * BYTES);
                        }
                    }
                    unrolled!([0 1 2 3] I < N, {
                        let excess = if $saturates { block.excess[I] } else { &[] };
for step in excess {
                            let w = load(step.weights.as_ptr().cast());
                            let offset = job.segments[step.segment].wrapping_add(step.offset);
                            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                                let values = broadcast_step(tile.input[J].wrapping_add(offset));
                                sums[J][I] = dot(sums[J][I], values, w);
                            });
                        }
                    });
                    let epilogue = if block.panel.channels == N * LANES {
                        job.packed.epilogue()
                    } else {
                        Epilogue::General
                    };
                    match epilogue {
                        Epilogue::Unsigned => {
                            store_codes!(
                                block, tile, P, N,
                                |J, I, multiplier| code(scaled(sums[J][I], multiplier)), pack
                            );
                        }
                        Epilogue::Codes(range) => {
                            let limits = Limits::new(range);
                            store_codes!(
                                block, tile, P, N,
                                |J, I, multiplier| code(scaled(sums[J][I], multiplier)),
                                pack_limited, limits
                            );
                        }
                        Epilogue::RoundedResidual(residual, rounding, range) => {
                            let limits = Limits::new(range);
                            let rounding = Rounding::new(rounding);
                let sum = ResidualSum::new(residual);
                            let from = block.residual.wrapping_add(tile.offset);
                            store_codes!(
                                block, tile, P, N,
                                |J, I, multiplier| {
                                    let at = J.wrapping_mul(block.output_stride);
                                    let other = load_residual::<N>(from.wrapping_add(at), I);
                                    let own = rounding.apply(scaled(sums[J][I], multiplier));
                        code(sum.add(own, other))
                                },
                                pack_limited, limits
                            );
                        }
                        Epilogue::General => {
                            let mut stored = MaybeUninit::<[[__m256i; N]; P]>::uninit();
                            let start = stored.as_mut_ptr().cast::<__m256i>();
                            unrolled!([0 1 2 3 4 5 6 7] J < P, {
                                unrolled!([0 1 2 3] I < N, {
                                    start.wrapping_add(J * N + I).write(sums[J][I]);
                                });
                            });
                            general::<N>(block, tile, P, start);
                        }
                    }
                }
            }
        }
    };
}

kernels!(
    /// AVX2.
    avx2,
    "avx2",
    true,
    [8, 4, 3, 2],
    |sums, values, weights| {
        let pairs = _mm256_maddubs_epi16(values, weights);
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    },
    {
        let first = _mm256_maddubs_epi16(values[0], weights[0]);
        let pairs = _mm256_add_epi16(first, _mm256_maddubs_epi16(values[1], weights[1]));
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
);

kernels!(
    /// AVX-VNNI.
    avx_vnni,
    "avx2,avxvnni",
    false,
    [8, 6, 4, 3],
    |sums, values, weights| _mm256_dpbusd_avx_epi32(sums, values, weights),
    {
        let sums = _mm256_dpbusd_avx_epi32(sums, values[0], weights[0]);
        _mm256_dpbusd_avx_epi32(sums, values[1], weights[1])
    }
);

/// Broadcasts the four bytes of a step to all lanes.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn broadcast_step(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise; the mask leaves out the other lanes.
    _mm256_broadcastd_epi32(unsafe { _mm_maskload_epi32(from.cast(), _mm_setr_epi32(-1, 0, 0, 0)) })
}

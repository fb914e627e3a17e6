//! Epilogues of the int8 GEMM on 32-byte registers (AVX2).

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx2_without_fma::activate;
use super::gemm_int8_block::GemmInt8Block;
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::requantize::{CodeFunction, CodeRange, Int8Output, Residual, ResidualRounding};
use super::simd::unrolled;

/// 32-bit lanes of a register.
pub(super) const LANES: usize = 8;
/// Bytes of a register.
pub(super) const BYTES: usize = LANES * STEP;

/// Packs and stores the codes of a tile, given in 32 bits; a macro, as a function that the compiler
/// does not inline would take its registers through memory.
macro_rules! store_codes {
    (
        $block:ident, $offset:expr, $p:ident, $n:ident,
        |$j:ident, $i:ident, $multiplier:ident| $code:expr, $pack:ident $(, $limits:ident)?
    ) => {
        let mut codes = [[_mm256_setzero_si256(); $n]; $p];
        unrolled!([0 1 2 3] $i < $n, {
            let $multiplier = load_floats($block.multipliers.wrapping_add($i * LANES));
            unrolled!([0 1 2 3 4 5 6 7] $j < $p, { codes[$j][$i] = $code; });
        });
        let stride = $block.output_stride;
        let output = $block.codes.wrapping_add($offset);
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

/// Requantises and stores a tile of `$p` pixels times `$n` registers, whose sums `$sum` gives and
/// `$stored` puts into memory, `[pixel][$n]`.
macro_rules! store_tile {
    (
        $block:ident, $offset:expr, $p:ident, $n:ident,
        |$j:ident, $i:ident| $sum:expr, stored: $stored:expr
    ) => {
        let epilogue = if $block.panel.channels == $n * LANES {
            $block.job.packed.epilogue()
        } else {
            Epilogue::General
        };
        match epilogue {
            Epilogue::Unsigned => {
                store_codes!(
                    $block,
                    $offset,
                    $p,
                    $n,
                    |$j, $i, multiplier| code(scaled($sum, multiplier)),
                    pack
                );
            }
            Epilogue::Codes(range) => {
                let limits = Limits::new(range);
                store_codes!(
                    $block,
                    $offset,
                    $p,
                    $n,
                    |$j, $i, multiplier| code(scaled($sum, multiplier)),
                    pack_limited,
                    limits
                );
            }
            Epilogue::RoundedResidual(residual, rounding, range) => {
                let limits = Limits::new(range);
                let rounding = Rounding::new(rounding);
                let sum = ResidualSum::new(residual);
                let from = $block.residual.wrapping_add($offset);
                store_codes!(
                    $block,
                    $offset,
                    $p,
                    $n,
                    |$j, $i, multiplier| {
                        let at = $j.wrapping_mul($block.output_stride);
                        let other = load_residual::<$n>(from.wrapping_add(at), $i);
                        code(sum.add(rounding.apply(scaled($sum, multiplier)), other))
                    },
                    pack_limited,
                    limits
                );
            }
            Epilogue::General => general::<$n>($block, $offset, $p, $stored),
        }
    };
}

pub(super) use {store_codes, store_tile};

/// Loads a register of 32-bit values.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn load(from: *const i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_maskload_epi32(from, _mm256_set1_epi32(-1)) }
}

/// Loads a register of floats.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn load_floats(from: *const f32) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_maskload_ps(from, _mm256_set1_epi32(-1)) }
}

/// Broadcasts the four bytes of a step to all lanes.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn broadcast_step(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise; the mask leaves out the other lanes.
    _mm256_broadcastd_epi32(unsafe { _mm_maskload_epi32(from.cast(), _mm_setr_epi32(-1, 0, 0, 0)) })
}

/// The sums in codes or real units.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn scaled(sums: __m256i, multiplier: __m256) -> __m256 {
    _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multiplier)
}

/// Rounds to nearest, ties to even: the rounding mode that Rust code runs in.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn code(value: __m256) -> __m256i {
    _mm256_cvtps_epi32(value)
}

/// Four registers of codes with zero point 0 as bytes: four of `a`, `b`, `c` and `d` in each half.
/// Both instructions saturate.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn pack(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d))
}

/// [`pack`] with a zero point and limits.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn pack_limited(
    a: __m256i,
    b: __m256i,
    c: __m256i,
    d: __m256i,
    limits: &Limits,
) -> __m256i {
    let ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), limits.zero_point);
    let cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), limits.zero_point);
    let bytes = _mm256_packus_epi16(ab, cd);
    _mm256_min_epu8(_mm256_max_epu8(bytes, limits.low), limits.high)
}

/// Puts the eight bytes of each packed register together.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn in_order(bytes: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Zero point and limits of the codes.
pub(super) struct Limits {
    zero_point: __m256i,
    low: __m256i,
    high: __m256i,
}

impl Limits {
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn new(range: CodeRange) -> Self {
        Self {
            zero_point: _mm256_set1_epi16(i16::from(range.zero_point)),
            low: _mm256_set1_epi8(range.low.cast_signed()),
            high: _mm256_set1_epi8(range.high.cast_signed()),
        }
    }
}

/// The constants of the rounding before a residual sum.
pub(super) struct Rounding {
    low: __m256,
    high: __m256,
    multiplier: __m256,
}

impl Rounding {
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn new(rounding: ResidualRounding) -> Self {
        Self {
            low: _mm256_set1_ps(rounding.low),
            high: _mm256_set1_ps(rounding.high),
            multiplier: _mm256_set1_ps(rounding.multiplier),
        }
    }

    /// The rounded value. The limits are whole, so that it does not matter whether they or the
    /// rounding come first.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn apply(&self, value: __m256) -> __m256 {
        let limited = _mm256_min_ps(_mm256_max_ps(value, self.low), self.high);
        let rounded = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(limited);
        _mm256_mul_ps(rounded, self.multiplier)
    }
}

/// The constants of a residual sum.
pub(super) struct ResidualSum {
    zero_point: __m256i,
    multiplier: __m256,
}

impl ResidualSum {
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn new(residual: Residual) -> Self {
        Self {
            zero_point: _mm256_set1_epi32(i32::from(residual.zero_point)),
            multiplier: _mm256_set1_ps(residual.multiplier),
        }
    }

    /// The value plus the residual, whose codes are given in 32 bits.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn add(&self, value: __m256, codes: __m256i) -> __m256 {
        let codes = _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, self.zero_point));
        _mm256_add_ps(value, _mm256_mul_ps(codes, self.multiplier))
    }
}

/// The residual's codes of one pixel for one register of the panel, in 32 bits.
///
/// # Safety
/// The codes of the panel's whole registers are readable.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn load_residual<const N: usize>(from: *const u8, register: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        if N == MAX_REGISTERS {
            let bytes = _mm256_loadu_si256(from.cast());
            _mm256_shuffle_epi8(bytes, spread(register as i32))
        } else {
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.wrapping_add(register * LANES).cast()))
        }
    }
}

/// The shuffle that takes the `four`th four bytes of each half to the half's lanes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn spread(four: i32) -> __m256i {
    // A set top bit gives zero.
    const ZEROS: i32 = 0x8080_8000_u32.cast_signed();
    let first = 4 * four;
    _mm256_broadcastsi128_si256(_mm_setr_epi32(
        ZEROS | first,
        ZEROS | (first + 1),
        ZEROS | (first + 2),
        ZEROS | (first + 3),
    ))
}

/// The epilogue of every kind of output, for those that are not common enough for one of their own:
/// `sums` lie in memory, `[pixel][N]`, and the first value goes to `offset`.
///
/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers, and the sums of `pixels` are readable.
#[target_feature(enable = "avx2")]
#[inline(never)]
pub(super) unsafe fn general<const N: usize>(
    block: &GemmInt8Block<'_>,
    offset: usize,
    pixels: usize,
    sums: *const __m256i,
) {
    let channels = block.panel.channels;
    for pixel in 0..pixels {
        let at = offset + pixel * block.output_stride;
        let mut values = [_mm256_setzero_ps(); N];
        // SAFETY: the caller's promise.
        unsafe {
            unrolled!([0 1 2 3] I < N, {
                let sums = load(sums.wrapping_add(pixel * N + I).cast());
                let multipliers = load_floats(block.multipliers.wrapping_add(I * LANES));
                values[I] = scaled(sums, multipliers);
            });
        }
        match *block.job.packed.output() {
            Int8Output::Float(activation) => {
                unrolled!([0 1 2 3] I < N, { values[I] = activate(values[I], activation); });
                // SAFETY: the panel's channels are writable.
                unsafe { store_floats(block.floats.wrapping_add(at), values, channels) };
            }
            Int8Output::Codes {
                function,
                residual,
                range,
            } => {
                let function = match function {
                    CodeFunction::None => None,
                    CodeFunction::HardSwish { inverse_scale } => {
                        Some((Activation::HardSwish, inverse_scale))
                    }
                    CodeFunction::HardSigmoid { inverse_scale } => {
                        Some((Activation::HardSigmoid, inverse_scale))
                    }
                };
                if let Some((activation, inverse_scale)) = function {
                    let inverse_scale = _mm256_set1_ps(inverse_scale);
                    unrolled!([0 1 2 3] I < N, {
                        values[I] = _mm256_mul_ps(activate(values[I], activation), inverse_scale);
                    });
                }
                if let Some(residual) = residual {
                    if let Some(rounding) = residual.rounding {
                        let rounding = Rounding::new(rounding);
                        unrolled!([0 1 2 3] I < N, { values[I] = rounding.apply(values[I]); });
                    }
                    let sum = ResidualSum::new(residual);
                    let mut codes = [0; BYTES];
                    // SAFETY: the panel's channels are readable, and at most as many as bytes.
                    unsafe {
                        let from = block.residual.wrapping_add(at);
                        std::ptr::copy_nonoverlapping(from, codes.as_mut_ptr(), channels);
                    }
                    unrolled!([0 1 2 3] I < N, {
                        // SAFETY: codes of whole registers.
                        let codes = unsafe { load_residual::<N>(codes.as_ptr(), I) };
                        values[I] = sum.add(values[I], codes);
                    });
                }
                let mut codes = [_mm256_setzero_si256(); MAX_REGISTERS];
                unrolled!([0 1 2 3] I < N, { codes[I] = code(values[I]); });
                let [a, b, c, d] = codes;
                let packed = pack_limited(a, b, c, d, &Limits::new(range));
                let bytes = if N == MAX_REGISTERS {
                    packed
                } else {
                    in_order(packed)
                };
                // SAFETY: the panel's channels are writable.
                unsafe { store_first(block.codes.wrapping_add(at), bytes, channels) };
            }
        }
    }
}

/// Stores the first `channels` codes of a panel.
///
/// # Safety
/// They are writable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_first(to: *mut u8, bytes: __m256i, channels: usize) {
    // SAFETY: the caller's promise; the copy has room for a register.
    unsafe {
        if channels == BYTES {
            _mm256_storeu_si256(to.cast(), bytes);
        } else {
            let mut copy = [0_u8; BYTES];
            _mm256_storeu_si256(copy.as_mut_ptr().cast(), bytes);
            std::ptr::copy_nonoverlapping(copy.as_ptr(), to, channels);
        }
    }
}

/// Stores the first `channels` of a panel of `N` registers in float32.
///
/// # Safety
/// They are writable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_floats<const N: usize>(to: *mut f32, values: [__m256; N], channels: usize) {
    let mut ordered = values;
    if N == MAX_REGISTERS {
        // The first halves of all registers, then the second.
        let [a, b, c, d] = [values[0], values[1], values[2], values[3]];
        ordered[0] = _mm256_permute2f128_ps::<0x20>(a, b);
        ordered[1] = _mm256_permute2f128_ps::<0x20>(c, d);
        ordered[2] = _mm256_permute2f128_ps::<0x31>(a, b);
        ordered[3] = _mm256_permute2f128_ps::<0x31>(c, d);
    }
    unrolled!([0 1 2 3] I < N, {
        let at = to.wrapping_add(I * LANES);
        let left = channels - I * LANES;
        // SAFETY: the caller's promise; the copy has room for a register.
        unsafe {
            if left >= LANES {
                _mm256_storeu_ps(at, ordered[I]);
            } else {
                let mut copy = [0.0_f32; LANES];
                _mm256_storeu_ps(copy.as_mut_ptr(), ordered[I]);
                std::ptr::copy_nonoverlapping(copy.as_ptr(), at, left);
            }
        }
    });
}

//! Epilogues of the int8 GEMM on AVX-512 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_avx512::activate;
use super::gemm_int8_block::{GemmInt8Block, Int8Tile};
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::requantize::{CodeFunction, CodeRange, Int8Output, Residual, ResidualRounding};
use super::simd::unrolled;

/// 32-bit lanes of a register.
pub(super) const LANES: usize = 16;
/// Bytes of a register.
pub(super) const BYTES: usize = LANES * STEP;

/// Loads a register of 32-bit values.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn load(from: *const i32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_epi32(0xffff, from) }
}

/// Loads a register of floats.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn load_floats(from: *const f32) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_ps(0xffff, from) }
}

/// The sums in codes or real units.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn scaled(sums: __m512i, multiplier: __m512) -> __m512 {
    _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier)
}

/// Rounds to nearest, ties to even: the rounding mode that Rust code runs in.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn code(value: __m512) -> __m512i {
    _mm512_cvtps_epi32(value)
}

/// Four registers of codes with zero point 0 as bytes: four of `a`, `b`, `c` and `d` in each
/// quarter. Both instructions saturate.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn pack(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d))
}

/// [`pack`] with a zero point and limits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn pack_limited(
    a: __m512i,
    b: __m512i,
    c: __m512i,
    d: __m512i,
    limits: &Limits,
) -> __m512i {
    let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), limits.zero_point);
    let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), limits.zero_point);
    let bytes = _mm512_packus_epi16(ab, cd);
    _mm512_min_epu8(_mm512_max_epu8(bytes, limits.low), limits.high)
}

/// Puts the sixteen bytes of each packed register together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn in_order(bytes: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Stores the first `count` bytes.
///
/// # Safety
/// They are writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn store_first(to: *mut u8, bytes: __m512i, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if count == BYTES {
            _mm512_mask_storeu_epi8(to.cast(), u64::MAX, bytes);
        } else {
            _mm512_mask_storeu_epi8(to.cast(), first_bytes(count), bytes);
        }
    }
}

/// A mask of the first `count` of 64 bytes; at least one.
pub(super) fn first_bytes(count: usize) -> u64 {
    u64::MAX >> (BYTES - count)
}

/// Zero point and limits of the codes.
pub(super) struct Limits {
    zero_point: __m512i,
    low: __m512i,
    high: __m512i,
}

impl Limits {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    pub fn new(range: CodeRange) -> Self {
        Self {
            zero_point: _mm512_set1_epi16(i16::from(range.zero_point)),
            low: _mm512_set1_epi8(range.low.cast_signed()),
            high: _mm512_set1_epi8(range.high.cast_signed()),
        }
    }
}

/// The constants of the rounding before a residual sum.
pub(super) struct Rounding {
    low: __m512,
    high: __m512,
    multiplier: __m512,
}

impl Rounding {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    pub fn new(rounding: ResidualRounding) -> Self {
        Self {
            low: _mm512_set1_ps(rounding.low),
            high: _mm512_set1_ps(rounding.high),
            multiplier: _mm512_set1_ps(rounding.multiplier),
        }
    }

    /// The rounded value. The limits are whole, so that it does not matter whether they or the
    /// rounding come first.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    pub fn apply(&self, value: __m512) -> __m512 {
        let limited = _mm512_min_ps(_mm512_max_ps(value, self.low), self.high);
        let rounded =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(limited);
        _mm512_mul_ps(rounded, self.multiplier)
    }
}

/// The constants of a residual sum.
pub(super) struct ResidualSum {
    zero_point: __m512i,
    multiplier: __m512,
}

impl ResidualSum {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    pub fn new(residual: Residual) -> Self {
        Self {
            zero_point: _mm512_set1_epi32(i32::from(residual.zero_point)),
            multiplier: _mm512_set1_ps(residual.multiplier),
        }
    }

    /// The value plus the residual, whose codes are given in 32 bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    pub fn add(&self, value: __m512, codes: __m512i) -> __m512 {
        let codes = _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, self.zero_point));
        _mm512_add_ps(value, _mm512_mul_ps(codes, self.multiplier))
    }
}

/// The residual's codes of one pixel for one register of the panel, in 32 bits.
///
/// # Safety
/// The panel's channels are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn load_residual<const N: usize>(
    from: *const u8,
    channels: usize,
    register: usize,
) -> __m512i {
    // SAFETY: the caller's promise; what the panel does not have is masked.
    unsafe {
        if N == MAX_REGISTERS {
            let bytes = _mm512_maskz_loadu_epi8(first_bytes(channels), from.cast());
            _mm512_shuffle_epi8(bytes, spread(register as i32))
        } else {
            let first = register * LANES;
            let mask = u16::MAX >> (LANES - (channels - first).min(LANES));
            let bytes = _mm_maskz_loadu_epi8(mask, from.wrapping_add(first).cast());
            _mm512_cvtepu8_epi32(bytes)
        }
    }
}

/// The shuffle that takes the `four`th four bytes of each quarter to the quarter's lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn spread(four: i32) -> __m512i {
    // A set top bit gives zero.
    const ZEROS: i32 = 0x8080_8000_u32.cast_signed();
    let first = 4 * four;
    _mm512_broadcast_i32x4(_mm_setr_epi32(
        ZEROS | first,
        ZEROS | (first + 1),
        ZEROS | (first + 2),
        ZEROS | (first + 3),
    ))
}

/// The epilogue of every kind of output, for those that are not common enough for one of their own:
/// `sums` lie in memory, `[pixel][N]`.
///
/// # Safety
/// As [`GemmInt8Block`]; the panel has `N` registers, and the sums of `pixels` are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
pub(super) unsafe fn general<const N: usize>(
    block: &GemmInt8Block<'_>,
    tile: &Int8Tile,
    pixels: usize,
    sums: *const __m512i,
) {
    let channels = block.panel.channels;
    for pixel in 0..pixels {
        let at = tile.offset + pixel * block.output_stride;
        let mut values = [_mm512_setzero_ps(); N];
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
                    let inverse_scale = _mm512_set1_ps(inverse_scale);
                    unrolled!([0 1 2 3] I < N, {
                        values[I] = _mm512_mul_ps(activate(values[I], activation), inverse_scale);
                    });
                }
                if let Some(residual) = residual {
                    if let Some(rounding) = residual.rounding {
                        let rounding = Rounding::new(rounding);
                        unrolled!([0 1 2 3] I < N, { values[I] = rounding.apply(values[I]); });
                    }
                    let sum = ResidualSum::new(residual);
                    let from = block.residual.wrapping_add(at);
                    unrolled!([0 1 2 3] I < N, {
                        // SAFETY: the panel's channels are readable.
                        let codes = unsafe { load_residual::<N>(from, channels, I) };
                        values[I] = sum.add(values[I], codes);
                    });
                }
                let mut codes = [_mm512_setzero_si512(); MAX_REGISTERS];
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

/// Stores the first `channels` of a panel of `N` registers in float32.
///
/// # Safety
/// They are writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn store_floats<const N: usize>(to: *mut f32, values: [__m512; N], channels: usize) {
    let mut ordered = values;
    if N == MAX_REGISTERS {
        // Quarter i of each register to register i.
        let [a, b, c, d] = [values[0], values[1], values[2], values[3]];
        let [ab, cd] = [
            _mm512_shuffle_f32x4::<0x44>(a, b),
            _mm512_shuffle_f32x4::<0x44>(c, d),
        ];
        ordered[0] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
        ordered[1] = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
        let [ab, cd] = [
            _mm512_shuffle_f32x4::<0xee>(a, b),
            _mm512_shuffle_f32x4::<0xee>(c, d),
        ];
        ordered[2] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
        ordered[3] = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
    }
    unrolled!([0 1 2 3] I < N, {
        let left = (channels - I * LANES).min(LANES);
        let at = to.wrapping_add(I * LANES);
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(at, u16::MAX >> (LANES - left), ordered[I]) };
    });
}

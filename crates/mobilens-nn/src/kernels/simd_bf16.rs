//! Loads, stores and sums of products of bfloat16 in AVX-512 BF16.

use std::arch::x86_64::*;
use std::mem::transmute;

/// Adds the products of sixteen pairs: to each lane of `sums` that of the lower halves and that of
/// the upper ones.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) fn dot16(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: both are 64 bytes in which every bit pattern is a value.
    let (a, b) = unsafe {
        (
            transmute::<__m512i, __m512bh>(a),
            transmute::<__m512i, __m512bh>(b),
        )
    };
    _mm512_dpbf16_ps(sums, a, b)
}

/// The same for eight pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) fn dot8(sums: __m256, a: __m256i, b: __m256i) -> __m256 {
    // SAFETY: both are 32 bytes in which every bit pattern is a value.
    let (a, b) = unsafe {
        (
            transmute::<__m256i, __m256bh>(a),
            transmute::<__m256i, __m256bh>(b),
        )
    };
    _mm256_dpbf16_ps(sums, a, b)
}

/// Broadcasts two neighbouring values to sixteen lanes.
///
/// # Safety
/// Both are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn broadcast_pair(from: *const u16) -> __m512i {
    // SAFETY: the caller's promise; no alignment is asked for.
    _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
}

/// Broadcasts one value and a zero to sixteen lanes.
///
/// # Safety
/// It is readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn broadcast_last(from: *const u16) -> __m512i {
    // SAFETY: the caller's promise; no alignment is asked for.
    _mm512_set1_epi32(i32::from(unsafe { from.read_unaligned() }))
}

/// Loads 32 values.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn load32(from: *const u16) -> __m512i {
    // SAFETY: the caller's promise. A full mask: see `simd`.
    unsafe { _mm512_maskz_loadu_epi32(0xffff, from.cast()) }
}

/// Loads sixteen values.
///
/// # Safety
/// All are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn load16(from: *const u16) -> __m256i {
    // SAFETY: the caller's promise. A full mask: see `simd`.
    unsafe { _mm256_maskz_loadu_epi32(0xff, from.cast()) }
}

/// Loads those of sixteen values whose bit is set in `mask`, in float32; the others are zeros.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn load_f32(mask: __mmask16, from: *const u16) -> __m512 {
    // SAFETY: the caller's promise.
    let values = unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(values)))
}

/// Rounds sixteen values and stores those whose bit is set in `mask`.
///
/// # Safety
/// They are writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) unsafe fn store_rounded(to: *mut u16, mask: __mmask16, values: __m512) {
    // SAFETY: both are 32 bytes in which every bit pattern is a value.
    let rounded = unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values)) };
    // SAFETY: the caller's promise. Stores under a mask are slow on some processors.
    unsafe {
        if mask == 0xffff {
            _mm256_mask_storeu_epi32(to.cast(), 0xff, rounded);
        } else {
            _mm256_mask_storeu_epi16(to.cast(), mask, rounded);
        }
    }
}

/// Rounds 32 values, the upper sixteen first, in one register.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
pub(super) fn round_both(upper: __m512, lower: __m512) -> __m512i {
    // SAFETY: both are 64 bytes in which every bit pattern is a value.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(upper, lower)) }
}

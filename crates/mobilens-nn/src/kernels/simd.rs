//! Unrolled loops over SIMD registers, and loads and stores that stay plain in debug builds.
//!
//! Accumulators live in arrays of registers. The compiler keeps such an array in registers only if
//! every index is constant before its passes start, so these loops are unrolled by a macro. The
//! loads of `core::arch` carry checks in builds with debug assertions, and a check inside the
//! innermost loop costs half of its speed; a masked load with a full mask is the same instruction
//! without one.

/// Unrolls a loop: `$body` once for each listed number below `$limit`, with `$i` as a constant.
macro_rules! unrolled {
    ([$($n:literal)*] $i:ident < $limit:expr, $body:block) => {
        $(
            if $n < $limit {
                const $i: usize = $n;
                $body
            }
        )*
    };
}

pub(super) use unrolled;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Loads sixteen floats.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn load16(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(0xffff, from) }
    }

    /// Broadcasts one float to sixteen lanes.
    ///
    /// # Safety
    /// It is readable.
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn broadcast16(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        _mm512_broadcastss_ps(unsafe { _mm_load_ss(from) })
    }

    /// Loads eight floats.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn load8(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_ps(from, _mm256_set1_epi32(-1)) }
    }

    /// Broadcasts one float to eight lanes.
    ///
    /// # Safety
    /// It is readable.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn broadcast8(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        _mm256_broadcastss_ps(unsafe { _mm_load_ss(from) })
    }

    /// Stores eight floats.
    ///
    /// # Safety
    /// All are writable.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn store8(to: *mut f32, value: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskstore_ps(to, _mm256_set1_epi32(-1), value) }
    }

    /// Stores sixteen floats.
    ///
    /// # Safety
    /// All are writable.
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    #[inline]
    pub(in super::super) unsafe fn store16(to: *mut f32, value: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(to, 0xffff, value) }
    }
}

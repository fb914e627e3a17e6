//! The registers of the int8 kernels: for each width the same operations under the same names.

/// 64 bytes.
pub(super) mod zmm {
    pub(in super::super) use std::arch::x86_64::{
        __m512 as Float, __m512i as Int, _mm512_add_ps as add_float,
        _mm512_adds_epi16 as add_saturating_16, _mm512_castsi512_ps as as_float,
        _mm512_cvtepi32_ps as to_float, _mm512_cvtps_epi32 as to_int, _mm512_max_epu8 as max_8,
        _mm512_max_ps as max_float, _mm512_min_epu8 as min_8, _mm512_min_ps as min_float,
        _mm512_mul_ps as mul_float, _mm512_packs_epi32 as pack_32, _mm512_packus_epi16 as pack_16,
        _mm512_set1_epi8 as broadcast_8, _mm512_set1_epi16 as broadcast_16,
        _mm512_set1_ps as broadcast_float, _mm512_unpackhi_epi8 as unpack_high_8,
        _mm512_unpackhi_epi16 as unpack_high_16, _mm512_unpacklo_epi8 as unpack_low_8,
        _mm512_unpacklo_epi16 as unpack_low_16,
    };

    /// Loads 64 bytes.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(in super::super) unsafe fn load_all(from: *const u8) -> Int {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm512_maskz_loadu_epi8(!0, from.cast()) }
    }
}

/// 32 bytes.
pub(super) mod ymm {
    pub(in super::super) use std::arch::x86_64::{
        __m256 as Float, __m256i as Int, _mm256_add_ps as add_float,
        _mm256_adds_epi16 as add_saturating_16, _mm256_castsi256_ps as as_float,
        _mm256_cvtepi32_ps as to_float, _mm256_cvtps_epi32 as to_int, _mm256_max_epu8 as max_8,
        _mm256_max_ps as max_float, _mm256_min_epu8 as min_8, _mm256_min_ps as min_float,
        _mm256_mul_ps as mul_float, _mm256_packs_epi32 as pack_32, _mm256_packus_epi16 as pack_16,
        _mm256_set1_epi8 as broadcast_8, _mm256_set1_epi16 as broadcast_16,
        _mm256_set1_ps as broadcast_float, _mm256_unpackhi_epi8 as unpack_high_8,
        _mm256_unpackhi_epi16 as unpack_high_16, _mm256_unpacklo_epi8 as unpack_low_8,
        _mm256_unpacklo_epi16 as unpack_low_16,
    };

    /// Loads 32 bytes.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn load_all(from: *const u8) -> Int {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm256_loadu_si256(from.cast()) }
    }

    /// Loads 32 channels, which is as many as there always are.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn load_channels(from: *const u8, _: usize) -> Int {
        // SAFETY: the caller's promise.
        unsafe { load_all(from) }
    }

    /// Stores 32 channels, which is as many as there always are.
    ///
    /// # Safety
    /// All are writable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn store_channels(to: *mut u8, codes: Int, _: usize) {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm256_storeu_si256(to.cast(), codes) }
    }
}

/// 16 bytes.
pub(super) mod xmm {
    pub(in super::super) use std::arch::x86_64::{
        __m128 as Float, __m128i as Int, _mm_add_ps as add_float,
        _mm_adds_epi16 as add_saturating_16, _mm_castsi128_ps as as_float,
        _mm_cvtepi32_ps as to_float, _mm_cvtps_epi32 as to_int, _mm_max_epu8 as max_8,
        _mm_max_ps as max_float, _mm_min_epu8 as min_8, _mm_min_ps as min_float,
        _mm_mul_ps as mul_float, _mm_packs_epi32 as pack_32, _mm_packus_epi16 as pack_16,
        _mm_set1_epi8 as broadcast_8, _mm_set1_epi16 as broadcast_16,
        _mm_set1_ps as broadcast_float, _mm_unpackhi_epi8 as unpack_high_8,
        _mm_unpackhi_epi16 as unpack_high_16, _mm_unpacklo_epi8 as unpack_low_8,
        _mm_unpacklo_epi16 as unpack_low_16,
    };

    /// Loads 16 bytes.
    ///
    /// # Safety
    /// All are readable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn load_all(from: *const u8) -> Int {
        // SAFETY: the caller's promise.
        unsafe { std::arch::x86_64::_mm_loadu_si128(from.cast()) }
    }

    /// Loads so many channels, at most 16, and no byte behind them.
    ///
    /// # Safety
    /// They are readable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn load_channels(from: *const u8, channels: usize) -> Int {
        // SAFETY: the caller's promise.
        unsafe {
            match channels {
                16 => load_all(from),
                8 => std::arch::x86_64::_mm_loadl_epi64(from.cast()),
                _ => {
                    let mut bytes = [0_u8; 16];
                    from.copy_to_nonoverlapping(bytes.as_mut_ptr(), channels.min(16));
                    load_all(bytes.as_ptr())
                }
            }
        }
    }

    /// Stores so many channels, at most 16, and no byte behind them.
    ///
    /// # Safety
    /// They are writable.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) unsafe fn store_channels(to: *mut u8, codes: Int, channels: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match channels {
                16 => std::arch::x86_64::_mm_storeu_si128(to.cast(), codes),
                8 => std::arch::x86_64::_mm_storel_epi64(to.cast(), codes),
                _ => {
                    let mut bytes = [0_u8; 16];
                    std::arch::x86_64::_mm_storeu_si128(bytes.as_mut_ptr().cast(), codes);
                    to.copy_from_nonoverlapping(bytes.as_ptr(), channels.min(16));
                }
            }
        }
    }
}

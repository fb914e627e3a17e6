//! The functions of [`Activation`] on AVX-512 registers.

use std::arch::x86_64::*;

use super::activation::Activation;

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
pub(super) fn clamp(x: __m512, low: __m512, high: __m512) -> __m512 {
    _mm512_min_ps(_mm512_max_ps(x, low), high)
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
pub(super) fn activate(x: __m512, activation: Activation) -> __m512 {
    match activation {
        Activation::Clamp { low, high } => clamp(x, _mm512_set1_ps(low), _mm512_set1_ps(high)),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm512_mul_ps(x, hard_sigmoid(x)),
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
fn hard_sigmoid(x: __m512) -> __m512 {
    let shifted = _mm512_add_ps(x, _mm512_set1_ps(3.0));
    let zero = _mm512_setzero_ps();
    let clamped = _mm512_min_ps(_mm512_max_ps(shifted, zero), _mm512_set1_ps(6.0));
    _mm512_mul_ps(clamped, _mm512_set1_ps(1.0 / 6.0))
}

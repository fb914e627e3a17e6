//! The functions of [`Activation`] on AVX-512 registers.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_functions::activation_functions;

activation_functions! {
    inlined: #[target_feature(enable = "avx512f,avx512vl,avx2,fma")] #[inline]
    outlined: #[target_feature(enable = "avx512f,avx512vl,avx2,fma")] #[inline(never)]
    vector: __m512, splat: _mm512_set1_ps, add: _mm512_add_ps, sub: _mm512_sub_ps,
    mul: _mm512_mul_ps, div: _mm512_div_ps, max: _mm512_max_ps, min: _mm512_min_ps,
    power_of_two: power_of_two
}

/// `2^n` of numbers to which [`ROUND`] was added.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline]
fn power_of_two(shifted: __m512) -> __m512 {
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
}

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
        Activation::LeakyRelu { slope } => leaky_relu(x, _mm512_set1_ps(slope)),
        _ => smooth(x, activation),
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

//! The functions of [`Activation`] on AVX2 registers, for CPUs that may lack FMA.

use std::arch::x86_64::*;

use super::activation::Activation;
use super::activation_functions::activation_functions;

activation_functions! {
    inlined: #[target_feature(enable = "avx2")] #[inline]
    outlined: #[target_feature(enable = "avx2")] #[inline(never)]
    vector: __m256, splat: _mm256_set1_ps, add: _mm256_add_ps, sub: _mm256_sub_ps,
    mul: _mm256_mul_ps, div: _mm256_div_ps, max: _mm256_max_ps, min: _mm256_min_ps,
    power_of_two: power_of_two
}

/// `2^n` of numbers to which [`ROUND`] was added.
#[target_feature(enable = "avx2")]
#[inline]
fn power_of_two(shifted: __m256) -> __m256 {
    let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
    _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn activate(x: __m256, activation: Activation) -> __m256 {
    match activation {
        Activation::Clamp { low, high } => {
            _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(low)), _mm256_set1_ps(high))
        }
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => _mm256_mul_ps(x, hard_sigmoid(x)),
        Activation::LeakyRelu { slope } => leaky_relu(x, _mm256_set1_ps(slope)),
        _ => smooth(x, activation),
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn hard_sigmoid(x: __m256) -> __m256 {
    let shifted = _mm256_add_ps(x, _mm256_set1_ps(3.0));
    let zero = _mm256_setzero_ps();
    let clamped = _mm256_min_ps(_mm256_max_ps(shifted, zero), _mm256_set1_ps(6.0));
    _mm256_mul_ps(clamped, _mm256_set1_ps(1.0 / 6.0))
}

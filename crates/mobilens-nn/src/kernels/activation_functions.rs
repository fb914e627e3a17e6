//! The functions of [`Activation`](super::Activation), generated once for each kind of register.
//!
//! Every step is one IEEE operation without a fused multiplication, in the same order everywhere: a
//! value has the same bits on every instruction set, in float32 and around the codes of int8.
//!
//! - `exp(x) = 2^n exp(r)`, `n = round(x / ln 2)`, by the Taylor polynomial of degree 7 for
//!   `|r| <= ln(2) / 2`; relative error below 2e-7. The argument is limited to -87.3..87.3.
//! - `erfc(z) = (a1 t + a2 t^2 + .. + a5 t^5) exp(-z^2)`, `t = 1 / (1 + p z)`, `z >= 0`: Abramowitz and
//!   Stegun, Handbook of Mathematical Functions, 7.1.26; absolute error below 1.5e-7, with rounding below 5e-7.
//! - GELU (Hendrycks and Gimpel, 2016) is `max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2`, which has no cancellation
//!   for negative x; absolute error below `3e-7 |x|`.
//! - GELU with tanh is `x sigmoid(2 u)`, `u = sqrt(2 / pi) (x + 0.044715 x^3)`.

/// `1.5 * 2^23`: a small number added to this is rounded to a whole number, in the low bits.
pub(super) const ROUND: f32 = 12_582_912.0;
/// The upper bits of ln 2, so that products with small whole numbers are exact.
pub(super) const LN2_HIGH: f32 = 0.693_359_4;
/// ln 2 less [`LN2_HIGH`].
pub(super) const LN2_LOW: f32 = -2.121_944_4e-4;
/// Limits of the argument of `exp`: its results, and their reciprocals, are normal numbers.
pub(super) const EXP_LIMITS: (f32, f32) = (-87.3, 87.3);
/// `1 / k!` from k = 7 to 0.
pub(super) const TAYLOR: [f32; 8] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];
/// p and a5 to a1 of Abramowitz and Stegun 7.1.26.
pub(super) const ERFC_P: f32 = 0.327_591_1;
pub(super) const ERFC: [f32; 5] = [
    1.061_405_4,
    -1.453_152,
    1.421_413_7,
    -0.284_496_74,
    0.254_829_6,
];
/// From here on `exp(-z^2)`, below 2e-28, is as good as 0.
pub(super) const ERFC_LEAST_EXPONENT: f32 = -64.0;
/// `2 sqrt(2 / pi)` and the factor of the cube.
pub(super) const GELU_TANH: (f32, f32) = (1.595_769, 0.044_715);

/// Defines `exp`, `erf`, `tanh` and the activations over vectors.
macro_rules! activation_functions {
    (
        inlined: $(#[$feature:meta])*
        outlined: $(#[$outlined:meta])*
        vector: $Vector:ty, splat: $splat:path, add: $add:path, sub: $sub:path, mul: $mul:path,
        div: $div:path, max: $max:path, min: $min:path, power_of_two: $power:path
    ) => {
        use crate::kernels::activation_functions::{
            ERFC, ERFC_LEAST_EXPONENT, ERFC_P, EXP_LIMITS, GELU_TANH, LN2_HIGH, LN2_LOW, ROUND, TAYLOR,
        };

        /// `e^x`.
        $(#[$feature])*
        pub(in crate::kernels) fn exp(x: $Vector) -> $Vector {
            let x = $min($max(x, $splat(EXP_LIMITS.0)), $splat(EXP_LIMITS.1));
            let shifted = $add($mul(x, $splat(std::f32::consts::LOG2_E)), $splat(ROUND));
            let n = $sub(shifted, $splat(ROUND));
            let r = $sub($sub(x, $mul(n, $splat(LN2_HIGH))), $mul(n, $splat(LN2_LOW)));
            let mut sum = $splat(TAYLOR[0]);
            sum = $add($mul(sum, r), $splat(TAYLOR[1]));
            sum = $add($mul(sum, r), $splat(TAYLOR[2]));
            sum = $add($mul(sum, r), $splat(TAYLOR[3]));
            sum = $add($mul(sum, r), $splat(TAYLOR[4]));
            sum = $add($mul(sum, r), $splat(TAYLOR[5]));
            sum = $add($mul(sum, r), $splat(TAYLOR[6]));
            sum = $add($mul(sum, r), $splat(TAYLOR[7]));
            $mul(sum, $power(shifted))
        }

        /// `1 - erf(z)`, `z >= 0`.
        $(#[$feature])*
        fn erfc(z: $Vector) -> $Vector {
            let one = $splat(1.0);
            let t = $div(one, $add(one, $mul(z, $splat(ERFC_P))));
            let mut sum = $splat(ERFC[0]);
            sum = $add($mul(sum, t), $splat(ERFC[1]));
            sum = $add($mul(sum, t), $splat(ERFC[2]));
            sum = $add($mul(sum, t), $splat(ERFC[3]));
            sum = $add($mul(sum, t), $splat(ERFC[4]));
            // Not so far that results are subnormal, which later products would take a hundred cycles each for.
            let exponent = $max($sub($splat(0.0), $mul(z, z)), $splat(ERFC_LEAST_EXPONENT));
            $mul($mul(sum, t), exp(exponent))
        }

        $(#[$feature])*
        fn abs(x: $Vector) -> $Vector {
            $max(x, $sub($splat(0.0), x))
        }

        /// The error function.
        $(#[$feature])*
        #[allow(dead_code, reason = "not every instruction set has it as a step")]
        pub(in crate::kernels) fn erf(x: $Vector) -> $Vector {
            let upper = $sub($splat(1.0), erfc(abs(x)));
            let sign = $min($max($mul(x, $splat(f32::MAX)), $splat(-1.0)), $splat(1.0));
            $mul(sign, upper)
        }

        /// `1 / (1 + e^-x)`.
        $(#[$feature])*
        pub(in crate::kernels) fn sigmoid(x: $Vector) -> $Vector {
            let one = $splat(1.0);
            $div(one, $add(one, exp($sub($splat(0.0), x))))
        }

        /// `x / (1 + e^-x)`.
        $(#[$feature])*
        pub(in crate::kernels) fn silu(x: $Vector) -> $Vector {
            $div(x, $add($splat(1.0), exp($sub($splat(0.0), x))))
        }

        /// GELU by the error function.
        $(#[$feature])*
        pub(in crate::kernels) fn gelu(x: $Vector) -> $Vector {
            let size = abs(x);
            let tail = erfc($mul(size, $splat(std::f32::consts::FRAC_1_SQRT_2)));
            $sub($max(x, $splat(0.0)), $mul($mul(size, $splat(0.5)), tail))
        }

        /// GELU by tanh.
        $(#[$feature])*
        pub(in crate::kernels) fn gelu_tanh(x: $Vector) -> $Vector {
            let cube = $mul($mul(x, x), x);
            let u = $mul($add(x, $mul(cube, $splat(GELU_TANH.1))), $splat(GELU_TANH.0));
            $div(x, $add($splat(1.0), exp($sub($splat(0.0), u))))
        }

        /// The hyperbolic tangent: `2 sigmoid(2 x) - 1`.
        $(#[$feature])*
        #[allow(dead_code, reason = "not every instruction set has it as a step")]
        pub(in crate::kernels) fn tanh(x: $Vector) -> $Vector {
            let s = sigmoid($mul(x, $splat(2.0)));
            $sub($mul(s, $splat(2.0)), $splat(1.0))
        }

        /// `max(x, 0) + slope * min(x, 0)`.
        $(#[$feature])*
        pub(in crate::kernels) fn leaky_relu(x: $Vector, slope: $Vector) -> $Vector {
            let zero = $splat(0.0);
            $add($max(x, zero), $mul(slope, $min(x, zero)))
        }

        /// The activations that take more than a few instructions. Not inlined, as epilogues repeat
        /// it for each register.
        $(#[$outlined])*
        pub(in crate::kernels) fn smooth(x: $Vector, activation: Activation) -> $Vector {
            match activation {
                Activation::Sigmoid => sigmoid(x),
                Activation::Silu => silu(x),
                Activation::Gelu => gelu(x),
                Activation::GeluTanh => gelu_tanh(x),
                _ => x,
            }
        }

        /// [`smooth`] of each register.
        $(#[$outlined])*
        #[allow(dead_code, reason = "not every kernel has several at a time")]
        pub(in crate::kernels) fn smooth_all(values: &mut [$Vector], activation: Activation) {
            match activation {
                Activation::Sigmoid => values.iter_mut().for_each(|x| *x = sigmoid(*x)),
                Activation::Silu => values.iter_mut().for_each(|x| *x = silu(*x)),
                Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
                Activation::GeluTanh => values.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
                _ => {}
            }
        }
    };
}

pub(super) use activation_functions;

/// Over one float, and the slices of steps.
pub(super) mod scalar {
    use super::super::activation::Activation;

    #[inline(always)]
    fn splat(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn add(a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn sub(a: f32, b: f32) -> f32 {
        a - b
    }

    #[inline(always)]
    fn mul(a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    fn div(a: f32, b: f32) -> f32 {
        a / b
    }

    /// As the instruction: `b` where one is no number.
    #[inline(always)]
    fn max(a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }

    #[inline(always)]
    fn min(a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }

    /// `2^n` of a number to which [`ROUND`] was added.
    #[inline(always)]
    fn power_of_two(shifted: f32) -> f32 {
        f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
    }

    super::activation_functions! {
        inlined: #[inline(always)]
        outlined: #[inline(never)]
        vector: f32, splat: splat, add: add, sub: sub, mul: mul,
        div: div, max: max, min: min, power_of_two: power_of_two
    }
}

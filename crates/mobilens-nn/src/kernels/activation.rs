//! Activation functions that a convolution applies in its epilogue, before the store.

use super::activation_functions::scalar::{leaky_relu, smooth};

/// A function applied to each value in the epilogue of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `min(max(x, low), high)`: ReLU is `0, inf`, ReLU6 is `0, 6`, no activation is `-inf, inf`.
    Clamp {
        /// The least value.
        low: f32,
        /// The greatest value.
        high: f32,
    },
    /// h-swish: `x * min(max(x + 3, 0), 6) / 6` (MobileNetV3, section 5.2).
    HardSwish,
    /// h-sigmoid: `min(max(x / 6 + 0.5, 0), 1)`.
    HardSigmoid,
    /// `x` where it is above 0, else `slope * x`.
    LeakyRelu {
        /// The factor of negative values; finite.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// SiLU or swish: `x / (1 + exp(-x))`.
    Silu,
    /// GELU by the error function: `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// GELU by tanh: `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
}

impl Activation {
    /// The identity: no activation.
    pub const NONE: Self = Self::Clamp {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };

    /// The function's value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Clamp { low, high } => x.max(low).min(high),
            Self::HardSwish => x * ((x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)),
            Self::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0),
            Self::LeakyRelu { slope } => leaky_relu(x, slope),
            Self::Sigmoid | Self::Silu | Self::Gelu | Self::GeluTanh => smooth(x, self),
        }
    }

    /// Whether it takes more than a few instructions: it is a function of its own to the kernels.
    pub(super) fn is_smooth(self) -> bool {
        matches!(
            self,
            Self::Sigmoid | Self::Silu | Self::Gelu | Self::GeluTanh
        )
    }
}

//! Activation functions that a convolution applies in its epilogue, before the store.

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
        }
    }
}

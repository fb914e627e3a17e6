//! What an int8 convolution does with its sums of products: the epilogue that all int8 kernels
//! share, and its reference in plain Rust.
//!
//! Activations are unsigned codes with a scale and a zero point, `value = scale * (code - zero)`;
//! weights are signed codes with one scale for each output channel and no zero point. A kernel sums
//! products of codes in 32 bits, starting from the bias, into which the input's zero point has been
//! folded. Each step from there on is one IEEE operation in float32 without fused multiply-adds, so
//! that every instruction set gives the same bits: convert, multiply, round to nearest even.

use super::activation::Activation;

/// Channels whose constants are padded to a whole group.
pub const CHANNEL_GROUP: usize = 64;

/// The epilogue of an int8 convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// For each output channel what one unit of its sum is worth: in codes of the output where
    /// codes are written and no function is applied, else in real units. Padded with zeros to whole
    /// groups of [`CHANNEL_GROUP`].
    pub multipliers: Vec<f32>,
    /// What is written.
    pub output: Int8Output,
}

/// What an int8 convolution writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Int8Output {
    /// Codes of one byte.
    Codes {
        /// Applied to the sum in real units.
        function: CodeFunction,
        /// Added before the last rounding.
        residual: Option<Residual>,
        /// Zero point, least and greatest code of the output.
        range: CodeRange,
    },
    /// Values in float32.
    Float(Activation),
}

/// A function that cannot be had by limiting the codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CodeFunction {
    /// The multipliers are in codes already. ReLU and ReLU6 are limits of [`CodeRange`].
    None,
    /// h-swish of the real value, which is then multiplied by `inverse_scale`.
    HardSwish {
        /// 1 / scale of the output.
        inverse_scale: f32,
    },
    /// h-sigmoid of the real value, which is then multiplied by `inverse_scale`.
    HardSigmoid {
        /// 1 / scale of the output.
        inverse_scale: f32,
    },
}

/// The residual sum of an inverted residual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// Rounding of the convolution's own value before the sum, where the file has one.
    pub rounding: Option<ResidualRounding>,
    /// What one code of the residual is worth, in codes of the output.
    pub multiplier: f32,
    /// Zero point of the residual.
    pub zero_point: u8,
}

/// Rounding of the convolution's own value before a residual sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualRounding {
    /// Least code less the zero point; a whole number.
    pub low: f32,
    /// Greatest code less the zero point; a whole number.
    pub high: f32,
    /// What one of these codes is worth, in codes of the output.
    pub multiplier: f32,
}

/// Zero point and limits of output codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// The code of zero.
    pub zero_point: u8,
    /// The least code that is written.
    pub low: u8,
    /// The greatest code that is written.
    pub high: u8,
}

impl CodeRange {
    /// The code of a value that is given in units of the scale.
    #[inline]
    pub fn code(self, value: f32) -> u8 {
        // `as` saturates; the kernels check at load that nothing comes near the ends of an i32.
        let code = (value.round_ties_even() as i32).saturating_add(i32::from(self.zero_point));
        code.clamp(i32::from(self.low), i32::from(self.high)) as u8
    }
}

impl Requantize {
    /// The reference: the output code of channel `channel` for the sum `sum`; `residual` is the
    /// residual's code where there is one. Not for [`Int8Output::Float`].
    #[inline]
    pub fn code(&self, sum: i32, channel: usize, residual_code: u8) -> u8 {
        let Int8Output::Codes {
            function,
            residual,
            range,
        } = &self.output
        else {
            return 0;
        };
        let mut value = sum as f32 * self.multipliers[channel];
        match function {
            CodeFunction::None => {}
            CodeFunction::HardSwish { inverse_scale } => {
                value = Activation::HardSwish.apply(value) * inverse_scale;
            }
            CodeFunction::HardSigmoid { inverse_scale } => {
                value = Activation::HardSigmoid.apply(value) * inverse_scale;
            }
        }
        if let Some(residual) = residual {
            if let Some(rounding) = residual.rounding {
                let code = value.round_ties_even().max(rounding.low).min(rounding.high);
                value = code * rounding.multiplier;
            }
            let code = i32::from(residual_code) - i32::from(residual.zero_point);
            value += code as f32 * residual.multiplier;
        }
        range.code(value)
    }

    /// The reference for [`Int8Output::Float`]: the value of channel `channel` for the sum `sum`.
    #[inline]
    pub fn float(&self, sum: i32, channel: usize) -> f32 {
        let value = sum as f32 * self.multipliers[channel];
        match self.output {
            Int8Output::Float(activation) => activation.apply(value),
            Int8Output::Codes { .. } => value,
        }
    }
}

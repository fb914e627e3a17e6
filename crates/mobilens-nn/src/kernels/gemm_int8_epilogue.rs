//! Which epilogue turns the sums of an int8 GEMM into codes or floats.
//!
//! The usual outputs have one of their own in the vectorised microkernels, on the registers that
//! hold the sums; the others go through memory to one that does all.

use super::requantize::{CodeFunction, CodeRange, Int8Output, Residual, ResidualRounding};

/// Which epilogue an output takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Epilogue {
    /// Codes of all 256 values with zero point 0, as after ReLU.
    Unsigned,
    /// Codes without a function or a residual.
    Codes(CodeRange),
    /// Codes with a residual, before which the convolution's own value is rounded.
    RoundedResidual(Residual, ResidualRounding, CodeRange),
    /// Anything else.
    General,
}

impl Epilogue {
    pub fn new(output: &Int8Output) -> Self {
        const WHOLE: CodeRange = CodeRange {
            zero_point: 0,
            low: 0,
            high: u8::MAX,
        };
        let Int8Output::Codes {
            function: CodeFunction::None,
            residual,
            range,
        } = *output
        else {
            return Self::General;
        };
        match residual {
            None if range == WHOLE => Self::Unsigned,
            None => Self::Codes(range),
            Some(residual) => match residual.rounding {
                Some(rounding) => Self::RoundedResidual(residual, rounding, range),
                None => Self::General,
            },
        }
    }
}

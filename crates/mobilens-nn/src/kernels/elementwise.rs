//! Unary and binary elementwise functions.

use super::activation::Activation;
use super::operator_int8::nearest_code;
use super::requantize::CodeRange;

/// Elementwise functions of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// An activation function that no convolution could take into its epilogue.
    Activation(Activation),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Quantisation and dequantisation.
    FakeQuantize(FakeQuantize),
    /// `x^2`.
    Square,
    /// The square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / x`.
    Reciprocal,
}

/// Quantisation to codes of 8 bits and back: the nearest value that a code stands for,
/// `value = scale * (code - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Distance of two values; finite and above 0.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: u8,
    /// The least code.
    pub low: u8,
    /// The greatest code, not below `low`.
    pub high: u8,
}

impl FakeQuantize {
    /// ONNX `DequantizeLinear`: the value of a code.
    #[inline]
    pub fn value(self, code: u8) -> f32 {
        self.scale * f32::from(i16::from(code) - i16::from(self.zero_point))
    }

    /// ONNX `QuantizeLinear`: the code of `x`; ties round to even.
    #[inline]
    pub fn code(self, x: f32) -> u8 {
        let range = CodeRange {
            zero_point: self.zero_point,
            low: self.low,
            high: self.high,
        };
        nearest_code(x / self.scale, range)
    }

    /// The value that the code of `x` stands for; ties round to even. NaN has the least code.
    pub fn apply(self, x: f32) -> f32 {
        let zero_point = f32::from(self.zero_point);
        let code = (x / self.scale).round_ties_even() + zero_point;
        let code = code.max(f32::from(self.low)).min(f32::from(self.high));
        (code - zero_point) * self.scale
    }
}

/// Elementwise functions of two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// `max(a, b)`.
    Max,
    /// `min(a, b)`.
    Min,
}

impl UnaryOp {
    /// The function's value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Activation(activation) => activation.apply(x),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::FakeQuantize(quantize) => quantize.apply(x),
            Self::Square => x * x,
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => 1.0 / x.sqrt(),
            Self::Reciprocal => 1.0 / x,
        }
    }

    /// Applies the function to each value.
    pub(super) fn run(self, input: &[f32], output: &mut [f32]) {
        for (output, input) in output.iter_mut().zip(input) {
            *output = self.apply(*input);
        }
    }
}

impl BinaryOp {
    /// The function's value at `a` and `b`.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }

    /// Applies the function to `[outer, inner]` and `[inner]`, which is broadcast over `outer`.
    pub(super) fn run(self, left: &[f32], right: &[f32], output: &mut [f32]) {
        let inner = right.len().max(1);
        for (output, left) in output.chunks_mut(inner).zip(left.chunks(inner)) {
            for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
                *output = self.apply(*left, *right);
            }
        }
    }
}

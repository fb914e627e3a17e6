//! Unary and binary elementwise functions.

use super::activation::Activation;
use super::activation_functions::scalar;
use super::isa::Isa;
use super::isa_loop::{IsaLoop, run_on};
use super::operator_int8::nearest_code;
use super::requantize::CodeRange;

/// Elementwise functions of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// An activation function that no convolution could take into its epilogue.
    Activation(Activation),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The error function; absolute error below 5e-7.
    Erf,
    /// The hyperbolic tangent.
    Tanh,
    /// `x^3`.
    Cube,
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
    /// `b - a`.
    ReverseSub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// `b / a`.
    ReverseDiv,
    /// `max(a, b)`.
    Max,
    /// `min(a, b)`.
    Min,
    /// PReLU: `a` where it is above 0, else `a * b`.
    PRelu,
}

impl UnaryOp {
    /// The function's value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Activation(activation) => activation.apply(x),
            Self::Sigmoid => scalar::sigmoid(x),
            Self::Erf => scalar::erf(x),
            Self::Tanh => scalar::tanh(x),
            Self::Cube => x * x * x,
            Self::FakeQuantize(quantize) => quantize.apply(x),
            Self::Square => x * x,
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => 1.0 / x.sqrt(),
            Self::Reciprocal => 1.0 / x,
        }
    }

    /// Applies the function to each value.
    pub(super) fn run(self, isa: Isa, input: &[f32], output: &mut [f32]) {
        struct Map<'a, F>(&'a [f32], &'a mut [f32], F);
        impl<F: Fn(f32) -> f32> IsaLoop for Map<'_, F> {
            type Output = ();

            #[inline(always)]
            fn run<const FMA: bool>(self) {
                for (output, input) in self.1.iter_mut().zip(self.0) {
                    *output = (self.2)(*input);
                }
            }
        }
        macro_rules! map {
            ($function:expr) => {
                run_on(isa, Map(input, output, $function))
            };
        }
        match self {
            Self::Sigmoid | Self::Activation(Activation::Sigmoid) => map!(scalar::sigmoid),
            Self::Activation(Activation::Silu) => map!(scalar::silu),
            Self::Activation(Activation::Gelu) => map!(scalar::gelu),
            Self::Activation(Activation::GeluTanh) => map!(scalar::gelu_tanh),
            Self::Activation(Activation::LeakyRelu { slope }) => {
                map!(|x| scalar::leaky_relu(x, slope))
            }
            Self::Activation(Activation::Clamp { low, high }) => {
                map!(|x: f32| x.max(low).min(high))
            }
            Self::Activation(Activation::HardSwish) => map!(|x| Activation::HardSwish.apply(x)),
            Self::Activation(Activation::HardSigmoid) => {
                map!(|x| Activation::HardSigmoid.apply(x))
            }
            Self::Erf => map!(scalar::erf),
            Self::Tanh => map!(scalar::tanh),
            Self::Cube => map!(|x| x * x * x),
            Self::FakeQuantize(quantize) => map!(|x| quantize.apply(x)),
            Self::Square => map!(|x| x * x),
            Self::Sqrt => map!(f32::sqrt),
            Self::Rsqrt => map!(|x: f32| 1.0 / x.sqrt()),
            Self::Reciprocal => map!(|x: f32| 1.0 / x),
        }
    }
}

impl BinaryOp {
    /// The function's value at `a` and `b`.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::ReverseSub => b - a,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::ReverseDiv => b / a,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
            Self::PRelu => scalar::leaky_relu(a, b),
        }
    }

    /// Applies the function to `[outer, inner]` and `[inner]`, which is broadcast over `outer`.
    pub(super) fn run(self, isa: Isa, left: &[f32], right: &[f32], output: &mut [f32]) {
        struct Zip<'a, F>(&'a [f32], &'a [f32], &'a mut [f32], F);
        impl<F: Fn(f32, f32) -> f32> IsaLoop for Zip<'_, F> {
            type Output = ();

            #[inline(always)]
            fn run<const FMA: bool>(self) {
                let Self(left, right, output, function) = self;
                if let [right] = *right {
                    for (output, left) in output.iter_mut().zip(left) {
                        *output = function(*left, right);
                    }
                    return;
                }
                let inner = right.len().max(1);
                for (output, left) in output.chunks_mut(inner).zip(left.chunks(inner)) {
                    for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
                        *output = function(*left, *right);
                    }
                }
            }
        }
        macro_rules! zip {
            ($function:expr) => {
                run_on(isa, Zip(left, right, output, $function))
            };
        }
        match self {
            Self::Add => zip!(|a, b| a + b),
            Self::Sub => zip!(|a, b| a - b),
            Self::ReverseSub => zip!(|a, b| b - a),
            Self::Mul => zip!(|a, b| a * b),
            Self::Div => zip!(|a, b| a / b),
            Self::ReverseDiv => zip!(|a, b| b / a),
            Self::Max => zip!(|a: f32, b: f32| a.max(b)),
            Self::Min => zip!(|a: f32, b: f32| a.min(b)),
            Self::PRelu => zip!(scalar::leaky_relu),
        }
    }
}

//! Unary and binary elementwise functions.

use super::activation::Activation;

/// Elementwise functions of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// An activation function that no convolution could take into its epilogue.
    Activation(Activation),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
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

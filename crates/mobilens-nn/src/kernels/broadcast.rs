//! Elementwise functions of two tensors of which either may be broadcast along any axes.

use super::buffer::Buffer;
use super::elementwise::BinaryOp;
use super::isa::Isa;
use super::isa_loop::{IsaLoop, run_on};

/// An elementwise function of two tensors by strides; 0 where a tensor is broadcast.
#[derive(Debug)]
pub struct BroadcastBinary {
    /// The function.
    pub function: BinaryOp,
    /// Sizes of the output, the innermost axis last.
    pub sizes: Vec<usize>,
    /// For each axis the first tensor's stride, in values.
    pub left: Vec<usize>,
    /// The same of the second.
    pub right: Vec<usize>,
    /// The second tensor, if it is a constant.
    pub constant: Option<Buffer>,
    /// The second tensor is the function's first argument.
    pub swapped: bool,
}

impl BroadcastBinary {
    /// Values in the innermost axis.
    pub(super) fn row(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// Panics where a tensor of `values` is too short for its `strides`.
    pub(super) fn check(&self, left: usize, right: usize, output: usize) {
        let right = self.constant.as_ref().map_or(right, |values| values.len());
        for (strides, len) in [(&self.left, left), (&self.right, right)] {
            assert_eq!(strides.len(), self.sizes.len(), "a stride for each axis");
            let last: usize = self
                .sizes
                .iter()
                .zip(strides)
                .map(|(n, s)| (n - 1) * s)
                .sum();
            assert!(last < len, "operand inside its tensor");
        }
        assert_eq!(self.sizes.iter().product::<usize>(), output, "output size");
    }

    /// Computes the rows from `first` on that `output` holds.
    pub(super) fn run(
        &self,
        isa: Isa,
        left: &[f32],
        right: &[f32],
        output: &mut [f32],
        first: usize,
    ) {
        run_on(
            isa,
            Rows {
                step: self,
                left,
                right: self.constant.as_deref().unwrap_or(right),
                output,
                first,
            },
        );
    }
}

struct Rows<'a> {
    step: &'a BroadcastBinary,
    left: &'a [f32],
    right: &'a [f32],
    output: &'a mut [f32],
    first: usize,
}

impl IsaLoop for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        // A branch for each function, so that the loops inside have none.
        match (self.step.function, self.step.swapped) {
            (BinaryOp::Add, _) => self.each(|a, b| a + b),
            (BinaryOp::Mul, _) => self.each(|a, b| a * b),
            (BinaryOp::Sub, false) | (BinaryOp::ReverseSub, true) => self.each(|a, b| a - b),
            (BinaryOp::Sub, true) | (BinaryOp::ReverseSub, false) => self.each(|a, b| b - a),
            (BinaryOp::Div, false) | (BinaryOp::ReverseDiv, true) => self.each(|a, b| a / b),
            (BinaryOp::Div, true) | (BinaryOp::ReverseDiv, false) => self.each(|a, b| b / a),
            (BinaryOp::Max, _) => self.each(f32::max),
            (BinaryOp::Min, _) => self.each(f32::min),
            (BinaryOp::PRelu, false) => self.each(|a, b| BinaryOp::PRelu.apply(a, b)),
            (BinaryOp::PRelu, true) => self.each(|a, b| BinaryOp::PRelu.apply(b, a)),
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn each(self, f: impl Fn(f32, f32) -> f32) {
        let step = self.step;
        let inner = step.row().max(1);
        let outer = step.sizes.len().saturating_sub(1);
        let stride = |strides: &[usize]| strides.last().copied().unwrap_or(0);
        let (left_stride, right_stride) = (stride(&step.left), stride(&step.right));
        for (row, output) in self.output.chunks_exact_mut(inner).enumerate() {
            let (mut rest, mut left, mut right) = (self.first + row, 0, 0);
            for axis in (0..outer).rev() {
                let index = rest % step.sizes[axis];
                left += index * step.left[axis];
                right += index * step.right[axis];
                rest /= step.sizes[axis];
            }
            let (left, right) = (&self.left[left..], &self.right[right..]);
            match (left_stride, right_stride) {
                (1, 1) => {
                    let operands = left.iter().zip(right);
                    for (output, (a, b)) in output.iter_mut().zip(operands) {
                        *output = f(*a, *b);
                    }
                }
                (1, 0) => {
                    for (output, a) in output.iter_mut().zip(left) {
                        *output = f(*a, right[0]);
                    }
                }
                (0, 1) => {
                    for (output, b) in output.iter_mut().zip(right) {
                        *output = f(left[0], *b);
                    }
                }
                _ => {
                    for (i, output) in output.iter_mut().enumerate() {
                        *output = f(left[i * left_stride], right[i * right_stride]);
                    }
                }
            }
        }
    }
}

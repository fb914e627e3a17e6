//! Padding with a constant, along any axes.

use super::arena::Slot;
use super::buffer::Element;

/// Where values lie in a larger tensor that a constant fills.
#[derive(Debug)]
pub struct Pad {
    /// Bytes of a value.
    pub element: usize,
    /// The input's sizes, the innermost axis last.
    pub sizes: Vec<usize>,
    /// Values of the constant before the input along each axis.
    pub before: Vec<usize>,
    /// The output's sizes.
    pub output: Vec<usize>,
    /// The constant.
    pub value: f32,
}

/// A value that a constant can fill.
pub(super) trait Fill: Element {
    fn of(value: f32) -> Self;
}

impl Fill for f32 {
    fn of(value: f32) -> Self {
        value
    }
}

impl Fill for u8 {
    fn of(value: f32) -> Self {
        value as u8
    }
}

impl Pad {
    /// Panics where the input leaves the output or the slots do not have the sizes.
    pub(super) fn check(&self, input: Slot, output: Slot) {
        let fits = |((size, before), output): ((&usize, &usize), &usize)| size + before <= *output;
        let axes = self.sizes.iter().zip(&self.before).zip(&self.output);
        assert!(
            self.before.len() == self.sizes.len()
                && self.output.len() == self.sizes.len()
                && axes.into_iter().all(fits),
            "the input of a padding lies in its output"
        );
        assert!(
            matches!(self.element, 1 | 4)
                && input.len == self.sizes.iter().product::<usize>() * self.element
                && output.len == self.output.iter().product::<usize>() * self.element,
            "sizes of a padding"
        );
    }
}

/// Fills the output with the constant and the input.
pub(super) fn pad<T: Fill>(pad: &Pad, input: &[T], output: &mut [T]) {
    output.fill(T::of(pad.value));
    let Some((inner, outer)) = pad.sizes.split_last() else {
        output.copy_from_slice(input);
        return;
    };
    let stride = |axis: usize| pad.output[axis + 1..].iter().product::<usize>();
    for (row, input) in input.chunks_exact((*inner).max(1)).enumerate() {
        let (mut rest, mut at) = (row, pad.before[outer.len()]);
        for axis in (0..outer.len()).rev() {
            at += (rest % outer[axis] + pad.before[axis]) * stride(axis);
            rest /= outer[axis];
        }
        output[at..][..*inner].copy_from_slice(input);
    }
}

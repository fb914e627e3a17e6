//! Transposition: the values of a tensor in another order of axes.

use super::buffer::Element;

/// Writes the output, of the given `sizes`, from an input whose `strides` are given for each of
/// the output's axes, innermost last.
pub(super) fn transpose<T: Element>(
    input: &[T],
    output: &mut [T],
    sizes: &[usize],
    strides: &[usize],
) {
    let (Some(inner), Some(stride)) = (sizes.last().copied(), strides.last().copied()) else {
        output.copy_from_slice(input);
        return;
    };
    let outer = sizes.len() - 1;
    for (row, output) in output.chunks_exact_mut(inner.max(1)).enumerate() {
        let mut rest = row;
        let mut start = 0;
        for axis in (0..outer).rev() {
            start += rest % sizes[axis] * strides[axis];
            rest /= sizes[axis];
        }
        for (i, output) in output.iter_mut().enumerate() {
            *output = input[start + i * stride];
        }
    }
}

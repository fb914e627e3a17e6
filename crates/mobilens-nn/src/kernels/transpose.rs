//! Transposition: the values of a tensor in another order of axes.

use super::buffer::Element;

/// Values of a tile's side: a tile of float32 is 16 cache lines of each tensor.
const TILE: usize = 16;

/// Writes the output, of the given `sizes`, from an input whose `strides` are given for each of
/// the output's axes, innermost last.
pub(super) fn transpose<T: Element>(
    input: &[T],
    output: &mut [T],
    sizes: &[usize],
    strides: &[usize],
) {
    let (sizes, strides) = coalesced(sizes, strides);
    let (Some(inner), Some(stride)) = (sizes.last().copied(), strides.last().copied()) else {
        output.copy_from_slice(&input[..output.len()]);
        return;
    };
    // The axis along which the input is contiguous, of those before the last.
    let along = match stride {
        1 => None,
        _ => strides[..strides.len() - 1].iter().position(|s| *s == 1),
    };
    let outer: Vec<usize> = (0..sizes.len() - 1)
        .filter(|axis| Some(*axis) != along)
        .collect();
    let place = |axis: usize| sizes[axis + 1..].iter().product::<usize>();
    let (count, step) = along.map_or((1, 0), |axis| (sizes[axis], place(axis)));
    let blocks: usize = outer.iter().map(|axis| sizes[*axis]).product();
    for block in 0..blocks {
        let (mut rest, mut from, mut to) = (block, 0, 0);
        for axis in outer.iter().rev() {
            let index = rest % sizes[*axis];
            from += index * strides[*axis];
            to += index * place(*axis);
            rest /= sizes[*axis];
        }
        let (input, output) = (&input[from..], &mut output[to..]);
        if stride == 1 {
            output[..inner].copy_from_slice(&input[..inner]);
            continue;
        }
        for first in (0..inner).step_by(TILE) {
            for row in (0..count).step_by(TILE) {
                for j in row..count.min(row + TILE) {
                    let output = &mut output[j * step + first..][..TILE.min(inner - first)];
                    let input = input[first * stride + j..].iter().step_by(stride.max(1));
                    for (to, value) in output.iter_mut().zip(input) {
                        *to = *value;
                    }
                }
            }
        }
    }
}

/// Without axes of one value, and with those as one that follow each other in both tensors.
fn coalesced(sizes: &[usize], strides: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut axes: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in sizes.iter().zip(strides).filter(|(size, _)| **size != 1) {
        match axes.last_mut() {
            Some(before) if before.1 == size * stride => *before = (before.0 * size, *stride),
            _ => axes.push((*size, *stride)),
        }
    }
    axes.into_iter().unzip()
}

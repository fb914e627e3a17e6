//! Transposition: the values of a tensor in another order of axes.

use super::arena::{Arena, Slot};
use super::buffer::Element;
use super::thread_pool::ThreadPool;

/// Bytes of a task of the thread pool, about.
const TASK: usize = 64 << 10;
/// Columns of a matrix that are exchanged with its rows at a time: their values stay in L1.
const BLOCK: usize = 64;
/// Side of the squares that two axes are exchanged in: a cache line of float32 in each direction.
const TILE: usize = 16;

/// A transposition: the output's axes without those of size 1, neighbours that lie in a row in the input as one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transpose {
    /// The output's sizes, the innermost axis last.
    sizes: Vec<usize>,
    /// For each of the output's axes its stride in the input, in values; 0 repeats values.
    strides: Vec<usize>,
}

impl Transpose {
    /// Of an output of `sizes`, each axis with its stride in the input.
    pub(super) fn new(sizes: &[usize], strides: &[usize]) -> Self {
        let mut merged = Self {
            sizes: Vec::new(),
            strides: Vec::new(),
        };
        for (size, stride) in sizes.iter().zip(strides).filter(|(size, _)| **size != 1) {
            match (merged.sizes.last_mut(), merged.strides.last_mut()) {
                (Some(outer), Some(step)) if *step == size * stride => {
                    *outer *= size;
                    *step = *stride;
                }
                _ => {
                    merged.sizes.push(*size);
                    merged.strides.push(*stride);
                }
            }
        }
        merged
    }

    /// Writes the output, parts of its outermost axis in parallel.
    ///
    /// # Safety
    /// The slots lie in the arena apart from each other, and nobody else uses the output meanwhile.
    pub(super) unsafe fn run<T: Element>(
        &self,
        arena: &Arena,
        pool: &mut ThreadPool,
        input: Slot,
        output: Slot,
    ) {
        // SAFETY: the caller's promise is handed on.
        if unsafe { self.run_matrix::<T>(arena, pool, input, output) } {
            return;
        }
        let outermost = self.sizes.first().copied().unwrap_or(1);
        let row = output.len / outermost.max(1);
        let group = (TASK / row.max(1)).clamp(1, outermost.max(1));
        // SAFETY: inside the arena, and nobody writes it.
        let input = unsafe { arena.slice::<T>(input) };
        pool.parallel_for(outermost.div_ceil(group), &|task, _| {
            let first = task * group;
            let count = group.min(outermost - first);
            let part = Slot {
                offset: output.offset + first * row,
                len: count * row,
            };
            // SAFETY: a part of the output that only this task has.
            let to = unsafe { arena.slice_mut::<T>(part) };
            let start = self.strides.first().map_or(0, |stride| first * stride);
            self.part(&input[start..], to, count);
        });
    }

    /// Writes the output where the input is a matrix `[columns, rows]`, groups of columns in parallel, so that each
    /// value is read once; whether it is one.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn run_matrix<T: Element>(
        &self,
        arena: &Arena,
        pool: &mut ThreadPool,
        input: Slot,
        output: Slot,
    ) -> bool {
        let (&[rows, columns], &[1, stride]) = (&self.sizes[..], &self.strides[..]) else {
            return false;
        };
        if stride < rows || columns < 2 * BLOCK {
            return false;
        }
        // SAFETY: inside the arena, and nobody writes it.
        let input = unsafe { arena.slice::<T>(input) };
        pool.parallel_for(columns.div_ceil(BLOCK), &|block, _| {
            let first = block * BLOCK;
            let count = BLOCK.min(columns - first);
            let from = &input[first * stride..];
            for row in 0..rows {
                let part = Slot {
                    offset: output.offset + (row * columns + first) * size_of::<T>(),
                    len: count * size_of::<T>(),
                };
                // SAFETY: a part of the output that only this task has.
                let to = unsafe { arena.slice_mut::<T>(part) };
                copy_row(&from[row..], stride, to);
            }
        });
        true
    }

    /// Writes `count` steps of the outermost axis.
    fn part<T: Element>(&self, input: &[T], output: &mut [T], count: usize) {
        let rank = self.sizes.len();
        let Some((inner, inner_stride)) = self.sizes.last().copied().zip(self.strides.last())
        else {
            output.copy_from_slice(&input[..output.len()]);
            return;
        };
        let mut sizes = self.sizes.clone();
        sizes[0] = count;
        let (inner, inner_stride) = (if rank == 1 { count } else { inner }, *inner_stride);
        // The axis along which the input is contiguous, if it is another one.
        let across = (0..rank - 1)
            .filter(|axis| self.strides[*axis] == 1 && inner_stride > 1)
            .max_by_key(|axis| sizes[*axis]);
        let Some(across) = across else {
            for (row, output) in output.chunks_exact_mut(inner.max(1)).enumerate() {
                let start = offset_of(row, &sizes[..rank - 1], &self.strides);
                copy_row(&input[start..], inner_stride, output);
            }
            return;
        };
        // The output's stride of that axis, and all axes but the two.
        let step: usize = sizes[across + 1..].iter().product();
        let others: Vec<usize> = (0..rank - 1).filter(|axis| *axis != across).collect();
        let output_strides: Vec<usize> = others
            .iter()
            .map(|axis| sizes[axis + 1..].iter().product())
            .collect();
        let input_strides: Vec<usize> = others.iter().map(|axis| self.strides[*axis]).collect();
        let other_sizes: Vec<usize> = others.iter().map(|axis| sizes[*axis]).collect();
        for index in 0..other_sizes.iter().product() {
            let from = &input[offset_of(index, &other_sizes, &input_strides)..];
            let to = &mut output[offset_of(index, &other_sizes, &output_strides)..];
            exchange(from, inner_stride, to, step, (sizes[across], inner));
        }
    }
}

/// Where index `index` of axes of `sizes` lies.
fn offset_of(index: usize, sizes: &[usize], strides: &[usize]) -> usize {
    let (mut rest, mut offset) = (index, 0);
    for (size, stride) in sizes.iter().zip(strides).rev() {
        offset += rest % size * stride;
        rest /= size;
    }
    offset
}

fn copy_row<T: Element>(input: &[T], stride: usize, output: &mut [T]) {
    match stride {
        1 => output.copy_from_slice(&input[..output.len()]),
        0 => output.fill(input[0]),
        _ => {
            for (output, input) in output.iter_mut().zip(input.iter().step_by(stride)) {
                *output = *input;
            }
        }
    }
}

/// `output[r * output_stride + c] = input[c * input_stride + r]` for `rows` x `columns`, in squares.
fn exchange<T: Element>(
    input: &[T],
    input_stride: usize,
    output: &mut [T],
    output_stride: usize,
    (rows, columns): (usize, usize),
) {
    for row in (0..rows).step_by(TILE) {
        let row_end = rows.min(row + TILE);
        for column in (0..columns).step_by(TILE) {
            let count = TILE.min(columns - column);
            let from = &input[column * input_stride..];
            for r in row..row_end {
                let to = &mut output[r * output_stride + column..][..count];
                for (to, from) in to.iter_mut().zip(from[r..].iter().step_by(input_stride)) {
                    *to = *from;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Transpose;

    #[test]
    fn neighbours_in_a_row_are_one_axis() {
        let merged = Transpose::new(&[1, 4, 5, 1, 3], &[60, 15, 3, 9, 1]);
        assert_eq!(
            (&merged.sizes[..], &merged.strides[..]),
            (&[60][..], &[1][..])
        );
        let merged = Transpose::new(&[2, 3, 4], &[4, 8, 1]);
        assert_eq!(merged.sizes, [2, 3, 4]);
    }
}

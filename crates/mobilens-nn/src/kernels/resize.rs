//! Bilinear resize of feature maps.

use super::arena::{Arena, Slot};
use super::thread_pool::ThreadPool;

/// Bilinear resize of `[h, w, channels]`, with source indices and weights computed at load.
#[derive(Debug)]
pub struct Resize {
    /// The input.
    pub input: Slot,
    /// The output.
    pub output: Slot,
    /// Floats in an input row.
    pub input_row: usize,
    /// Channels.
    pub channels: usize,
    /// For each output row the two input rows that it lies between, and the weight of the second.
    pub rows: Vec<(usize, usize, f32)>,
    /// The same for each output column.
    pub columns: Vec<(usize, usize, f32)>,
}

/// Output rows in a task of the thread pool.
const ROWS_PER_TASK: usize = 4;

impl Resize {
    /// Resizes, rows in parallel.
    ///
    /// # Safety
    /// Input and output must lie in the arena, apart from each other, and nobody else may use the
    /// output meanwhile.
    pub(super) unsafe fn run(&self, arena: &Arena, pool: &mut ThreadPool) {
        // SAFETY: inside the arena, and nobody writes it.
        let input = unsafe { arena.slice(self.input) };
        let row = self.columns.len() * self.channels;
        let height = self.rows.len();
        pool.parallel_for(height.div_ceil(ROWS_PER_TASK), &|task, _| {
            for y in task * ROWS_PER_TASK..height.min((task + 1) * ROWS_PER_TASK) {
                let slot = Slot {
                    offset: self.output.offset + y * row * size_of::<f32>(),
                    len: row * size_of::<f32>(),
                };
                // SAFETY: a row of the output that only this task has.
                let output = unsafe { arena.slice_mut(slot) };
                self.run_row(input, output, y);
            }
        });
    }

    fn run_row(&self, input: &[f32], output: &mut [f32], y: usize) {
        let (top, bottom, row_weight) = self.rows[y];
        let top = &input[top * self.input_row..][..self.input_row];
        let bottom = &input[bottom * self.input_row..][..self.input_row];
        let c = self.channels;
        for (output, (left, right, weight)) in output.chunks_exact_mut(c).zip(&self.columns) {
            let corners = [
                &top[left * c..][..c],
                &top[right * c..][..c],
                &bottom[left * c..][..c],
                &bottom[right * c..][..c],
            ];
            for (channel, output) in output.iter_mut().enumerate() {
                let top =
                    corners[0][channel] + (corners[1][channel] - corners[0][channel]) * weight;
                let bottom =
                    corners[2][channel] + (corners[3][channel] - corners[2][channel]) * weight;
                *output = top + (bottom - top) * row_weight;
            }
        }
    }
}

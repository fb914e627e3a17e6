//! Nearest neighbour resize of feature maps.

use super::arena::{Arena, Slot};
use super::thread_pool::ThreadPool;

/// Nearest neighbour resize of `[h, w, pixel]`, with source indices computed at load.
#[derive(Debug)]
pub struct Nearest {
    /// Columns of the input.
    pub width: usize,
    /// Bytes of a pixel: of all its channels.
    pub pixel: usize,
    /// For each output row its input row.
    pub rows: Vec<usize>,
    /// For each output column its input column.
    pub columns: Vec<usize>,
}

/// Output rows in a task of the thread pool.
const ROWS_PER_TASK: usize = 8;

impl Nearest {
    /// Panics where a pixel leaves the input or the slots do not have the sizes.
    pub(super) fn check(&self, input: Slot, output: Slot) {
        let row = self.width * self.pixel;
        assert!(
            row > 0
                && self.rows.iter().all(|y| (y + 1) * row <= input.len)
                && self.columns.iter().all(|x| *x < self.width)
                && output.len == self.rows.len() * self.columns.len() * self.pixel,
            "sizes of a resize"
        );
    }
}

/// Resizes, rows in parallel.
///
/// # Safety
/// The output lies in the arena, apart from the input, and nobody else uses it meanwhile.
pub(super) unsafe fn nearest(
    resize: &Nearest,
    input: &[u8],
    output: Slot,
    arena: &Arena,
    pool: &mut ThreadPool,
) {
    let row = resize.columns.len() * resize.pixel;
    let (height, from) = (resize.rows.len(), resize.width * resize.pixel);
    pool.parallel_for(height.div_ceil(ROWS_PER_TASK), &|task, _| {
        let rows = task * ROWS_PER_TASK..height.min((task + 1) * ROWS_PER_TASK);
        let slot = Slot {
            offset: output.offset + rows.start * row,
            len: rows.len() * row,
        };
        // SAFETY: rows of the output that only this task has.
        let output: &mut [u8] = unsafe { arena.slice_mut(slot) };
        for (index, y) in rows.clone().enumerate() {
            let (before, here) = output.split_at_mut(index * row);
            let here = &mut here[..row];
            if index > 0 && resize.rows[y] == resize.rows[y - 1] {
                here.copy_from_slice(&before[(index - 1) * row..]);
                continue;
            }
            let input = &input[resize.rows[y] * from..][..from];
            match resize.pixel {
                // Sizes of which the compiler makes a few moves instead of a call.
                64 => pixels::<64>(input, here, &resize.columns),
                128 => pixels::<128>(input, here, &resize.columns),
                256 => pixels::<256>(input, here, &resize.columns),
                pixel => {
                    for (to, x) in here.chunks_exact_mut(pixel).zip(&resize.columns) {
                        to.copy_from_slice(&input[x * pixel..][..pixel]);
                    }
                }
            }
        }
    });
}

fn pixels<const N: usize>(input: &[u8], output: &mut [u8], columns: &[usize]) {
    let input = input.as_chunks::<N>().0;
    for (to, x) in output.as_chunks_mut::<N>().0.iter_mut().zip(columns) {
        *to = input[*x];
    }
}

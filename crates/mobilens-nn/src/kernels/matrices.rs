//! Matrices inside tensors, by strides, and their packing into the panels of the GEMM microkernels.

use super::arena::Slot;
use super::packed_gemm::PANEL;

/// Matrices of one size in a tensor: where each begins, and how far its rows and columns lie apart, in values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// First value of each matrix.
    pub starts: Vec<usize>,
    /// Values from one row to the next.
    pub row_stride: usize,
    /// Values from one column to the next.
    pub column_stride: usize,
}

impl Matrices {
    /// Panics where a matrix of `rows` x `columns` does not lie in the slot.
    pub(super) fn check(&self, slot: Slot, rows: usize, columns: usize) {
        assert!(rows > 0 && columns > 0, "matrices have values");
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        let values = slot.len / size_of::<f32>();
        assert!(
            self.starts.iter().all(|start| start + last < values),
            "matrices inside the slot"
        );
    }

    /// Panics where two rows of matrices of `rows` x `columns` share a value, or columns do not lie side by side.
    pub(super) fn check_disjoint(&self, rows: usize, columns: usize) {
        assert_eq!(self.column_stride, 1, "columns of the output");
        let starts = self.starts.iter();
        let mut firsts: Vec<usize> = starts
            .flat_map(|start| (0..rows).map(move |row| start + row * self.row_stride))
            .collect();
        firsts.sort_unstable();
        let mut apart = firsts.iter().zip(firsts.iter().skip(1));
        assert!(
            apart.all(|(a, b)| a + columns <= *b),
            "rows of the output lie apart"
        );
    }
}

/// Values of `k` x `columns` packed columns.
pub(super) fn packed_len(k: usize, columns: usize) -> usize {
    k * columns.next_multiple_of(PANEL)
}

/// Packs `columns` columns of k values into `[panel][k][16]`; the last panel is filled up with zeros.
///
/// # Safety
/// Column c's value i is readable at `from + i * k_stride + c * column_stride`; `to` has
/// [`packed_len`] values.
pub(super) unsafe fn pack_columns(
    from: *const f32,
    (k_stride, column_stride): (usize, usize),
    k: usize,
    columns: usize,
    to: &mut [f32],
) {
    let panels = to.chunks_exact_mut((k * PANEL).max(1));
    for (panel, to) in panels.enumerate() {
        let first = panel * PANEL;
        let count = PANEL.min(columns - first);
        if count < PANEL {
            to.fill(0.0);
        }
        let from = from.wrapping_add(first * column_stride);
        if column_stride == 1 {
            for (i, to) in to.chunks_exact_mut(PANEL).enumerate() {
                // SAFETY: `count` columns of value i, side by side.
                let row =
                    unsafe { std::slice::from_raw_parts(from.wrapping_add(i * k_stride), count) };
                to[..count].copy_from_slice(row);
            }
        } else {
            for column in 0..count {
                let from = from.wrapping_add(column * column_stride);
                for (i, to) in to.iter_mut().skip(column).step_by(PANEL).enumerate() {
                    // SAFETY: value i of the column.
                    *to = unsafe { *from.wrapping_add(i * k_stride) };
                }
            }
        }
    }
}

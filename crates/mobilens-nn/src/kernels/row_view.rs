//! Rows of a feature map in memory: a whole tensor, or a ring buffer of its last few rows.

/// A view of rows of values: row `y` lies at `start + (y % row_count) * stride`.
///
/// A whole tensor has all of its rows in memory. Between the stages of a
/// [`FusedConv`](super::FusedConv) only the few rows that the next stage still reads are held, as a
/// ring buffer, which keeps wide tensors in cache.
#[derive(Debug)]
pub struct RowView<T> {
    /// First value.
    pub start: *mut T,
    /// Values from one row to the next.
    pub stride: usize,
    /// Number of rows in memory.
    pub row_count: usize,
}

// By hand, as a derive would ask it of `T`.
impl<T> Clone for RowView<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for RowView<T> {}

impl<T> RowView<T> {
    /// The first value of row `y`.
    ///
    /// # Safety
    /// The memory from `start` must hold `row_count` rows of `stride` values.
    #[inline]
    pub unsafe fn row(&self, y: usize) -> *mut T {
        // SAFETY: the remainder is below `row_count`.
        unsafe { self.start.add(y % self.row_count * self.stride) }
    }

    /// The end of the longest range of rows from `y` that is contiguous in memory, at most `end`.
    #[inline]
    pub fn contiguous_end(&self, y: usize, end: usize) -> usize {
        end.min(y - y % self.row_count + self.row_count)
    }
}

//! A picture's rows in memory, whole or as a ring of the last few.

/// Rows of floats, row `y` at `start + (y % kept) * stride`.
///
/// A whole tensor keeps all of its rows. Between the operators of a chain only the few rows that
/// the next one still needs are kept, which is what keeps wide tensors in cache.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// First float.
    pub start: *mut f32,
    /// Floats from one row to the next.
    pub stride: usize,
    /// Number of rows in memory.
    pub kept: usize,
}

impl Rows {
    /// The first float of row `y`.
    ///
    /// # Safety
    /// The memory from `start` must hold `kept` rows of `stride` floats.
    #[inline]
    pub unsafe fn row(&self, y: usize) -> *mut f32 {
        // SAFETY: the remainder is below `kept`.
        unsafe { self.start.add(y % self.kept * self.stride) }
    }

    /// The end of the longest run of rows from `y` that lie one behind the other, at most `end`.
    #[inline]
    pub fn run_end(&self, y: usize, end: usize) -> usize {
        end.min(y - y % self.kept + self.kept)
    }
}

//! The shape of a feature map in NHWC with batch size 1.

/// Height, width and channels of a feature map; in memory `[h, w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Height: number of rows.
    pub h: usize,
    /// Width: pixels in a row.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// Number of values.
    pub fn elements(self) -> usize {
        self.h * self.w * self.c
    }

    /// Values in a row.
    pub fn row(self) -> usize {
        self.w * self.c
    }
}

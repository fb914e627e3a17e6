//! The geometry of a convolution's sliding window.

#[cfg(test)]
use super::shape::Shape;

/// Largest kernel height and width of the depthwise kernels of codes.
pub const MAX_KERNEL_SIZE: usize = 7;
/// Largest kernel height and width of the depthwise kernels of floats.
pub const MAX_DEPTHWISE_SIZE: usize = 31;

/// Kernel size, stride, dilation and padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Vertical and horizontal stride.
    pub stride: (usize, usize),
    /// Vertical and horizontal dilation: distance of neighbouring kernel taps.
    pub dilation: (usize, usize),
    /// Zero padding at the top and at the left; that at the bottom and right follows from the
    /// shapes.
    pub pad: (usize, usize),
}

impl Window {
    /// A kernel of 1x1 at stride 1.
    pub const POINTWISE: Self = Self {
        kernel: (1, 1),
        stride: (1, 1),
        dilation: (1, 1),
        pad: (0, 0),
    };

    /// The kernel taps of output pixel `(y, x)` that fall inside the input: kernel row, kernel
    /// column, and the input pixel's index.
    #[cfg(test)]
    pub(super) fn pixels(
        self,
        y: usize,
        x: usize,
        shape: Shape,
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        let taps =
            (0..self.kernel.0).flat_map(move |ky| (0..self.kernel.1).map(move |kx| (ky, kx)));
        taps.filter_map(move |(ky, kx)| {
            let row = (y * self.stride.0 + ky * self.dilation.0).checked_sub(self.pad.0)?;
            let column = (x * self.stride.1 + kx * self.dilation.1).checked_sub(self.pad.1)?;
            (row < shape.h && column < shape.w).then_some((ky, kx, row * shape.w + column))
        })
    }

    /// The input rows in the receptive field of output rows `y0..y1`, within `0..height`.
    pub fn input_rows(&self, y0: usize, y1: usize, height: usize) -> (usize, usize) {
        if y0 >= y1 {
            return (0, 0);
        }
        let first = (y0 * self.stride.0).saturating_sub(self.pad.0);
        let last = (y1 - 1) * self.stride.0 + (self.kernel.0 - 1) * self.dilation.0 + 1;
        let end = last.saturating_sub(self.pad.0).min(height);
        (first.min(end), end)
    }
}

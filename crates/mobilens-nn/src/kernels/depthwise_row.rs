//! One output row of one channel block of a depthwise convolution, and how it is cut into tiles.

use super::activation::Activation;
use super::packed_depthwise::PackedDepthwise;
use super::row_view::RowView;
use super::window::{MAX_DEPTHWISE_SIZE, Window};

/// Most pixels in one tile.
pub(super) const MAX_TILE_PIXELS: usize = 8;

/// Arguments of a call: some rows and channel blocks of one depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseJob<'a> {
    /// The input, not padded.
    pub input: RowView<f32>,
    /// Its height and width.
    pub input_size: (usize, usize),
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// The packed weights.
    pub packed: &'a PackedDepthwise,
    /// Applied to the sums in the epilogue.
    pub activation: Activation,
    /// Where the results go.
    pub output: RowView<f32>,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute.
    pub rows: (usize, usize),
    /// The channel blocks to compute.
    pub blocks: (usize, usize),
}

/// Where one output row of values of type `T` reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputRow<T = f32> {
    /// Where the kernel rows that lie inside the input begin.
    pub taps: [*const T; MAX_DEPTHWISE_SIZE],
    /// Their number.
    pub count: usize,
    /// Kernel rows above the input.
    pub skipped: usize,
    /// First value of the output row.
    pub output: *mut T,
}

impl<T> Default for OutputRow<T> {
    fn default() -> Self {
        Self {
            taps: [std::ptr::null(); MAX_DEPTHWISE_SIZE],
            count: 0,
            skipped: 0,
            output: std::ptr::null_mut(),
        }
    }
}

/// One output row of one block of channels, as the kernels take it.
///
/// # Safety
/// The kernels rely on this: each tap inside the input is readable and each output pixel writable
/// for `channels` values, weights and bias are readable for whole blocks, nobody else uses the
/// output meanwhile, and the CPU supports the kernel's instruction set. Input and output are of
/// type `T`, weights, bias and sums are floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct DepthwiseRow<'a, T = f32> {
    /// For each kernel row that lies inside: the row's first pixel.
    pub rows: &'a [*const T],
    /// The block's first channel.
    pub channel: usize,
    /// Number of kernel rows that lie inside.
    pub row_count: usize,
    /// Weights of the first row of `rows`, `[kernel_w][16]`.
    pub weights: *const f32,
    /// Floats from one kernel row's weights to the next.
    pub weight_stride: usize,
    /// Taps in a kernel row.
    pub kernel_w: usize,
    /// Values between neighbouring taps of a row.
    pub tap_stride: usize,
    /// Values from a pixel's taps to those of the next.
    pub pixel_stride: usize,
    /// Zero padding at the left, in values of the input.
    pub left_pad: usize,
    /// Values in a row of the input, up to which taps lie inside.
    pub row_len: usize,
    pub bias: *const f32,
    pub output: *mut T,
    /// Values from one output pixel to the next.
    pub output_stride: usize,
    /// Output pixels in the row.
    pub width: usize,
    /// Those of them with all taps inside: first and end.
    pub inner: (usize, usize),
    /// Channels of this block that exist.
    pub channels: usize,
    pub activation: Activation,
}

impl<T> DepthwiseRow<'_, T> {
    /// The taps of pixel `x` that lie inside the input: first and end.
    #[inline(always)]
    pub fn taps_inside(&self, x: usize) -> (usize, usize) {
        let start = x * self.pixel_stride;
        let (mut first, mut end) = (0, self.kernel_w);
        while first < end && start + first * self.tap_stride < self.left_pad {
            first += 1;
        }
        while first < end && start + (end - 1) * self.tap_stride >= self.left_pad + self.row_len {
            end -= 1;
        }
        (first, end)
    }

    /// Calls `border` for each pixel that has taps in the padding, with the range of those inside,
    /// and `tile` for groups of `1, 2, 4` or `MAX_TILE_PIXELS` of the others.
    ///
    /// # Safety
    /// As [`DepthwiseRow`].
    #[inline(always)]
    pub unsafe fn pixels(
        &self,
        mut border: impl FnMut(usize, (usize, usize)),
        mut tile: impl FnMut(usize, usize),
    ) {
        for x in 0..self.inner.0 {
            border(x, self.taps_inside(x));
        }
        let mut x = self.inner.0;
        while x < self.inner.1 {
            let pixels = match self.inner.1 - x {
                MAX_TILE_PIXELS.. => MAX_TILE_PIXELS,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            tile(x, pixels);
            x += pixels;
        }
        for x in self.inner.1..self.width {
            border(x, self.taps_inside(x));
        }
    }

    /// The first channel of pixel `x`'s left tap in one of `rows`; not to be read where that tap
    /// lies outside.
    #[inline(always)]
    pub fn tap(&self, row: usize, x: usize) -> *const T {
        self.rows[row]
            .wrapping_add(self.channel)
            .wrapping_add(x.wrapping_mul(self.pixel_stride))
            .wrapping_sub(self.left_pad)
    }

    /// The first channel of output pixel `x`.
    #[inline(always)]
    pub fn output_at(&self, x: usize) -> *mut T {
        self.output.wrapping_add(x.wrapping_mul(self.output_stride))
    }
}

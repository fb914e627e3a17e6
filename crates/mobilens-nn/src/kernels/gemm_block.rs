//! One cache block of a GEMM, and how it is cut into microkernel tiles.

use super::activation::Activation;
use super::packed_gemm::PackedGemm;
use super::row_view::RowView;

/// Most pixels in one microkernel tile.
pub const MAX_TILE_PIXELS: usize = 8;

/// Arguments of a GEMM call: some rows and panels of one convolution's output.
#[derive(Clone, Copy, Debug)]
pub struct GemmJob<'a> {
    /// The input, padded where the kernel is larger than one pixel.
    pub input: RowView<f32>,
    /// Floats from the input of one output pixel to that of the next.
    pub pixel_stride: usize,
    /// Rows from the input of one output row to that of the next.
    pub row_stride: usize,
    /// The input of output row `y` begins at row `y * row_stride - row_offset` of `input`.
    pub row_offset: usize,
    /// Where each contiguous segment of K begins, in floats from the first input of the pixel.
    pub segments: &'a [usize],
    /// Length of each segment.
    pub segment_len: usize,
    /// The packed weights.
    pub packed: &'a PackedGemm,
    /// What the sums start from, in whole panels.
    pub bias: &'a [f32],
    /// Applied to the sums in the epilogue.
    pub activation: Activation,
    /// Added after the activation; the same rows as `output`.
    pub residual: Option<RowView<f32>>,
    /// Where the results go, `outputs` floats a pixel without gaps.
    pub output: RowView<f32>,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute: `rows.0..rows.1`.
    pub rows: (usize, usize),
    /// The panels to compute: `panels.0..panels.1`.
    pub panels: (usize, usize),
}

/// A cache block: a range of output pixels times a few panels.
///
/// # Safety
/// The microkernels, which are given one, rely on this: `segment_len` floats are readable from the
/// start of each segment of each pixel in `job.input`, the packed weights of `panels` panels from
/// `weights`, whole panels from `bias`; `channels` floats, at most `panels` panels, are writable
/// at each output pixel and readable at each pixel of the residual, and nobody else uses the
/// output meanwhile; the CPU supports the microkernel's instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmBlock<'a> {
    pub job: &'a GemmJob<'a>,
    /// Weights of the first panel.
    pub weights: *const f32,
    /// Floats from one panel to the next.
    pub panel_stride: usize,
    pub bias: *const f32,
    /// First output value of the first panel at the block's first pixel.
    pub output: *mut f32,
    /// The same of the residual; null where nothing is added.
    pub residual: *const f32,
    /// Floats from one output pixel to the next.
    pub output_stride: usize,
    /// Output channels that exist from the first panel on; at least one in the last panel.
    pub channels: usize,
    /// Number of panels.
    pub panels: usize,
    /// Row and column of the block's first pixel.
    pub first: (usize, usize),
    /// Pixels in the block.
    pub pixels: usize,
    /// Weights that are read next, to be prefetched.
    pub prefetch: &'a [f32],
}

/// One microkernel tile: the input of its pixels, and where its results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// The first input of each pixel.
    pub input: [*const f32; MAX_TILE_PIXELS],
    pub output: *mut f32,
    pub residual: *const f32,
}

impl GemmBlock<'_> {
    /// Cuts the block into tiles of about the same number of pixels, at most `most`, and calls
    /// `run(tile, pixels)` for each.
    ///
    /// # Safety
    /// As [`GemmBlock`].
    #[inline(always)]
    pub unsafe fn tiles(&self, most: usize, mut run: impl FnMut(&Tile, usize)) {
        let job = self.job;
        let tiles = self.pixels.div_ceil(most);
        let (mut y, mut x) = self.first;
        let mut first = 0;
        // SAFETY: each pixel lies in the rows that the caller vouches for, and what it reads
        // in the input; a row past the last is never asked for.
        let row_of = |y: usize| unsafe { job.input.row(y * job.row_stride - job.row_offset) };
        let mut row = row_of(y).cast_const();
        let (short, longer) = (self.pixels / tiles, self.pixels % tiles);
        let lines = self
            .prefetch
            .len()
            .div_ceil(CACHE_LINE_FLOATS)
            .div_ceil(tiles);
        let lines = if lines > MAX_PREFETCHES { 0 } else { lines };
        for t in 0..tiles {
            let pixels = short + usize::from(t < longer);
            let mut input = [std::ptr::null(); MAX_TILE_PIXELS];
            for slot in input.iter_mut().take(pixels) {
                *slot = row.wrapping_add(x * job.pixel_stride);
                x += 1;
                if x == job.width {
                    (x, y) = (0, y + 1);
                    if y < job.rows.1 {
                        row = row_of(y);
                    }
                }
            }
            for line in t * lines..(t + 1) * lines {
                prefetch(
                    self.prefetch
                        .as_ptr()
                        .wrapping_add(line * CACHE_LINE_FLOATS),
                );
            }
            let offset = first * self.output_stride;
            let residual = if self.residual.is_null() {
                self.residual
            } else {
                self.residual.wrapping_add(offset)
            };
            let output = self.output.wrapping_add(offset);
            run(
                &Tile {
                    input,
                    output,
                    residual,
                },
                pixels,
            );
            first += pixels;
        }
    }
}

/// Floats in a cache line.
const CACHE_LINE_FLOATS: usize = 16;
/// Prefetches between two tiles; more would wait for each other, and long panels are foreseen by the
/// processor itself.
const MAX_PREFETCHES: usize = 48;

/// Prefetches a cache line into L2; any address will do.
#[inline(always)]
pub(super) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which no address makes fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

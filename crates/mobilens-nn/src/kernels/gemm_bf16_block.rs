//! One cache block of a bfloat16 GEMM, and how it is cut into microkernel tiles.

use super::activation::Activation;
use super::gemm_block::MAX_TILE_PIXELS;
use super::packed_gemm_bf16::PackedGemmBf16;
use super::row_view::RowView;

/// Arguments of a bfloat16 GEMM call: some rows and panels of one convolution's output.
#[derive(Clone, Copy, Debug)]
pub struct GemmBf16Job<'a> {
    /// The input, padded where the kernel is larger than one pixel.
    pub input: RowView<u16>,
    /// Values from the input of one output pixel to that of the next.
    pub pixel_stride: usize,
    /// Rows from the input of one output row to that of the next.
    pub row_stride: usize,
    /// The input of output row `y` begins at row `y * row_stride - row_offset` of `input`.
    pub row_offset: usize,
    /// Where each contiguous segment of K begins, in values from the first input of the pixel;
    /// `k / segment_len` of them.
    pub segments: &'a [usize],
    /// The packed weights, which know the length of each segment.
    pub packed: &'a PackedGemmBf16,
    /// What the sums start from, in whole panels.
    pub bias: &'a [f32],
    /// Applied to the sums in the epilogue, in float32.
    pub activation: Activation,
    /// Added in float32 after the activation; the same rows as `output`.
    pub residual: Option<RowView<u16>>,
    /// Where the results go, `outputs` values a pixel without gaps.
    pub output: Bf16Rows,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute: `rows.0..rows.1`.
    pub rows: (usize, usize),
    /// The panels to compute: `panels.0..panels.1`.
    pub panels: (usize, usize),
}

/// Output rows of a bfloat16 GEMM.
#[derive(Clone, Copy, Debug)]
pub enum Bf16Rows {
    /// Rounded to bfloat16.
    Bf16(RowView<u16>),
    /// In float32, as the sums are: the last convolution of a head.
    Float(RowView<f32>),
}

impl Bf16Rows {
    /// As [`RowView::row`].
    ///
    /// # Safety
    /// As [`RowView::row`].
    pub(super) unsafe fn row(&self, y: usize) -> Bf16Output {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Bf16(rows) => Bf16Output::Bf16(rows.row(y)),
                Self::Float(rows) => Bf16Output::Float(rows.row(y)),
            }
        }
    }

    /// As [`RowView::contiguous_end`].
    pub(super) fn contiguous_end(&self, y: usize, end: usize) -> usize {
        match self {
            Self::Bf16(rows) => rows.contiguous_end(y, end),
            Self::Float(rows) => rows.contiguous_end(y, end),
        }
    }
}

/// Where results go, in one of the two types.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bf16Output {
    Bf16(*mut u16),
    Float(*mut f32),
}

impl Bf16Output {
    /// `values` further.
    #[inline(always)]
    pub fn offset(self, values: usize) -> Self {
        match self {
            Self::Bf16(at) => Self::Bf16(at.wrapping_add(values)),
            Self::Float(at) => Self::Float(at.wrapping_add(values)),
        }
    }
}

/// A cache block: a range of output pixels times a few panels.
///
/// # Safety
/// The microkernels, which are given one, rely on this: `packed.segment_len` values are readable
/// from the start of each segment of each pixel in `job.input`, the packed weights of `panels`
/// panels from `weights`, whole panels from `bias`; `channels` values, at most `panels` panels,
/// are writable at each output pixel and readable at each pixel of the residual, and nobody else
/// uses the output meanwhile; the CPU supports the microkernel's instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmBf16Block<'a> {
    pub job: &'a GemmBf16Job<'a>,
    /// Weights of the first panel.
    pub weights: *const u16,
    /// Values from one panel to the next.
    pub panel_stride: usize,
    pub bias: *const f32,
    /// First output value of the first panel at the block's first pixel.
    pub output: Bf16Output,
    /// The same of the residual; null where nothing is added.
    pub residual: *const u16,
    /// Values from one output pixel to the next.
    pub output_stride: usize,
    /// Output channels that exist from the first panel on; at least one in the last panel.
    pub channels: usize,
    /// Number of panels.
    pub panels: usize,
    /// Row and column of the block's first pixel.
    pub first: (usize, usize),
    /// Pixels in the block.
    pub pixels: usize,
}

/// One microkernel tile: the input of its pixels, and where its results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bf16Tile {
    /// The first input of each pixel.
    pub input: [*const u16; MAX_TILE_PIXELS],
    pub output: Bf16Output,
    pub residual: *const u16,
}

impl GemmBf16Block<'_> {
    /// Cuts the block into tiles of about the same number of pixels, at most `most`, and calls
    /// `run(tile, pixels)` for each.
    ///
    /// # Safety
    /// As [`GemmBf16Block`].
    #[inline(always)]
    pub unsafe fn tiles(&self, most: usize, mut run: impl FnMut(&Bf16Tile, usize)) {
        let job = self.job;
        let tiles = self.pixels.div_ceil(most);
        let (mut y, mut x) = self.first;
        // SAFETY: each pixel lies in the rows that the caller vouches for, and what it reads
        // in the input; a row past the last is never asked for.
        let row_of = |y: usize| unsafe { job.input.row(y * job.row_stride - job.row_offset) };
        let mut row = row_of(y).cast_const();
        let (short, longer) = (self.pixels / tiles, self.pixels % tiles);
        let mut offset = 0;
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
            let residual = if self.residual.is_null() {
                self.residual
            } else {
                self.residual.wrapping_add(offset)
            };
            let tile = Bf16Tile {
                input,
                output: self.output.offset(offset),
                residual,
            };
            run(&tile, pixels);
            offset += pixels * self.output_stride;
        }
    }
}

//! One cache block of an int8 GEMM, and how it is cut into microkernel tiles.

use std::cell::Cell;

use super::gemm_block::prefetch;
use super::packed_gemm_int8::{PackedGemmInt8, Panel};
use super::row_view::RowView;
use super::weights_avx2::Chunk;

/// Most pixels in one microkernel tile.
pub(super) const MAX_TILE_PIXELS: usize = 8;

/// Where an int8 convolution writes: as [`Int8Output`](super::Int8Output) says.
#[derive(Clone, Copy, Debug)]
pub enum Int8Rows {
    /// Codes.
    Codes(RowView<u8>),
    /// Values in float32.
    Float(RowView<f32>),
}

/// Arguments of an int8 GEMM call: some rows and panels of one convolution's output.
#[derive(Clone, Copy, Debug)]
pub struct GemmInt8Job<'a> {
    /// The input codes, padded with their zero point where the kernel is larger than one pixel.
    pub input: RowView<u8>,
    /// Bytes from the input of one output pixel to that of the next.
    pub pixel_stride: usize,
    /// Rows from the input of one output row to that of the next.
    pub row_stride: usize,
    /// The input of output row `y` begins at row `y * row_stride - row_offset` of `input`.
    pub row_offset: usize,
    /// Where each contiguous segment of K begins, in bytes from the first input of the pixel.
    pub segments: &'a [usize],
    /// Packed weights, bias, and what is done with the sums.
    pub packed: &'a PackedGemmInt8,
    /// Codes added as [`Residual`](super::Residual) says; the same rows as `output`.
    pub residual: Option<RowView<u8>>,
    /// Where the results go, `outputs` values a pixel without gaps.
    pub output: Int8Rows,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute: `rows.0..rows.1`.
    pub rows: (usize, usize),
    /// The panels to compute: `panels.0..panels.1`.
    pub panels: (usize, usize),
}

/// A cache block: a range of output pixels times a panel.
///
/// # Safety
/// The microkernels, which are given one, rely on this: the bytes of each segment of each pixel,
/// rounded up to whole steps, are readable in `job.input`; weights, bias and multipliers of the
/// panel's registers from their pointers; the panel's channels are writable at each output pixel,
/// as codes or floats as the epilogue demands, and readable at each pixel of the residual where it
/// has one, and nobody else uses the output meanwhile; the CPU supports the instruction set that
/// the weights are packed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmInt8Block<'a> {
    pub job: &'a GemmInt8Job<'a>,
    pub panel: Panel,
    pub weights: *const i8,
    pub bias: *const i32,
    pub multipliers: *const f32,
    /// The chunks of K, for AVX2.
    pub chunks: &'a [Chunk],
    /// Steps in each segment of K.
    pub segment_steps: usize,
    /// First code of the panel at the block's first pixel; null where floats are written.
    pub codes: *mut u8,
    /// First value of the panel at the block's first pixel; null where codes are written.
    pub floats: *mut f32,
    /// First code of the residual; null where nothing is added.
    pub residual: *const u8,
    /// Values from one output pixel to the next.
    pub output_stride: usize,
    /// Row and column of the block's first pixel.
    pub first: (usize, usize),
    /// Pixels in the block.
    pub pixels: usize,
    /// Weights that are read next, to be prefetched.
    pub prefetch: &'a [i8],
    /// Rows that the tile registers of AMX are configured for; zero before the first block.
    pub tile_rows: &'a Cell<usize>,
}

/// One microkernel tile: the input of its pixels, and where its results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Int8Tile {
    /// The first input of each pixel.
    pub input: [*const u8; MAX_TILE_PIXELS],
    /// Values from the block's first output pixel to the tile's.
    pub offset: usize,
}

impl<'a> GemmInt8Block<'a> {
    /// Cuts the block into tiles of about the same number of pixels, at most `most`.
    ///
    /// # Safety
    /// As [`GemmInt8Block`].
    #[inline(always)]
    pub unsafe fn tiles(&'a self, most: usize) -> Tiles<'a> {
        let count = self.pixels.div_ceil(most);
        let lines = self.prefetch.len().div_ceil(CACHE_LINE).div_ceil(count);
        Tiles {
            block: self,
            first: self.first,
            row: self.row(self.first.0),
            done: 0,
            index: 0,
            count,
            short: self.pixels / count,
            longer: self.pixels % count,
            lines: if lines > MAX_PREFETCHES { 0 } else { lines },
        }
    }
}

impl GemmInt8Block<'_> {
    /// First input of an output row.
    #[inline(always)]
    fn row(&self, y: usize) -> *const u8 {
        let job = self.job;
        // SAFETY: it is one of the rows that the block vouches for.
        unsafe { job.input.row(y * job.row_stride - job.row_offset) }
    }
}

/// The tiles of a block; not an iterator, so that all of it is inlined into the microkernels' loop.
pub(super) struct Tiles<'a> {
    block: &'a GemmInt8Block<'a>,
    /// Row and column of the next pixel.
    first: (usize, usize),
    /// First input of its row.
    row: *const u8,
    /// Pixels before it.
    done: usize,
    index: usize,
    count: usize,
    /// The least number of pixels in a tile, and how many tiles have one more.
    short: usize,
    longer: usize,
    /// Cache lines to be prefetched with each tile.
    lines: usize,
}

impl Tiles<'_> {
    /// The next tile and its number of pixels.
    #[inline(always)]
    pub fn next(&mut self) -> Option<(Int8Tile, usize)> {
        if self.index == self.count {
            return None;
        }
        let (block, job) = (self.block, self.block.job);
        let pixels = self.short + usize::from(self.index < self.longer);
        let prefetched = self.index * self.lines;
        for line in prefetched..prefetched + self.lines {
            prefetch(block.prefetch.as_ptr().wrapping_add(line * CACHE_LINE));
        }
        let (mut y, mut x) = self.first;
        let mut input = [std::ptr::null(); MAX_TILE_PIXELS];
        if x + pixels < job.width {
            // Those that the tile does not have are not read.
            let first = self.row.wrapping_add(x * job.pixel_stride);
            for (pixel, slot) in input.iter_mut().enumerate() {
                *slot = first.wrapping_add(pixel * job.pixel_stride);
            }
            x += pixels;
        } else {
            for slot in input.iter_mut().take(pixels) {
                *slot = self.row.wrapping_add(x * job.pixel_stride);
                x += 1;
                if x == job.width {
                    (x, y) = (0, y + 1);
                    // One past the last is not there.
                    if y < job.rows.1 {
                        self.row = block.row(y);
                    }
                }
            }
        }
        let offset = self.done * block.output_stride;
        self.first = (y, x);
        self.done += pixels;
        self.index += 1;
        Some((Int8Tile { input, offset }, pixels))
    }
}

/// Bytes in a cache line.
const CACHE_LINE: usize = 64;
/// Prefetches between two tiles; more would wait for each other.
const MAX_PREFETCHES: usize = 48;

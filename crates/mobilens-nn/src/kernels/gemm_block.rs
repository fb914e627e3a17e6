//! One cache block of a GEMM, and how it is cut into microkernel tiles.

use super::activation::Activation;
use super::gemm_segments::{GemmChunk, Segment, SegmentTables, TilePixels};
use super::packed_gemm::PackedGemm;
use super::row_view::RowView;
use super::window::Window;

/// Most pixels in one microkernel tile.
pub const MAX_TILE_PIXELS: usize = 8;

/// Arguments of a GEMM call: some rows and panels of one convolution's output.
#[derive(Clone, Copy, Debug)]
pub struct GemmJob<'a> {
    /// The input, not padded.
    pub input: RowView<f32>,
    /// Its height and width.
    pub input_size: (usize, usize),
    /// Floats from one input pixel to the next.
    pub input_stride: usize,
    /// Channels of an input pixel that are summed.
    pub channels: usize,
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// At least `channels` zeros: what is read of a pixel in the padding.
    pub zeros: &'a [f32],
    /// The packed weights.
    pub packed: &'a PackedGemm,
    /// What the sums start from, in whole panels.
    pub bias: &'a [f32],
    /// Applied to the sums in the epilogue.
    pub activation: Activation,
    /// Added after the activation, or before it; the same rows as `output`.
    pub residual: Option<RowView<f32>>,
    /// Whether the residual is added before the activation.
    pub residual_first: bool,
    /// Where the results go.
    pub output: RowView<f32>,
    /// Floats from one output pixel to the next, in `residual` too.
    pub output_stride: usize,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute: `rows.0..rows.1`.
    pub rows: (usize, usize),
    /// The panels to compute: `panels.0..panels.1`.
    pub panels: (usize, usize),
    /// Room for [`SUMS_LEN`](super::gemm::SUMS_LEN) floats where
    /// [`needs_sums`](super::gemm::needs_sums) says so.
    pub sums: *mut f32,
}

/// A cache block: a range of output pixels times a few panels, and the part of K that is added.
///
/// # Safety
/// The microkernels, which are given one, rely on this: what the taps of the chunk read of each
/// pixel is readable in `job.input` where it lies inside, `job.channels` floats in `job.zeros`, as
/// many times 16 weights as the chunk is long in `panels` panels from `weights`, whole panels from
/// `bias`; `channels` floats, at most `panels` panels, are writable
/// at each output pixel and readable at each pixel of the residual, `panels` panels for each pixel
/// at `sums` where the chunk is not all of K, and nobody else uses the
/// output meanwhile; the CPU supports the microkernel's instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmBlock<'a> {
    pub job: &'a GemmJob<'a>,
    /// The part of K.
    pub chunk: GemmChunk,
    /// Weights of the first panel, where the chunk begins.
    pub weights: *const f32,
    /// Floats from one panel to the next.
    pub panel_stride: usize,
    pub bias: *const f32,
    /// Sums of the chunks before, `[pixel][panel][16]`.
    pub sums: *mut f32,
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
    /// Weights that are read next, to be prefetched, each panel `panel_stride` after the one
    /// before; null where they are in cache.
    pub next_weights: *const f32,
    /// Whether the input is read for the first time.
    pub cold_input: bool,
}

/// Steps of K between prefetches: a cache line of each pixel's input.
pub(super) const PREFETCH_STEPS: usize = 16;

/// One microkernel tile: the input of its pixels, and where its results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    /// The segments of K that are added.
    pub segments: &'a [Segment],
    pub output: *mut f32,
    pub residual: *const f32,
    /// Sums of the chunks before and after, `[pixel][panel][16]`.
    pub sums: *mut f32,
    /// Floats from the input of a pixel to that of the next tile, which is to be prefetched; 0
    /// where it is in cache.
    pub ahead: usize,
    /// Weights to be prefetched; null where they are in cache.
    pub next_weights: *const f32,
    /// Cache lines of them in each panel that are prefetched every [`PREFETCH_STEPS`] steps of K.
    pub next_lines: usize,
}

impl GemmBlock<'_> {
    /// Cuts the block into tiles of about the same number of pixels, at most `most`, and calls
    /// `run(tile, pixels)` for each.
    ///
    /// # Safety
    /// As [`GemmBlock`].
    #[inline(always)]
    pub unsafe fn tiles(&self, most: usize, mut run: impl FnMut(&Tile<'_>, usize)) {
        let job = self.job;
        let mut tables = SegmentTables::new();
        // SAFETY: the caller's promise is handed on.
        let mut at = unsafe { TilePixels::new(self, &raw mut tables) };
        // Tiles that stay in a row can leave out more of the taps that lie in the padding.
        let by_row = job.window.dilation != (1, 1) && job.window.kernel != (1, 1);
        let all_tiles = self.pixels.div_ceil(most);
        let chunk_len = self.chunk.len(job);
        let next_lines = PREFETCH_STEPS.div_ceil(all_tiles).min(MAX_PREFETCHES);
        let lines_per_tile = next_lines * chunk_len.div_ceil(PREFETCH_STEPS);
        // The processor foresees weights that are read once, for a pixel or two, by itself.
        let prefetches = !self.next_weights.is_null() && self.pixels > 2;
        let mut next_line = 0;
        let mut first = 0;
        // Pixels in the tiles of this run, the number of those with one more, and tiles left.
        let (mut short, mut longer, mut tiles) = (0, 0, 0);
        while first < self.pixels {
            if tiles == 0 {
                let mut run = self.pixels - first;
                if by_row {
                    run = run.min(job.width - at.column());
                }
                tiles = run.div_ceil(most);
                (short, longer) = (run / tiles, run % tiles);
            }
            tiles -= 1;
            let pixels = short + usize::from(longer > 0);
            longer = longer.saturating_sub(1);
            // SAFETY: the caller's promise is handed on.
            let segments = unsafe { at.take(pixels) };
            let offset = first * self.output_stride;
            let residual = if self.residual.is_null() {
                self.residual
            } else {
                self.residual.wrapping_add(offset)
            };
            let tile = Tile {
                segments,
                output: self.output.wrapping_add(offset),
                residual,
                sums: self.sums.wrapping_add(first * self.panels * PANEL),
                ahead: if self.cold_input && !segments.is_empty() {
                    pixels * job.window.stride.1 * job.input_stride
                } else {
                    0
                },
                next_weights: if next_line < chunk_len && prefetches {
                    self.next_weights.wrapping_add(next_line * PANEL)
                } else {
                    std::ptr::null()
                },
                next_lines,
            };
            next_line += lines_per_tile;
            first += pixels;
            if !segments.is_empty() || self.chunk.first || self.chunk.last {
                run(&tile, pixels);
            }
        }
    }
}

/// Floats in a cache line, and channels in a panel.
const PANEL: usize = super::packed_gemm::PANEL;
/// Prefetched lines of a panel in each [`PREFETCH_STEPS`] steps.
const MAX_PREFETCHES: usize = 4;

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

//! Where the pixels of a microkernel tile are read: the input of a convolution in place, without a
//! padded or rearranged copy.
//!
//! The sum over K of one output pixel is one over the taps of the kernel and, in each, over the
//! channels of the input pixel under it. A [`Segment`] is a part of K that is contiguous in the
//! input: a tap, or a whole kernel row where there is no dilation. Each has a pointer for every
//! pixel of the tile (the indirection buffer of Dukhan, "The Indirect Convolution Algorithm",
//! 2019); one in the padding points to zeros, and a segment that is in the padding for the whole
//! tile is left out. With a dilation of 24 on 33x33 pixels this is most of the work. A tile with
//! all of its taps inside shares the offsets of all segments with the others, and only gives its
//! pixels.

use std::mem::MaybeUninit;

use super::depthwise::inner_pixels;
use super::gemm_block::{GemmBlock, GemmJob, MAX_TILE_PIXELS};
use super::packed_gemm::PANEL;

/// Most segments of a chunk.
const MAX_SEGMENTS: usize = 32;

/// A part of K that the sums take in before the next block of panels: some taps with all channels,
/// or some channels of one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GemmChunk {
    /// First tap and end.
    pub taps: (usize, usize),
    /// First channel and end.
    pub channels: (usize, usize),
    /// Whether the sums start from the bias.
    pub first: bool,
    /// Whether the sums are complete.
    pub last: bool,
}

impl GemmChunk {
    /// Steps of K.
    pub fn len(&self, job: &GemmJob<'_>) -> usize {
        let channels = self.channels.1 - self.channels.0;
        (self.taps.1 - self.taps.0) * channels.min(job.channels)
    }

    /// The step of K with which it begins.
    pub fn start(&self, job: &GemmJob<'_>) -> usize {
        self.taps.0 * job.channels + self.channels.0
    }
}

/// How K is cut into chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    taps: usize,
    channels: usize,
    /// Chunks of one unit: a tap that is cut, or else all that is not.
    parts: usize,
    /// Taps that are not separated.
    unit: usize,
    /// Number of chunks.
    pub count: usize,
}

impl Chunks {
    /// Chunks of about the same length, of at most `most` steps where a tap's channels allow.
    pub fn new(kernel: (usize, usize), channels: usize, most: usize) -> Self {
        let taps = kernel.0 * kernel.1;
        if channels > most {
            let parts = channels.div_ceil(most);
            return Self {
                taps,
                channels,
                parts,
                unit: 1,
                count: taps * parts,
            };
        }
        let per_chunk = (most / channels.max(1)).min(MAX_SEGMENTS);
        let unit = if per_chunk >= kernel.1 { kernel.1 } else { 1 };
        let units = taps / unit;
        Self {
            taps,
            channels,
            parts: 1,
            unit,
            count: units.div_ceil(per_chunk / unit),
        }
    }

    /// The chunk number `index`.
    pub fn get(&self, index: usize) -> GemmChunk {
        let (first, last) = (index == 0, index + 1 == self.count);
        if self.parts > 1 {
            let (tap, part) = (index / self.parts, index % self.parts);
            let channel = |part| self.channels * part / self.parts;
            return GemmChunk {
                taps: (tap, tap + 1),
                channels: (channel(part), channel(part + 1)),
                first,
                last,
            };
        }
        let units = self.taps / self.unit;
        let tap = |index| units * index / self.count * self.unit;
        GemmChunk {
            taps: (tap(index), tap(index + 1)),
            channels: (0, self.channels),
            first,
            last,
        }
    }
}

/// The first input value of each pixel of a tile.
pub(super) type PixelPointers = [*const f32; MAX_TILE_PIXELS];

/// A part of K that is contiguous in the input.
///
/// # Safety
/// The microkernels rely on this: `len` floats are readable from `offset` floats after each pointer
/// of the tile's pixels in `pixels`, and as many times 16 weights of each panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub pixels: *const PixelPointers,
    /// Floats from there to the segment.
    pub offset: usize,
    /// Weights of the first panel.
    pub weights: *const f32,
    /// Steps of K.
    pub len: usize,
}

/// Memory for the segments of a tile.
pub(super) struct SegmentTables {
    /// Those of a tile with all taps inside.
    inner: [MaybeUninit<Segment>; MAX_SEGMENTS],
    /// The pixels that they share.
    pixels: PixelPointers,
    /// Those of a tile with taps in the padding, each with pixels of its own.
    border: [MaybeUninit<Segment>; MAX_SEGMENTS],
    border_pixels: [MaybeUninit<PixelPointers>; MAX_SEGMENTS],
}

impl SegmentTables {
    #[inline(always)]
    pub fn new() -> Self {
        Self {
            inner: [MaybeUninit::uninit(); MAX_SEGMENTS],
            pixels: [std::ptr::null(); MAX_TILE_PIXELS],
            border: [MaybeUninit::uninit(); MAX_SEGMENTS],
            border_pixels: [MaybeUninit::uninit(); MAX_SEGMENTS],
        }
    }
}

/// Goes through the pixels of a block tile by tile.
pub(super) struct TilePixels<'a> {
    block: &'a GemmBlock<'a>,
    /// Segments point into them, so they are only reached through this pointer.
    tables: *mut SegmentTables,
    /// Segments of a tile with all taps inside.
    inner_count: usize,
    /// The next output pixel.
    y: usize,
    x: usize,
    /// Where the first tap of the row's first pixel is read, if all kernel rows lie inside and one
    /// after the other.
    row: Option<*const f32>,
    /// Output columns whose taps all lie inside.
    inner: (usize, usize),
}

impl<'a> TilePixels<'a> {
    /// # Safety
    /// As [`GemmBlock`]; `tables` may be written as long as this lives.
    #[inline(always)]
    pub unsafe fn new(block: &'a GemmBlock<'a>, tables: *mut SegmentTables) -> Self {
        let job = block.job;
        let (window, chunk) = (job.window, block.chunk);
        // Kernel rows whose taps lie side by side, all channels of each.
        let whole = window.dilation.1 == 1
            && job.input_stride == job.channels
            && chunk.taps.0.is_multiple_of(window.kernel.1)
            && chunk.taps.1.is_multiple_of(window.kernel.1)
            && chunk.channels.1 - chunk.channels.0 == job.channels;
        let step = if whole { window.kernel.1 } else { 1 };
        let mut inner_count = 0;
        for tap in (chunk.taps.0..chunk.taps.1).step_by(step) {
            let (ky, kx) = (tap / window.kernel.1, tap % window.kernel.1);
            let row = ky * window.dilation.0 * job.input.stride;
            let steps = (tap - chunk.taps.0) * job.channels;
            // SAFETY: a chunk has at most `MAX_SEGMENTS` taps; the caller's promise.
            unsafe {
                (*tables).inner[inner_count].write(Segment {
                    pixels: &raw const (*tables).pixels,
                    offset: row + kx * window.dilation.1 * job.input_stride + chunk.channels.0,
                    weights: block.weights.wrapping_add(steps * PANEL),
                    len: step * (chunk.channels.1 - chunk.channels.0),
                });
            }
            inner_count += 1;
        }
        let (y, x) = block.first;
        let mut pixels = Self {
            block,
            tables,
            inner_count,
            y,
            x,
            row: None,
            inner: inner_pixels(&window, job.input_size.1, job.width),
        };
        // SAFETY: the caller's promise is handed on.
        unsafe { pixels.enter_row() };
        pixels
    }

    /// The column of the next pixel.
    #[inline(always)]
    pub fn column(&self) -> usize {
        self.x
    }

    /// # Safety
    /// As [`GemmBlock`].
    #[inline(always)]
    unsafe fn enter_row(&mut self) {
        let job = self.block.job;
        let window = job.window;
        let top = self.y * window.stride.0;
        let last = (window.kernel.0 - 1) * window.dilation.0;
        let inside = top >= window.pad.0 && top - window.pad.0 + last < job.input_size.0;
        self.row = None;
        if inside && self.y < job.rows.1 {
            let top = top - window.pad.0;
            if last == 0 || job.input.contiguous_end(top, top + last + 1) == top + last + 1 {
                // SAFETY: a row of the input that the caller vouches for.
                let row = unsafe { job.input.row(top) }.cast_const();
                self.row = Some(row.wrapping_sub(window.pad.1 * job.input_stride));
            }
        }
    }

    /// The segments of the next `pixels` pixels.
    ///
    /// # Safety
    /// As [`GemmBlock`]; at most [`MAX_TILE_PIXELS`], and all in the block.
    #[inline(always)]
    pub unsafe fn take(&mut self, pixels: usize) -> &[Segment] {
        let job = self.block.job;
        let start = (self.y, self.x);
        let step = job.window.stride.1 * job.input_stride;
        let mut inside = true;
        let end = self.x + pixels;
        match self.row {
            // All in one row and inside.
            Some(row) if self.x >= self.inner.0 && end <= self.inner.1 && end < job.width => {
                let mut at = row.wrapping_add(self.x * step);
                for slot in 0..pixels.min(MAX_TILE_PIXELS) {
                    // SAFETY: the tables are there and nobody holds a reference to them.
                    unsafe { (*self.tables).pixels[slot] = at };
                    at = at.wrapping_add(step);
                }
                self.x = end;
            }
            _ => {
                for slot in 0..pixels.min(MAX_TILE_PIXELS) {
                    inside &= self.x >= self.inner.0 && self.x < self.inner.1;
                    match self.row {
                        Some(row) => {
                            let at = row.wrapping_add(self.x * step);
                            // SAFETY: as above.
                            unsafe { (*self.tables).pixels[slot] = at };
                        }
                        None => inside = false,
                    }
                    self.x += 1;
                    if self.x == job.width {
                        (self.x, self.y) = (0, self.y + 1);
                        // SAFETY: the caller's promise is handed on.
                        unsafe { self.enter_row() };
                    }
                }
            }
        }
        // SAFETY: the caller's promise is handed on, and as many segments were written.
        unsafe {
            let (segments, count) = if inside {
                (&raw const (*self.tables).inner, self.inner_count)
            } else {
                let count = self.border(start, pixels);
                (&raw const (*self.tables).border, count)
            };
            std::slice::from_raw_parts(segments.cast(), count)
        }
    }

    /// Writes the segments of a tile that has taps in the padding, and returns how many.
    ///
    /// # Safety
    /// As [`TilePixels::take`]; the first pixel is `(y, x)`.
    #[inline(never)]
    unsafe fn border(&self, (y, x): (usize, usize), pixels: usize) -> usize {
        let job = self.block.job;
        let (window, chunk) = (job.window, self.block.chunk);
        let len = chunk.channels.1 - chunk.channels.0;
        let mut count = 0;
        let mut rows = [std::ptr::null::<f32>(); MAX_TILE_PIXELS];
        let mut rows_of = usize::MAX;
        for tap in chunk.taps.0..chunk.taps.1 {
            let (ky, kx) = (tap / window.kernel.1, tap % window.kernel.1);
            if rows_of != ky {
                rows_of = ky;
                let (mut at, mut column) = (y, x);
                let mut row = self.input_row(at, ky);
                for slot in rows.iter_mut().take(pixels) {
                    *slot = row;
                    column += 1;
                    if column == job.width {
                        (column, at) = (0, at + 1);
                        row = if at < job.rows.1 {
                            self.input_row(at, ky)
                        } else {
                            std::ptr::null()
                        };
                    }
                }
            }
            let mut any = false;
            let mut column = x;
            let mut pointers = [job.zeros.as_ptr(); MAX_TILE_PIXELS];
            for (slot, row) in pointers.iter_mut().zip(rows).take(pixels) {
                let at = column * window.stride.1 + kx * window.dilation.1;
                if !row.is_null() && at >= window.pad.1 && at - window.pad.1 < job.input_size.1 {
                    let pixel = (at - window.pad.1) * job.input_stride;
                    *slot = row.wrapping_add(pixel + chunk.channels.0);
                    any = true;
                }
                column += 1;
                if column == job.width {
                    column = 0;
                }
            }
            if any {
                let steps = (tap - chunk.taps.0) * job.channels;
                // SAFETY: a chunk has at most `MAX_SEGMENTS` taps; the tables are there.
                unsafe {
                    let tables = self.tables;
                    (*tables).border_pixels[count].write(pointers);
                    (*tables).border[count].write(Segment {
                        pixels: (&raw const (*tables).border_pixels[count]).cast(),
                        offset: 0,
                        weights: self.block.weights.wrapping_add(steps * PANEL),
                        len,
                    });
                }
                count += 1;
            }
        }
        count
    }

    /// The input row under kernel row `ky` of output row `y`; null where it lies in the padding.
    fn input_row(&self, y: usize, ky: usize) -> *const f32 {
        let job = self.block.job;
        let at = y * job.window.stride.0 + ky * job.window.dilation.0;
        if at < job.window.pad.0 || at - job.window.pad.0 >= job.input_size.0 {
            return std::ptr::null();
        }
        // SAFETY: a row of the input under the block's pixels, which the block vouches for.
        unsafe { job.input.row(at - job.window.pad.0) }
    }
}

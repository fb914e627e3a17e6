//! Dense convolutions as matrix products over pixels.
//!
//! In NHWC a 1x1 convolution is the product of a `[pixels, in]` matrix, which is the picture
//! itself, with the `[in, out]` weights. A larger kernel is the same with the row of one pixel
//! made of a few runs of floats: the `kernel_w * in` floats of each kernel row lie side by side.
//! The picture must then carry its own border of zeros (see [`super::padding`]).
//!
//! Weights are packed once into panels of [`PANEL`] output channels, `[panel][tap][16]`, the same
//! for every instruction set. A tile of a few pixels times one to three panels is summed in
//! registers over all taps, starting from the bias, in the order of the taps; activation and
//! residual follow before the only store. The order of the sum does not depend on how the work is
//! split, so neither does any bit of the result.

use super::Rows;
use super::activation::Activation;
use super::buffer::Buffer;
use super::isa::Isa;
#[cfg(test)]
use super::{Shape, Window};

/// Output channels in one panel of packed weights.
pub const PANEL: usize = 16;
/// Most pixels in one tile.
pub const MOST_PIXELS: usize = 8;
/// Floats of the picture that are gone through again for each group of panels; a part of L2.
const BLOCK_FLOATS: usize = 48 * 1024;
/// Weights of at most this many floats stay in L1; then all panels are applied to a few tiles.
const SMALL_WEIGHTS: usize = 6 * 1024;
/// The pixels of those tiles.
const SMALL_BLOCK: usize = 32;

/// Weights of a dense convolution, packed in panels.
#[derive(Debug)]
pub struct PackedProduct {
    weights: Buffer,
    bias: Buffer,
    /// Products summed for one output value.
    pub taps: usize,
    /// Output channels.
    pub outputs: usize,
}

impl PackedProduct {
    /// Packs weights given as `[output][tap]`.
    pub fn new(weights: &[f32], bias: &[f32], taps: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(
            weights.len(),
            outputs * taps,
            "one weight for each tap and output"
        );
        let panels = outputs.div_ceil(PANEL);
        let mut packed = Buffer::zeroed(panels * taps * PANEL);
        for (output, row) in weights.chunks_exact(taps.max(1)).enumerate() {
            let panel = output / PANEL * taps * PANEL + output % PANEL;
            for (tap, weight) in row.iter().enumerate() {
                packed[panel + tap * PANEL] = *weight;
            }
        }
        let mut padded = Buffer::zeroed(panels * PANEL);
        padded[..outputs].copy_from_slice(bias);
        Self {
            weights: packed,
            bias: padded,
            taps,
            outputs,
        }
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// The bias, filled up with zeros to whole panels.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The packed weights, `[panel][tap][16]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

/// The convolution by its definition, for the fast ones to be held to: `[h, w, c]` in and out,
/// weights `[output][kernel_h][kernel_w][c]`.
#[cfg(test)]
pub fn reference(
    input: &[f32],
    shape: Shape,
    window: Window,
    weights: &[f32],
    bias: &[f32],
    output: Shape,
) -> Vec<f32> {
    let taps = window.kernel.0 * window.kernel.1 * shape.c;
    let mut sums = Vec::new();
    for y in 0..output.h {
        for x in 0..output.w {
            for channel in 0..output.c {
                let mut sum = bias[channel];
                for (ky, kx, pixel) in window.pixels(y, x, shape) {
                    let first = (ky * window.kernel.1 + kx) * shape.c;
                    let weights = &weights[channel * taps + first..][..shape.c];
                    let values = &input[pixel * shape.c..][..shape.c];
                    sum += values.iter().zip(weights).map(|(v, w)| v * w).sum::<f32>();
                }
                sums.push(sum);
            }
        }
    }
    sums
}

/// One call: some rows of one convolution's output.
#[derive(Clone, Copy, Debug)]
pub struct ProductJob<'a> {
    /// The picture, with its border where the kernel is larger than one pixel.
    pub input: Rows,
    /// Floats from the taps of one output pixel to those of the next.
    pub pixel_step: usize,
    /// Rows from the taps of one output row to those of the next.
    pub row_step: usize,
    /// The row of `input` where the taps of output row `y` begin is `y * row_step - row_lead`.
    pub row_lead: usize,
    /// Where each run of taps begins, in floats from the first tap of the pixel.
    pub runs: &'a [usize],
    /// Length of each run of taps.
    pub run_len: usize,
    /// The weights.
    pub packed: &'a PackedProduct,
    /// What the sums start from: whole panels.
    pub bias: &'a [f32],
    /// What happens to the sums.
    pub activation: Activation,
    /// Added after the activation; same rows as `output`.
    pub residual: Option<Rows>,
    /// Where the results go, `outputs` floats a pixel without gaps.
    pub output: Rows,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute: `rows.0..rows.1`.
    pub rows: (usize, usize),
    /// The panels to compute: `panels.0..panels.1`.
    pub panels: (usize, usize),
}

/// A run of output pixels and a few panels, as the instruction sets' own loops take them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep<'a> {
    pub job: &'a ProductJob<'a>,
    /// Weights of the first panel.
    pub weights: *const f32,
    /// Floats from one panel to the next.
    pub panel_stride: usize,
    pub bias: *const f32,
    /// First output value of the first panel at the run's first pixel.
    pub output: *mut f32,
    /// The same of the residual; null where nothing is added.
    pub residual: *const f32,
    /// Floats from one output pixel to the next.
    pub output_step: usize,
    /// Output channels that exist from the first panel on; at least one in the last panel.
    pub channels: usize,
    /// Number of panels.
    pub panels: usize,
    /// Row and column of the run's first pixel.
    pub first: (usize, usize),
    /// Pixels in the run.
    pub pixels: usize,
    /// Weights that are needed next.
    pub next: &'a [f32],
}

/// The taps of one tile's pixels and where its results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub taps: [*const f32; MOST_PIXELS],
    pub output: *mut f32,
    pub residual: *const f32,
}

impl Sweep<'_> {
    /// Cuts the run into tiles of about the same number of pixels, at most `most`, and calls
    /// `run(tile, pixels)` for each.
    ///
    /// # Safety
    /// As [`product`].
    #[inline(always)]
    pub unsafe fn tiles(&self, most: usize, mut run: impl FnMut(&Tile, usize)) {
        let job = self.job;
        let tiles = self.pixels.div_ceil(most);
        let (mut y, mut x) = self.first;
        let mut first = 0;
        // SAFETY: each pixel lies in the rows that the caller vouches for, and its taps in the
        // input; a row past the last is never asked for.
        let row_of = |y: usize| unsafe { job.input.row(y * job.row_step - job.row_lead) };
        let mut row = row_of(y).cast_const();
        let (short, longer) = (self.pixels / tiles, self.pixels % tiles);
        let lines = self.next.len().div_ceil(LINE_FLOATS).div_ceil(tiles);
        let lines = if lines > MOST_HINTS { 0 } else { lines };
        for t in 0..tiles {
            let pixels = short + usize::from(t < longer);
            let mut taps = [std::ptr::null(); MOST_PIXELS];
            for slot in taps.iter_mut().take(pixels) {
                *slot = row.wrapping_add(x * job.pixel_step);
                x += 1;
                if x == job.width {
                    (x, y) = (0, y + 1);
                    if y < job.rows.1 {
                        row = row_of(y);
                    }
                }
            }
            for line in t * lines..(t + 1) * lines {
                prefetch(self.next.as_ptr().wrapping_add(line * LINE_FLOATS));
            }
            let offset = first * self.output_step;
            let residual = if self.residual.is_null() {
                self.residual
            } else {
                self.residual.wrapping_add(offset)
            };
            let output = self.output.wrapping_add(offset);
            run(
                &Tile {
                    taps,
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
const LINE_FLOATS: usize = 16;
/// Hints between two tiles; more would wait for each other, and long panels are foreseen by the
/// processor itself.
const MOST_HINTS: usize = 48;

/// Asks for a cache line that is read soon; any address will do.
#[inline(always)]
fn prefetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which no address makes fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// An instruction set's loop, and how many panels it takes at a time.
struct SweepKernel {
    panels: usize,
    /// # Safety
    /// As [`product`].
    run: unsafe fn(&Sweep<'_>),
}

fn kernel(isa: Isa) -> SweepKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => SweepKernel {
            panels: 3,
            run: super::product_avx512::sweep,
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => SweepKernel {
            panels: 1,
            run: super::product_avx2::sweep,
        },
        _ => SweepKernel {
            panels: 1,
            run: super::product_portable::sweep,
        },
    }
}

/// Computes the job.
///
/// # Safety
/// `input` must hold every tap of every output pixel of `rows`, `output` and `residual` the rows
/// themselves; nobody else may touch the output meanwhile. `isa` must be available.
pub unsafe fn product(isa: Isa, job: &ProductJob<'_>) {
    let ProductJob { mut rows, .. } = *job;
    // Pieces whose output rows lie one behind the other.
    while rows.0 < rows.1 {
        let mut end = job.output.run_end(rows.0, rows.1);
        if let Some(residual) = job.residual {
            end = residual.run_end(rows.0, end);
        }
        // SAFETY: a part of what the caller vouches for.
        unsafe { piece(isa, job, rows.0, end) };
        rows.0 = end;
    }
}

/// # Safety
/// As [`product`]; the output rows `y0..y1` are contiguous.
unsafe fn piece(isa: Isa, job: &ProductJob<'_>, y0: usize, y1: usize) {
    let kernel = kernel(isa);
    let packed = job.packed;
    let pixels = (y1 - y0) * job.width;
    let taps = packed.taps;
    let n = packed.outputs;
    // SAFETY: rows that the caller vouches for.
    let output = unsafe { job.output.row(y0) };
    let residual = job
        .residual
        // SAFETY: rows that the caller vouches for.
        .map(|r| unsafe { r.row(y0) }.cast_const());
    let small = taps * n <= SMALL_WEIGHTS;
    let block = if small {
        SMALL_BLOCK
    } else {
        (BLOCK_FLOATS / taps.max(1)).max(MOST_PIXELS)
    };
    let blocks = pixels.div_ceil(block);
    let mut block_start = 0;
    for b in 0..blocks {
        let block_end = pixels * (b + 1) / blocks;
        let mut panel = job.panels.0;
        while panel < job.panels.1 {
            let panels = kernel.panels.min(job.panels.1 - panel);
            let weights = &packed.weights()[panel * taps * PANEL..];
            let after = &weights[panels * taps * PANEL..];
            let left = job.panels.1 - panel - panels;
            let next = &after[..left.min(kernel.panels) * taps * PANEL];
            let offset = block_start * n + panel * PANEL;
            let sweep = Sweep {
                job,
                weights: weights.as_ptr(),
                panel_stride: taps * PANEL,
                bias: job.bias[panel * PANEL..].as_ptr(),
                output: output.wrapping_add(offset),
                residual: residual.map_or(std::ptr::null(), |r| r.wrapping_add(offset)),
                output_step: n,
                channels: n - panel * PANEL,
                panels,
                first: (y0 + block_start / job.width, block_start % job.width),
                pixels: block_end - block_start,
                // What stays in cache anyway needs no hint.
                next: if b == 0 && !small { next } else { &[] },
            };
            // SAFETY: a part of what the caller vouches for.
            unsafe { (kernel.run)(&sweep) };
            panel += panels;
        }
        block_start = block_end;
    }
}

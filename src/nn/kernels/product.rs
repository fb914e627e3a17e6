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

/// Output channels in one panel of packed weights.
pub const PANEL: usize = 16;
/// Most pixels in one tile.
pub const MOST_PIXELS: usize = 8;
/// Floats of the picture that are gone through again for each group of panels; a part of L2.
const BLOCK_FLOATS: usize = 48 * 1024;
/// Weights of at most this many floats stay in L1, then all panels are applied tile by tile.
const SMALL_WEIGHTS: usize = 6 * 1024;

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

/// One tile: the pixels' taps, some panels of weights, and where the result goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub taps: [*const f32; MOST_PIXELS],
    pub runs: &'a [usize],
    pub run_len: usize,
    pub weights: *const f32,
    /// Floats from one panel to the next.
    pub panel_stride: usize,
    pub bias: *const f32,
    pub output: *mut f32,
    /// Null where nothing is added.
    pub residual: *const f32,
    /// Floats from one output pixel to the next.
    pub output_step: usize,
    /// Output channels that exist from the tile's first on; at least one in its last panel.
    pub channels: usize,
    pub activation: Activation,
}

/// Runs tiles of up to [`MOST_PIXELS`] pixels and [`TileKernel::panels`] panels.
pub(super) struct TileKernel {
    /// Most pixels in a tile.
    pub pixels: usize,
    /// Most panels in a tile.
    pub panels: usize,
    /// Computes one tile of `pixels` and `panels`.
    ///
    /// # Safety
    /// All pointers of the tile reach what its numbers say; the instruction set is there.
    pub run: unsafe fn(tile: &Tile<'_>, pixels: usize, panels: usize),
}

pub(super) fn kernel(isa: Isa) -> TileKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => TileKernel {
            pixels: 8,
            panels: 3,
            run: super::product_avx512::tile,
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => TileKernel {
            pixels: 6,
            panels: 1,
            run: super::product_avx2::tile,
        },
        _ => TileKernel {
            pixels: 4,
            panels: 1,
            run: super::product_portable::tile,
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
        .map_or(std::ptr::null(), |r| unsafe { r.row(y0) }.cast_const());
    let block = if taps * n <= SMALL_WEIGHTS {
        kernel.pixels
    } else {
        (BLOCK_FLOATS / taps.max(1))
            .next_multiple_of(kernel.pixels)
            .max(kernel.pixels)
    };
    let blocks = pixels.div_ceil(block);
    let mut block_start = 0;
    for b in 0..blocks {
        let block_end = pixels * (b + 1) / blocks;
        let tiles = (block_end - block_start).div_ceil(kernel.pixels);
        let mut panel = job.panels.0;
        while panel < job.panels.1 {
            let panels = kernel.panels.min(job.panels.1 - panel);
            let mut tile = Tile {
                taps: [std::ptr::null(); MOST_PIXELS],
                runs: job.runs,
                run_len: job.run_len,
                weights: packed.weights()[panel * taps * PANEL..].as_ptr(),
                panel_stride: taps * PANEL,
                bias: job.bias[panel * PANEL..].as_ptr(),
                output,
                residual,
                output_step: n,
                channels: n - panel * PANEL,
                activation: job.activation,
            };
            let mut first = block_start;
            let (mut y, mut x) = (y0 + first / job.width, first % job.width);
            for t in 0..tiles {
                let end = block_start + (block_end - block_start) * (t + 1) / tiles;
                // SAFETY: each pixel lies in the rows that the caller vouches for, and its taps
                // in the input; the output offsets stay below `pixels * n`.
                unsafe {
                    let mut row = job.input.row(y * job.row_step - job.row_lead).cast_const();
                    for slot in &mut tile.taps[..end - first] {
                        *slot = row.add(x * job.pixel_step);
                        x += 1;
                        if x == job.width {
                            (x, y) = (0, y + 1);
                            if y < y1 {
                                row = job.input.row(y * job.row_step - job.row_lead);
                            }
                        }
                    }
                    let offset = first * n + panel * PANEL;
                    tile.output = output.add(offset);
                    if !residual.is_null() {
                        tile.residual = residual.add(offset);
                    }
                    (kernel.run)(&tile, end - first, panels);
                }
                first = end;
            }
            panel += panels;
        }
        block_start = block_end;
    }
}

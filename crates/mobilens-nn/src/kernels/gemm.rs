//! Dense convolutions as matrix multiplication (GEMM) over pixels: cache blocking and dispatch.
//!
//! In NHWC a 1x1 convolution is the product of a `[pixels, in]` matrix, which is the input itself,
//! with the `[in, out]` weights. A larger kernel adds such products tap by tap, reading the input
//! in place too.
//!
//! | file | what it holds |
//! |---|---|
//! | `packed_gemm` | weights packed in panels of 16 output channels |
//! | `gemm_segments` | where a tile reads its input; how K is cut into chunks |
//! | `gemm_block` | one cache block, and how it is cut into microkernel tiles |
//! | `gemm_avx512`, `gemm_avx2`, `gemm_portable` | the microkernels |
//!
//! A microkernel computes a tile of a few pixels times one to three panels: it accumulates in
//! registers, starting from the bias, in ascending order of k; activation and residual are applied
//! in the epilogue, before the store. Where K is large the sums of a block's pixels wait in scratch
//! memory between two chunks of K, so that the weights of a chunk serve all of the block from L2
//! (the loop order of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
//! 2008, with K outside of the pixels). The order of the sum does not
//! depend on how the work is split, so neither does any bit of the result.

use super::activation::Activation;
use super::gemm_block::{GemmBlock, GemmJob, MAX_TILE_PIXELS};
use super::gemm_segments::Chunks;
use super::isa::Isa;
use super::packed_gemm::{PANEL, PackedGemm};
use super::row_view::RowView;
#[cfg(test)]
use super::shape::Shape;
use super::window::Window;

/// Floats of the input that are read again for each group of panels; a part of L2.
const BLOCK_FLOATS: usize = 48 * 1024;
/// Weights of at most this many floats stay in L1; all panels are then applied to a few tiles.
const SMALL_WEIGHTS: usize = 6 * 1024;
/// Floats of the input of those tiles.
const SMALL_BLOCK_FLOATS: usize = 6 * 1024;
/// Most pixels of those tiles.
const MAX_SMALL_BLOCK: usize = 384;
/// From this K on the input of the next tile is prefetched when it is first read; shorter rows come in time by
/// themselves.
const COLD_K: usize = 512;
/// Weights of more floats than this do not stay in L2; as many pixels as can be share each pass over them.
pub(super) const LARGE_WEIGHTS: usize = 192 * 1024;
/// Most pixels in a block.
pub(super) const MAX_BLOCK: usize = 192;
/// Most steps of K whose weights, of three panels, are read again for each tile; a part of L2.
const MAX_CHUNK: usize = 1024;
/// Most panels that a kernel takes at a time.
const MAX_PANELS: usize = 3;
/// Floats of scratch memory for the sums of a block between two chunks of K.
pub(super) const SUMS_LEN: usize = MAX_BLOCK * MAX_PANELS * PANEL;

fn chunks(kernel: (usize, usize), channels: usize) -> Chunks {
    Chunks::new(kernel, channels, MAX_CHUNK)
}

/// Whether K is so large that sums are kept in scratch memory between two chunks of it.
pub(super) fn needs_sums(kernel: (usize, usize), channels: usize) -> bool {
    chunks(kernel, channels).count > 1
}

/// The reference: the convolution by its definition, `[h, w, c]` in and out,
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
    let k = window.kernel.0 * window.kernel.1 * shape.c;
    let mut sums = Vec::new();
    for y in 0..output.h {
        for x in 0..output.w {
            for channel in 0..output.c {
                let mut sum = bias[channel];
                for (ky, kx, pixel) in window.pixels(y, x, shape) {
                    let first = (ky * window.kernel.1 + kx) * shape.c;
                    let weights = &weights[channel * k + first..][..shape.c];
                    let values = &input[pixel * shape.c..][..shape.c];
                    sum += values.iter().zip(weights).map(|(v, w)| v * w).sum::<f32>();
                }
                sums.push(sum);
            }
        }
    }
    sums
}

/// An instruction set's loop over the tiles of a block, and how many panels it takes at a time.
struct BlockKernel {
    panels: usize,
    /// # Safety
    /// As [`GemmBlock`].
    run: unsafe fn(&GemmBlock<'_>),
}

fn block_kernel(isa: Isa) -> BlockKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => BlockKernel {
            panels: 3,
            run: super::gemm_avx512::gemm_block,
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => BlockKernel {
            panels: 1,
            run: super::gemm_avx2::gemm_block,
        },
        _ => BlockKernel {
            panels: 1,
            run: super::gemm_portable::gemm_block,
        },
    }
}

/// Computes a job.
///
/// # Safety
/// `input` must hold all that the output pixels of `rows` read, `output` and `residual` the rows
/// themselves; nobody else may touch the output meanwhile. `isa` must be available.
pub unsafe fn gemm(isa: Isa, job: &GemmJob<'_>) {
    let GemmJob { mut rows, .. } = *job;
    // Ranges of output rows that are contiguous in memory.
    while rows.0 < rows.1 {
        let mut end = job.output.contiguous_end(rows.0, rows.1);
        if let Some(residual) = job.residual {
            end = residual.contiguous_end(rows.0, end);
        }
        // SAFETY: a part of what the caller vouches for.
        unsafe { gemm_rows(isa, job, rows.0, end) };
        rows.0 = end;
    }
}

/// A product of rows of a matrix with packed columns, anywhere in memory.
#[derive(Clone, Copy)]
pub(super) struct MatrixJob {
    /// First value of the first row; a row's values lie side by side.
    pub input: *const f32,
    /// Values from one row to the next.
    pub input_stride: usize,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub k: usize,
    /// Packed columns: `[panel][k][16]`.
    pub weights: *const f32,
    /// What the sums start from, in whole panels.
    pub bias: *const f32,
    /// Number of columns.
    pub columns: usize,
    /// First value of the first output row.
    pub output: *mut f32,
    /// Values from one output row to the next.
    pub output_stride: usize,
}

/// Computes the product of a [`MatrixJob`]; `empty` are packed weights of no size.
///
/// # Safety
/// The pointers of the job are good for what it says, and nobody else touches the output meanwhile. `isa` must
/// be available.
pub(super) unsafe fn gemm_matrix(isa: Isa, matrix: &MatrixJob, empty: &PackedGemm) {
    let kernel = block_kernel(isa);
    let view = |start: *mut f32| RowView {
        start,
        stride: 0,
        row_count: 1,
    };
    let job = GemmJob {
        input: view(matrix.input.cast_mut()),
        input_size: (1, matrix.rows),
        input_stride: matrix.input_stride,
        channels: matrix.k,
        window: Window::POINTWISE,
        zeros: &[],
        packed: empty,
        bias: &[],
        activation: Activation::NONE,
        residual: None,
        residual_first: false,
        output: view(matrix.output),
        output_stride: matrix.output_stride,
        width: matrix.rows,
        rows: (0, 1),
        panels: (0, matrix.columns.div_ceil(PANEL)),
        sums: std::ptr::null_mut(),
    };
    // One chunk, whatever its length: the rows that it serves are few.
    let chunk = Chunks::new(job.window.kernel, matrix.k, usize::MAX).get(0);
    let mut panel = 0;
    while panel < job.panels.1 {
        let panels = kernel.panels.min(job.panels.1 - panel);
        let block = GemmBlock {
            job: &job,
            chunk,
            weights: matrix.weights.wrapping_add(panel * matrix.k * PANEL),
            panel_stride: matrix.k * PANEL,
            bias: matrix.bias.wrapping_add(panel * PANEL),
            sums: std::ptr::null_mut(),
            output: matrix.output.wrapping_add(panel * PANEL),
            residual: std::ptr::null(),
            output_stride: matrix.output_stride,
            channels: matrix.columns - panel * PANEL,
            panels,
            first: (0, 0),
            pixels: matrix.rows,
            next_weights: std::ptr::null(),
            cold_input: false,
        };
        // SAFETY: the caller's promise, of a part of the columns.
        unsafe { (kernel.run)(&block) };
        panel += panels;
    }
}

/// # Safety
/// As [`gemm`]; the output rows `y0..y1` are contiguous.
unsafe fn gemm_rows(isa: Isa, job: &GemmJob<'_>, y0: usize, y1: usize) {
    let kernel = block_kernel(isa);
    let packed = job.packed;
    let pixels = (y1 - y0) * job.width;
    let k = packed.k;
    let n = packed.outputs;
    // SAFETY: rows that the caller vouches for.
    let output = unsafe { job.output.row(y0) };
    let residual = job
        .residual
        // SAFETY: rows that the caller vouches for.
        .map(|r| unsafe { r.row(y0) }.cast_const());
    let chunks = chunks(job.window.kernel, job.channels);
    let small = k * n <= SMALL_WEIGHTS;
    let block_pixels = if small {
        (SMALL_BLOCK_FLOATS / k.max(1)).clamp(32, MAX_SMALL_BLOCK)
    } else if k * n > LARGE_WEIGHTS {
        MAX_BLOCK
    } else {
        (BLOCK_FLOATS / k.max(1)).clamp(MAX_TILE_PIXELS, MAX_BLOCK)
    };
    let blocks = pixels.div_ceil(block_pixels);
    let mut block_start = 0;
    for b in 0..blocks {
        let block_end = pixels * (b + 1) / blocks;
        let mut panel = job.panels.0;
        while panel < job.panels.1 {
            // Four panels go as two and two, not as three and one.
            let left = job.panels.1 - panel;
            let panels = left.div_ceil(left.div_ceil(kernel.panels));
            let offset = block_start * job.output_stride + panel * PANEL;
            for index in 0..chunks.count {
                let chunk = chunks.get(index);
                let start = |panel: usize, k_start: usize| {
                    packed.weights()[(panel * k + k_start) * PANEL..].as_ptr()
                };
                // What is read next; where all stays in cache it needs no prefetch.
                let next_weights = if small || (b > 0 && k * n <= LARGE_WEIGHTS) {
                    std::ptr::null()
                } else if !chunk.last {
                    start(panel, chunks.get(index + 1).start(job))
                } else if panel + panels < job.panels.1 {
                    start(panel + panels, 0)
                } else {
                    std::ptr::null()
                };
                let block = GemmBlock {
                    job,
                    chunk,
                    weights: start(panel, chunk.start(job)),
                    panel_stride: k * PANEL,
                    bias: job.bias[panel * PANEL..].as_ptr(),
                    sums: job.sums,
                    output: output.wrapping_add(offset),
                    residual: residual.map_or(std::ptr::null(), |r| r.wrapping_add(offset)),
                    output_stride: job.output_stride,
                    channels: n - panel * PANEL,
                    panels,
                    first: (y0 + block_start / job.width, block_start % job.width),
                    pixels: block_end - block_start,
                    next_weights,
                    cold_input: panel == job.panels.0 && k >= COLD_K,
                };
                // SAFETY: a part of what the caller vouches for.
                unsafe { (kernel.run)(&block) };
            }
            panel += panels;
        }
        block_start = block_end;
    }
}

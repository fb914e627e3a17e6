//! One stage of fused convolutions: the rows that it reads and writes, its padded input, and the
//! kernel that computes it.

use super::arena::Arena;
use super::buffer::Element;
use super::conv_stage::ConvWeights;
use super::depthwise::depthwise;
use super::depthwise_bf16::{DepthwiseBf16Job, depthwise_bf16};
use super::depthwise_int8::{DepthwiseInt8Job, depthwise_int8};
use super::depthwise_row::DepthwiseJob;
use super::fused_conv::FusedConv;
use super::gemm::gemm;
use super::gemm_bf16::gemm_bf16;
use super::gemm_bf16_block::{Bf16Rows, GemmBf16Job};
use super::gemm_block::GemmJob;
use super::gemm_int8::gemm_int8;
use super::gemm_int8_block::{GemmInt8Job, Int8Rows};
use super::isa::IsaSet;
use super::packed_gemm::PackedGemm;
use super::requantize::Int8Output;
use super::row_view::RowView;

impl FusedConv {
    /// # Safety
    /// As [`FusedConv::run_band`], and the input rows are there.
    pub(super) unsafe fn run_stage(
        &self,
        isa: IsaSet,
        arena: &Arena,
        thread: usize,
        index: usize,
        rows: (usize, usize),
        panels: (usize, usize),
    ) {
        let stage = &self.stages[index];
        let last = index + 1 == self.stages.len();
        let panels = if last {
            panels
        } else {
            (0, stage.weights.panels())
        };
        match &stage.weights {
            ConvWeights::Depthwise(packed) => {
                // SAFETY: the caller's promise.
                let (input, output) = unsafe {
                    (
                        self.stage_input(arena, thread, index),
                        self.stage_output(arena, thread, index),
                    )
                };
                let job = DepthwiseJob {
                    input,
                    input_size: (stage.input.h, stage.input.w),
                    window: stage.window,
                    packed,
                    activation: stage.activation,
                    output,
                    width: stage.output.w,
                    rows,
                    blocks: panels,
                };
                // SAFETY: the caller's promise.
                unsafe { depthwise(isa.float, &job) }
            }
            ConvWeights::DepthwiseInt8(weights) => {
                // SAFETY: the caller's promise.
                let (input, output) = unsafe {
                    (
                        self.stage_input(arena, thread, index),
                        self.stage_output(arena, thread, index),
                    )
                };
                let job = DepthwiseInt8Job {
                    input,
                    input_size: (stage.input.h, stage.input.w),
                    window: stage.window,
                    zero_point: weights.zero_point,
                    packed: &weights.packed,
                    output,
                    width: stage.output.w,
                    rows,
                    blocks: panels,
                };
                // SAFETY: the caller's promise.
                unsafe { depthwise_int8(isa.int8, &job) }
            }
            ConvWeights::Dense(packed) => {
                // SAFETY: the caller's promise.
                let job = unsafe { self.gemm_job(arena, thread, index, rows, packed) };
                let bias = match self.bias {
                    // SAFETY: a slot that no other step writes meanwhile.
                    Some(slot) if last => unsafe { arena.slice(slot) },
                    _ => packed.bias(),
                };
                let job = GemmJob {
                    bias,
                    panels,
                    ..job
                };
                // SAFETY: the caller's promise.
                unsafe { gemm(isa.float, &job) }
            }
            ConvWeights::Grouped(groups) => {
                for group in panels.0..panels.1 {
                    let packed = &groups.packed()[group];
                    // SAFETY: the caller's promise.
                    let mut job = unsafe { self.gemm_job(arena, thread, index, rows, packed) };
                    job.channels /= groups.packed().len();
                    job.input.start = job.input.start.wrapping_add(group * job.channels);
                    let channel = group * packed.outputs;
                    job.output.start = job.output.start.wrapping_add(channel);
                    if let Some(residual) = &mut job.residual {
                        residual.start = residual.start.wrapping_add(channel);
                    }
                    // SAFETY: the caller's promise; the group's channels of each pixel.
                    unsafe { gemm(isa.float, &job) }
                }
            }
            ConvWeights::DepthwiseBf16(packed) => {
                // SAFETY: the caller's promise.
                let (input, output) = unsafe {
                    (
                        self.stage_input(arena, thread, index),
                        self.stage_output(arena, thread, index),
                    )
                };
                let job = DepthwiseBf16Job {
                    input,
                    input_size: (stage.input.h, stage.input.w),
                    window: stage.window,
                    packed,
                    activation: stage.activation,
                    output,
                    width: stage.output.w,
                    rows,
                    blocks: panels,
                };
                // SAFETY: the caller's promise.
                unsafe { depthwise_bf16(isa.bf16, &job) }
            }
            ConvWeights::DenseBf16 {
                packed,
                float_output,
            } => {
                // SAFETY: the caller's promise.
                let (input, row_offset) = unsafe { self.gemm_input(arena, thread, index, rows, 0) };
                let bias = match self.bias {
                    // SAFETY: a slot that no other step writes meanwhile.
                    Some(slot) if last => unsafe { arena.slice(slot) },
                    _ => packed.bias(),
                };
                // SAFETY: the caller's promise.
                let output = unsafe {
                    if *float_output {
                        Bf16Rows::Float(self.stage_output(arena, thread, index))
                    } else {
                        Bf16Rows::Bf16(self.stage_output(arena, thread, index))
                    }
                };
                let job = GemmBf16Job {
                    input,
                    pixel_stride: stage.window.stride.1 * stage.input.c,
                    row_stride: stage.window.stride.0,
                    row_offset,
                    segments: &self.gemm_segments[index].0,
                    packed,
                    bias,
                    activation: stage.activation,
                    // SAFETY: the caller's promise.
                    residual: unsafe { self.stage_residual(arena, index) },
                    output,
                    width: stage.output.w,
                    rows,
                    panels,
                };
                // SAFETY: the caller's promise.
                unsafe { gemm_bf16(isa.bf16, &job) }
            }
            ConvWeights::DenseInt8(weights) => {
                // SAFETY: the caller's promise.
                let (input, row_offset) =
                    unsafe { self.gemm_input(arena, thread, index, rows, weights.zero_point) };
                // SAFETY: the caller's promise.
                let output = unsafe {
                    match weights.packed.output() {
                        Int8Output::Codes { .. } => {
                            Int8Rows::Codes(self.stage_output(arena, thread, index))
                        }
                        Int8Output::Float(_) => {
                            Int8Rows::Float(self.stage_output(arena, thread, index))
                        }
                    }
                };
                let job = GemmInt8Job {
                    input,
                    pixel_stride: stage.window.stride.1 * stage.input.c,
                    row_stride: stage.window.stride.0,
                    row_offset,
                    segments: &self.gemm_segments[index].0,
                    packed: &weights.packed,
                    // SAFETY: the caller's promise.
                    residual: unsafe { self.stage_residual(arena, index) },
                    output,
                    width: stage.output.w,
                    rows,
                    panels,
                };
                // SAFETY: the caller's promise.
                unsafe { gemm_int8(&job) }
            }
        }
    }

    /// A float GEMM of a stage over all of its channels, with all panels and the bias of `packed`.
    ///
    /// # Safety
    /// As [`FusedConv::run_stage`].
    unsafe fn gemm_job<'a>(
        &'a self,
        arena: &Arena,
        thread: usize,
        index: usize,
        rows: (usize, usize),
        packed: &'a PackedGemm,
    ) -> GemmJob<'a> {
        let stage = &self.stages[index];
        let sums = arena.scratch(thread).wrapping_add(self.scratch[index].sums);
        GemmJob {
            // SAFETY: the caller's promise.
            input: unsafe { self.stage_input(arena, thread, index) },
            input_size: (stage.input.h, stage.input.w),
            input_stride: stage.input.c,
            channels: stage.input.c,
            window: stage.window,
            zeros: &self.zeros,
            packed,
            bias: packed.bias(),
            activation: stage.activation,
            // SAFETY: the caller's promise.
            residual: unsafe { self.stage_residual(arena, index) },
            residual_first: self.residual_first,
            // SAFETY: the caller's promise.
            output: unsafe { self.stage_output(arena, thread, index) },
            output_stride: stage.output.c,
            width: stage.output.w,
            rows,
            panels: (0, packed.panels()),
            sums: sums.cast(),
        }
    }

    /// The rows that a stage reads.
    ///
    /// # Safety
    /// As [`FusedConv::run`]; `T` is the element type of the stage's input.
    unsafe fn stage_input<T: Element>(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
    ) -> RowView<T> {
        // SAFETY: the slot and the scratch memory lie where the caller vouches for.
        unsafe {
            if index == 0 {
                arena.rows(self.input, self.stages[0].input)
            } else {
                self.ring(arena, thread, index - 1)
            }
        }
    }

    /// The rows that a stage writes.
    ///
    /// # Safety
    /// As [`FusedConv::run`]; `T` is the element type of the stage's output.
    unsafe fn stage_output<T: Element>(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
    ) -> RowView<T> {
        // SAFETY: the slot and the scratch memory lie where the caller vouches for.
        unsafe {
            if index + 1 == self.stages.len() {
                arena.rows(self.output, self.stages[index].output)
            } else {
                self.ring(arena, thread, index)
            }
        }
    }

    /// The rows that the last stage adds to its output.
    ///
    /// # Safety
    /// As [`FusedConv::run`]; `T` is the element type of the output.
    unsafe fn stage_residual<T: Element>(&self, arena: &Arena, index: usize) -> Option<RowView<T>> {
        let slot = self.residual.filter(|_| index + 1 == self.stages.len())?;
        // SAFETY: the slot lies where the caller vouches for.
        Some(unsafe { arena.rows(slot, self.stages[index].output) })
    }

    /// The input of a GEMM stage, padded with `padding` where the stage needs that, and the
    /// [`GemmBf16Job::row_offset`] that goes with it.
    ///
    /// # Safety
    /// As [`FusedConv::run_stage`]; `T` is the element type of the stage's input.
    unsafe fn gemm_input<T: Element>(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
        rows: (usize, usize),
        padding: T,
    ) -> (RowView<T>, usize) {
        let stage = &self.stages[index];
        // SAFETY: the caller's promise.
        unsafe {
            let input = self.stage_input(arena, thread, index);
            if !stage.needs_padding() {
                return (input, 0);
            }
            let padded = self.pad_input(arena, thread, index, input, rows, padding);
            (padded, rows.0 * stage.window.stride.0)
        }
    }

    /// # Safety
    /// The thread's scratch memory must hold [`FusedConv::scratch_len`]; `T` is the element type.
    unsafe fn ring<T: Element>(&self, arena: &Arena, thread: usize, index: usize) -> RowView<T> {
        let scratch = self.scratch[index];
        RowView {
            // SAFETY: planned within the scratch memory.
            start: unsafe { arena.scratch(thread).add(scratch.ring) }.cast(),
            stride: self.stages[index].output.row(),
            row_count: scratch.ring_rows,
        }
    }

    /// Copies the input rows that `rows` of the output read, with `padding` around.
    ///
    /// # Safety
    /// As [`FusedConv::run_stage`]; `T` is the element type of the stage's input.
    unsafe fn pad_input<T: Element>(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
        input: RowView<T>,
        rows: (usize, usize),
        padding: T,
    ) -> RowView<T> {
        let stage = &self.stages[index];
        let scratch = self.scratch[index];
        let (shape, window) = (stage.input, stage.window);
        let stride = scratch.padded_width * shape.c;
        // SAFETY: planned within the scratch memory.
        let start: *mut T = unsafe { arena.scratch(thread).add(scratch.padded) }.cast();
        let extent = (window.kernel.0 - 1) * window.dilation.0 + 1;
        let count = (rows.1 - rows.0 - 1) * window.stride.0 + extent;
        let left = window.pad.1.min(scratch.padded_width) * shape.c;
        let copied = shape.row().min(stride - left);
        for row in 0..count {
            // SAFETY: `count` rows of `stride` floats were planned, and row `y` of the input is
            // one that the caller vouches for.
            unsafe {
                let to = std::slice::from_raw_parts_mut(start.add(row * stride), stride);
                let y = (rows.0 * window.stride.0 + row).checked_sub(window.pad.0);
                match y.filter(|y| *y < shape.h) {
                    Some(y) => {
                        let from = std::slice::from_raw_parts(input.row(y), shape.row());
                        to[..left].fill(padding);
                        to[left..left + copied].copy_from_slice(&from[..copied]);
                        to[left + copied..].fill(padding);
                    }
                    None => to.fill(padding),
                }
            }
        }
        RowView {
            start,
            stride,
            row_count: scratch.padded_rows.max(count),
        }
    }
}

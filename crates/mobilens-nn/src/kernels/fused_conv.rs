//! Fused convolutions: several in sequence, computed in strips of a few rows.
//!
//! An inverted residual (MobileNetV2, section 3.3) expands a thin tensor, filters the wide one
//! depthwise and projects it back to a thin one. Computed operator by operator the wide tensor goes
//! out to L3 or memory and back, twice. A [`FusedConv`] goes through the feature map in strips of
//! a few output rows: each stage computes only the rows that the strip still lacks, into a ring
//! buffer of rows that fits L2, and only the last one writes to the arena. Bands of rows go to
//! different threads; the few rows around a band's border are computed by both. A single
//! convolution is a `FusedConv` of one stage.

use super::arena::{Arena, Slot};
use super::conv_stage::{ConvStage, ConvWeights};
use super::depthwise::depthwise;
use super::depthwise_row::DepthwiseJob;
use super::gemm::gemm;
use super::gemm_block::GemmJob;
use super::isa::Isa;
use super::row_view::RowView;
use super::thread_pool::ThreadPool;

/// Where a stage's scratch rows lie in a thread's scratch memory.
#[derive(Clone, Copy, Debug, Default)]
struct Scratch {
    /// Offset and number of rows of the ring buffer of output rows; none for the last stage.
    ring: usize,
    ring_rows: usize,
    /// Offset and size of the zero-padded input, where the stage needs one.
    padded: usize,
    padded_rows: usize,
    padded_width: usize,
}

/// Convolutions in sequence that run strip by strip.
#[derive(Debug)]
pub struct FusedConv {
    stages: Vec<ConvStage>,
    scratch: Vec<Scratch>,
    /// For each stage where the segments of K begin, and their length.
    gemm_segments: Vec<(Vec<usize>, usize)>,
    /// Floats of scratch memory that a thread needs.
    pub scratch_len: usize,
    strip_rows: usize,
    /// Input of the first stage.
    pub input: Slot,
    /// Output of the last stage.
    pub output: Slot,
    /// Added to the output of the last stage, after its activation.
    pub residual: Option<Slot>,
    /// Replaces the bias of the last stage where another step computes it; whole panels.
    pub bias: Option<Slot>,
}

/// Most stages in a [`FusedConv`].
pub const MAX_FUSED_STAGES: usize = 6;
/// Below this number of output pixels the threads share the channels, not the rows.
const FEW_PIXELS: usize = 48;

impl FusedConv {
    /// Fuses `stages`; where there is more than one, the scratch memory of a thread is limited to
    /// about `scratch_budget` floats.
    ///
    /// # Panics
    /// When there is no stage, or more than [`MAX_FUSED_STAGES`].
    pub fn new(stages: Vec<ConvStage>, input: Slot, output: Slot, scratch_budget: usize) -> Self {
        assert!(
            (1..=MAX_FUSED_STAGES).contains(&stages.len()),
            "one to six stages"
        );
        let gemm_segments = stages.iter().map(ConvStage::gemm_segments).collect();
        let mut fused = Self {
            stages,
            scratch: Vec::new(),
            gemm_segments,
            scratch_len: 0,
            strip_rows: 1,
            input,
            output,
            residual: None,
            bias: None,
        };
        let height = fused.last().output.h;
        let single = fused.stages.len() == 1;
        let mut strip_rows = if single { height } else { 1 };
        fused.plan_scratch(strip_rows.max(1));
        // Larger strips waste fewer overlapping rows, as long as they stay in cache.
        while !single && strip_rows < height {
            let before = (fused.scratch.clone(), fused.scratch_len);
            fused.plan_scratch(strip_rows + 1);
            if fused.scratch_len > scratch_budget {
                (fused.scratch, fused.scratch_len) = before;
                break;
            }
            strip_rows += 1;
        }
        fused.strip_rows = strip_rows.max(1);
        fused
    }

    /// The convolutions.
    pub fn stages(&self) -> &[ConvStage] {
        &self.stages
    }

    fn last(&self) -> &ConvStage {
        self.stages
            .last()
            .expect("`new` checks that there is a stage")
    }

    fn plan_scratch(&mut self, strip_rows: usize) {
        let mut scratch = vec![Scratch::default(); self.stages.len()];
        let mut at = 0;
        let mut take = |len: usize| {
            let start = at;
            at += len.next_multiple_of(16);
            start
        };
        let mut rows = strip_rows;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            rows = rows.min(stage.output.h);
            let here = &mut scratch[index];
            if index + 1 < self.stages.len() {
                here.ring_rows = rows.max(1);
                here.ring = take(here.ring_rows * stage.output.row());
            }
            let window = stage.window;
            let extent = (window.kernel.0 - 1) * window.dilation.0 + 1;
            let needed = rows.saturating_sub(1) * window.stride.0 + extent;
            if stage.needs_padding() {
                let extent = (window.kernel.1 - 1) * window.dilation.1 + 1;
                here.padded_rows = needed;
                here.padded_width = (stage.output.w.max(1) - 1) * window.stride.1 + extent;
                here.padded = take(needed * here.padded_width * stage.input.c);
            }
            rows = needed;
        }
        self.scratch = scratch;
        self.scratch_len = at;
    }

    /// Runs the convolutions.
    ///
    /// # Safety
    /// The slots must lie in the arena, `input`, `residual` and `bias` apart from
    /// `output` (the residual may be the output itself), with room for the stages' shapes; each
    /// thread's scratch memory must hold [`FusedConv::scratch_len`]; `isa` must be available.
    pub unsafe fn run(&self, isa: Isa, arena: &Arena, pool: &mut ThreadPool) {
        let output = self.last().output;
        let threads = pool.threads();
        let panels = match &self.last().weights {
            ConvWeights::Dense(packed) => packed.panels(),
            ConvWeights::Depthwise(packed) => packed.blocks(),
        };
        let by_channels = self.stages.len() == 1 && output.h * output.w < FEW_PIXELS;
        if by_channels {
            let tasks = threads.min(panels).max(1);
            pool.parallel_for(tasks, &|task, thread| {
                let panels = (panels * task / tasks, panels * (task + 1) / tasks);
                // SAFETY: the caller's promise; tasks differ in their output channels.
                unsafe { self.run_band(isa, arena, thread, (0, output.h), panels) };
            });
        } else {
            let tasks = if threads == 1 {
                1
            } else {
                threads.min(output.h)
            };
            pool.parallel_for(tasks, &|task, thread| {
                let rows = (output.h * task / tasks, output.h * (task + 1) / tasks);
                // SAFETY: the caller's promise; tasks differ in their output rows.
                unsafe { self.run_band(isa, arena, thread, rows, (0, panels)) };
            });
        }
    }

    /// # Safety
    /// As [`FusedConv::run`]; nobody else writes the band's rows and panels.
    unsafe fn run_band(
        &self,
        isa: Isa,
        arena: &Arena,
        thread: usize,
        band: (usize, usize),
        panels: (usize, usize),
    ) {
        let count = self.stages.len();
        // The first row that each stage has not yet computed.
        let mut done = [usize::MAX; MAX_FUSED_STAGES];
        let mut strip = band.0;
        while strip < band.1 {
            let strip_end = (strip + self.strip_rows).min(band.1);
            let mut needs = [(0, 0); MAX_FUSED_STAGES];
            needs[count - 1] = (strip, strip_end);
            for index in (1..count).rev() {
                let stage = &self.stages[index];
                let (y0, y1) = needs[index];
                needs[index - 1] = stage.window.input_rows(y0, y1, stage.input.h);
            }
            for index in 0..count {
                let from = if done[index] == usize::MAX {
                    needs[index].0
                } else {
                    done[index].max(needs[index].0)
                };
                done[index] = needs[index].1.max(from);
                if from < needs[index].1 {
                    // SAFETY: the caller's promise; the rows that the stage reads were computed
                    // just now or are still in the ring buffer, which holds all that a strip needs.
                    unsafe {
                        self.run_stage(isa, arena, thread, index, (from, needs[index].1), panels);
                    }
                }
            }
            strip = strip_end;
        }
    }

    /// # Safety
    /// As [`FusedConv::run_band`], and the input rows are there.
    unsafe fn run_stage(
        &self,
        isa: Isa,
        arena: &Arena,
        thread: usize,
        index: usize,
        rows: (usize, usize),
        panels: (usize, usize),
    ) {
        let stage = &self.stages[index];
        let last = index + 1 == self.stages.len();
        // SAFETY: slots and scratch lie where the caller vouches for.
        let (input, output, residual) = unsafe {
            let input = if index == 0 {
                arena.rows(self.input, stage.input)
            } else {
                self.ring(arena, thread, index - 1)
            };
            let output = if last {
                arena.rows(self.output, stage.output)
            } else {
                self.ring(arena, thread, index)
            };
            let residual = self
                .residual
                .filter(|_| last)
                .map(|slot| arena.rows(slot, stage.output));
            (input, output, residual)
        };
        match &stage.weights {
            ConvWeights::Depthwise(packed) => {
                let job = DepthwiseJob {
                    input,
                    input_size: (stage.input.h, stage.input.w),
                    window: stage.window,
                    packed,
                    activation: stage.activation,
                    output,
                    width: stage.output.w,
                    rows,
                    blocks: if last { panels } else { (0, packed.blocks()) },
                };
                // SAFETY: the caller's promise.
                unsafe { depthwise(isa, &job) }
            }
            ConvWeights::Dense(packed) => {
                let (segments, segment_len) = &self.gemm_segments[index];
                let (input, row_offset) = if stage.needs_padding() {
                    // SAFETY: the caller's promise.
                    unsafe { (self.pad_input(arena, thread, index, input, rows), rows.0) }
                } else {
                    (input, 0)
                };
                let bias = match self.bias {
                    // SAFETY: a slot that no other step writes meanwhile.
                    Some(slot) if last => unsafe { arena.slice(slot) },
                    _ => packed.bias(),
                };
                let job = GemmJob {
                    input,
                    pixel_stride: stage.window.stride.1 * stage.input.c,
                    row_stride: stage.window.stride.0,
                    row_offset: row_offset * stage.window.stride.0,
                    segments,
                    segment_len: *segment_len,
                    packed,
                    bias,
                    activation: stage.activation,
                    residual,
                    output,
                    width: stage.output.w,
                    rows,
                    panels: if last { panels } else { (0, packed.panels()) },
                };
                // SAFETY: the caller's promise.
                unsafe { gemm(isa, &job) }
            }
        }
    }

    /// # Safety
    /// The thread's scratch memory must hold [`FusedConv::scratch_len`].
    unsafe fn ring(&self, arena: &Arena, thread: usize, index: usize) -> RowView {
        let scratch = self.scratch[index];
        RowView {
            // SAFETY: planned within the scratch memory.
            start: unsafe { arena.scratch(thread).add(scratch.ring) },
            stride: self.stages[index].output.row(),
            row_count: scratch.ring_rows,
        }
    }

    /// Copies the input rows that `rows` of the output read, with zero padding.
    ///
    /// # Safety
    /// As [`FusedConv::run_stage`].
    unsafe fn pad_input(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
        input: RowView,
        rows: (usize, usize),
    ) -> RowView {
        let stage = &self.stages[index];
        let scratch = self.scratch[index];
        let (shape, window) = (stage.input, stage.window);
        let stride = scratch.padded_width * shape.c;
        // SAFETY: planned within the scratch memory.
        let start = unsafe { arena.scratch(thread).add(scratch.padded) };
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
                        to[..left].fill(0.0);
                        to[left..left + copied].copy_from_slice(&from[..copied]);
                        to[left + copied..].fill(0.0);
                    }
                    None => to.fill(0.0),
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

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
use super::buffer::Buffer;
use super::conv_stage::{ConvStage, ConvWeights};
use super::gemm::{LARGE_WEIGHTS, MAX_BLOCK, SUMS_LEN, needs_sums};
use super::isa::IsaSet;
use super::thread_pool::ThreadPool;

/// Where a stage's scratch rows lie in a thread's scratch memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scratch {
    /// Offset and number of rows of the ring buffer of output rows; none for the last stage.
    pub ring: usize,
    pub ring_rows: usize,
    /// Offset and size of the zero-padded input, where the stage needs one.
    pub padded: usize,
    pub padded_rows: usize,
    pub padded_width: usize,
    /// Offset of the sums of a float GEMM between two chunks of K.
    pub sums: usize,
}

/// Convolutions in sequence that run strip by strip.
#[derive(Debug)]
pub struct FusedConv {
    pub(super) stages: Vec<ConvStage>,
    pub(super) scratch: Vec<Scratch>,
    /// For each stage where the segments of K begin, and their length.
    pub(super) gemm_segments: Vec<(Vec<usize>, usize)>,
    /// Zeros that a float GEMM reads in place of a pixel in the padding.
    pub(super) zeros: Buffer,
    /// Bytes of scratch memory that a thread needs.
    pub scratch_len: usize,
    strip_rows: usize,
    /// Input of the first stage.
    pub input: Slot,
    /// Output of the last stage.
    pub output: Slot,
    /// Added to the output of the last stage, after its activation or before it.
    pub residual: Option<Slot>,
    /// Whether the residual is added before the activation; for dense convolutions in float32.
    pub residual_first: bool,
    /// Replaces the bias of the last stage where another step computes it; whole panels.
    pub bias: Option<Slot>,
}

/// Most stages in a [`FusedConv`].
pub const MAX_FUSED_STAGES: usize = 6;
/// Bytes that may be read past a padded input: a group of four channels that is not whole.
const PADDED_SLACK: usize = 3;
/// Below this number of output pixels the threads share the channels, not the rows.
const FEW_PIXELS: usize = 48;
/// What sharing the channels costs where the weights are small, in percent of a convolution's time: each thread reads
/// all of the input.
const MORE_READING: usize = 5;

impl FusedConv {
    /// Fuses `stages`; where there is more than one, the scratch memory of a thread is limited to
    /// about `scratch_budget` bytes.
    ///
    /// # Panics
    /// When there is no stage, or more than [`MAX_FUSED_STAGES`].
    pub fn new(stages: Vec<ConvStage>, input: Slot, output: Slot, scratch_budget: usize) -> Self {
        assert!(
            (1..=MAX_FUSED_STAGES).contains(&stages.len()),
            "one to six stages"
        );
        let gemm_segments = stages.iter().map(ConvStage::gemm_segments).collect();
        let channels = stages.iter().map(|stage| stage.input.c).max();
        let mut fused = Self {
            stages,
            scratch: Vec::new(),
            gemm_segments,
            zeros: Buffer::zeroed(channels.unwrap_or(0)),
            scratch_len: 0,
            strip_rows: 1,
            input,
            output,
            residual: None,
            residual_first: false,
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
            at += len.next_multiple_of(64);
            start
        };
        let mut rows = strip_rows;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            rows = rows.min(stage.output.h);
            let here = &mut scratch[index];
            if index + 1 < self.stages.len() {
                here.ring_rows = rows.max(1);
                let row = stage.output.row() * stage.weights.output_size();
                here.ring = take(here.ring_rows * row);
            }
            let window = stage.window;
            let extent = (window.kernel.0 - 1) * window.dilation.0 + 1;
            let needed = rows.saturating_sub(1) * window.stride.0 + extent;
            let summed = match &stage.weights {
                ConvWeights::Dense(_) => Some(stage.input.c),
                ConvWeights::Grouped(groups) => Some(stage.input.c / groups.packed().len().max(1)),
                _ => None,
            };
            if summed.is_some_and(|channels| needs_sums(window.kernel, channels)) {
                here.sums = take(SUMS_LEN * size_of::<f32>());
            }
            if stage.needs_padding() {
                let extent = (window.kernel.1 - 1) * window.dilation.1 + 1;
                here.padded_rows = needed;
                here.padded_width = (stage.output.w.max(1) - 1) * window.stride.1 + extent;
                let row = here.padded_width * stage.input.c * stage.weights.input_size();
                here.padded = take(needed * row + PADDED_SLACK);
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
    pub unsafe fn run(&self, isa: IsaSet, arena: &Arena, pool: &mut ThreadPool) {
        let output = self.last().output;
        let threads = pool.threads();
        let panels = self.last().weights.panels();
        let by_channels = self.stages.len() == 1
            && (output.h * output.w < FEW_PIXELS || self.channels_split_better(threads));
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

    /// Whether threads that share the channels of a float convolution have less to do each than
    /// threads that share its rows: few rows do not divide evenly, and each thread would read all
    /// of large weights.
    fn channels_split_better(&self, threads: usize) -> bool {
        let stage = self.last();
        let output = stage.output;
        let weights = match &stage.weights {
            ConvWeights::Dense(packed) => packed.k * packed.outputs,
            ConvWeights::Grouped(_) | ConvWeights::Depthwise(_) => 0,
            _ => return false,
        };
        let panels = stage.weights.panels();
        if panels < threads || output.h == 0 {
            return false;
        }
        // The largest share, of 100.
        let share = |parts: usize| parts.div_ceil(threads) * 100 / parts;
        let few = output.h * output.w <= MAX_BLOCK && weights > LARGE_WEIGHTS;
        share(panels) + if few { 0 } else { MORE_READING } <= share(output.h)
    }

    /// # Safety
    /// As [`FusedConv::run`]; nobody else writes the band's rows and panels.
    unsafe fn run_band(
        &self,
        isa: IsaSet,
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
}

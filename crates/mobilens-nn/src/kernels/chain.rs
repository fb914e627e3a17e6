//! Convolutions one behind the other, a few rows at a time.
//!
//! An inverted residual (MobileNetV2, section 3.3) widens a thin tensor, filters the wide one and
//! thins it again. Done operator by operator the wide tensor goes out to L3 or memory and back,
//! twice. A [`Chain`] goes through the picture in strips of a few output rows: each operator
//! computes only the rows that the strip still lacks, into a ring of rows that fits L2, and only
//! the last one writes to the arena. Bands of rows go to different threads; the few rows around a
//! band's border are computed by both. A chain of one operator is the plain case.

use super::activation::Activation;
use super::arena::{Arena, Slot};
use super::depthwise::{DepthwiseJob, MOST_TAPS, PackedDepthwise, Window, depthwise};
use super::isa::Isa;
use super::product::{PackedProduct, ProductJob, product};
use super::rows::Rows;
use super::workers::Team;

/// Height, width and channels of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub h: usize,
    /// Pixels in a row.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// Number of values.
    pub fn floats(self) -> usize {
        self.h * self.w * self.c
    }

    /// Floats in a row.
    pub fn row(self) -> usize {
        self.w * self.c
    }
}

/// The weights of one convolution of a chain.
#[derive(Debug)]
pub enum Weights {
    /// Every output channel sums all input channels.
    Dense(PackedProduct),
    /// Every channel by itself.
    Depthwise(PackedDepthwise),
}

/// One convolution of a chain.
#[derive(Debug)]
pub struct Link {
    /// The weights.
    pub weights: Weights,
    /// Kernel, steps and border.
    pub window: Window,
    /// Shape of what it reads.
    pub input: Shape,
    /// Shape of what it makes.
    pub output: Shape,
    /// What happens to the sums.
    pub activation: Activation,
}

/// Where a link's scratch rows lie in a thread's scratch memory.
#[derive(Clone, Copy, Debug, Default)]
struct Scratch {
    /// The ring of output rows: offset and number of rows; none for the last link.
    ring: usize,
    kept: usize,
    /// The input with its border, for kernels larger than a pixel.
    border: usize,
    border_rows: usize,
    border_width: usize,
}

/// Convolutions that run strip by strip.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
    scratch: Vec<Scratch>,
    runs: Vec<(Vec<usize>, usize)>,
    /// Floats of scratch memory that a thread needs.
    pub scratch_len: usize,
    strip_rows: usize,
    /// What the first link reads.
    pub input: Slot,
    /// What the last link writes.
    pub output: Slot,
    /// Added to what the last link writes.
    pub residual: Option<Slot>,
    /// Replaces the last link's bias, whole panels, where another step computes it.
    pub bias: Option<Slot>,
}

/// Most links in a chain.
pub const MOST_LINKS: usize = 6;
/// Fewer output pixels than this are not split over threads by rows but by channels.
const FEW_PIXELS: usize = 48;

impl Chain {
    /// Plans a chain whose scratch memory, where there is more than one link, keeps to about
    /// `budget` floats.
    pub fn new(links: Vec<Link>, input: Slot, output: Slot, budget: usize) -> Self {
        assert!(
            (1..=MOST_LINKS).contains(&links.len()),
            "a chain has one to six links"
        );
        let runs = links.iter().map(runs_of).collect();
        let mut chain = Self {
            links,
            scratch: Vec::new(),
            runs,
            scratch_len: 0,
            strip_rows: 1,
            input,
            output,
            residual: None,
            bias: None,
        };
        let height = chain.last().output.h;
        let single = chain.links.len() == 1;
        let mut strip_rows = if single { height } else { 1 };
        chain.plan_scratch(strip_rows.max(1));
        // Larger strips waste fewer overlapping rows, as long as they stay in cache.
        while !single && strip_rows < height {
            let before = (chain.scratch.clone(), chain.scratch_len);
            chain.plan_scratch(strip_rows + 1);
            if chain.scratch_len > budget {
                (chain.scratch, chain.scratch_len) = before;
                break;
            }
            strip_rows += 1;
        }
        chain.strip_rows = strip_rows.max(1);
        chain
    }

    /// The convolutions.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    fn last(&self) -> &Link {
        self.links.last().expect("a chain has a link")
    }

    fn plan_scratch(&mut self, strip_rows: usize) {
        let mut scratch = vec![Scratch::default(); self.links.len()];
        let mut at = 0;
        let mut take = |len: usize| {
            let start = at;
            at += len.next_multiple_of(16);
            start
        };
        let mut rows = strip_rows;
        for (index, link) in self.links.iter().enumerate().rev() {
            rows = rows.min(link.output.h);
            let here = &mut scratch[index];
            if index + 1 < self.links.len() {
                here.kept = rows.max(1);
                here.ring = take(here.kept * link.output.row());
            }
            let window = link.window;
            let reach = (window.kernel.0 - 1) * window.dilation.0 + 1;
            let needed = rows.saturating_sub(1) * window.stride.0 + reach;
            if link.has_border() {
                let reach = (window.kernel.1 - 1) * window.dilation.1 + 1;
                here.border_rows = needed;
                here.border_width = (link.output.w.max(1) - 1) * window.stride.1 + reach;
                here.border = take(needed * here.border_width * link.input.c);
            }
            rows = needed;
        }
        self.scratch = scratch;
        self.scratch_len = at;
    }

    /// Runs the chain.
    ///
    /// # Safety
    /// The chain's slots must lie in the arena, `input`, `residual` and `bias` apart from
    /// `output` (the residual may be the output itself), with room for the links' shapes; each
    /// thread's scratch memory must hold [`Chain::scratch_len`]; `isa` must be available.
    pub unsafe fn run(&self, isa: Isa, arena: &Arena, team: &mut Team) {
        let output = self.last().output;
        let threads = team.threads();
        let panels = match &self.last().weights {
            Weights::Dense(packed) => packed.panels(),
            Weights::Depthwise(packed) => packed.blocks(),
        };
        let by_channels = self.links.len() == 1 && output.h * output.w < FEW_PIXELS;
        if by_channels {
            let tasks = threads.min(panels).max(1);
            team.run(tasks, &|task, thread| {
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
            team.run(tasks, &|task, thread| {
                let rows = (output.h * task / tasks, output.h * (task + 1) / tasks);
                // SAFETY: the caller's promise; tasks differ in their output rows.
                unsafe { self.run_band(isa, arena, thread, rows, (0, panels)) };
            });
        }
    }

    /// # Safety
    /// As [`Chain::run`]; nobody else writes the band's rows and panels.
    unsafe fn run_band(
        &self,
        isa: Isa,
        arena: &Arena,
        thread: usize,
        band: (usize, usize),
        panels: (usize, usize),
    ) {
        let count = self.links.len();
        // The first row that each link has not computed yet.
        let mut done = [usize::MAX; MOST_LINKS];
        let mut strip = band.0;
        while strip < band.1 {
            let strip_end = (strip + self.strip_rows).min(band.1);
            let mut needs = [(0, 0); MOST_LINKS];
            needs[count - 1] = (strip, strip_end);
            for index in (1..count).rev() {
                let link = &self.links[index];
                let (y0, y1) = needs[index];
                needs[index - 1] = link.window.rows_of(y0, y1, link.input.h);
            }
            for index in 0..count {
                let from = if done[index] == usize::MAX {
                    needs[index].0
                } else {
                    done[index].max(needs[index].0)
                };
                done[index] = needs[index].1.max(from);
                if from < needs[index].1 {
                    // SAFETY: the caller's promise; the rows that the link reads were computed
                    // just now or are still in the ring, which holds all that a strip needs.
                    unsafe {
                        self.run_link(isa, arena, thread, index, (from, needs[index].1), panels);
                    }
                }
            }
            strip = strip_end;
        }
    }

    /// # Safety
    /// As [`Chain::run_band`], and the input rows are there.
    unsafe fn run_link(
        &self,
        isa: Isa,
        arena: &Arena,
        thread: usize,
        index: usize,
        rows: (usize, usize),
        panels: (usize, usize),
    ) {
        let link = &self.links[index];
        let last = index + 1 == self.links.len();
        // SAFETY: slots and scratch lie where the caller vouches for.
        let (input, output, residual) = unsafe {
            let input = if index == 0 {
                arena.rows(self.input, link.input)
            } else {
                self.ring(arena, thread, index - 1)
            };
            let output = if last {
                arena.rows(self.output, link.output)
            } else {
                self.ring(arena, thread, index)
            };
            let residual = self
                .residual
                .filter(|_| last)
                .map(|slot| arena.rows(slot, link.output));
            (input, output, residual)
        };
        match &link.weights {
            Weights::Depthwise(packed) => {
                let job = DepthwiseJob {
                    input,
                    input_size: (link.input.h, link.input.w),
                    window: link.window,
                    packed,
                    activation: link.activation,
                    output,
                    width: link.output.w,
                    rows,
                    blocks: if last { panels } else { (0, packed.blocks()) },
                };
                // SAFETY: the caller's promise.
                unsafe { depthwise(isa, &job) }
            }
            Weights::Dense(packed) => {
                let (runs, run_len) = &self.runs[index];
                let (input, row_lead) = if link.has_border() {
                    // SAFETY: the caller's promise.
                    unsafe { (self.with_border(arena, thread, index, input, rows), rows.0) }
                } else {
                    (input, 0)
                };
                let bias = match self.bias {
                    // SAFETY: a slot that no other step writes meanwhile.
                    Some(slot) if last => unsafe { arena.slice(slot) },
                    _ => packed.bias(),
                };
                let job = ProductJob {
                    input,
                    pixel_step: link.window.stride.1 * link.input.c,
                    row_step: link.window.stride.0,
                    row_lead: row_lead * link.window.stride.0,
                    runs,
                    run_len: *run_len,
                    packed,
                    bias,
                    activation: link.activation,
                    residual,
                    output,
                    width: link.output.w,
                    rows,
                    panels: if last { panels } else { (0, packed.panels()) },
                };
                // SAFETY: the caller's promise.
                unsafe { product(isa, &job) }
            }
        }
    }

    /// # Safety
    /// The thread's scratch memory must hold the chain's.
    unsafe fn ring(&self, arena: &Arena, thread: usize, index: usize) -> Rows {
        let scratch = self.scratch[index];
        Rows {
            // SAFETY: planned within the scratch memory.
            start: unsafe { arena.scratch(thread).add(scratch.ring) },
            stride: self.links[index].output.row(),
            kept: scratch.kept,
        }
    }

    /// Copies the rows that `rows` of the output touch, with zeros around.
    ///
    /// # Safety
    /// As [`Chain::run_link`].
    unsafe fn with_border(
        &self,
        arena: &Arena,
        thread: usize,
        index: usize,
        input: Rows,
        rows: (usize, usize),
    ) -> Rows {
        let link = &self.links[index];
        let scratch = self.scratch[index];
        let (shape, window) = (link.input, link.window);
        let stride = scratch.border_width * shape.c;
        // SAFETY: planned within the scratch memory.
        let start = unsafe { arena.scratch(thread).add(scratch.border) };
        let reach = (window.kernel.0 - 1) * window.dilation.0 + 1;
        let count = (rows.1 - rows.0 - 1) * window.stride.0 + reach;
        let left = window.pad.1.min(scratch.border_width) * shape.c;
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
        Rows {
            start,
            stride,
            kept: scratch.border_rows.max(count),
        }
    }
}

impl Link {
    /// Whether a dense kernel needs a copy of its input with zeros around, also if only behind it.
    fn has_border(&self) -> bool {
        let (stride, out) = (self.window.stride, self.output);
        let reaches_past = out.h.saturating_sub(1) * stride.0 >= self.input.h
            || out.w.saturating_sub(1) * stride.1 >= self.input.w;
        matches!(self.weights, Weights::Dense(_))
            && (self.window.kernel != (1, 1) || self.window.pad != (0, 0) || reaches_past)
    }

    /// Fails where the numbers do not fit each other, so that no tap can lie outside.
    pub(super) fn check(&self) {
        let Self {
            window,
            input,
            output,
            ..
        } = self;
        let (kernel, stride) = (window.kernel, window.stride);
        assert!(
            kernel.0 > 0 && kernel.1 > 0 && stride.0 > 0 && stride.1 > 0,
            "a window"
        );
        assert!(window.dilation.0 > 0 && window.dilation.1 > 0, "a window");
        match &self.weights {
            Weights::Dense(packed) => {
                assert_eq!(packed.taps, kernel.0 * kernel.1 * input.c, "taps");
                assert_eq!(packed.outputs, output.c, "output channels");
                if !self.has_border() {
                    let down = output.h.saturating_sub(1) * stride.0;
                    let right = output.w.saturating_sub(1) * stride.1;
                    assert!(down < input.h && right < input.w, "output size");
                }
            }
            Weights::Depthwise(packed) => {
                assert!(
                    kernel.0 <= MOST_TAPS && kernel.1 <= MOST_TAPS,
                    "kernel size"
                );
                assert!(
                    packed.channels == input.c && input.c == output.c,
                    "channels"
                );
                assert_eq!(packed.taps, kernel.0 * kernel.1, "taps");
            }
        }
    }

    /// Multiplications with addition.
    pub fn macs(&self) -> u64 {
        let taps = match &self.weights {
            Weights::Dense(packed) => packed.taps,
            Weights::Depthwise(_) => self.window.kernel.0 * self.window.kernel.1,
        };
        (self.output.floats() * taps) as u64
    }
}

/// Where the runs of one pixel's taps begin, and their length.
fn runs_of(link: &Link) -> (Vec<usize>, usize) {
    let Weights::Dense(_) = link.weights else {
        return (Vec::new(), 0);
    };
    let (window, c) = (link.window, link.input.c);
    let (kernel, dilation) = (window.kernel, window.dilation);
    let width = (link.output.w.max(1) - 1) * window.stride.1 + (kernel.1 - 1) * dilation.1 + 1;
    let row = width * c;
    if dilation.1 == 1 {
        (
            (0..kernel.0).map(|ky| ky * dilation.0 * row).collect(),
            kernel.1 * c,
        )
    } else {
        let starts = (0..kernel.0).flat_map(|ky| {
            (0..kernel.1).map(move |kx| ky * dilation.0 * row + kx * dilation.1 * c)
        });
        (starts.collect(), c)
    }
}

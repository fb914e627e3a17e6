//! Weight packing for the int8 GEMM microkernels.
//!
//! `vpdpbusd` multiplies four neighbouring bytes of a pixel with four weights in each 32-bit lane of
//! a register and adds the four products to the lane. So a lane belongs to one output channel, K is
//! cut into steps of four, and weights are packed as `[panel][step][register][lane][4]`; a segment
//! of K that is not a multiple of four ends with zero weights.
//!
//! A panel has up to four registers of `LANES` channels. In a whole panel the channels are
//! interleaved: lane `4i + t` of register `j` holds channel `16i + 4j + t`, so that the two packing
//! instructions that turn four registers of sums into one of codes leave these in order. A last
//! panel of at most three registers has its channels in order. Plain Rust has them in order always,
//! and its weights as `[panel][k][register][lane]`. For AMX the steps are cut into tiles, `[panel]
//! [tile][register][step][lane][4]`. For AVX2 they are ordered as
//! [`weights_avx2`](super::weights_avx2) says.

use super::buffer::Buffer;
use super::gemm_int8_epilogue::Epilogue;
use super::isa::Int8Isa;
use super::requantize::{Int8Output, Requantize};
use super::weights_avx2::{Chunk, WeightsAvx2};

/// Values of K in one step: the weights in one 32-bit lane.
pub(super) const STEP: usize = 4;
/// Most registers in a panel.
pub(super) const MAX_REGISTERS: usize = 4;

/// Weights, bias and requantisation of a dense int8 convolution, packed for one instruction set.
#[derive(Debug)]
pub struct PackedGemmInt8 {
    weights: Buffer<i8>,
    bias: Buffer<i32>,
    multipliers: Buffer<f32>,
    avx2: WeightsAvx2,
    output: Int8Output,
    epilogue: Epilogue,
    isa: Int8Isa,
    segment_steps: usize,
    k_tiles: Option<KTiles>,
    /// Output channels, the dimension N of the GEMM.
    pub outputs: usize,
    /// The reduction dimension K of the GEMM: values summed for one output,
    /// `kernel_h * kernel_w * in`.
    pub k: usize,
    /// Segments of K, each contiguous in the input.
    pub segments: usize,
    /// Length of each segment, in bytes.
    pub segment_len: usize,
}

/// How AMX cuts a segment of K into tiles of equal size. The last one ends with the segment and may
/// overlap the one before; its weights are zero there.
#[derive(Clone, Copy, Debug)]
pub(super) struct KTiles {
    /// Tiles in a segment.
    pub count: usize,
    /// Steps in a tile, at most 16.
    pub steps: usize,
    /// Steps in a segment.
    pub segment_steps: usize,
}

/// Most steps of K in a tile of AMX.
const MAX_TILE_STEPS: usize = 16;
/// Least steps of K in a segment for which AMX is faster than AVX-512.
const MIN_AMX_STEPS: usize = 8;

impl KTiles {
    /// The tiles of a segment; none where AMX does not pay or the CPU does not have it.
    fn new(isa: Int8Isa, segment_steps: usize) -> Option<Self> {
        let count = segment_steps.div_ceil(MAX_TILE_STEPS);
        (isa == Int8Isa::Avx512Amx && segment_steps >= MIN_AMX_STEPS).then(|| Self {
            count,
            steps: segment_steps.div_ceil(count),
            segment_steps,
        })
    }

    /// Where the weights of a step are among those of all tiles.
    fn packed_step(self, step: usize) -> usize {
        let last = (self.count - 1) * self.steps;
        let overlap = self.count * self.steps - self.segment_steps;
        step + if step < last { 0 } else { overlap }
    }
}

/// Where the channels of a panel are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// First output channel.
    pub first: usize,
    /// Output channels.
    pub channels: usize,
    /// Registers that hold them.
    pub registers: usize,
    /// Whether the channels are interleaved; then there are four registers, else at most three.
    pub interleaved: bool,
}

impl Panel {
    /// The register and the lane of a channel that is counted from the panel's first.
    fn lane_of(self, channel: usize, lanes: usize) -> (usize, usize) {
        if self.interleaved {
            (channel / 4 % 4, channel / 16 * 4 + channel % 4)
        } else {
            (channel / lanes, channel % lanes)
        }
    }
}

impl PackedGemmInt8 {
    /// Packs weights given as `[output][k]` for `isa`, with the bias in units of the sums and what
    /// is done with these. K consists of `segments` of equal length.
    ///
    /// # Panics
    /// When the CPU does not support `isa`, there is no output channel, one for each value of
    /// `bias`, the weights are none or not as many for each, K is not divisible into the segments,
    /// or there are fewer multipliers than output channels.
    pub fn new(
        weights: &[i8],
        bias: &[i32],
        segments: usize,
        requantize: &Requantize,
        isa: Int8Isa,
    ) -> Self {
        let outputs = bias.len();
        assert!(isa.available(), "an instruction set that the CPU supports");
        assert!(outputs > 0 && segments > 0, "output channels and segments");
        assert!(
            requantize.multipliers.len() >= outputs,
            "a multiplier for each output channel"
        );
        let k = weights.len() / outputs;
        assert_eq!(
            weights.len(),
            outputs * k,
            "k weights for each output channel"
        );
        assert!(
            k > 0 && k.is_multiple_of(segments),
            "segments of equal length"
        );
        let segment_len = k / segments;
        let k_tiles = KTiles::new(isa, segment_len.div_ceil(STEP));
        let segment_steps = match k_tiles {
            Some(tiles) => tiles.count * tiles.steps,
            None => segment_len.div_ceil(STEP),
        };
        let lanes = lanes_of(isa);
        let panel_len = MAX_REGISTERS * lanes;
        let panels: Vec<_> = (0..outputs.div_ceil(panel_len))
            .map(|panel| panel_of(outputs, isa, panel))
            .collect();
        let registers: usize = panels.iter().map(|panel| panel.registers).sum();
        let steps = segments * segment_steps;
        let mut packed = Buffer::zeroed(registers * steps * lanes * STEP);
        let mut packed_bias = Buffer::zeroed(registers * lanes);
        let mut multipliers = Buffer::zeroed(registers * lanes);
        for (index, panel) in panels.iter().enumerate() {
            for channel in 0..panel.channels {
                let (register, lane) = panel.lane_of(channel, lanes);
                let output = panel.first + channel;
                let at = index * panel_len + register * lanes + lane;
                packed_bias[at] = bias[output];
                multipliers[at] = requantize.multipliers[output];
                for (i, weight) in weights[output * k..][..k].iter().enumerate() {
                    let (segment, at) = (i / segment_len, i % segment_len);
                    let step = at / STEP;
                    let first = if let Some(tiles) = k_tiles {
                        // A tile has the steps of one register.
                        let step = segment * segment_steps + tiles.packed_step(step);
                        let (tile, row) = (step / tiles.steps, step % tiles.steps);
                        let tile = tile * panel.registers + register;
                        ((tile * tiles.steps + row) * lanes + lane) * STEP + at % STEP
                    } else {
                        let step = segment * segment_steps + step;
                        match isa {
                            // Plain Rust goes through a panel's channels for one value of K.
                            Int8Isa::Portable => {
                                let row = (step * STEP + at % STEP) * panel.registers;
                                (row + register) * lanes + lane
                            }
                            _ => {
                                ((step * panel.registers + register) * lanes + lane) * STEP
                                    + at % STEP
                            }
                        }
                    };
                    packed[index * panel_len * steps * STEP + first] = *weight;
                }
            }
        }
        let mut avx2 = WeightsAvx2::default();
        if isa == Int8Isa::Avx2 {
            avx2 = WeightsAvx2::new(&packed, &panels, segments, segment_steps);
            packed = Buffer::from_slice(&std::mem::take(&mut avx2.weights));
        }
        Self {
            weights: packed,
            bias: packed_bias,
            multipliers,
            avx2,
            output: requantize.output.clone(),
            epilogue: Epilogue::new(&requantize.output),
            isa,
            segment_steps,
            k_tiles,
            outputs,
            k,
            segments,
            segment_len,
        }
    }

    /// Number of panels: the units in which threads can share the output channels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(MAX_REGISTERS * lanes_of(self.isa))
    }

    /// The instruction set that the weights are packed for.
    pub fn isa(&self) -> Int8Isa {
        self.isa
    }

    /// What is written.
    pub fn output(&self) -> &Int8Output {
        &self.output
    }

    /// What is done with the sums.
    pub(super) fn epilogue(&self) -> Epilogue {
        self.epilogue
    }

    /// Steps in the weights of each segment.
    pub(super) fn segment_steps(&self) -> usize {
        self.segment_steps
    }

    /// The tiles of a segment of K; none where the weights are not for AMX.
    pub(super) fn k_tiles(&self) -> Option<KTiles> {
        self.k_tiles
    }

    /// Where the channels of a panel are.
    pub(super) fn panel(&self, panel: usize) -> Panel {
        panel_of(self.outputs, self.isa, panel)
    }

    /// The packed weights from a panel on.
    pub(super) fn weights_from(&self, panel: usize) -> &[i8] {
        let steps = self.segments * self.segment_steps;
        let whole = steps * MAX_REGISTERS * lanes_of(self.isa) * STEP;
        let before = match self.isa {
            Int8Isa::Avx2 => self.avx2.start(panel),
            _ => panel * whole,
        };
        &self.weights[before.min(self.weights.len())..]
    }

    /// The bias from a panel on, in the order of the lanes.
    pub(super) fn bias_from(&self, panel: usize) -> &[i32] {
        &self.bias[panel * MAX_REGISTERS * lanes_of(self.isa)..]
    }

    /// The multipliers from a panel on, in the order of the lanes.
    pub(super) fn multipliers_from(&self, panel: usize) -> &[f32] {
        &self.multipliers[panel * MAX_REGISTERS * lanes_of(self.isa)..]
    }

    /// The chunks of K of a panel; AVX2 alone has any.
    pub(super) fn chunks(&self, panel: usize) -> &[Chunk] {
        self.avx2.chunks(panel)
    }

    /// Bytes of all packed weights.
    pub(super) fn weights_len(&self) -> usize {
        self.weights.len()
    }
}

/// 32-bit lanes of a register.
fn lanes_of(isa: Int8Isa) -> usize {
    match isa {
        Int8Isa::Avx512Vnni | Int8Isa::Avx512Amx => 16,
        Int8Isa::Portable | Int8Isa::Avx2 | Int8Isa::AvxVnni => 8,
    }
}

fn panel_of(outputs: usize, isa: Int8Isa, panel: usize) -> Panel {
    let lanes = lanes_of(isa);
    let whole = MAX_REGISTERS * lanes;
    let first = panel * whole;
    let channels = (outputs - first).min(whole);
    Panel {
        first,
        channels,
        registers: channels.div_ceil(lanes),
        interleaved: isa != Int8Isa::Portable && channels > whole - lanes,
    }
}

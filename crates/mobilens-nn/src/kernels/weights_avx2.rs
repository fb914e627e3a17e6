//! Weights of dense int8 convolutions in the order in which AVX2 takes them.
//!
//! `vpmaddubsw` multiplies bytes and adds two products with saturation in 16 bits. The kernel for AVX2
//! adds the results of two steps of K in 16 bits as well, before it widens them: four products. With
//! activations up to 255 that is exact where the positive weights of the four, and the negative ones,
//! are not more than 128 together: 255 x 128 < 32768.
//!
//! So each register has its steps in an order of its own: first pairs that hold this, which take 5
//! instructions for each pixel; then single steps that go with no other, 3 instructions; last wide
//! steps, which have too much by themselves, 4 instructions: weights and activations in 16 bits, which
//! `vpmaddwd` multiplies and sums in 32.
//!
//! All dense convolutions of the int8 SSDLite MobileNetV2, one core of a Sapphire Rapids: 13.5 ms where
//! what could leave 16 bits was added in steps beside those of all channels; 11.8 with an order of its
//! own for each register and a second, partial step instead of a wide one; 10.8 with wide steps; 10.3
//! with single steps, too. Groups of four light steps did not help: a few percent in the heads, lost elsewhere.

use super::packed_gemm_int8::{MAX_REGISTERS, Panel, STEP};

/// 32-bit lanes of a register.
const LANES: usize = 8;
/// Weights of a step in a register.
const WEIGHTS: usize = LANES * STEP;
/// Largest sum of weights of one sign whose products cannot leave 16 bits together.
const MAX_LOAD: i16 = 128;

/// Most bytes of a pixel in a chunk of K; their wide copies stay in L1.
pub(super) const MAX_CHUNK: usize = 512;
/// Bytes that are widened at once, in a chunk that has as many.
pub(super) const WIDENED: usize = 16;

/// The weights of all panels.
#[derive(Debug, Default)]
pub(super) struct WeightsAvx2 {
    /// `[panel][chunk][register][step][lane]`: four bytes in each lane, of a wide step twice two 16-bit
    /// values.
    pub weights: Vec<i8>,
    /// `[panel][chunk]`.
    chunks: Vec<Chunk>,
    /// Chunks of a panel.
    panel_chunks: usize,
    /// For each panel the start of its weights, and the end of all.
    starts: Vec<usize>,
}

/// Neighbouring steps in a segment of K.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The segment.
    pub segment: usize,
    /// First byte of the chunk in it.
    pub start: usize,
    /// Bytes that are widened at once: [`WIDENED`], or a step.
    pub block_len: usize,
    /// Where they begin, in bytes from the chunk's first.
    pub blocks: Vec<u16>,
    /// The steps of each register of the panel.
    pub registers: [Steps; MAX_REGISTERS],
}

/// The steps of a register in the order of their weights, in bytes from the chunk's first.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Those whose sums are added in 16 bits.
    pub pairs: Vec<[u16; 2]>,
    /// Those that go with no other.
    pub singles: Vec<u16>,
    /// Those in 16 bits.
    pub wide: Vec<u16>,
}

impl WeightsAvx2 {
    /// Orders weights that are packed step by step for registers of eight lanes.
    pub fn new(packed: &[i8], panels: &[Panel], segments: usize, segment_steps: usize) -> Self {
        let chunks = segment_steps.div_ceil(MAX_CHUNK / STEP);
        let chunk_steps = segment_steps.div_ceil(chunks);
        let mut all = Self {
            panel_chunks: segments * segment_steps.div_ceil(chunk_steps),
            ..Self::default()
        };
        let mut registers = packed.as_chunks::<WEIGHTS>().0;
        for panel in panels {
            all.starts.push(all.weights.len());
            for segment in 0..segments {
                let (here, after) = registers.split_at(segment_steps * panel.registers);
                registers = after;
                let chunks = here.chunks(chunk_steps * panel.registers);
                for (index, weights) in chunks.enumerate() {
                    let start = index * chunk_steps * STEP;
                    let chunk = all.push_chunk(weights, panel.registers);
                    all.chunks.push(Chunk {
                        segment,
                        start,
                        ..chunk
                    });
                }
            }
        }
        all.starts.push(all.weights.len());
        all
    }

    /// Adds the weights of the steps of some registers to all, and says where they are.
    fn push_chunk(&mut self, weights: &[[i8; WEIGHTS]], registers: usize) -> Chunk {
        let register_steps = std::array::from_fn(|register| {
            let weights = weights.iter().skip(register).step_by(registers);
            let steps = (0..).step_by(STEP).zip(weights);
            let steps = steps.map(|(at, weights)| Step::new(at, *weights));
            let exists = register < registers;
            let Split {
                pairs,
                singles,
                wide,
            } = Split::new(steps.filter(|_| exists).collect());
            for step in pairs.iter().flatten().chain(&singles) {
                self.weights.extend(step.weights);
            }
            for step in &wide {
                self.weights.extend(step.in_16_bits());
            }
            Steps {
                pairs: pairs.iter().map(|[a, b]| [a.at, b.at]).collect(),
                singles: singles.iter().map(|step| step.at).collect(),
                wide: wide.iter().map(|step| step.at).collect(),
            }
        });
        let len = weights.len() / registers * STEP;
        let block_len = if len < WIDENED { STEP } else { WIDENED };
        // The last block ends with the chunk.
        let block =
            |at: &u16| (usize::from(*at) / block_len * block_len).min(len - block_len) as u16;
        let wide = register_steps.iter().flat_map(|steps: &Steps| &steps.wide);
        let mut blocks: Vec<_> = wide.map(block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        Chunk {
            segment: 0,
            start: 0,
            block_len,
            blocks,
            registers: register_steps,
        }
    }

    /// The chunks of a panel.
    pub fn chunks(&self, panel: usize) -> &[Chunk] {
        &self.chunks[panel * self.panel_chunks..(panel + 1) * self.panel_chunks]
    }

    /// Where the weights of a panel begin; behind the last one their end.
    pub fn start(&self, panel: usize) -> usize {
        self.starts[panel.min(self.starts.len() - 1)]
    }
}

/// A step of one register.
#[derive(Clone, Debug)]
struct Step {
    /// Bytes from the chunk's first.
    at: u16,
    weights: [i8; WEIGHTS],
    /// For each two neighbouring weights the sum of the positive and that of the negative ones,
    /// without its sign.
    load: [i16; WEIGHTS],
    greatest: i16,
}

impl Step {
    fn new(at: u16, weights: [i8; WEIGHTS]) -> Self {
        let mut load = [0; WEIGHTS];
        let pairs = weights.as_chunks::<2>().0;
        for (load, weights) in load.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            let weights = weights.map(i16::from);
            let of_sign = |sign: i16| weights.map(|weight| (weight * sign).max(0)).iter().sum();
            *load = [of_sign(1), of_sign(-1)];
        }
        let greatest = load.iter().fold(0, |most, load| most.max(*load));
        Self {
            at,
            weights,
            load,
            greatest,
        }
    }

    /// Whether the products of both can be added in 16 bits.
    fn goes_with(&self, other: &Self) -> bool {
        let mut sums = self.load;
        for (sum, load) in sums.iter_mut().zip(other.load) {
            *sum += load;
        }
        sums.iter().fold(0, |most, sum| most.max(*sum)) <= MAX_LOAD
    }

    /// The first two weights of each lane in 16 bits, then the others.
    fn in_16_bits(&self) -> [i8; 2 * WEIGHTS] {
        let mut wide = [0; 2 * WEIGHTS];
        for (i, weight) in self.weights.iter().enumerate() {
            let (lane, byte) = (i / STEP, i % STEP);
            let at = byte / 2 * WEIGHTS + lane * STEP + byte % 2 * 2;
            wide[at..at + 2]
                .copy_from_slice(&i16::from(*weight).to_le_bytes().map(u8::cast_signed));
        }
        wide
    }
}

/// The steps of a register by how they are multiplied.
#[derive(Debug)]
struct Split {
    pairs: Vec<[Step; 2]>,
    singles: Vec<Step>,
    wide: Vec<Step>,
}

impl Split {
    /// Leaves out steps without weights.
    fn new(mut steps: Vec<Step>) -> Self {
        steps.retain(|step| step.greatest > 0);
        let (wide, mut others): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| step.greatest > MAX_LOAD);
        // Those that go with fewest others are taken first, and with the most difficult of these.
        others.sort_by_key(|step| step.greatest);
        let (mut pairs, mut singles) = (Vec::new(), Vec::new());
        while let Some(step) = others.pop() {
            match others.iter().rposition(|other| step.goes_with(other)) {
                Some(index) => pairs.push([step, others.remove(index)]),
                None => singles.push(step),
            }
        }
        Self {
            pairs,
            singles,
            wide,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weight() -> impl Strategy<Value = i8> {
        let extreme = prop::sample::select(vec![127, -127, -128, 64, -64, 1, 0]);
        prop_oneof![any::<i8>(), -20..20_i8, extreme]
    }

    proptest! {
        #[test]
        fn each_step_is_there_once_and_no_sum_leaves_16_bits(
            weights in prop::collection::vec(prop::collection::vec(weight(), WEIGHTS), 0..24),
            light in prop::collection::vec(prop::collection::vec(-20..20_i8, WEIGHTS), 0..24),
        ) {
            let weights = weights.into_iter().chain(light);
            let steps = (0..).zip(weights).map(|(at, weights)| {
                Step::new(at, weights.try_into().expect("as many"))
            });
            let steps: Vec<_> = steps.collect();
            let Split { pairs, singles, wide } = Split::new(steps.clone());
            let groups = pairs.iter().map(<[Step; 2]>::as_slice);
            for group in groups.chain(singles.chunks(1)) {
                for place in 0..WEIGHTS / 2 {
                    let all = group.iter().flat_map(|step| &step.weights[2 * place..][..2]);
                    let sum_of = |sign: i32| {
                        all.clone().map(|weight| (i32::from(*weight) * sign).max(0)).sum::<i32>()
                    };
                    prop_assert!(sum_of(1) <= 128 && sum_of(-1) <= 128);
                }
            }
            let mut found = [pairs.concat(), singles, wide].concat();
            found.sort_by_key(|step| step.at);
            let kept = steps.iter().filter(|step| step.weights != [0; WEIGHTS]);
            let parts = |step: &Step| (step.at, step.weights);
            let found: Vec<_> = found.iter().map(parts).collect();
            prop_assert_eq!(found, kept.map(parts).collect::<Vec<_>>());
        }
    }

    #[test]
    fn steps_that_go_together_are_found() {
        // Two neighbours of 44 and two of 20 are 128 together.
        let weights = [44, 20, 64, 63, -65, -40];
        let steps = (0..).zip(weights.map(|weight| [weight; WEIGHTS]));
        let split = Split::new(steps.map(|(at, weights)| Step::new(at, weights)).collect());
        let weights_of =
            |steps: &[Step]| steps.iter().map(|step| step.weights[0]).collect::<Vec<_>>();
        assert_eq!(weights_of(&split.wide), [-65]);
        assert_eq!(weights_of(&split.singles), [63]);
        assert_eq!(weights_of(&split.pairs.concat()), [64, -40, 44, 20]);
    }

    #[test]
    fn blocks_cover_the_wide_steps_and_end_with_the_chunk() {
        for (steps, expected, len) in [(2, vec![0, 4], STEP), (7, vec![0, 12], WIDENED)] {
            let mut all = WeightsAvx2::default();
            let chunk = all.push_chunk(&vec![[100; WEIGHTS]; steps], 1);
            assert_eq!((chunk.blocks, chunk.block_len), (expected, len));
        }
    }
}

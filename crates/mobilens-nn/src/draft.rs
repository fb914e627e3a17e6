//! Steps before their values have places, and where those go.

use crate::kernels::{
    Binary, Buffer, Chain, Link, Operand, PANEL, Resize, Simple, Slot, Step, Unary,
};
/// What a program does at which step, for reports.
#[derive(Clone, Debug)]
pub(super) struct StepReport {
    pub name: String,
    pub op: &'static str,
    pub output_shape: Vec<usize>,
    pub macs: u64,
    pub parameters: u64,
}

/// A piece of memory that has no place yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub len: usize,
    /// The larger piece that it is a part of, and where.
    pub part_of: Option<(usize, usize)>,
}

/// A step whose values have no places yet; pieces are named by number.
pub(super) enum Draft {
    Conv {
        links: Vec<Link>,
        input: usize,
        residual: Option<usize>,
        bias: Option<usize>,
    },
    GlobalSum(usize),
    Unary(Unary, usize),
    Binary(Binary, usize, Result<usize, Vec<f32>>),
    Permute {
        input: usize,
        sizes: Vec<usize>,
        steps: Vec<usize>,
    },
    Copy {
        input: usize,
        rows: usize,
        len: usize,
        input_step: usize,
        output_step: usize,
    },
    Resize {
        input: usize,
        resize: Resize,
    },
}

/// A draft and what it writes.
pub(super) struct DraftStep {
    pub draft: Draft,
    pub output: usize,
    pub reports: Vec<StepReport>,
}

impl DraftStep {
    /// The pieces that it reads.
    pub fn reads(&self) -> Vec<usize> {
        match &self.draft {
            Draft::Conv {
                input,
                residual,
                bias,
                ..
            } => [Some(*input), *residual, *bias]
                .into_iter()
                .flatten()
                .collect(),
            Draft::Binary(_, left, Ok(right)) => vec![*left, *right],
            Draft::GlobalSum(input)
            | Draft::Unary(_, input)
            | Draft::Binary(_, input, Err(_))
            | Draft::Permute { input, .. }
            | Draft::Copy { input, .. }
            | Draft::Resize { input, .. } => vec![*input],
        }
    }
}

/// The piece that `piece` is a part of in the end, and where.
fn root_of(pieces: &[Piece], mut piece: usize) -> (usize, usize) {
    let mut offset = 0;
    while let Some((parent, at)) = pieces[piece].part_of {
        offset += at;
        piece = parent;
    }
    (piece, offset)
}

/// Gives every piece a slot: the largest first, at the lowest place that is free for as long
/// as the piece lives.
pub(super) fn allocate(
    pieces: &[Piece],
    steps: &[DraftStep],
    inputs: &[usize],
    outputs: &[usize],
) -> (Vec<Slot>, usize) {
    const ALIGN: usize = 16;
    let count = pieces.len();
    let mut life: Vec<Option<(usize, usize)>> = vec![None; count];
    let mut touch = |piece: usize, step: usize| {
        let (root, _) = root_of(pieces, piece);
        let life = life[root].get_or_insert((step, step));
        *life = (life.0.min(step), life.1.max(step));
    };
    let end = steps.len() + 1;
    for (index, step) in steps.iter().enumerate() {
        touch(step.output, index + 1);
        for read in step.reads() {
            touch(read, index + 1);
        }
    }
    for input in inputs {
        touch(*input, 0);
        touch(*input, end);
    }
    for output in outputs {
        touch(*output, end);
    }
    let mut roots: Vec<usize> = (0..count).filter(|piece| life[*piece].is_some()).collect();
    roots.sort_by_key(|piece| std::cmp::Reverse(pieces[*piece].len));
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut offsets = vec![0; count];
    let mut arena_len = 0;
    for root in roots {
        let Some(life) = life[root] else { continue };
        let len = pieces[root].len.next_multiple_of(ALIGN);
        let mut others: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(_, _, other)| other.0 <= life.1 && life.0 <= other.1)
            .map(|(start, len, _)| (*start, *len))
            .collect();
        others.sort_unstable();
        let mut start = 0;
        for (other, other_len) in others {
            if start + len <= other {
                break;
            }
            start = start.max(other + other_len);
        }
        placed.push((start, len, life));
        offsets[root] = start;
        arena_len = arena_len.max(start + len);
    }
    let slots = (0..count)
        .map(|piece| {
            let (root, offset) = root_of(pieces, piece);
            Slot {
                offset: offsets[root] + offset,
                len: pieces[piece].len,
            }
        })
        .collect();
    (slots, arena_len)
}

/// The step, with its values' places; chains keep to `scratch_bytes`.
pub(super) fn finish(draft: Draft, slots: &[Slot], output: Slot, scratch_bytes: usize) -> Step {
    Step::Simple(match draft {
        Draft::Conv {
            links,
            input,
            residual,
            bias,
        } => {
            let budget = scratch_bytes / size_of::<f32>();
            let mut chain = Chain::new(links, slots[input], output, budget);
            chain.residual = residual.map(|piece| slots[piece]);
            chain.bias = bias.map(|piece| {
                let slot = slots[piece];
                // Kernels read whole panels; slots are allocated in whole panels as well.
                Slot {
                    len: slot.len.next_multiple_of(PANEL),
                    ..slot
                }
            });
            return Step::Chain(chain);
        }
        Draft::GlobalSum(input) => Simple::GlobalSum {
            input: slots[input],
            output,
        },
        Draft::Unary(function, input) => Simple::Unary {
            function,
            input: slots[input],
            output,
        },
        Draft::Binary(function, left, right) => Simple::Binary {
            function,
            left: slots[left],
            right: match right {
                Ok(piece) => Operand::Slot(slots[piece]),
                Err(values) => Operand::Constant(Buffer::from_slice(&values)),
            },
            output,
        },
        Draft::Permute {
            input,
            sizes,
            steps,
        } => Simple::Permute {
            input: slots[input],
            output,
            sizes,
            steps,
        },
        Draft::Copy {
            input,
            rows,
            len,
            input_step,
            output_step,
        } => Simple::Copy {
            input: slots[input],
            output,
            rows,
            len,
            input_step,
            output_step,
        },
        Draft::Resize { input, resize } => Simple::Resize(Resize {
            input: slots[input],
            output,
            ..resize
        }),
    })
}

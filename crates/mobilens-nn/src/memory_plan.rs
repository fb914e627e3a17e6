//! Memory planning: lifetimes of the tensors, and their offsets in one arena.
//!
//! Tensors that are never alive at the same time share memory. Until offsets are known, steps name
//! tensors by the index of their [`Allocation`]; [`plan_memory`] gives every allocation a slot, and
//! [`resolve`] turns a [`PlannedOp`] into a step of the program.

use crate::kernels::{
    BinaryInt8Step, BinaryOp, Buffer, CodeRange, ConvStage, FusedConv, Int8Op, Operand, Operator,
    PANEL, Resize, ResizeInt8, Slot, Step, TensorOp, TensorStep, UnaryOp,
};
use crate::precision::NumberFormat;

/// What one layer of a step is, for reports.
#[derive(Clone, Debug)]
pub(super) struct StepReport {
    pub name: String,
    pub op: &'static str,
    pub output_shape: Vec<usize>,
    pub macs: u64,
    pub parameters: u64,
    /// What it works on.
    pub format: NumberFormat,
}

/// Memory of a tensor that has no offset in the arena yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allocation {
    /// Length in bytes.
    pub len: usize,
    /// The allocation that this one is a part of, and the offset in it.
    pub parent: Option<(usize, usize)>,
}

/// The second argument of a binary operator.
pub(super) enum PlannedOperand {
    /// A tensor, by its allocation.
    Allocation(usize),
    Constant(Vec<f32>),
}

/// An operator whose tensors have no offsets yet; they are named by allocation.
pub(super) enum PlannedOp {
    Conv {
        stages: Vec<ConvStage>,
        input: usize,
        residual: Option<usize>,
        /// Whether the residual is added before the activation.
        residual_first: bool,
        bias: Option<usize>,
    },
    GlobalSumPool(usize),
    Unary(UnaryOp, usize),
    Binary(BinaryOp, usize, PlannedOperand),
    Transpose {
        input: usize,
        element: usize,
        sizes: Vec<usize>,
        strides: Vec<usize>,
    },
    StridedCopy {
        input: usize,
        rows: usize,
        len: usize,
        input_stride: usize,
        output_stride: usize,
    },
    Resize {
        input: usize,
        resize: Resize,
    },
    /// Any other operator of one input, made from the slots of input and output.
    OneInput(usize, Box<dyn FnOnce(Slot, Slot) -> Operator>),
    /// Float32 to bfloat16.
    ToBf16(usize),
    /// Bfloat16 to float32.
    FromBf16(usize),
    /// An operator of a transformer, with its inputs.
    Tensor(Box<TensorOp>, Vec<usize>),
    Int8(Int8Op, usize),
    BinaryInt8(BinaryInt8Step, usize, usize),
    ResizeInt8 {
        input: usize,
        resize: ResizeInt8,
        range: CodeRange,
    },
}

/// An operator and the allocation that it writes.
pub(super) struct PlannedStep {
    pub op: PlannedOp,
    pub output: usize,
    pub reports: Vec<StepReport>,
}

impl PlannedStep {
    /// The allocations that it reads.
    pub fn inputs(&self) -> Vec<usize> {
        match &self.op {
            PlannedOp::Conv {
                input,
                residual,
                bias,
                ..
            } => [Some(*input), *residual, *bias]
                .into_iter()
                .flatten()
                .collect(),
            PlannedOp::Tensor(_, inputs) => inputs.clone(),
            PlannedOp::Binary(_, left, PlannedOperand::Allocation(right))
            | PlannedOp::BinaryInt8(_, left, right) => vec![*left, *right],
            PlannedOp::GlobalSumPool(input)
            | PlannedOp::Unary(_, input)
            | PlannedOp::Binary(_, input, PlannedOperand::Constant(_))
            | PlannedOp::Transpose { input, .. }
            | PlannedOp::StridedCopy { input, .. }
            | PlannedOp::Resize { input, .. }
            | PlannedOp::OneInput(input, _)
            | PlannedOp::Int8(_, input)
            | PlannedOp::ToBf16(input)
            | PlannedOp::FromBf16(input)
            | PlannedOp::ResizeInt8 { input, .. } => vec![*input],
        }
    }
}

/// The outermost allocation that `allocation` is a part of, and the offset in it.
fn root_of(allocations: &[Allocation], mut allocation: usize) -> (usize, usize) {
    let mut offset = 0;
    while let Some((parent, offset_in_parent)) = allocations[allocation].parent {
        offset += offset_in_parent;
        allocation = parent;
    }
    (allocation, offset)
}

/// Gives every allocation a slot, and returns the slots and the length of the arena in bytes.
///
/// Greedy by size: the largest first, at the lowest offset that is free during its lifetime.
pub(super) fn plan_memory(
    allocations: &[Allocation],
    steps: &[PlannedStep],
    inputs: &[usize],
    outputs: &[usize],
) -> (Vec<Slot>, usize) {
    const ALIGN: usize = 64;
    let count = allocations.len();
    // First and last step that uses each root allocation.
    let mut lifetimes: Vec<Option<(usize, usize)>> = vec![None; count];
    let mut extend = |allocation: usize, step: usize| {
        let (root, _) = root_of(allocations, allocation);
        let lifetime = lifetimes[root].get_or_insert((step, step));
        *lifetime = (lifetime.0.min(step), lifetime.1.max(step));
    };
    let end = steps.len() + 1;
    for (index, step) in steps.iter().enumerate() {
        extend(step.output, index + 1);
        for input in step.inputs() {
            extend(input, index + 1);
        }
    }
    for input in inputs {
        extend(*input, 0);
        extend(*input, end);
    }
    for output in outputs {
        extend(*output, end);
    }
    let mut roots: Vec<usize> = (0..count).filter(|i| lifetimes[*i].is_some()).collect();
    roots.sort_by_key(|i| std::cmp::Reverse(allocations[*i].len));
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut offsets = vec![0; count];
    let mut arena_len = 0;
    for root in roots {
        let Some(lifetime) = lifetimes[root] else {
            continue;
        };
        let len = allocations[root].len.next_multiple_of(ALIGN);
        let mut others: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(_, _, other)| other.0 <= lifetime.1 && lifetime.0 <= other.1)
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
        placed.push((start, len, lifetime));
        offsets[root] = start;
        arena_len = arena_len.max(start + len);
    }
    let slots = (0..count)
        .map(|allocation| {
            let (root, offset) = root_of(allocations, allocation);
            Slot {
                offset: offsets[root] + offset,
                len: allocations[allocation].len,
            }
        })
        .collect();
    (slots, arena_len)
}

/// The step with the slots of its tensors; fused convolutions keep to `scratch_bytes` of scratch
/// memory.
pub(super) fn resolve(op: PlannedOp, slots: &[Slot], output: Slot, scratch_bytes: usize) -> Step {
    Step::Operator(match op {
        PlannedOp::Conv {
            stages,
            input,
            residual,
            residual_first,
            bias,
        } => {
            let mut conv = FusedConv::new(stages, slots[input], output, scratch_bytes);
            conv.residual = residual.map(|allocation| slots[allocation]);
            conv.residual_first = residual_first;
            conv.bias = bias.map(|allocation| {
                let slot = slots[allocation];
                // Kernels read whole panels; slots are allocated in whole panels as well.
                Slot {
                    len: slot.len.next_multiple_of(PANEL * size_of::<f32>()),
                    ..slot
                }
            });
            return Step::FusedConv(conv);
        }
        PlannedOp::GlobalSumPool(input) => Operator::GlobalSumPool {
            input: slots[input],
            output,
        },
        PlannedOp::Unary(function, input) => Operator::Unary {
            function,
            input: slots[input],
            output,
        },
        PlannedOp::Binary(function, left, right) => Operator::Binary {
            function,
            left: slots[left],
            right: match right {
                PlannedOperand::Allocation(right) => Operand::Slot(slots[right]),
                PlannedOperand::Constant(values) => Operand::Constant(Buffer::from_slice(&values)),
            },
            output,
        },
        PlannedOp::Transpose {
            input,
            element,
            sizes,
            strides,
        } => Operator::Transpose {
            input: slots[input],
            output,
            element,
            sizes,
            strides,
        },
        PlannedOp::StridedCopy {
            input,
            rows,
            len,
            input_stride,
            output_stride,
        } => Operator::StridedCopy {
            input: slots[input],
            output,
            rows,
            len,
            input_stride,
            output_stride,
        },
        PlannedOp::Resize { input, resize } => Operator::Resize(Resize {
            input: slots[input],
            output,
            ..resize
        }),
        PlannedOp::OneInput(input, build) => build(slots[input], output),
        PlannedOp::ToBf16(input) => Operator::ToBf16 {
            input: slots[input],
            output,
        },
        PlannedOp::FromBf16(input) => Operator::FromBf16 {
            input: slots[input],
            output,
        },
        PlannedOp::Tensor(op, inputs) => Operator::Tensor(Box::new(TensorStep {
            op: *op,
            inputs: inputs.into_iter().map(|input| slots[input]).collect(),
            output,
        })),
        PlannedOp::Int8(op, input) => Operator::Int8 {
            op,
            input: slots[input],
            output,
        },
        PlannedOp::BinaryInt8(op, left, right) => Operator::BinaryInt8 {
            op,
            left: slots[left],
            right: slots[right],
            output,
        },
        PlannedOp::ResizeInt8 {
            input,
            resize,
            range,
        } => Operator::ResizeInt8 {
            resize,
            range,
            input: slots[input],
            output,
        },
    })
}

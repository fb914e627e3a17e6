//! Fusion of planned convolutions: of activations behind their residual sums, and of consecutive convolutions whose
//! intermediate value would not stay in cache.

use crate::kernels::{Activation, ConvWeights, MAX_FUSED_STAGES, UnaryOp};
use crate::memory_plan::{Allocation, PlannedOp, PlannedStep};

/// Fuses convolutions where the value between them has more than `min_bytes` and no other consumer,
/// the largest first. `outputs` are the allocations of the graph's outputs.
pub(super) fn fuse_convolutions(
    allocations: &[Allocation],
    steps: &mut Vec<PlannedStep>,
    outputs: &[usize],
    min_bytes: usize,
) {
    let mut intermediates = intermediates_of(allocations, outputs);
    intermediates.retain(|i| allocations[*i].len > min_bytes);
    intermediates.sort_by_key(|i| std::cmp::Reverse(allocations[*i].len));
    for intermediate in intermediates {
        let Some((producer, consumer)) = ends_of(steps, intermediate) else {
            continue;
        };
        if can_fuse(&steps[producer].op, &steps[consumer].op, intermediate) {
            fuse(steps, producer, consumer);
        }
    }
}

/// A clamp that follows a residual sum (the ReLU of a ResNet's block) goes into the epilogue of the convolution
/// before, which then adds the residual before its activation. For float32.
pub(super) fn fuse_clamps_behind_residuals(
    allocations: &[Allocation],
    steps: &mut Vec<PlannedStep>,
    outputs: &[usize],
) {
    for intermediate in intermediates_of(allocations, outputs) {
        let Some((producer, consumer)) = ends_of(steps, intermediate) else {
            continue;
        };
        let PlannedOp::Unary(UnaryOp::Activation(clamp @ Activation::Clamp { .. }), _) =
            steps[consumer].op
        else {
            continue;
        };
        let PlannedOp::Conv {
            stages,
            residual: Some(_),
            residual_first: first @ false,
            ..
        } = &mut steps[producer].op
        else {
            continue;
        };
        match stages.last_mut() {
            Some(last)
                if matches!(last.weights, ConvWeights::Dense(_))
                    && last.activation == Activation::NONE =>
            {
                last.activation = clamp;
                *first = true;
            }
            _ => continue,
        }
        let clamp = steps.remove(consumer);
        steps[producer].output = clamp.output;
        steps[producer].reports.extend(clamp.reports);
    }
}

/// Allocations that hold one value, which is no output.
fn intermediates_of(allocations: &[Allocation], outputs: &[usize]) -> Vec<usize> {
    let is_unshared = |allocation: usize| {
        let mut parents = allocations.iter().filter_map(|a| a.parent);
        allocations[allocation].parent.is_none() && parents.all(|(parent, _)| parent != allocation)
    };
    (0..allocations.len())
        .filter(|i| is_unshared(*i) && !outputs.contains(i))
        .collect()
}

/// The step that makes a value, and the only one that reads it.
fn ends_of(steps: &[PlannedStep], intermediate: usize) -> Option<(usize, usize)> {
    let mut consumers =
        (0..steps.len()).filter(|step| steps[*step].inputs().contains(&intermediate));
    let consumer = consumers.next()?;
    if consumers.next().is_some() {
        return None;
    }
    let producer = steps.iter().position(|step| step.output == intermediate)?;
    Some((producer, consumer))
}

fn can_fuse(producer: &PlannedOp, consumer: &PlannedOp, intermediate: usize) -> bool {
    let (
        PlannedOp::Conv {
            stages: first,
            residual: None,
            bias: None,
            ..
        },
        PlannedOp::Conv {
            stages: second,
            input,
            residual,
            bias,
            ..
        },
    ) = (producer, consumer)
    else {
        return false;
    };
    *input == intermediate
        && *residual != Some(intermediate)
        && *bias != Some(intermediate)
        && first.len() + second.len() <= MAX_FUSED_STAGES
}

/// Puts the stages of `producer`, which lies before `consumer`, in front of those of `consumer`.
fn fuse(steps: &mut Vec<PlannedStep>, producer: usize, consumer: usize) {
    let producer = steps.remove(producer);
    let consumer = &mut steps[consumer - 1];
    if let (
        PlannedOp::Conv {
            stages: first,
            input: first_input,
            ..
        },
        PlannedOp::Conv { stages, input, .. },
    ) = (producer.op, &mut consumer.op)
    {
        stages.splice(0..0, first);
        *input = first_input;
        consumer.reports.splice(0..0, producer.reports);
    }
}

//! Fusion of consecutive convolutions whose intermediate value would not stay in cache.

use crate::kernels::MAX_FUSED_STAGES;
use crate::memory_plan::{Allocation, PlannedOp, PlannedStep};

/// Fuses convolutions where the value between them has more than `min_bytes` and no other consumer,
/// the largest first. `outputs` are the allocations of the graph's outputs.
pub(super) fn fuse_convolutions(
    allocations: &[Allocation],
    steps: &mut Vec<PlannedStep>,
    outputs: &[usize],
    min_bytes: usize,
) {
    let is_unshared = |allocation: usize| {
        let mut parents = allocations.iter().filter_map(|a| a.parent);
        allocations[allocation].parent.is_none() && parents.all(|(parent, _)| parent != allocation)
    };
    let mut intermediates: Vec<usize> = (0..allocations.len())
        .filter(|i| allocations[*i].len > min_bytes)
        .filter(|i| is_unshared(*i) && !outputs.contains(i))
        .collect();
    intermediates.sort_by_key(|i| std::cmp::Reverse(allocations[*i].len));
    for intermediate in intermediates {
        let consumers: Vec<usize> = (0..steps.len())
            .filter(|step| steps[*step].inputs().contains(&intermediate))
            .collect();
        let producer = steps.iter().position(|step| step.output == intermediate);
        let (Some(producer), &[consumer]) = (producer, &consumers[..]) else {
            continue;
        };
        if can_fuse(&steps[producer].op, &steps[consumer].op, intermediate) {
            fuse(steps, producer, consumer);
        }
    }
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

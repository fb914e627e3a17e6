//! The compiled form of a network: a sequence of steps over one memory arena.

use super::arena::{Arena, Slot};
use super::fused_conv::FusedConv;
use super::isa::IsaSet;
use super::operator::Operator;
use super::packed_gemm::PANEL;
use super::thread_pool::ThreadPool;

/// One step of a program.
#[derive(Debug)]
pub enum Step {
    /// One or several fused convolutions.
    FusedConv(FusedConv),
    /// Any other operator.
    Operator(Operator),
}

/// Steps in execution order, and the memory that they need.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    arena_len: usize,
    scratch_len: usize,
    isa: IsaSet,
}

impl Program {
    /// Checks that every step stays within an arena of `arena_len` bytes and that its output
    /// does not overlap its inputs.
    ///
    /// # Panics
    /// When one does not, which is a bug in memory planning, or when this CPU does not support
    /// `isa`.
    pub fn new(steps: Vec<Step>, arena_len: usize, isa: impl Into<IsaSet>) -> Self {
        let isa = isa.into();
        assert!(isa.available(), "this CPU supports the instruction set");
        for step in &steps {
            match step {
                Step::FusedConv(conv) => check_fused_conv(conv, arena_len),
                Step::Operator(operator) => operator.check(arena_len),
            }
        }
        let scratch_len = steps
            .iter()
            .map(|step| match step {
                Step::FusedConv(conv) => conv.scratch_len,
                Step::Operator(operator) => operator.scratch_len(),
            })
            .max()
            .unwrap_or(0);
        Self {
            steps,
            arena_len,
            scratch_len,
            isa,
        }
    }

    /// The instruction sets that the program runs on.
    pub fn isa(&self) -> IsaSet {
        self.isa
    }

    /// An arena to run in with a pool of `threads` threads.
    pub fn arena(&self, threads: usize) -> Arena {
        Arena::new(self.arena_len, self.scratch_len, threads.max(1))
    }

    /// Runs all steps in an arena that [`Program::arena`] made for as many threads.
    ///
    /// # Panics
    /// When the arena was made for another program or fewer threads.
    pub fn run(&self, arena: &mut Arena, pool: &mut ThreadPool) {
        self.run_timed(arena, pool, |_| {});
    }

    /// As [`Program::run`], calling `after(index)` when a step has finished.
    pub fn run_timed(
        &self,
        arena: &mut Arena,
        pool: &mut ThreadPool,
        mut after: impl FnMut(usize),
    ) {
        arena.check_size(self.arena_len, self.scratch_len, pool.threads());
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                // SAFETY: `new` checked the slots against `arena_len` and each other, the line
                // above the arena itself, which is borrowed alone here.
                Step::FusedConv(conv) => unsafe { conv.run(self.isa, arena, pool) },
                // SAFETY: as above.
                Step::Operator(operator) => unsafe { operator.run(self.isa, arena, pool) },
            }
            after(index);
        }
    }
}

/// Panics where slots are too small, outside the arena, or overlap.
fn check_fused_conv(conv: &FusedConv, arena_len: usize) {
    let inside = |slot: Slot| {
        slot.offset
            .checked_add(slot.len)
            .is_some_and(|end| end <= arena_len)
    };
    let stages = conv.stages();
    let (first, last) = (&stages[0], &stages[stages.len() - 1]);
    assert!(
        inside(conv.input) && conv.input.len >= first.input_bytes(),
        "input slot"
    );
    assert!(
        inside(conv.output) && conv.output.len >= last.output_bytes(),
        "output slot"
    );
    assert!(
        !conv.input.overlaps(conv.output),
        "input and output overlap"
    );
    if let Some(residual) = conv.residual {
        assert!(
            inside(residual) && residual.len >= last.output_bytes(),
            "residual slot"
        );
        assert!(
            residual.offset == conv.output.offset || !residual.overlaps(conv.output),
            "residual and output overlap in part"
        );
    }
    if let Some(bias) = conv.bias {
        let needed = last.output.c.next_multiple_of(PANEL) * size_of::<f32>();
        assert!(inside(bias) && bias.len >= needed, "bias slot");
        assert!(!bias.overlaps(conv.output), "bias and output overlap");
    }
    for (before, after) in stages.iter().zip(stages.iter().skip(1)) {
        assert_eq!(
            before.output, after.input,
            "output of a stage and input of the next"
        );
        assert_eq!(
            before.weights.output_size(),
            after.weights.input_size(),
            "element types of a stage and the next"
        );
    }
    for stage in stages {
        stage.check();
    }
}

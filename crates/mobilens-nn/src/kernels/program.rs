//! A network as a list of steps over one arena.

use super::arena::{Arena, Slot};
use super::chain::Chain;
use super::isa::Isa;
use super::simple::Simple;
use super::workers::Team;

/// One step of a program.
#[derive(Debug)]
pub enum Step {
    /// Convolutions, strip by strip.
    Chain(Chain),
    /// Everything else.
    Simple(Simple),
}

/// Steps, in order, and the memory that they need.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    arena_len: usize,
    scratch_len: usize,
    isa: Isa,
}

impl Program {
    /// Checks that every step keeps to an arena of `arena_len` floats and does not read what it
    /// writes.
    ///
    /// # Panics
    /// When one does not: that is a fault of the planner.
    pub fn new(steps: Vec<Step>, arena_len: usize, isa: Isa) -> Self {
        assert!(isa.available(), "the kernels must run on this machine");
        for step in &steps {
            match step {
                Step::Chain(chain) => check_chain(chain, arena_len),
                Step::Simple(simple) => simple.check(arena_len),
            }
        }
        let scratch_len = steps
            .iter()
            .map(|step| match step {
                Step::Chain(chain) => chain.scratch_len,
                Step::Simple(_) => 0,
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

    /// The instruction set that the program runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory to run in.
    pub fn arena(&self, threads: usize) -> Arena {
        Arena::new(self.arena_len, self.scratch_len, threads.max(1))
    }

    /// Runs all steps in an arena that [`Program::arena`] made for as many threads.
    pub fn run(&self, arena: &mut Arena, team: &mut Team) {
        self.run_timed(arena, team, |_| {});
    }

    /// As [`Program::run`], telling `after` of each step that is done.
    pub fn run_timed(&self, arena: &mut Arena, team: &mut Team, mut after: impl FnMut(usize)) {
        arena.check_size(self.arena_len, self.scratch_len, team.threads());
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                // SAFETY: `new` checked the slots against `arena_len` and each other, the line
                // above the arena itself, which is borrowed alone here.
                Step::Chain(chain) => unsafe { chain.run(self.isa, arena, team) },
                // SAFETY: as above.
                Step::Simple(simple) => unsafe { simple.run(arena, team) },
            }
            after(index);
        }
    }
}

/// Fails where a chain's slots are too small, outside, or overlap.
fn check_chain(chain: &Chain, arena_len: usize) {
    let inside = |slot: Slot| {
        slot.offset
            .checked_add(slot.len)
            .is_some_and(|end| end <= arena_len)
    };
    let links = chain.links();
    let (first, last) = (&links[0], &links[links.len() - 1]);
    assert!(
        inside(chain.input) && chain.input.len >= first.input.floats(),
        "input slot"
    );
    assert!(
        inside(chain.output) && chain.output.len >= last.output.floats(),
        "output slot"
    );
    assert!(
        !chain.input.overlaps(chain.output),
        "input and output overlap"
    );
    if let Some(residual) = chain.residual {
        assert!(
            inside(residual) && residual.len >= last.output.floats(),
            "residual slot"
        );
        assert!(
            residual.offset == chain.output.offset || !residual.overlaps(chain.output),
            "residual and output overlap in part"
        );
    }
    if let Some(bias) = chain.bias {
        let needed = last.output.c.next_multiple_of(super::product::PANEL);
        assert!(inside(bias) && bias.len >= needed, "bias slot");
        assert!(!bias.overlaps(chain.output), "bias and output overlap");
    }
    for (before, after) in links.iter().zip(links.iter().skip(1)) {
        assert_eq!(before.output, after.input, "links fit each other");
    }
    for link in links {
        link.check();
    }
}

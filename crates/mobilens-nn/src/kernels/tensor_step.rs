//! The operators of transformers as steps of a program: attention, matrix products, softmax, layer normalisation,
//! reductions and elementwise functions with broadcasting. All split their work between the threads so that no
//! bit of the result depends on it.

use super::arena::{Arena, Slot};
use super::attention::{Attention, MatrixProduct};
use super::broadcast::BroadcastBinary;
use super::buffer::Buffer;
use super::isa::Isa;
use super::layer_norm::layer_norm;
use super::reduce::{ReduceOp, reduce};
use super::softmax::softmax;
use super::thread_pool::ThreadPool;

/// Values of a task of the thread pool, about.
const TASK: usize = 8 * 1024;

/// An operator of a transformer, over tensors of float32.
#[derive(Debug)]
pub enum TensorOp {
    /// Attention; inputs Q, K, V.
    Attention(Attention),
    /// Products of matrices; inputs left, right.
    MatrixProduct(MatrixProduct),
    /// Softmax over the middle axis of `[outer, n, inner]`.
    Softmax {
        /// Size of the axis.
        n: usize,
        /// Values in one of its steps.
        inner: usize,
    },
    /// Layer normalisation of rows.
    LayerNorm {
        /// Factors of the normalised values, one for each in a row.
        gamma: Buffer,
        /// Added to them.
        beta: Buffer,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Reduction of the middle axis of `[outer, n, inner]`.
    Reduce {
        /// To what.
        function: ReduceOp,
        /// Size of the axis.
        n: usize,
        /// Values in one of its steps.
        inner: usize,
    },
    /// A function of two tensors, either broadcast along any axes; inputs left, and right if it is no constant.
    Broadcast(BroadcastBinary),
}

/// A [`TensorOp`] and its tensors.
#[derive(Debug)]
pub struct TensorStep {
    /// The operator.
    pub op: TensorOp,
    /// Its inputs.
    pub inputs: Vec<Slot>,
    /// Its output.
    pub output: Slot,
}

fn values(slot: Slot) -> usize {
    slot.len / size_of::<f32>()
}

impl TensorStep {
    /// Panics where a slot lies outside the arena, is of the wrong size, or overlaps the output.
    pub(super) fn check(&self, arena_len: usize) {
        for slot in self.inputs.iter().chain([&self.output]) {
            let end = slot.offset.checked_add(slot.len);
            assert!(
                end.is_some_and(|end| end <= arena_len) && slot.suits::<f32>(),
                "slot inside the arena"
            );
        }
        let output = self.output;
        let overlaps = self.inputs.iter().any(|input| input.overlaps(output));
        assert!(!overlaps, "input and output overlap");
        let inputs = &self.inputs[..];
        match (&self.op, inputs) {
            (TensorOp::Attention(op), &[q, k, v]) => op.check([q, k, v], output),
            (TensorOp::MatrixProduct(op), &[left, right]) => op.check([left, right], output),
            (TensorOp::Softmax { n, inner }, &[input]) => {
                assert_eq!(input.len, output.len, "softmax");
                assert!(values(output).is_multiple_of(n * inner), "softmax");
            }
            (TensorOp::LayerNorm { gamma, beta, .. }, &[input]) => {
                assert_eq!(input.len, output.len, "layer norm");
                assert_eq!(gamma.len(), beta.len(), "layer norm");
                assert!(values(output).is_multiple_of(gamma.len()), "layer norm");
            }
            (TensorOp::Reduce { n, .. }, &[input]) => {
                assert_eq!(values(input), n * values(output), "reduction");
            }
            (TensorOp::Broadcast(op), &[left]) => {
                assert!(op.constant.is_some(), "a second operand");
                op.check(values(left), 0, values(output));
            }
            (TensorOp::Broadcast(op), &[left, right]) => {
                op.check(values(left), values(right), values(output));
            }
            _ => panic!("number of inputs"),
        }
    }

    /// Bytes of scratch memory that a thread needs.
    pub(super) fn scratch_len(&self) -> usize {
        let scratch = match &self.op {
            TensorOp::Attention(op) => op.scratch_values(),
            TensorOp::MatrixProduct(op) => op.scratch_values(),
            _ => 0,
        };
        scratch * size_of::<f32>()
    }

    /// Runs the operator.
    ///
    /// # Safety
    /// [`TensorStep::check`] passed for an arena of this size, nobody else uses the output, and `isa` is available.
    pub(super) unsafe fn run(&self, isa: Isa, arena: &Arena, pool: &mut ThreadPool) {
        let inputs = &self.inputs[..];
        let output = self.output;
        match (&self.op, inputs) {
            // SAFETY: the caller's promise is handed on.
            (TensorOp::Attention(op), &[q, k, v]) => unsafe {
                op.run(isa, arena, pool, [q, k, v], output);
            },
            // SAFETY: the caller's promise is handed on.
            (TensorOp::MatrixProduct(op), &[left, right]) => unsafe {
                op.run(isa, arena, pool, [left, right], output);
            },
            (TensorOp::Softmax { n, inner }, &[input]) => {
                let block = n * inner;
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    blocks(
                        arena,
                        pool,
                        (input, block),
                        (output, block),
                        &|from, to, _| {
                            softmax(isa, from, to, *n, *inner);
                        },
                    );
                }
            }
            (
                TensorOp::LayerNorm {
                    gamma,
                    beta,
                    epsilon,
                },
                &[input],
            ) => {
                let row = gamma.len();
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    blocks(arena, pool, (input, row), (output, row), &|from, to, _| {
                        layer_norm(isa, from, to, gamma, beta, *epsilon);
                    });
                }
            }
            (TensorOp::Reduce { function, n, inner }, &[input]) => {
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    let blocks_in = (input, n * inner);
                    blocks(arena, pool, blocks_in, (output, *inner), &|from, to, _| {
                        reduce(isa, *function, from, to, *n, *inner);
                    });
                }
            }
            (TensorOp::Broadcast(op), &[left, ref rest @ ..]) => {
                // SAFETY: inputs, which nobody writes.
                let left = unsafe { arena.slice::<f32>(left) };
                let right = match rest {
                    // SAFETY: as above.
                    [right] => unsafe { arena.slice::<f32>(*right) },
                    _ => &[],
                };
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    blocks(
                        arena,
                        pool,
                        (output, 0),
                        (output, op.row()),
                        &|_, to, first| {
                            op.run(isa, left, right, to, first);
                        },
                    );
                }
            }
            _ => {}
        }
    }
}

/// What is done with blocks: input, output, number of the first.
type BlockBody<'a> = &'a (dyn Fn(&[f32], &mut [f32], usize) + Sync);

/// Calls `body(input, output, first block)` for groups of whole blocks of input and output, which have as many
/// blocks, of `.1` values each. The input is empty where its blocks are.
///
/// # Safety
/// The slots lie in the arena, apart where input blocks are not empty; nobody else uses the output.
unsafe fn blocks(
    arena: &Arena,
    pool: &mut ThreadPool,
    input: (Slot, usize),
    output: (Slot, usize),
    body: BlockBody<'_>,
) {
    let count = values(output.0) / output.1.max(1);
    let group = (TASK / input.1.max(output.1).max(1)).clamp(1, count.max(1));
    pool.parallel_for(count.div_ceil(group), &|task, _| {
        let first = task * group;
        let len = group.min(count - first);
        let part = |(slot, block): (Slot, usize)| Slot {
            offset: slot.offset + first * block * size_of::<f32>(),
            len: len * block * size_of::<f32>(),
        };
        // SAFETY: blocks of the output that only this task has; the input is not written.
        let (input, output) = unsafe { (arena.slice(part(input)), arena.slice_mut(part(output))) };
        body(input, output, first);
    });
}

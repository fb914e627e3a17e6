//! Scaled dot-product attention (Vaswani et al.: Attention Is All You Need, 2017, section 3.2.1) as one step:
//! `softmax(scale * Q K + bias) V` for each head. And products of matrices that both come from the network.
//!
//! The work is cut into blocks of query rows. For each the keys and the values are packed into panels as weights
//! of a convolution are, the GEMM microkernels compute a block of scores into scratch memory that stays in the
//! L2 cache, the rows become exponentials there, and a second product writes the output; the division by the
//! sums comes last, as the output has fewer values than the scores. Q, K, V are read where they lie, by strides:
//! parts of one tensor, or shared by all heads (multi-query: Shazeer, Fast Transformer Decoding, 2019).

use super::arena::{Arena, Slot};
use super::buffer::Buffer;
use super::gemm::{MatrixJob, gemm_matrix};
use super::isa::Isa;
use super::isa_loop::{LANES, run_on};
use super::matrices::{Matrices, pack_columns, packed_len};
use super::packed_gemm::{PANEL, PackedGemm};
use super::softmax::ExpRows;
use super::thread_pool::ThreadPool;

/// Query rows of a task; the keys and values are packed once for them.
const ROWS_PER_TASK: usize = 128;
/// Scores in a block: they stay in the L2 cache.
const BLOCK_SCORES: usize = 24 * 1024;
/// Most rows in a block.
const BLOCK_ROWS: usize = 64;

/// `softmax(scale * Q K + bias) V` over matrices in three tensors.
#[derive(Debug)]
pub struct Attention {
    /// Q: `queries` x `depth`; its columns lie side by side.
    pub q: Matrices,
    /// K: `depth` x `keys`, one for each of Q.
    pub k: Matrices,
    /// V: `keys` x `values`.
    pub v: Matrices,
    /// The output: `queries` x `values`.
    pub output: Matrices,
    /// Rows of Q.
    pub queries: usize,
    /// Rows of V.
    pub keys: usize,
    /// Columns of Q.
    pub depth: usize,
    /// Columns of V.
    pub values: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Added to the scaled scores: `queries` x `keys`, the columns side by side, each row filled up as by
    /// [`fill_rows`].
    pub bias: Option<(Buffer, Matrices)>,
    /// Packed weights of no size.
    pub empty: PackedGemm,
}

/// Products of matrices in two tensors.
#[derive(Debug)]
pub struct MatrixProduct {
    /// `rows` x `k`; its columns lie side by side.
    pub left: Matrices,
    /// `k` x `columns`, one for each of `left`.
    pub right: Matrices,
    /// `rows` x `columns`.
    pub output: Matrices,
    /// Rows of `left`.
    pub rows: usize,
    /// Columns of `left`.
    pub k: usize,
    /// Columns of `right`.
    pub columns: usize,
    /// Packed weights of no size.
    pub empty: PackedGemm,
}

/// Fills rows of `columns` values up to a multiple of 16 with zeros.
pub fn fill_rows(values: &[f32], columns: usize) -> Buffer {
    let stride = columns.next_multiple_of(LANES);
    let rows = values.len() / columns.max(1);
    let mut filled = Buffer::zeroed(rows * stride);
    let from = values.chunks_exact(columns.max(1));
    for (to, from) in filled.chunks_exact_mut(stride.max(1)).zip(from) {
        to[..columns].copy_from_slice(from);
    }
    filled
}

/// The reference of one head: `q` [m, d], `k` [d, n], `v` [n, e], `bias` [m, n], in float64.
#[cfg(test)]
pub fn reference(
    (q, k, v): (&[f32], &[f32], &[f32]),
    bias: Option<&[f32]>,
    scale: f32,
    depth: usize,
) -> Vec<f32> {
    let (m, n) = (q.len() / depth, k.len() / depth);
    let e = v.len() / n;
    let mut output = Vec::new();
    for row in 0..m {
        let scores: Vec<f64> = (0..n)
            .map(|key| {
                let product: f64 = (0..depth)
                    .map(|i| f64::from(q[row * depth + i]) * f64::from(k[i * n + key]))
                    .sum();
                product * f64::from(scale) + bias.map_or(0.0, |bias| f64::from(bias[row * n + key]))
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for column in 0..e {
            let values = v.iter().skip(column).step_by(e);
            let product: f64 = exps
                .iter()
                .zip(values)
                .map(|(p, v)| p * f64::from(*v))
                .sum();
            output.push((product / sum) as f32);
        }
    }
    output
}

/// Takes the first `len` values of scratch memory.
fn take<'a>(scratch: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(scratch).split_at_mut(len);
    *scratch = rest;
    first
}

/// Runs `body(matrix, first row, end row)` for all rows of `matrices` matrices, on all threads.
fn parallel_rows(
    pool: &mut ThreadPool,
    (matrices, rows): (usize, usize),
    body: &(dyn Fn(usize, (usize, usize), usize) + Sync),
) {
    let parts = rows.div_ceil(ROWS_PER_TASK);
    pool.parallel_for(matrices * parts, &|task, thread| {
        let (matrix, part) = (task / parts, task % parts);
        let bound = |part: usize| rows * part / parts;
        body(matrix, (bound(part), bound(part + 1)), thread);
    });
}

impl Attention {
    /// Query rows in a block of scores.
    fn block_rows(&self) -> usize {
        (BLOCK_SCORES / self.keys.max(1)).clamp(8, BLOCK_ROWS) / 8 * 8
    }

    /// Values from one row of scores to the next: whole vectors.
    fn score_stride(&self) -> usize {
        self.keys.next_multiple_of(LANES)
    }

    /// Panics where a matrix lies outside its tensor, or rows of the output overlap.
    pub(super) fn check(&self, [q, k, v]: [Slot; 3], output: Slot) {
        let heads = self.output.starts.len();
        for matrices in [&self.q, &self.k, &self.v] {
            assert_eq!(matrices.starts.len(), heads, "heads");
        }
        assert_eq!(self.q.column_stride, 1, "columns of Q");
        self.q.check(q, self.queries, self.depth);
        self.k.check(k, self.depth, self.keys);
        self.v.check(v, self.keys, self.values);
        self.output.check(output, self.queries, self.values);
        self.output.check_disjoint(self.queries, self.values);
        if let Some((values, bias)) = &self.bias {
            assert_eq!(bias.starts.len(), heads, "heads of the bias");
            assert_eq!(bias.column_stride, 1, "columns of the bias");
            let columns = self.score_stride();
            bias.check(Slot::of::<f32>(0, values.len()), self.queries, columns);
        }
    }

    /// Values of scratch memory that a thread needs.
    pub(super) fn scratch_values(&self) -> usize {
        let zeros = self.keys.max(self.values).next_multiple_of(PANEL);
        let packed = packed_len(self.depth, self.keys) + packed_len(self.keys, self.values);
        let rows = self.block_rows();
        zeros + packed + rows * self.score_stride() + rows
    }

    /// Computes the output, blocks of query rows in parallel.
    ///
    /// # Safety
    /// [`Attention::check`] passed for these slots, which lie in the arena, the output apart from the others; nobody
    /// else uses the output meanwhile. `isa` must be available.
    pub(super) unsafe fn run(
        &self,
        isa: Isa,
        arena: &Arena,
        pool: &mut ThreadPool,
        [q, k, v]: [Slot; 3],
        output: Slot,
    ) {
        // SAFETY: the slots lie in the arena.
        let [q, k, v] = [q, k, v].map(|slot| unsafe { arena.slice::<f32>(slot) });
        let output = Output(arena.pointer(output).cast());
        let heads = self.output.starts.len();
        parallel_rows(pool, (heads, self.queries), &|head, rows, thread| {
            // SAFETY: a thread's scratch memory is its own; `scratch_values` says how much there is.
            let scratch = unsafe {
                std::slice::from_raw_parts_mut(
                    arena.scratch(thread).cast::<f32>(),
                    self.scratch_values(),
                )
            };
            // SAFETY: rows that only this task has, in what `check` saw to be inside.
            unsafe { self.run_rows(isa, (q, k, v), &output, (head, rows), scratch) };
        });
    }

    /// # Safety
    /// As [`Attention::run`]; nobody else uses these rows of the output.
    unsafe fn run_rows(
        &self,
        isa: Isa,
        (q, k, v): (&[f32], &[f32], &[f32]),
        output: &Output,
        (head, rows): (usize, (usize, usize)),
        mut scratch: &mut [f32],
    ) {
        let (keys, depth, values) = (self.keys, self.depth, self.values);
        let zeros = take(&mut scratch, keys.max(values).next_multiple_of(PANEL));
        zeros.fill(0.0);
        let packed_k = take(&mut scratch, packed_len(depth, keys));
        let packed_v = take(&mut scratch, packed_len(keys, values));
        let most_rows = self.block_rows();
        let stride = self.score_stride();
        let scores = take(&mut scratch, most_rows * stride);
        let sums = take(&mut scratch, most_rows);
        // SAFETY: `check` saw that the matrices lie in their tensors.
        unsafe {
            let from = k.as_ptr().wrapping_add(self.k.starts[head]);
            let strides = (self.k.row_stride, self.k.column_stride);
            pack_columns(from, strides, depth, keys, packed_k);
            let from = v.as_ptr().wrapping_add(self.v.starts[head]);
            let strides = (self.v.row_stride, self.v.column_stride);
            pack_columns(from, strides, keys, values, packed_v);
        }
        let mut first = rows.0;
        while first < rows.1 {
            let count = most_rows.min(rows.1 - first);
            let scores = &mut scores[..count * stride];
            let product = MatrixJob {
                input: q
                    .as_ptr()
                    .wrapping_add(self.q.starts[head] + first * self.q.row_stride),
                input_stride: self.q.row_stride,
                rows: count,
                k: depth,
                weights: packed_k.as_ptr(),
                bias: zeros.as_ptr(),
                columns: keys,
                output: scores.as_mut_ptr(),
                output_stride: stride,
            };
            // SAFETY: rows of Q in its tensor, packed keys, and `count` rows of scratch memory.
            unsafe { gemm_matrix(isa, &product, &self.empty) };
            if stride > keys {
                for row in scores.chunks_exact_mut(stride) {
                    row[keys..].fill(ExpRows::unused(self.scale));
                }
            }
            let bias = self.bias.as_ref().map(|(values, bias)| {
                let start = bias.starts[head] + first * bias.row_stride;
                (&values[start..], bias.row_stride)
            });
            let exponentials = ExpRows {
                rows: scores,
                stride,
                scale: self.scale,
                bias,
                sums: &mut sums[..count],
            };
            run_on(isa, exponentials);
            let start = self.output.starts[head] + first * self.output.row_stride;
            let to = output.0.wrapping_add(start);
            let product = MatrixJob {
                input: scores.as_ptr(),
                input_stride: stride,
                rows: count,
                k: keys,
                weights: packed_v.as_ptr(),
                bias: zeros.as_ptr(),
                columns: values,
                output: to,
                output_stride: self.output.row_stride,
            };
            // SAFETY: scratch memory, packed values, and `count` rows of the output.
            unsafe { gemm_matrix(isa, &product, &self.empty) };
            for (row, sum) in sums[..count].iter().enumerate() {
                let to = to.wrapping_add(row * self.output.row_stride);
                // SAFETY: a row of the output that only this task has.
                let row = unsafe { std::slice::from_raw_parts_mut(to, values) };
                let factor = 1.0 / sum;
                for value in row {
                    *value *= factor;
                }
            }
            first += count;
        }
    }
}

/// The output, whose rows the tasks share out among themselves.
struct Output(*mut f32);

// SAFETY: tasks write rows that lie apart, as `check` saw.
unsafe impl Sync for Output {}

impl MatrixProduct {
    /// Panics where a matrix lies outside its tensor, or rows of the output overlap.
    pub(super) fn check(&self, [left, right]: [Slot; 2], output: Slot) {
        let count = self.output.starts.len();
        assert_eq!(self.left.starts.len(), count, "left matrices");
        assert_eq!(self.right.starts.len(), count, "right matrices");
        assert_eq!(self.left.column_stride, 1, "columns of the left matrices");
        self.left.check(left, self.rows, self.k);
        self.right.check(right, self.k, self.columns);
        self.output.check(output, self.rows, self.columns);
        self.output.check_disjoint(self.rows, self.columns);
    }

    /// Values of scratch memory that a thread needs.
    pub(super) fn scratch_values(&self) -> usize {
        self.columns.next_multiple_of(PANEL) + packed_len(self.k, self.columns)
    }

    /// Computes the products, blocks of rows in parallel.
    ///
    /// # Safety
    /// As [`Attention::run`].
    pub(super) unsafe fn run(
        &self,
        isa: Isa,
        arena: &Arena,
        pool: &mut ThreadPool,
        [left, right]: [Slot; 2],
        output: Slot,
    ) {
        // SAFETY: the slots lie in the arena.
        let [left, right] = [left, right].map(|slot| unsafe { arena.slice::<f32>(slot) });
        let output = Output(arena.pointer(output).cast());
        let count = self.output.starts.len();
        parallel_rows(pool, (count, self.rows), &|matrix, rows, thread| {
            // SAFETY: as in `Attention::run`.
            let mut scratch = unsafe {
                std::slice::from_raw_parts_mut(
                    arena.scratch(thread).cast::<f32>(),
                    self.scratch_values(),
                )
            };
            let zeros = take(&mut scratch, self.columns.next_multiple_of(PANEL));
            zeros.fill(0.0);
            let packed = take(&mut scratch, packed_len(self.k, self.columns));
            // Not the field alone, which is no pointer that threads may share.
            let output = &output;
            let from = right.as_ptr().wrapping_add(self.right.starts[matrix]);
            let strides = (self.right.row_stride, self.right.column_stride);
            let start =
                |matrices: &Matrices| matrices.starts[matrix] + rows.0 * matrices.row_stride;
            let product = MatrixJob {
                input: left.as_ptr().wrapping_add(start(&self.left)),
                input_stride: self.left.row_stride,
                rows: rows.1 - rows.0,
                k: self.k,
                weights: packed.as_ptr(),
                bias: zeros.as_ptr(),
                columns: self.columns,
                output: output.0.wrapping_add(start(&self.output)),
                output_stride: self.output.row_stride,
            };
            // SAFETY: `check` saw that the matrices lie in their tensors; the rows of the output are this
            // task's alone.
            unsafe {
                pack_columns(from, strides, self.k, self.columns, packed);
                gemm_matrix(isa, &product, &self.empty);
            }
        });
    }
}

//! The operators of transformers against their references, on every instruction set of this machine, with their
//! buffers against guard pages; and with any number of threads, bit by bit.

use proptest::prelude::*;

use super::{
    Attention, BinaryOp, BroadcastBinary, Buffer, Isa, Matrices, MatrixProduct, Operator,
    PackedGemm, Program, ReduceOp, Slot, Step, TensorOp, TensorStep, ThreadPool, fill_rows,
};
use super::{attention, layer_norm, reduce, softmax};

/// Largest difference as a share of the largest value.
const TOLERANCE: f32 = 1e-5;

/// Numbers from -1 to 1 that differ from seed to seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs the operator that `make` gives on every instruction set, with one to four threads, and holds what it
/// writes to `expected`.
fn holds(
    inputs: &[&[f32]],
    expected: &[f32],
    guard_before: bool,
    make: &dyn Fn() -> TensorOp,
) -> Result<(), TestCaseError> {
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if !isa.available() {
            continue;
        }
        #[cfg(unix)]
        super::buffer::guard(if guard_before {
            super::buffer::Side::Before
        } else {
            super::buffer::Side::Behind
        });
        let run = |threads: usize| {
            let mut len = 0;
            let mut place = |values: usize| {
                len += values;
                Slot::of::<f32>(len - values, values)
            };
            let slots: Vec<Slot> = inputs.iter().map(|input| place(input.len())).collect();
            let output = place(expected.len());
            let step = TensorStep {
                op: make(),
                inputs: slots.clone(),
                output,
            };
            let steps = vec![Step::Operator(Operator::Tensor(Box::new(step)))];
            let program = Program::new(steps, 4 * len, isa);
            let mut arena = program.arena(threads);
            for (slot, input) in slots.iter().zip(inputs) {
                arena.tensor_mut(*slot).copy_from_slice(input);
            }
            arena.tensor_mut::<f32>(output).fill(f32::NAN);
            let mut pool = ThreadPool::new(threads).expect("threads");
            program.run(&mut arena, &mut pool);
            arena.tensor::<f32>(output).to_vec()
        };
        let one = run(1);
        let largest = expected.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
        for (at, (got, expected)) in one.iter().zip(expected).enumerate() {
            let near = (got - expected).abs() <= TOLERANCE * largest;
            prop_assert!(near, "{}: {got} at {at}, expected {expected}", isa.name());
        }
        for threads in 2..5 {
            let same = run(threads) == one;
            prop_assert!(same, "{}: {threads} threads differ", isa.name());
        }
    }
    Ok(())
}

/// Matrices one after the other, each row by row, or, if `transposed`, column by column.
fn matrices(count: usize, rows: usize, columns: usize, transposed: bool) -> Matrices {
    Matrices {
        starts: (0..count).map(|i| i * rows * columns).collect(),
        row_stride: if transposed { 1 } else { columns },
        column_stride: if transposed { rows } else { 1 },
    }
}

/// The values of matrix `index`, row by row.
fn matrix(tensor: &[f32], at: &Matrices, index: usize, rows: usize, columns: usize) -> Vec<f32> {
    let cell =
        |i: usize| at.starts[index] + i / columns * at.row_stride + i % columns * at.column_stride;
    (0..rows * columns).map(|i| tensor[cell(i)]).collect()
}

fn empty() -> PackedGemm {
    PackedGemm::new(&[], &[], 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn attention_equals_its_reference(
        heads in 1usize..4, queries in 1usize..150, keys in 1usize..150, depth in 1usize..40,
        size in 1usize..40, with_bias: bool, shared: bool, keys_first: bool, values_first: bool,
        before: bool, seed: u64,
    ) {
        let copies = if shared { 1 } else { heads };
        let mut k = matrices(copies, depth, keys, keys_first);
        let mut v = matrices(copies, keys, size, values_first);
        if shared {
            // Multi-query: all heads have the same keys and values.
            (k.starts, v.starts) = (vec![0; heads], vec![0; heads]);
        }
        // Q and the output as [queries, heads, ..].
        let interleaved = |columns: usize| Matrices {
            starts: (0..heads).map(|head| head * columns).collect(),
            row_stride: heads * columns,
            column_stride: 1,
        };
        let (q, to) = (interleaved(depth), interleaved(size));
        let bias_at = matrices(heads, queries, keys, false);
        let q_values = values(heads * queries * depth, seed);
        let k_values = values(copies * depth * keys, seed ^ 1 << 20);
        let v_values = values(copies * keys * size, seed ^ 1 << 21);
        let bias = values(heads * queries * keys, seed ^ 1 << 22);
        let scale = 1.5 / (depth as f32).sqrt();
        let mut expected = vec![0.0; heads * queries * size];
        for head in 0..heads {
            let bias = with_bias.then(|| matrix(&bias, &bias_at, head, queries, keys));
            let result = attention::reference(
                (
                    &matrix(&q_values, &q, head, queries, depth),
                    &matrix(&k_values, &k, head, depth, keys),
                    &matrix(&v_values, &v, head, keys, size),
                ),
                bias.as_deref(),
                scale,
                depth,
            );
            for (i, value) in result.iter().enumerate() {
                expected[to.starts[head] + i / size * to.row_stride + i % size] = *value;
            }
        }
        let make = || TensorOp::Attention(Attention {
            q: q.clone(),
            k: k.clone(),
            v: v.clone(),
            output: to.clone(),
            queries,
            keys,
            depth,
            values: size,
            scale,
            bias: with_bias.then(|| (fill_rows(&bias, keys), matrices(heads, queries, keys.next_multiple_of(16), false))),
            empty: empty(),
        });
        holds(&[&q_values, &k_values, &v_values], &expected, before, &make)?;
    }

    #[test]
    fn products_of_matrices_equal_their_reference(
        count in 1usize..4, rows in 1usize..150, k in 1usize..90, columns in 1usize..90,
        transposed: bool, before: bool, seed: u64,
    ) {
        let left = matrices(count, rows, k, false);
        let right = matrices(count, k, columns, transposed);
        let a = values(count * rows * k, seed);
        let b = values(count * k * columns, seed ^ 1 << 20);
        let mut expected = Vec::new();
        for index in 0..count {
            let (a, b) = (matrix(&a, &left, index, rows, k), matrix(&b, &right, index, k, columns));
            for row in a.chunks_exact(k) {
                for column in 0..columns {
                    let products = row.iter().zip(b.iter().skip(column).step_by(columns));
                    expected.push(products.map(|(a, b)| a * b).sum());
                }
            }
        }
        let make = || TensorOp::MatrixProduct(MatrixProduct {
            left: left.clone(),
            right: right.clone(),
            output: matrices(count, rows, columns, false),
            rows,
            k,
            columns,
            empty: empty(),
        });
        holds(&[&a, &b], &expected, before, &make)?;
    }

    #[test]
    fn softmax_equals_its_reference(
        outer in 1usize..40, n in 1usize..150, inner in 1usize..40, factor in 0.1f32..60.0,
        before: bool, seed: u64,
    ) {
        let input: Vec<f32> = values(outer * n * inner, seed).iter().map(|v| v * factor).collect();
        let expected = softmax::reference(&input, n, inner);
        holds(&[&input], &expected, before, &|| TensorOp::Softmax { n, inner })?;
    }

    #[test]
    fn layer_norm_equals_its_reference(
        rows in 1usize..200, n in 1usize..300, before: bool, seed: u64,
    ) {
        let input: Vec<f32> = values(rows * n, seed).iter().map(|v| v * 3.0 + 1.0).collect();
        let (gamma, beta) = (values(n, seed ^ 1 << 20), values(n, seed ^ 1 << 21));
        let epsilon = 1e-3;
        let expected = layer_norm::reference(&input, &gamma, &beta, epsilon);
        let make = || TensorOp::LayerNorm {
            gamma: Buffer::from_slice(&gamma),
            beta: Buffer::from_slice(&beta),
            epsilon,
        };
        holds(&[&input], &expected, before, &make)?;
    }

    #[test]
    fn reductions_equal_their_reference(
        outer in 1usize..40, n in 1usize..150, inner in 1usize..40,
        function in prop::sample::select(vec![ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min]),
        before: bool, seed: u64,
    ) {
        let input = values(outer * n * inner, seed);
        let expected = reduce::reference(function, &input, n, inner);
        holds(&[&input], &expected, before, &|| TensorOp::Reduce { function, n, inner })?;
    }

    #[test]
    fn broadcasting_equals_its_definition(
        sizes in prop::collection::vec(1usize..14, 1..5), masks in prop::array::uniform2(0u8..16),
        function in prop::sample::select(vec![
            BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max, BinaryOp::Min,
        ]),
        swapped: bool, constant: bool, before: bool, seed: u64,
    ) {
        // Strides, and the number of values, of an operand that is broadcast along the axes of the mask.
        let operand = |mask: u8| {
            let mut len = 1;
            let mut strides = vec![0; sizes.len()];
            for (axis, size) in sizes.iter().enumerate().rev() {
                if mask >> axis & 1 == 0 && *size > 1 {
                    strides[axis] = len;
                    len *= size;
                }
            }
            (strides, len)
        };
        let (left, right) = (operand(masks[0]), operand(masks[1]));
        let (a, b) = (values(left.1, seed), values(right.1, seed ^ 1 << 20));
        let count: usize = sizes.iter().product();
        let expected: Vec<f32> = (0..count).map(|index| {
            let (mut rest, mut at) = (index, (0, 0));
            for axis in (0..sizes.len()).rev() {
                let i = rest % sizes[axis];
                at = (at.0 + i * left.0[axis], at.1 + i * right.0[axis]);
                rest /= sizes[axis];
            }
            let (a, b) = (a[at.0], b[at.1]);
            if swapped { function.apply(b, a) } else { function.apply(a, b) }
        }).collect();
        let make = || TensorOp::Broadcast(BroadcastBinary {
            function,
            sizes: sizes.clone(),
            left: left.0.clone(),
            right: right.0.clone(),
            constant: constant.then(|| Buffer::from_slice(&b)),
            swapped,
        });
        let inputs: &[&[f32]] = if constant { &[&a] } else { &[&a, &b] };
        holds(inputs, &expected, before, &make)?;
    }

    #[test]
    fn transposes_equal_their_definition(
        sizes in prop::collection::vec(1usize..24, 1..5), seed: u64, before: bool,
    ) {
        // The input's axes in an order that the seed gives.
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|axis| seed.rotate_left(*axis as u32 * 13) % 97);
        let mut strides = vec![0; sizes.len()];
        let mut stride = 1;
        for axis in order.iter().rev() {
            strides[*axis] = stride;
            stride *= sizes[*axis];
        }
        let input = values(stride, seed);
        let expected: Vec<f32> = (0..stride).map(|index| {
            let (mut rest, mut at) = (index, 0);
            for axis in (0..sizes.len()).rev() {
                at += rest % sizes[axis] * strides[axis];
                rest /= sizes[axis];
            }
            input[at]
        }).collect();
        #[cfg(unix)]
        super::buffer::guard(if before { super::buffer::Side::Before } else { super::buffer::Side::Behind });
        for threads in 1..4 {
            let (from, to) = (Slot::of::<f32>(0, stride), Slot::of::<f32>(stride, stride));
            let step = Operator::Transpose {
                input: from,
                output: to,
                element: 4,
                sizes: sizes.clone(),
                strides: strides.clone(),
            };
            let program = Program::new(vec![Step::Operator(step)], 8 * stride, Isa::Portable);
            let mut arena = program.arena(threads);
            arena.tensor_mut(from).copy_from_slice(&input);
            arena.tensor_mut::<f32>(to).fill(f32::NAN);
            program.run(&mut arena, &mut ThreadPool::new(threads).expect("threads"));
            prop_assert_eq!(arena.tensor::<f32>(to), &expected[..]);
        }
    }
}

#[test]
#[should_panic(expected = "rows of the output lie apart")]
fn rows_of_an_output_that_overlap_are_refused() {
    let product = MatrixProduct {
        left: matrices(1, 4, 3, false),
        right: matrices(1, 3, 5, false),
        output: Matrices {
            starts: vec![0],
            row_stride: 4,
            column_stride: 1,
        },
        rows: 4,
        k: 3,
        columns: 5,
        empty: empty(),
    };
    let step = TensorStep {
        op: TensorOp::MatrixProduct(product),
        inputs: vec![Slot::of::<f32>(0, 12), Slot::of::<f32>(12, 15)],
        output: Slot::of::<f32>(27, 20),
    };
    Program::new(
        vec![Step::Operator(Operator::Tensor(Box::new(step)))],
        4 * 47,
        Isa::Portable,
    );
}

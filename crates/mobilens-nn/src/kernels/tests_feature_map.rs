//! Pooling, padding and resizing against their definitions, on every instruction set
//! and with one thread and several.

use proptest::prelude::*;

use super::pool::reference;
use super::{
    FeatureMapOp, Isa, Nearest, Operator, Pad, Pool, PoolFunction, Program, Slot, Step, ThreadPool,
    pool_taps,
};

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

/// The output of an operator on each instruction set, with one to three threads; all the same.
fn run(input: &[f32], outputs: usize, op: impl Fn(Slot, Slot) -> FeatureMapOp) -> Vec<f32> {
    let mut results: Vec<Vec<f32>> = Vec::new();
    let (from, to) = (
        Slot::of::<f32>(0, input.len()),
        Slot::of::<f32>(input.len(), outputs),
    );
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if !isa.available() {
            continue;
        }
        for threads in 1..=3 {
            #[cfg(unix)]
            super::buffer::guard(super::buffer::Side::Behind);
            let step = Step::Operator(Operator::FeatureMap(op(from, to)));
            let program = Program::new(vec![step], to.offset + to.len, isa);
            let mut arena = program.arena(threads);
            arena.tensor_mut(from).copy_from_slice(input);
            arena.tensor_mut::<f32>(to).fill(f32::NAN);
            program.run(&mut arena, &mut ThreadPool::new(threads).expect("threads"));
            results.push(arena.tensor::<f32>(to).to_vec());
        }
    }
    assert!(results.iter().all(|result| *result == results[0]));
    results.swap_remove(0)
}

fn near(got: &[f32], expected: &[f32]) -> bool {
    got.len() == expected.len()
        && got
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn pooling_equals_its_definition(
        (h, w, c) in (1usize..20, 1usize..20, 1usize..40),
        kernel in (1usize..6, 1usize..6), stride in (1usize..4, 1usize..4),
        dilation in (1usize..3, 1usize..3), pad in (0usize..3, 0usize..3),
        average: bool, counts_padding: bool, seed: u64,
    ) {
        let axis = |size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize| {
            let reach = (kernel - 1) * dilation + 1;
            let outputs = (size + 2 * pad).checked_sub(reach)? / stride + 1;
            let after = counts_padding.then_some(pad);
            pool_taps(size, (kernel, stride, dilation), pad, outputs, after)
        };
        let rows = axis(h, kernel.0, stride.0, dilation.0, pad.0);
        let columns = axis(w, kernel.1, stride.1, dilation.1, pad.1);
        let (Some(rows), Some(columns)) = (rows, columns) else {
            return Ok(());
        };
        let function = if average { PoolFunction::Average } else { PoolFunction::Max };
        let pool = |input, output| Pool {
            input, output, function, codes: false, width: w, channels: c,
            rows: rows.clone(), columns: columns.clone(),
        };
        let input = values(h * w * c, seed);
        let outputs = rows.len() * columns.len() * c;
        let got = run(&input, outputs, |from, to| FeatureMapOp::Pool(pool(from, to)));
        let expected = reference(&pool(Slot::default(), Slot::default()), &input);
        prop_assert!(near(&got, &expected));
    }

    #[test]
    fn nearest_resize_and_padding_equal_their_definitions(
        (h, w, c) in (1usize..9, 1usize..9, 1usize..70), (new_h, new_w) in (1usize..20, 1usize..20),
        before in (0usize..3, 0usize..3, 0usize..3), after in (0usize..3, 0usize..3, 0usize..3), seed: u64,
    ) {
        let input = values(h * w * c, seed);
        let source = |size: usize, new: usize| (0..new).map(|at| at * size / new).collect::<Vec<_>>();
        let (rows, columns) = (source(h, new_h), source(w, new_w));
        let got = run(&input, new_h * new_w * c, |input, output| FeatureMapOp::Nearest {
            resize: Nearest { width: w, pixel: 4 * c, rows: rows.clone(), columns: columns.clone() },
            input,
            output,
        });
        let pixels = rows.iter().flat_map(|y| columns.iter().map(move |x| (y * w + x) * c));
        let expected: Vec<f32> = pixels.flat_map(|at| input[at..at + c].to_vec()).collect();
        prop_assert!(got == expected);

        let output = [before.0 + h + after.0, before.1 + w + after.1, before.2 + c + after.2];
        let got = run(&input, output.iter().product(), |from, to| FeatureMapOp::Pad {
            pad: Pad {
                element: 4,
                sizes: vec![h, w, c],
                before: vec![before.0, before.1, before.2],
                output: output.to_vec(),
                value: 1.5,
            },
            input: from,
            output: to,
        });
        for (index, value) in got.iter().enumerate() {
            let (z, x) = (index % output[2], index / output[2] % output[1]);
            let y = index / output[2] / output[1];
            let inside = |at: usize, before: usize, size: usize| (before..before + size).contains(&at);
            let is_value = inside(y, before.0, h) && inside(x, before.1, w) && inside(z, before.2, c);
            let expected = if is_value {
                input[((y - before.0) * w + x - before.1) * c + z - before.2]
            } else {
                1.5
            };
            prop_assert_eq!(*value, expected);
        }
    }
}

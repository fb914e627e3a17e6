//! Each kernel against its reference, on every instruction set of this machine, with its buffers
//! against guard pages.

use proptest::prelude::*;

use super::depthwise::reference as depthwise_reference;
use super::gemm::reference as gemm_reference;
use super::gemm_segments::Chunks;
use super::{
    Activation, ConvStage, ConvWeights, FusedConv, Isa, MAX_KERNEL_SIZE, PackedDepthwise,
    PackedGemm, PackedGroups, Program, Shape, Slot, Step, ThreadPool, Window, find_groups,
};

/// Largest difference as a share of the largest value.
const TOLERANCE: f32 = 1e-5;

const ACTIVATIONS: [Activation; 9] = [
    Activation::NONE,
    Activation::Clamp {
        low: 0.0,
        high: 6.0,
    },
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Sigmoid,
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
];

#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    outputs: usize,
    window: Window,
    depthwise: bool,
    groups: usize,
    activation: Activation,
    residual: bool,
    threads: usize,
    /// Whether the input lies at the arena's end, not the output.
    input_last: bool,
    guard_before: bool,
    seed: u64,
}

prop_compose! {
    fn case()(
        (h, w) in (1usize..24, 1usize..24), c in 1usize..80, outputs in 1usize..120,
        kernel in (1usize..=MAX_KERNEL_SIZE, 1usize..=MAX_KERNEL_SIZE),
        three in prop::bool::weighted(0.5), one in prop::bool::weighted(0.3),
        stride in (1usize..4, 1usize..4), dilation in (1usize..4, 1usize..4),
        pad in (0usize..7, 0usize..7), depthwise: bool,
        activation in prop::sample::select(ACTIVATIONS.to_vec()), residual: bool,
        groups in prop::sample::select(vec![1usize, 1, 1, 2, 3, 8, 20]), large in prop::bool::weighted(0.1),
        threads in 1usize..4, input_last: bool, guard_before: bool, seed: u64,
    ) -> Case {
        let kernel = if one { (1, 1) } else if three { (3, 3) } else { kernel };
        let kernel = if large { (2 * kernel.0 + 1, kernel.1 + 3) } else { kernel };
        let groups = if depthwise { 1 } else { groups };
        let whole = |channels: usize| channels.div_ceil(groups) * groups;
        Case {
            shape: Shape { h, w, c: whole(c) },
            outputs: whole(outputs),
            groups,
            window: Window { kernel, stride, dilation, pad },
            depthwise, activation, residual, threads, input_last, guard_before, seed,
        }
    }
}

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

/// Rows or columns of the output, with up to `pad` zeros after the input as well.
fn outputs_of(
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
) -> Option<usize> {
    let extent = (kernel - 1) * dilation + 1;
    (size + 2 * pad)
        .checked_sub(extent)
        .map(|last| last / stride + 1)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let Case { shape, window, .. } = *case;
    let (kernel, stride, dilation, pad) =
        (window.kernel, window.stride, window.dilation, window.pad);
    let h = outputs_of(shape.h, kernel.0, stride.0, dilation.0, pad.0);
    let w = outputs_of(shape.w, kernel.1, stride.1, dilation.1, pad.1);
    let (Some(h), Some(w)) = (h, w) else {
        return Ok(());
    };
    let c = if case.depthwise {
        shape.c
    } else {
        case.outputs
    };
    let output = Shape { h, w, c };
    let taps = kernel.0 * kernel.1 * if case.depthwise { 1 } else { shape.c };
    let input = values(shape.elements(), case.seed);
    let mut weights = values(c * taps, case.seed ^ 1 << 20);
    if case.groups > 1 {
        for (at, weight) in weights.iter_mut().enumerate() {
            let (output, input) = (at / taps, at % shape.c);
            if output / (c / case.groups) != input / (shape.c / case.groups) {
                *weight = 0.0;
            }
        }
    }
    let bias = values(c, case.seed ^ 1 << 21);
    let residual = values(output.elements(), case.seed ^ 1 << 22);
    let reference = if case.depthwise {
        depthwise_reference
    } else {
        gemm_reference
    };
    let mut expected = reference(&input, shape, window, &weights, &bias, output);
    for (value, residual) in expected.iter_mut().zip(&residual) {
        *value = case.activation.apply(*value);
        if case.residual && !case.depthwise {
            *value += residual;
        }
    }
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if !isa.available() {
            continue;
        }
        #[cfg(unix)]
        super::buffer::guard(if case.guard_before {
            super::buffer::Side::Before
        } else {
            super::buffer::Side::Behind
        });
        let stage = ConvStage {
            weights: if case.depthwise {
                ConvWeights::Depthwise(PackedDepthwise::new(&weights, &bias))
            } else if case.groups > 1 {
                let taps = kernel.0 * kernel.1;
                ConvWeights::Grouped(PackedGroups::new(&weights, &bias, taps, case.groups))
            } else {
                ConvWeights::Dense(PackedGemm::new(&weights, &bias, taps))
            },
            window,
            input: shape,
            output,
            activation: case.activation,
        };
        let place = Slot::of::<f32>;
        let (n_in, n_out) = (shape.elements(), output.elements());
        let (from, to, extra) = if case.input_last {
            (place(2 * n_out, n_in), place(0, n_out), place(n_out, n_out))
        } else {
            (
                place(0, n_in),
                place(n_in + n_out, n_out),
                place(n_in, n_out),
            )
        };
        let mut conv = FusedConv::new(vec![stage], from, to, 1 << 14);
        if case.residual && !case.depthwise {
            conv.residual = Some(extra);
        }
        let program = Program::new(vec![Step::FusedConv(conv)], 4 * (n_in + 2 * n_out), isa);
        let mut arena = program.arena(case.threads);
        arena.tensor_mut(from).copy_from_slice(&input);
        arena.tensor_mut::<f32>(to).fill(f32::NAN);
        arena.tensor_mut(extra).copy_from_slice(&residual);
        let mut pool = ThreadPool::new(case.threads).expect("threads");
        program.run(&mut arena, &mut pool);
        let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        // Sums of many terms are rounded more often, also where a clamp hides how large they were.
        let (rows, columns) = case.window.kernel;
        let terms = rows * columns * if case.depthwise { 1 } else { case.shape.c };
        let largest = largest * (terms as f32 / 512.0).sqrt().max(1.0);
        for (at, (got, expected)) in arena.tensor::<f32>(to).iter().zip(&expected).enumerate() {
            let near = (got - expected).abs() <= TOLERANCE * largest;
            prop_assert!(near, "{}: {got} at {at}, expected {expected}", isa.name());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]
    #[test]
    fn kernels_equal_their_references(case in case()) {
        check(&case)?;
    }
}

#[test]
fn large_k_is_summed_in_chunks() {
    for (c, kernel, dilation) in [(2500, (1, 1), 1), (1100, (3, 2), 2), (90, (5, 7), 1)] {
        let case = Case {
            shape: Shape { h: 6, w: 9, c },
            outputs: 55,
            window: Window {
                kernel,
                stride: (1, 1),
                dilation: (dilation, dilation),
                pad: (2, 3),
            },
            depthwise: false,
            groups: 1,
            activation: ACTIVATIONS[1],
            residual: true,
            threads: 2,
            input_last: false,
            guard_before: false,
            seed: 5,
        };
        check(&case).expect("the reference's values");
    }
}

#[test]
fn chunks_cover_k_in_ascending_order() {
    for (kernel, channels) in [
        ((1, 1), 3),
        ((1, 1), 5000),
        ((3, 3), 960),
        ((7, 1), 400),
        ((40, 40), 3),
    ] {
        let chunks = Chunks::new(kernel, channels, 1024);
        let mut at = 0;
        for index in 0..chunks.count {
            let chunk = chunks.get(index);
            assert_eq!(chunk.taps.0 * channels + chunk.channels.0, at, "{chunk:?}");
            let len = (chunk.taps.1 - chunk.taps.0) * (chunk.channels.1 - chunk.channels.0);
            assert!((1..=1024).contains(&len), "{chunk:?}");
            assert_eq!(
                (chunk.first, chunk.last),
                (index == 0, index + 1 == chunks.count)
            );
            at += len;
        }
        assert_eq!(at, kernel.0 * kernel.1 * channels);
    }
}

#[test]
fn groups_are_found_from_the_weights() {
    let dense = values(12 * 8 * 9, 1);
    assert_eq!(find_groups(&dense, 12, 8), None);
    let mut grouped = dense;
    for (at, weight) in grouped.iter_mut().enumerate() {
        if at / 72 / 3 != at % 72 / 9 / 2 {
            *weight = 0.0;
        }
    }
    assert_eq!(find_groups(&grouped, 12, 8), Some(4));
}

#[test]
fn sums_do_not_depend_on_how_many_threads_share_the_work() {
    let shape = Shape {
        h: 13,
        w: 11,
        c: 40,
    };
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if !isa.available() {
            continue;
        }
        let run = |threads: usize| {
            let stage = |weights, c_in, c_out| ConvStage {
                weights,
                window: Window {
                    kernel: (1, 1),
                    stride: (1, 1),
                    dilation: (1, 1),
                    pad: (0, 0),
                },
                input: Shape { c: c_in, ..shape },
                output: Shape { c: c_out, ..shape },
                activation: Activation::NONE,
            };
            let dense = |c_in: usize, c_out: usize| {
                let weights = PackedGemm::new(&values(c_in * c_out, 3), &values(c_out, 4), c_in);
                stage(ConvWeights::Dense(weights), c_in, c_out)
            };
            let mut middle = stage(
                ConvWeights::Depthwise(PackedDepthwise::new(&values(9 * 64, 5), &values(64, 6))),
                64,
                64,
            );
            (middle.window.kernel, middle.window.pad) = ((3, 3), (1, 1));
            let stages = vec![dense(40, 64), middle, dense(64, 40)];
            let n = shape.elements();
            let (from, to) = (Slot::of::<f32>(0, n), Slot::of::<f32>(n, n));
            let conv = FusedConv::new(stages, from, to, 4 * 4096);
            let program = Program::new(vec![Step::FusedConv(conv)], 8 * n, isa);
            let mut arena = program.arena(threads);
            arena.tensor_mut(from).copy_from_slice(&values(n, 7));
            program.run(&mut arena, &mut ThreadPool::new(threads).expect("threads"));
            arena.tensor::<f32>(to).to_vec()
        };
        let one = run(1);
        assert!((2..6).all(|threads| run(threads) == one), "{}", isa.name());
    }
}

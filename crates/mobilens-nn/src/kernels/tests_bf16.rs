//! The bfloat16 kernels against their references, on every instruction set of this machine, with
//! their buffers against guard pages.
//!
//! Instruction sets need not agree in the last bit: `vdpbf16ps` takes subnormal numbers for zeros
//! and rounds sums of two products in its own way. What holds is a distance from the exact
//! result.

use proptest::prelude::*;

use super::bf16::{bf16_from_f32, f32_from_bf16, round_to_bf16};
use super::buffer::Buffer;
use super::conv_bf16::segment_len;
use super::depthwise::reference as depthwise_reference;
use super::gemm::reference as gemm_reference;
use super::{
    Activation, Bf16Isa, Bf16Values, ConvBf16, ConvWeightsBf16, MAX_KERNEL_SIZE,
    PackedDepthwiseBf16, PackedGemmBf16, Shape, Window,
};

/// Largest difference of a sum from the exact one, as a share of the largest value.
const TOLERANCE: f32 = 1e-5;
/// Largest change by rounding to bfloat16, as a share of the value, and a bit.
const ROUNDING: f32 = 1.01 / 256.0;

const ACTIVATIONS: [Activation; 4] = [
    Activation::NONE,
    Activation::Clamp {
        low: 0.0,
        high: 6.0,
    },
    Activation::HardSwish,
    Activation::HardSigmoid,
];

#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    outputs: usize,
    window: Window,
    depthwise: bool,
    activation: Activation,
    residual: bool,
    float: bool,
    guard_before: bool,
    seed: u64,
}

prop_compose! {
    fn case()(
        (h, w) in (1usize..20, 1usize..20), c in 1usize..80, outputs in 1usize..120,
        kernel in (1usize..=MAX_KERNEL_SIZE, 1usize..=MAX_KERNEL_SIZE),
        three in prop::bool::weighted(0.5), one in prop::bool::weighted(0.3),
        stride in (1usize..4, 1usize..4), dilation in (1usize..4, 1usize..4),
        pad in (0usize..7, 0usize..7), depthwise: bool,
        activation in prop::sample::select(ACTIVATIONS.to_vec()), residual: bool, float: bool,
        guard_before: bool, seed: u64,
    ) -> Case {
        let kernel = if one { (1, 1) } else if three { (3, 3) } else { kernel };
        Case {
            shape: Shape { h, w, c },
            outputs,
            window: Window { kernel, stride, dilation, pad },
            depthwise, activation,
            residual: residual && !depthwise,
            float: float && !depthwise,
            guard_before, seed,
        }
    }
}

/// bfloat16 numbers from -1 to 1 that differ from seed to seed.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        round_to_bf16((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn to_buffer(values: &[f32]) -> Buffer<u16> {
    let bits: Vec<u16> = values.iter().map(|v| bf16_from_f32(*v)).collect();
    Buffer::from_slice(&bits)
}

/// The output's shape, with up to `pad` zeros after the input as well.
fn output_shape(case: &Case) -> Option<Shape> {
    let Window {
        kernel,
        stride,
        dilation,
        pad,
    } = case.window;
    let size = |size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize| {
        (size + 2 * pad)
            .checked_sub((kernel - 1) * dilation + 1)
            .map(|last| last / stride + 1)
    };
    let c = if case.depthwise {
        case.shape.c
    } else {
        case.outputs
    };
    Some(Shape {
        h: size(case.shape.h, kernel.0, stride.0, dilation.0, pad.0)?,
        w: size(case.shape.w, kernel.1, stride.1, dilation.1, pad.1)?,
        c,
    })
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let Case { shape, window, .. } = *case;
    let Some(output) = output_shape(case) else {
        return Ok(());
    };
    let len = output.h * output.w * output.c;
    let (rows, columns) = window.kernel;
    let terms = rows * columns * if case.depthwise { 1 } else { shape.c };
    let input = values(shape.h * shape.w * shape.c, case.seed);
    let weights = values(output.c * terms, case.seed ^ 1 << 20);
    let bias = values(output.c, case.seed ^ 1 << 21);
    let residual = values(len, case.seed ^ 1 << 22);
    let reference = if case.depthwise {
        depthwise_reference
    } else {
        gemm_reference
    };
    let mut expected = reference(&input, shape, window, &weights, &bias, output);
    // Also where a clamp hides how large the sums were.
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let largest = largest * (terms as f32 / 512.0).sqrt().max(1.0);
    for (value, residual) in expected.iter_mut().zip(&residual) {
        *value = case.activation.apply(*value);
        if case.residual {
            *value += residual;
        }
    }
    for isa in Bf16Isa::ALL.into_iter().filter(|isa| isa.available()) {
        #[cfg(unix)]
        super::buffer::guard(if case.guard_before {
            super::buffer::Side::Before
        } else {
            super::buffer::Side::Behind
        });
        let conv = ConvBf16 {
            weights: if case.depthwise {
                let packed = PackedDepthwiseBf16::new(&weights, &bias, window.kernel);
                ConvWeightsBf16::Depthwise(packed)
            } else {
                let segment = segment_len(&window, shape.c);
                ConvWeightsBf16::Dense(PackedGemmBf16::new(&weights, &bias, terms, segment))
            },
            window,
            input: shape,
            output,
            activation: case.activation,
        };
        let input = to_buffer(&input);
        let residual = to_buffer(&residual);
        let residual = case.residual.then_some(&*residual);
        let mut floats = Buffer::zeroed(len);
        let mut bits = Buffer::zeroed(len);
        floats.fill(f32::NAN);
        bits.fill(0x7fc0);
        let target = if case.float {
            Bf16Values::Float(&mut floats)
        } else {
            Bf16Values::Bf16(&mut bits)
        };
        conv.run(isa, &input, residual, target, &mut Vec::new());
        for (at, expected) in expected.iter().enumerate() {
            let (got, rounding) = if case.float {
                (floats[at], 0.0)
            } else {
                (f32_from_bf16(bits[at]), ROUNDING * expected.abs())
            };
            let near = (got - expected).abs() <= TOLERANCE * largest + rounding;
            prop_assert!(near, "{}: {got} at {at}, expected {expected}", isa.name());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]
    #[test]
    fn bf16_kernels_equal_their_references(case in case()) {
        check(&case)?;
    }

    #[test]
    fn bf16_is_the_nearest_value_and_even_where_two_are_as_near(bits: u32) {
        let value = f32::from_bits(bits);
        let rounded = bf16_from_f32(value);
        if value.is_nan() {
            prop_assert!(f32_from_bf16(rounded).is_nan());
            return Ok(());
        }
        let below = (bits >> 16) as u16;
        let (half, rest) = (0x8000, bits & 0xffff);
        let up = rest > half || (rest == half && below % 2 == 1);
        prop_assert_eq!(rounded, below + u16::from(up));
    }
}

/// The output rows of a ring buffer wrap around, panels are split between calls, and every value is
/// written once.
#[test]
fn bf16_kernels_do_not_write_beside_their_rows_and_panels() {
    use super::depthwise_bf16::{DepthwiseBf16Job, depthwise_bf16};
    use super::gemm_bf16::gemm_bf16;
    use super::gemm_bf16_block::{Bf16Rows, GemmBf16Job};
    use super::row_view::RowView;
    const W: usize = 7;
    const C: usize = 41;
    const N: usize = 72;
    const H: usize = 6;
    let input = to_buffer(&values(H * W * C, 1));
    let dense = PackedGemmBf16::new(&values(N * C, 2), &values(N, 3), C, C);
    let depthwise = PackedDepthwiseBf16::new(&values(C * 9, 4), &values(C, 5), (3, 3));
    let view = |start: *mut u16, stride, row_count| RowView {
        start,
        stride,
        row_count,
    };
    let input_rows = view(input.as_ptr().cast_mut(), W * C, H);
    for isa in Bf16Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let run_dense = |ring: usize, rows: (usize, usize), panels: (usize, usize)| {
            let mut output = Buffer::<u16>::zeroed(ring * W * N);
            output.fill(0x7fc0);
            let job = GemmBf16Job {
                input: input_rows,
                pixel_stride: C,
                row_stride: 1,
                row_offset: 0,
                segments: &[0],
                packed: &dense,
                bias: dense.bias(),
                activation: Activation::HardSwish,
                residual: None,
                output: Bf16Rows::Bf16(view(output.as_ptr_mut(), W * N, ring)),
                width: W,
                rows,
                panels,
            };
            // SAFETY: rows of buffers of these sizes.
            unsafe { gemm_bf16(isa, &job) };
            output.to_vec()
        };
        let whole = run_dense(H, (0, H), (0, 5));
        assert!(!whole.contains(&0x7fc0));
        let ring = run_dense(4, (2, 6), (0, 5));
        for y in 2..6 {
            let row = |values: &[u16], y: usize| values[y * W * N..][..W * N].to_vec();
            assert_eq!(row(&ring, y % 4), row(&whole, y), "{} row {y}", isa.name());
        }
        let part = run_dense(H, (1, 4), (1, 3));
        for (at, (part, whole)) in part.iter().zip(&whole).enumerate() {
            let inside = (1..4).contains(&(at / N / W)) && (16..48).contains(&(at % N));
            let expected = if inside { *whole } else { 0x7fc0 };
            assert_eq!(*part, expected, "{} at {at}", isa.name());
        }
        let run_depthwise = |rows: (usize, usize), blocks: (usize, usize)| {
            let mut output = Buffer::<u16>::zeroed(H * W * C);
            output.fill(0x7fc0);
            let job = DepthwiseBf16Job {
                input: input_rows,
                input_size: (H, W),
                window: Window {
                    kernel: (3, 3),
                    stride: (1, 1),
                    dilation: (1, 1),
                    pad: (1, 1),
                },
                packed: &depthwise,
                activation: Activation::NONE,
                output: view(output.as_ptr_mut(), W * C, H),
                width: W,
                rows,
                blocks,
            };
            // SAFETY: rows of buffers of these sizes.
            unsafe { depthwise_bf16(isa, &job) };
            output.to_vec()
        };
        let whole = run_depthwise((0, H), (0, 2));
        assert!(!whole.contains(&0x7fc0));
        for (blocks, channels) in [((0, 1), 0..32), ((1, 2), 32..C)] {
            let part = run_depthwise((1, 4), blocks);
            for (at, (part, whole)) in part.iter().zip(&whole).enumerate() {
                let inside = (1..4).contains(&(at / C / W)) && channels.contains(&(at % C));
                let expected = if inside { *whole } else { 0x7fc0 };
                assert_eq!(*part, expected, "{} at {at}", isa.name());
            }
        }
    }
}

/// A value that is not finite stays in its own pixel, also where K is odd and the next pixel's values
/// follow.
#[test]
fn bf16_values_that_are_not_finite_stay_in_their_pixel() {
    let shape = Shape { h: 1, w: 3, c: 5 };
    let output = Shape { c: 18, ..shape };
    let window = Window {
        kernel: (1, 1),
        stride: (1, 1),
        dilation: (1, 1),
        pad: (0, 0),
    };
    let mut input = vec![1.0; 15];
    input[5] = f32::NAN;
    input[10] = 3.0e38;
    let weights = vec![2.0; 18 * 5];
    for isa in Bf16Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let conv = ConvBf16 {
            weights: ConvWeightsBf16::Dense(PackedGemmBf16::new(&weights, &[0.5; 18], 5, 5)),
            window,
            input: shape,
            output,
            activation: Activation::NONE,
        };
        let mut got = Buffer::zeroed(3 * 18);
        let target = Bf16Values::Bf16(&mut got);
        conv.run(isa, &to_buffer(&input), None, target, &mut Vec::new());
        let pixel = |x: usize| got[x * 18..][..18].iter().map(|v| f32_from_bf16(*v));
        assert!(pixel(0).all(|v| v == 10.5), "{}", isa.name());
        // As in float32, limits turn what is not a number into one of them.
        assert!(pixel(1).all(|v| !v.is_finite()), "{}", isa.name());
        assert!(pixel(2).all(|v| v == f32::INFINITY), "{}", isa.name());
    }
}

//! The int8 GEMM on every instruction set of this machine, byte for byte against its definition,
//! with all memory against guard pages.

use proptest::prelude::*;

use super::buffer::Buffer;
use super::{
    Activation, CHANNEL_GROUP, CodeFunction, CodeRange, GemmInt8Job, Int8Isa, Int8Output, Int8Rows,
    PackedGemmInt8, Requantize, Residual, ResidualRounding, RowView, gemm_int8,
};

/// What weights and activations are made of.
#[derive(Clone, Copy, Debug)]
enum Codes {
    Random,
    /// The input has a mean of zero and few large codes, the weights are small: as in a network.
    Small,
    /// Activations 255, weights alternately these.
    Extreme(i8, i8),
}

/// Pairs of weights: the greatest and least sums, and those at and beyond which `vpmaddubsw`
/// saturates with an activation of 255.
const EXTREMES: [(i8, i8); 12] = [
    (-127, -127),
    (127, 127),
    (-128, -128),
    (127, -128),
    (64, 64),
    (64, 65),
    (-64, -64),
    (-64, -65),
    (1, 127),
    (2, 127),
    (0, -128),
    (-1, -128),
];

#[derive(Clone, Debug)]
struct Case {
    outputs: usize,
    segment_len: usize,
    segments: usize,
    /// Bytes between two segments, pixels and rows of the input beyond the least.
    gaps: (usize, usize, usize),
    width: usize,
    rows: (usize, usize),
    row_stride: usize,
    /// Rows of memory of input and output beyond the least: ring buffers begin anywhere in them.
    more_rows: (usize, usize),
    output: Int8Output,
    multiplier: f32,
    codes: Codes,
    /// Shares of the panels where three calls divide them.
    split: (f64, f64),
    guard_before: bool,
    seed: u64,
}

fn code_range() -> impl Strategy<Value = CodeRange> {
    let whole = Just(CodeRange {
        zero_point: 0,
        low: 0,
        high: 255,
    });
    let any = any::<(u8, u8, u8)>().prop_map(|(zero_point, a, b)| CodeRange {
        zero_point,
        low: a.min(b),
        high: a.max(b),
    });
    prop_oneof![whole, any]
}

fn residual() -> impl Strategy<Value = Residual> {
    let rounding = (0u8..=255, 0.01f32..2.0).prop_map(|(zero_point, multiplier)| {
        let zero = f32::from(zero_point);
        ResidualRounding {
            low: -zero,
            high: 255.0 - zero,
            multiplier,
        }
    });
    (prop::option::of(rounding), 0.01f32..2.0, any::<u8>()).prop_map(
        |(rounding, multiplier, zero_point)| Residual {
            rounding,
            multiplier,
            zero_point,
        },
    )
}

fn output() -> impl Strategy<Value = Int8Output> {
    let function = prop_oneof![
        3 => Just(CodeFunction::None),
        1 => (1f32..40.0).prop_map(|inverse_scale| CodeFunction::HardSwish { inverse_scale }),
        1 => (1f32..255.0).prop_map(|inverse_scale| CodeFunction::HardSigmoid { inverse_scale }),
    ];
    let codes = (function, prop::option::of(residual()), code_range()).prop_map(
        |(function, residual, range)| Int8Output::Codes {
            function,
            residual,
            range,
        },
    );
    let (low, high) = (0.0, 6.0);
    let activations = [
        Activation::NONE,
        Activation::Clamp { low, high },
        Activation::HardSwish,
        Activation::HardSigmoid,
    ];
    let floats = prop::sample::select(activations.to_vec()).prop_map(Int8Output::Float);
    prop_oneof![3 => codes, 1 => floats]
}

prop_compose! {
    fn case()(
        outputs in 1usize..200, round_outputs: bool,
        k in 1usize..300, deep in prop::bool::weighted(0.1), one in prop::bool::weighted(0.5),
        segments in 1usize..9, gaps in (0usize..9, 0usize..40, 0usize..20),
        (width, height, first) in (1usize..24, 1usize..6, 0usize..7),
        row_stride in 1usize..3, more_rows in (0usize..4, 0usize..4),
        output in output(), multiplier in -16i32..-2, odd_multiplier in 1f32..2.0, exact: bool,
        codes in prop_oneof![
            3 => Just(Codes::Random), 2 => Just(Codes::Small),
            2 => prop::sample::select(EXTREMES.to_vec()).prop_map(|(a, b)| Codes::Extreme(a, b)),
        ],
        split in (0.0..1.0, 0.0..1.0), guard_before: bool, seed: u64,
    ) -> Case {
        let outputs = if round_outputs { outputs.next_multiple_of(8) } else { outputs };
        let segments = if one { 1 } else { segments };
        let segment_len = if deep { k * 1280 / 300 } else { k }.div_ceil(segments);
        // Powers of two make ties.
        let multiplier = (multiplier as f32).exp2() * if exact { 1.0 } else { odd_multiplier };
        Case {
            outputs, segment_len, segments, gaps, width, rows: (first, first + height), row_stride,
            more_rows, output, multiplier, codes, split, guard_before, seed,
        }
    }
}

prop_compose! {
    /// A pointwise convolution, whose pixels lie at equal distances across rows: in AMX they are one
    /// run, which a ring buffer of rows ends.
    fn pointwise()(
        case in case(), k in 1usize..1280, gap in 0usize..5, width in 1usize..40,
        height in 1usize..4,
    ) -> Case {
        Case {
            segment_len: k,
            segments: 1,
            gaps: (0, k.next_multiple_of(4) - 1 + gap, gap),
            width,
            rows: (case.rows.0, case.rows.0 + height),
            row_stride: 1,
            ..case
        }
    }
}

fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed | 1;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}

/// What memory holds where nothing was written.
const UNTOUCHED: u8 = 0xa5;

fn check(case: &Case) -> Result<(), TestCaseError> {
    for isa in Int8Isa::ALL {
        if isa.available() {
            check_on(case, isa)?;
        }
    }
    Ok(())
}

fn check_on(case: &Case, isa: Int8Isa) -> Result<(), TestCaseError> {
    #[cfg(unix)]
    super::buffer::guard(if case.guard_before {
        super::buffer::Side::Before
    } else {
        super::buffer::Side::Behind
    });
    let mut next = random(case.seed);
    let k = case.segment_len * case.segments;
    let n = case.outputs;
    let mut weight = |i: usize| match case.codes {
        Codes::Random => next() as i8,
        Codes::Small => (next() % 65) as i8 - 32,
        Codes::Extreme(a, b) => [a, b][i % 2],
    };
    let weights: Vec<i8> = (0..n * k).map(&mut weight).collect();
    let bias: Vec<i32> = (0..n).map(|_| next() as i32 % 50_000).collect();
    let mut multipliers: Vec<f32> = (0..n)
        .map(|channel| case.multiplier * (1 + channel % 3) as f32)
        .collect();
    multipliers.resize(n.next_multiple_of(CHANNEL_GROUP), 0.0);
    let requantize = Requantize {
        multipliers,
        output: case.output.clone(),
    };
    let packed = PackedGemmInt8::new(&weights, &bias, case.segments, &requantize, isa);

    // Memory of the input ends where the last segment of the last pixel does, in whole steps.
    let (segment_gap, pixel_gap, row_gap) = case.gaps;
    let segments: Vec<usize> = (0..case.segments)
        .map(|i| i * (case.segment_len + segment_gap))
        .collect();
    let step_end = case.segment_len.next_multiple_of(4);
    let pixel_len = segments[case.segments - 1] + step_end;
    // Neighbours overlap, as in a convolution of more than one pixel.
    let pixel_stride = 1 + pixel_gap;
    let stride = (case.width - 1) * pixel_stride + pixel_len + row_gap;
    let (y0, y1) = case.rows;
    // Without an offset the first row lies anywhere in the ring.
    let row_offset = y0 * case.row_stride * (case.seed % 2) as usize;
    let input_rows = (y1 - y0 - 1) * case.row_stride + 1 + case.more_rows.0;
    let mut input = Buffer::<u8>::zeroed(input_rows * stride - row_gap);
    for value in input.iter_mut() {
        *value = match case.codes {
            Codes::Random => next() as u8,
            Codes::Small => (128 + next() % 16 - next() % 16) as u8,
            Codes::Extreme(..) => 255,
        };
    }
    let rows_in_memory = y1 - y0 + case.more_rows.1;
    let len = rows_in_memory * case.width * n;
    let mut codes = Buffer::<u8>::zeroed(len);
    codes.fill(UNTOUCHED);
    let mut floats = Buffer::<f32>::zeroed(len);
    floats.fill(f32::NAN);
    let mut other = Buffer::<u8>::zeroed(len);
    other.iter_mut().for_each(|value| *value = next() as u8);

    let view = |start| RowView {
        start,
        stride: case.width * n,
        row_count: rows_in_memory,
    };
    let with_residual = matches!(
        case.output,
        Int8Output::Codes {
            residual: Some(_),
            ..
        }
    );
    let of_floats = matches!(case.output, Int8Output::Float(_));
    let job = GemmInt8Job {
        input: RowView {
            start: input.as_ptr_mut(),
            stride,
            row_count: input_rows,
        },
        pixel_stride,
        row_stride: case.row_stride,
        row_offset,
        segments: &segments,
        packed: &packed,
        residual: with_residual.then(|| view(other.as_ptr_mut())),
        output: if of_floats {
            Int8Rows::Float(RowView {
                start: floats.as_ptr_mut(),
                stride: case.width * n,
                row_count: rows_in_memory,
            })
        } else {
            Int8Rows::Codes(view(codes.as_ptr_mut()))
        },
        width: case.width,
        rows: case.rows,
        panels: (0, 0),
    };
    let panels = packed.panels();
    let share = |share: f64| ((share * (panels + 1) as f64) as usize).min(panels);
    let (a, b) = (share(case.split.0), share(case.split.1));
    let cuts = [0, a.min(b), a.max(b), panels];
    for panels in cuts.windows(2) {
        let job = GemmInt8Job {
            panels: (panels[0], panels[1]),
            ..job
        };
        // SAFETY: the memory was laid out for the job above, and nobody else knows of it.
        unsafe { gemm_int8(&job) };
    }

    let mut expected_codes = vec![UNTOUCHED; len];
    let mut expected_floats = vec![f32::NAN; len];
    for y in y0..y1 {
        let row = (y * case.row_stride - row_offset) % input_rows * stride;
        for x in 0..case.width {
            for (channel, bias) in bias.iter().enumerate() {
                let mut sum = *bias;
                for (i, segment) in segments.iter().enumerate() {
                    let first = row + x * pixel_stride + segment;
                    let values = &input[first..first + case.segment_len];
                    let first = channel * k + i * case.segment_len;
                    for (value, weight) in values.iter().zip(&weights[first..]) {
                        sum += i32::from(*value) * i32::from(*weight);
                    }
                }
                let at = (y % rows_in_memory * case.width + x) * n + channel;
                if of_floats {
                    expected_floats[at] = requantize.float(sum, channel);
                } else {
                    expected_codes[at] = requantize.code(sum, channel, other[at]);
                }
            }
        }
    }
    let place = |at: usize| (at / n / case.width, at / n % case.width, at % n);
    for (at, (got, expected)) in codes.iter().zip(&expected_codes).enumerate() {
        let name = isa.name();
        prop_assert_eq!(got, expected, "{} at {:?} of {}", name, place(at), len);
    }
    for (at, (got, expected)) in floats.iter().zip(&expected_floats).enumerate() {
        let name = isa.name();
        let (got, expected) = (got.to_bits(), expected.to_bits());
        prop_assert_eq!(got, expected, "{} at {:?} of {}", name, place(at), len);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]
    #[test]
    fn int8_gemm_equals_its_reference_on_every_instruction_set(case in case()) {
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn pointwise_int8_gemm_equals_its_reference_on_every_instruction_set(case in pointwise()) {
        check(&case)?;
    }
}

/// The largest sums that a MobileNet's convolution can have, in every size of panel and tile.
#[test]
fn extreme_weights_and_activations_are_summed_exactly() {
    let range = CodeRange {
        zero_point: 128,
        low: 0,
        high: 255,
    };
    let codes = Int8Output::Codes {
        function: CodeFunction::None,
        residual: None,
        range,
    };
    for (output, multiplier) in [(codes, 1e-6), (Int8Output::Float(Activation::NONE), 1.0)] {
        for (first, second) in EXTREMES {
            for outputs in [8, 16, 24, 32, 40, 48, 56, 64, 120] {
                let case = Case {
                    outputs,
                    segment_len: if outputs == 64 { 1280 } else { 160 },
                    segments: 1,
                    gaps: (0, 0, 0),
                    width: 23,
                    rows: (0, 1),
                    row_stride: 1,
                    more_rows: (0, 0),
                    output: output.clone(),
                    multiplier,
                    codes: Codes::Extreme(first, second),
                    split: (0.0, 1.0),
                    guard_before: false,
                    seed: 1,
                };
                check(&case).expect("the reference's bytes");
            }
        }
    }
}

#[test]
#[should_panic(expected = "the output and the residual that were packed for")]
fn floats_are_not_written_where_codes_were_packed_for() {
    let requantize = Requantize {
        multipliers: vec![1.0; CHANNEL_GROUP],
        output: Int8Output::Float(Activation::NONE),
    };
    let packed = PackedGemmInt8::new(&[1; 4], &[0], 1, &requantize, Int8Isa::Portable);
    let (mut input, mut output) = ([0; 4], [0; 1]);
    let row = |start, stride| RowView {
        start,
        stride,
        row_count: 1,
    };
    let job = GemmInt8Job {
        input: row(input.as_mut_ptr(), 4),
        pixel_stride: 4,
        row_stride: 1,
        row_offset: 0,
        segments: &[0],
        packed: &packed,
        residual: None,
        output: Int8Rows::Codes(row(output.as_mut_ptr(), 1)),
        width: 1,
        rows: (0, 1),
        panels: (0, 1),
    };
    // SAFETY: one row of one pixel each.
    unsafe { gemm_int8(&job) };
}

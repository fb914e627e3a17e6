//! The int8 depthwise kernels against their definition, byte by byte, on every instruction set of
//! this machine, with input and output against guard pages.

use proptest::prelude::*;

use super::depthwise_int8::{DepthwiseInt8Job, depthwise_int8, reference};
use super::{
    Buffer, CodeFunction, CodeRange, Int8Isa, Int8Output, MAX_KERNEL_SIZE, PackedDepthwiseInt8,
    Requantize, RowView, Shape, Window,
};

/// Widths of MobileNets, and what lies about the blocks' ends.
const CHANNELS: [usize; 24] = [
    1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 56, 63, 64, 65, 72, 80, 96, 120, 144, 200,
];

/// What all values are, or none for mixed ones.
type Extreme = Option<u8>;

#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    window: Window,
    zero_point: u8,
    activations: Extreme,
    weights: Option<i16>,
    /// Mixed weights are outside of a signed byte, where the kernel is small enough.
    wide: bool,
    function: CodeFunction,
    range: CodeRange,
    /// Where the calls are cut: a row, a block of channels.
    cut: (usize, usize),
    guard_before: bool,
    seed: u64,
}

prop_compose! {
    fn case()(
        (h, w) in (1usize..20, 1usize..20), c in prop::sample::select(CHANNELS.to_vec()),
        kernel in (1usize..=MAX_KERNEL_SIZE, 1usize..=MAX_KERNEL_SIZE),
        three in prop::bool::weighted(0.6),
        stride in (1usize..4, 1usize..4), dilation in (1usize..5, 1usize..5),
        pad in (0usize..7, 0usize..7),
        zero_point in prop_oneof![Just(0), Just(255), any::<u8>()],
        activations in prop_oneof![4 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(255))],
        weights in prop_oneof![
            4 => Just(None), 1 => Just(Some(127)), 1 => Just(Some(-127)), 1 => Just(Some(-128)),
            1 => Just(Some(254)), 1 => Just(Some(-255)),
        ],
        wide in prop::bool::weighted(0.3),
        function in 0..4, inverse_scale in 0.1f32..40.0,
        (zero_out, low, high) in (any::<u8>(), any::<u8>(), any::<u8>()), whole in prop::bool::weighted(0.3),
        cut in (0usize..20, 0usize..4), guard_before: bool, seed: u64,
    ) -> Case {
        Case {
            shape: Shape { h, w, c },
            window: Window { kernel: if three { (3, 3) } else { kernel }, stride, dilation, pad },
            zero_point, activations, weights, wide,
            function: match function {
                0 => CodeFunction::HardSwish { inverse_scale },
                1 => CodeFunction::HardSigmoid { inverse_scale },
                _ => CodeFunction::None,
            },
            range: if whole {
                CodeRange { zero_point: 0, low: 0, high: 255 }
            } else {
                CodeRange { zero_point: zero_out, low: low.min(high), high: low.max(high) }
            },
            cut, guard_before, seed,
        }
    }
}

/// Bytes that end, or begin, at a page without access.
struct Bytes {
    buffer: Buffer,
    offset: usize,
    len: usize,
}

impl Bytes {
    fn new(len: usize, before: bool) -> Self {
        #[cfg(unix)]
        super::buffer::guard(if before {
            super::buffer::Side::Before
        } else {
            super::buffer::Side::Behind
        });
        let floats = len.div_ceil(4);
        Self {
            buffer: Buffer::zeroed(floats),
            offset: if before { 0 } else { floats * 4 - len },
            len,
        }
    }

    fn start(&mut self) -> *mut u8 {
        let start = self.buffer.as_ptr_mut().cast::<u8>();
        start.wrapping_add(self.offset)
    }

    fn bytes(&mut self) -> &mut [u8] {
        let start = self.start();
        // SAFETY: inside the buffer, which is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    }
}

fn outputs_of(
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
) -> Option<usize> {
    let extent = (kernel - 1) * dilation + 1;
    let last = (size + 2 * pad).checked_sub(extent)?;
    Some(last / stride + 1)
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
    let (c, taps) = (shape.c, kernel.0 * kernel.1);
    let output = Shape { h, w, c };
    let mut next = random(case.seed);
    let mut codes = || case.activations.unwrap_or(next() as u8);
    let input: Vec<u8> = (0..shape.elements()).map(|_| codes()).collect();
    let mut next = random(case.seed ^ 1 << 20);
    let is_small = taps <= 26;
    let mut weight = || match case.weights {
        Some(weight) if is_small => weight,
        Some(weight) => weight.clamp(-128, 127),
        None if case.wide && is_small => (next() % 510) as i16 - 255,
        None => i16::from(next() as i8),
    };
    let weights: Vec<i16> = (0..c * taps).map(|_| weight()).collect();
    let mut next = random(case.seed ^ 1 << 21);
    let bias: Vec<i32> = weights
        .chunks_exact(taps)
        .map(|weights| {
            let sum = weights.iter().map(|w| i32::from(*w)).sum::<i32>();
            next() as i32 % 20_000 - 10_000 - i32::from(case.zero_point) * sum
        })
        .collect();
    let unit = if case.function == CodeFunction::None {
        256.0
    } else {
        12.0
    };
    let mut multipliers = vec![0.0; c.next_multiple_of(64)];
    for multiplier in &mut multipliers[..c] {
        let share = (next() % 1000) as f32 / 1000.0;
        *multiplier = share * unit / (taps as f32).sqrt() / 10_000.0;
    }
    let requantize = Requantize {
        multipliers,
        output: Int8Output::Codes {
            function: case.function,
            residual: None,
            range: case.range,
        },
    };
    let expected = reference(
        (&input, shape, case.zero_point),
        window,
        &weights,
        &bias,
        &requantize,
        output,
    );
    let packed = PackedDepthwiseInt8::new(&weights, &bias, kernel, &requantize)
        .expect("sums far from the ends of an i32");
    // The input as a ring of the rows that one output row reads.
    let ring = ((kernel.0 - 1) * dilation.0 + 1).min(shape.h);
    for isa in Int8Isa::ALL {
        if !isa.available() {
            continue;
        }
        let mut from = Bytes::new(input.len(), case.guard_before);
        from.bytes().copy_from_slice(&input);
        let mut few = Bytes::new(ring * shape.row(), case.guard_before);
        let mut to = Bytes::new(output.elements(), case.guard_before);
        to.bytes().fill(0xa5);
        let view = |start: *mut u8, stride: usize, row_count: usize| RowView {
            start,
            stride,
            row_count,
        };
        let mut job = DepthwiseInt8Job {
            input: view(from.start(), shape.row(), shape.h),
            input_size: (shape.h, shape.w),
            window,
            zero_point: case.zero_point,
            packed: &packed,
            output: view(to.start(), output.row(), h),
            width: w,
            rows: (0, 0),
            blocks: (0, 0),
        };
        let cut = (case.cut.0.min(h), case.cut.1.min(packed.blocks()));
        for blocks in [(cut.1, packed.blocks()), (0, cut.1)] {
            job.blocks = blocks;
            job.rows = (cut.0, h);
            job.input = view(from.start(), shape.row(), shape.h);
            // SAFETY: whole tensors that this thread has alone.
            unsafe { depthwise_int8(isa, &job) };
            job.input = view(few.start(), shape.row(), ring);
            for y in 0..cut.0 {
                job.rows = (y, y + 1);
                let rows = window.input_rows(y, y + 1, shape.h);
                for row in rows.0..rows.1 {
                    let at = row % ring * shape.row();
                    let row = &input[row * shape.row()..][..shape.row()];
                    few.bytes()[at..][..shape.row()].copy_from_slice(row);
                }
                // SAFETY: the rows that output row `y` reads, and the output of this thread.
                unsafe { depthwise_int8(isa, &job) };
            }
        }
        let got = to.bytes();
        let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
        prop_assert!(
            differs.is_none(),
            "{}: {} at {:?}, expected {}",
            isa.name(),
            got[differs.unwrap_or(0)],
            differs,
            expected[differs.unwrap_or(0)]
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn int8_depthwise_is_its_definition_to_the_byte(case in case()) {
        check(&case)?;
    }
}

#[test]
fn windows_of_mobilenets_at_their_widths() {
    let shapes = [
        (19, 576, 1, 1),
        (20, 576, 2, 1),
        (10, 960, 1, 1),
        (33, 192, 1, 12),
    ];
    for (side, c, stride, dilation) in shapes {
        for kernel in [3, 5] {
            let pad = kernel / 2 * dilation;
            let case = Case {
                shape: Shape {
                    h: side,
                    w: side,
                    c,
                },
                window: Window {
                    kernel: (kernel, kernel),
                    stride: (stride, stride),
                    dilation: (dilation, dilation),
                    pad: (pad, pad),
                },
                zero_point: 113,
                activations: None,
                weights: None,
                wide: false,
                function: CodeFunction::None,
                range: CodeRange {
                    zero_point: 0,
                    low: 0,
                    high: 255,
                },
                cut: (3, 1),
                guard_before: false,
                seed: 7,
            };
            check(&case).unwrap();
        }
    }
}

/// More channels than the constant row of zero points has at once.
#[test]
fn any_number_of_channels() {
    let case = Case {
        shape: Shape {
            h: 2,
            w: 3,
            c: 4200,
        },
        window: Window {
            kernel: (5, 2),
            stride: (1, 1),
            dilation: (1, 1),
            pad: (3, 1),
        },
        zero_point: 9,
        activations: None,
        weights: None,
        wide: false,
        function: CodeFunction::None,
        range: CodeRange {
            zero_point: 128,
            low: 0,
            high: 255,
        },
        cut: (1, 3),
        guard_before: true,
        seed: 11,
    };
    check(&case).unwrap();
}

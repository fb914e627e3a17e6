//! The int8 operators against their definitions.

use proptest::prelude::*;

use super::operator_int8::nearest_code;
use super::{
    CodeOperand, CodeRange, ResizeInt8, add_int8, dequantize, global_sum_pool_int8, multiply_int8,
    quantize,
};

fn range() -> impl Strategy<Value = CodeRange> {
    (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(zero_point, a, b)| CodeRange {
        zero_point,
        low: a.min(b),
        high: a.max(b),
    })
}

fn codes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![1 => Just(0), 1 => Just(255), 6 => any::<u8>()],
        len,
    )
}

fn real(code: u8, zero_point: u8) -> f32 {
    f32::from(code) - f32::from(zero_point)
}

proptest! {
    #[test]
    fn the_fast_rounding_is_that_of_the_definition(value: f32, halves in -600i32..600, range in range()) {
        let half = halves as f32 / 2.0;
        let extremes = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0];
        let near = [half, half.next_up(), half.next_down()];
        for value in [value].into_iter().chain(near).chain(extremes) {
            prop_assert_eq!(nearest_code(value, range), range.code(value), "{}", value);
        }
    }

    #[test]
    fn quantize_and_dequantize_are_those_of_onnx(
        values in prop::collection::vec(-40.0f32..40.0, 0..200), scale in 0.01f32..2.0,
        range in range(),
    ) {
        let mut output = vec![0; values.len()];
        quantize(&values, scale, range, &mut output);
        for (code, value) in output.iter().zip(&values) {
            let expected = (value / scale).round_ties_even() as i32 + i32::from(range.zero_point);
            let expected = expected.clamp(i32::from(range.low), i32::from(range.high));
            prop_assert_eq!(i32::from(*code), expected);
        }
        let mut back = vec![0.0; values.len()];
        dequantize(&output, scale, range.zero_point, &mut back);
        for (value, code) in back.iter().zip(&output) {
            prop_assert_eq!(*value, scale * real(*code, range.zero_point));
        }
    }

    #[test]
    fn sums_and_products(
        left in codes(0..300), right in codes(300..301), channels in 1usize..40,
        zeros: (u8, u8), multipliers in (0.01f32..4.0, 0.01f32..4.0), range in range(),
        broadcast: bool,
    ) {
        let pixels = left.len() / channels;
        let left = &left[..pixels * channels];
        let right = if broadcast { &right[..channels] } else { &right[..left.len()] };
        let operand = |codes, zero_point, multiplier| CodeOperand { codes, zero_point, multiplier };
        let mut sums = vec![0; left.len()];
        let a = operand(left, zeros.0, multipliers.0);
        let b = operand(right, zeros.1, multipliers.1);
        add_int8(a, b, range, &mut sums);
        let mut products = vec![0; left.len()];
        multiply_int8((left, zeros.0), (right, zeros.1), multipliers.0 / 64.0, range, &mut products);
        for (i, a) in left.iter().enumerate() {
            let b = right[if broadcast { i % channels } else { i }];
            let (a, b) = (real(*a, zeros.0), real(b, zeros.1));
            prop_assert_eq!(sums[i], range.code(a * multipliers.0 + b * multipliers.1));
            prop_assert_eq!(products[i], range.code(a * b * (multipliers.0 / 64.0)));
        }
    }

    #[test]
    fn global_sums(
        pixels in 0usize..600, channels in prop_oneof![1usize..10, 60usize..150], zero_point: u8,
        code in prop_oneof![Just(None), Just(Some(255))], seed: u8,
    ) {
        let input: Vec<u8> = (0..pixels * channels)
            .map(|i| code.unwrap_or((i * 31 + i / 7) as u8 ^ seed))
            .collect();
        let mut sums = vec![7; channels];
        global_sum_pool_int8(&input, zero_point, &mut sums);
        for (channel, got) in sums.into_iter().enumerate() {
            let of_channel = input.iter().skip(channel).step_by(channels);
            let sum: i32 = of_channel.map(|code| i32::from(*code) - i32::from(zero_point)).sum();
            prop_assert_eq!(got, sum);
        }
    }

    #[test]
    fn resize_interpolates_along_the_row_then_between_rows(
        (h, w, c) in (1usize..6, 1usize..6, 1usize..30), (h_out, w_out) in (1usize..20, 1usize..20),
        zero_point: u8, multiplier in 0.2f32..3.0, range in range(), seed: u8, backwards: bool,
    ) {
        let input: Vec<u8> = (0..h * w * c).map(|i| (i * 37 + i / 5) as u8 ^ seed).collect();
        let indices = |size: usize, out: usize| -> Vec<(usize, usize, f32)> {
            let at = |i: usize| i as f32 * (size - 1) as f32 / (out.max(2) - 1) as f32;
            (0..out)
                .map(|i| (at(i) as usize, (at(i) as usize + 1).min(size - 1), at(i).fract()))
                .collect()
        };
        let resize = ResizeInt8 {
            input_row: w * c,
            channels: c,
            rows: indices(h, h_out),
            columns: indices(w, w_out),
            zero_point,
            multiplier,
        };
        let mut scratch = vec![f32::NAN; resize.scratch_len()];
        let mut rows = resize.rows_of(&input, &mut scratch);
        let mut got = vec![0; resize.output_row()];
        let mut floats = vec![0.0; resize.output_row()];
        for y in 0..h_out {
            let y = if backwards { h_out - 1 - y } else { y };
            rows.codes(y, range, &mut got);
            rows.floats(y, &mut floats);
            let (top, bottom, row_weight) = resize.rows[y];
            for (x, (left, right, weight)) in resize.columns.iter().enumerate() {
                for channel in 0..c {
                    let at = |row, column| {
                        real(input[(row * w + column) * c + channel], zero_point)
                    };
                    let along = |row| {
                        let (l, r): (f32, f32) = (at(row, *left), at(row, *right));
                        l + (r - l) * weight
                    };
                    let value = along(top) + (along(bottom) - along(top)) * row_weight;
                    prop_assert_eq!(got[x * c + channel], range.code(value * multiplier));
                    prop_assert_eq!(floats[x * c + channel], value * multiplier);
                }
            }
        }
    }
}

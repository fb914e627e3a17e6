//! The int8 operators between convolutions, in plain Rust over slices.
//!
//! Each is defined by the real values of its codes, `scale * (code - zero_point)`, and by
//! [`CodeRange::code`]; every step is one IEEE operation in float32, so that the results are the
//! same on every CPU. Functions of one tensor are a table of 256 codes.

use super::requantize::CodeRange;

/// 1.5 * 2^23: the float32 around it are whole numbers, so that adding it rounds to nearest even.
const ROUNDING: f32 = 12_582_912.0;

/// A tensor of codes as one side of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeOperand<'a> {
    /// The codes.
    pub codes: &'a [u8],
    /// The code of zero.
    pub zero_point: u8,
    /// What one code is worth, in codes of the output: its scale over the output's.
    pub multiplier: f32,
}

/// `range.code(value)`, in operations that the compiler vectorises: limits first, which are whole
/// numbers, then the rounding.
#[inline(always)]
pub(super) fn nearest_code(value: f32, range: CodeRange) -> u8 {
    let zero = i32::from(range.zero_point);
    let low = (i32::from(range.low) - zero) as f32;
    let high = (i32::from(range.high) - zero) as f32;
    // NaN is the code of zero, as in a conversion by `as`.
    let value = if value.is_nan() { 0.0 } else { value };
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    let rounded = (value + ROUNDING)
        .to_bits()
        .wrapping_sub(ROUNDING.to_bits()) as i32;
    rounded.wrapping_add(zero) as u8
}

/// `output = table[input]`: any function of one tensor, and a change of scale.
pub fn lookup(input: &[u8], table: &[u8; 256], output: &mut [u8]) {
    for (output, code) in output.iter_mut().zip(input) {
        *output = table[usize::from(*code)];
    }
}

/// ONNX `QuantizeLinear`: `range.code(input / scale)`.
pub fn quantize(input: &[f32], scale: f32, range: CodeRange, output: &mut [u8]) {
    for (output, value) in output.iter_mut().zip(input) {
        *output = nearest_code(value / scale, range);
    }
}

/// ONNX `DequantizeLinear`: `scale * (code - zero_point)`.
pub fn dequantize(input: &[u8], scale: f32, zero_point: u8, output: &mut [f32]) {
    for (output, code) in output.iter_mut().zip(input) {
        *output = scale * (i32::from(*code) - i32::from(zero_point)) as f32;
    }
}

/// The sum of two tensors:
/// `range.code((a - zero_a) * multiplier_a + (b - zero_b) * multiplier_b)`. The second may be
/// `[channels]`, which is broadcast over the pixels.
pub fn add_int8(
    left: CodeOperand<'_>,
    right: CodeOperand<'_>,
    range: CodeRange,
    output: &mut [u8],
) {
    let value = |code: u8, operand: &CodeOperand<'_>| {
        (i32::from(code) - i32::from(operand.zero_point)) as f32 * operand.multiplier
    };
    let inner = right.codes.len().max(1);
    for (output, codes) in output.chunks_mut(inner).zip(left.codes.chunks(inner)) {
        for ((output, a), b) in output.iter_mut().zip(codes).zip(right.codes) {
            *output = nearest_code(value(*a, &left) + value(*b, &right), range);
        }
    }
}

/// The product of two tensors: `range.code((a - zero_a) * (b - zero_b) * multiplier)`, where
/// `multiplier` is the product of both scales over the output's. The second may be `[channels]`,
/// which is broadcast over the pixels (squeeze-and-excite, MobileNetV3, section 5.3).
pub fn multiply_int8(
    (left, left_zero): (&[u8], u8),
    (right, right_zero): (&[u8], u8),
    multiplier: f32,
    range: CodeRange,
    output: &mut [u8],
) {
    let inner = right.len().max(1);
    for (output, left) in output.chunks_mut(inner).zip(left.chunks(inner)) {
        for ((output, a), b) in output.iter_mut().zip(left).zip(right) {
            let a = i32::from(*a) - i32::from(left_zero);
            let b = i32::from(*b) - i32::from(right_zero);
            *output = nearest_code((a * b) as f32 * multiplier, range);
        }
    }
}

/// The sum of `code - zero_point` over all pixels of each channel: `[pixels, channels]` to
/// `[channels]`. At most 2^23 pixels.
pub fn global_sum_pool_int8(input: &[u8], zero_point: u8, output: &mut [i32]) {
    let channels = output.len().max(1);
    let pixels = input.len() / channels;
    output.fill(0);
    // Sums of a few pixels fit in 16 bits, of which a register holds twice as many.
    const CHANNELS: usize = 64;
    for (first, output) in output.chunks_mut(CHANNELS).enumerate() {
        let first = first * CHANNELS;
        for pixels in input[..pixels * channels].chunks(channels * 256) {
            let mut sums = [0_u16; CHANNELS];
            for pixel in pixels.chunks_exact(channels) {
                let pixel = &pixel[first..][..output.len()];
                for (sum, code) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(u16::from(*code));
                }
            }
            for (output, sum) in output.iter_mut().zip(sums) {
                *output += i32::from(sum);
            }
        }
    }
    let zeros = i32::from(zero_point) * pixels as i32;
    for output in output {
        *output -= zeros;
    }
}

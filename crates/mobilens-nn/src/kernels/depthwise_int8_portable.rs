//! Int8 depthwise convolution in plain Rust, for CPUs without a kernel of their own.

use super::operator_int8::nearest_code;
use super::packed_depthwise_int8::PackedDepthwiseInt8;
use super::requantize::CodeFunction;

/// Channels whose sums stay in registers.
const CHANNELS: usize = 16;

/// One output pixel, channels `first..end`.
///
/// # Safety
/// Each tap of [`PackedDepthwiseInt8::taps`] is readable, and the output writable, for these
/// channels, and nobody else uses the output meanwhile.
pub(super) unsafe fn window(
    packed: &PackedDepthwiseInt8,
    (first, end): (usize, usize),
    taps: &[*const u8],
    output: *mut u8,
) {
    let requantize = packed.requantize();
    for channel in (first..end).step_by(CHANNELS) {
        let channels = CHANNELS.min(end - channel);
        let mut sums = [0; CHANNELS];
        sums[..channels].copy_from_slice(&packed.bias()[channel..][..channels]);
        for (tap, weights) in taps.iter().zip(packed.weights().chunks(packed.channels)) {
            let weights = &weights[channel..][..channels];
            let from = tap.wrapping_add(channel - first);
            // SAFETY: the caller's promise.
            let codes = unsafe { std::slice::from_raw_parts(from, channels) };
            accumulate(&mut sums, codes, weights);
        }
        let to = output.wrapping_add(channel - first);
        // SAFETY: the caller's promise.
        let output = unsafe { std::slice::from_raw_parts_mut(to, channels) };
        let mut codes = [0; CHANNELS];
        if packed.function() == CodeFunction::None {
            let range = packed.range();
            let mut multipliers = [0.0; CHANNELS];
            multipliers[..channels].copy_from_slice(&requantize.multipliers[channel..][..channels]);
            for lane in 0..CHANNELS {
                codes[lane] = nearest_code(sums[lane] as f32 * multipliers[lane], range);
            }
        } else {
            for lane in 0..channels {
                codes[lane] = requantize.code(sums[lane], channel + lane, 0);
            }
        }
        output.copy_from_slice(&codes[..channels]);
    }
}

fn accumulate(sums: &mut [i32; CHANNELS], codes: &[u8], weights: &[i16]) {
    let product = |code: u8, weight: i16| i32::from(i16::from(code)) * i32::from(weight);
    // A constant length lets the compiler use whole registers.
    if let (Ok(codes), Ok(weights)) = (
        <&[u8; CHANNELS]>::try_from(codes),
        <&[i16; CHANNELS]>::try_from(weights),
    ) {
        for lane in 0..CHANNELS {
            sums[lane] = sums[lane].wrapping_add(product(codes[lane], weights[lane]));
        }
    } else {
        for ((sum, code), weight) in sums.iter_mut().zip(codes).zip(weights) {
            *sum = sum.wrapping_add(product(*code, *weight));
        }
    }
}

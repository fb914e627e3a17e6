//! Lowering of one convolution to int8: weights to codes, the bias in units of the sums, and the
//! multipliers of the epilogue.

use crate::graph::{Codes, Conv, ConvInt8};
use crate::kernels::{
    Activation, CHANNEL_GROUP, CodeFunction, CodeRange, FakeQuantize, Int8Output, MAX_KERNEL_SIZE,
    Requantize, Residual,
};

/// Largest absolute value of a sum of products, and of what it is multiplied to: half of an i32.
const MAX_SUM: i64 = 1 << 30;
/// Largest absolute value of a bias in units of the sums.
const MAX_BIAS: f64 = (1_u64 << 29) as f64;
/// Codes of weights, less their zero point: the sums of two signed bytes.
const WEIGHT_CODES: std::ops::RangeInclusive<f32> = -255.0..=254.0;

/// The convolution of codes, if its weights are codes with a scale for each output channel and no
/// sum can overflow. `rounding` is how the output is rounded; without one it is float32.
pub(super) fn conv_int8(
    conv: &Conv,
    input: Codes,
    residual: Option<Codes>,
    rounding: Option<FakeQuantize>,
) -> Option<ConvInt8> {
    let scales = conv.weight_scales.as_ref()?;
    let kernel = conv.window.kernel;
    let unsupported = conv.bias_input
        || (rounding.is_some() && !has_code_function(conv.activation))
        || (conv.depthwise && (rounding.is_none() || kernel.0.max(kernel.1) > MAX_KERNEL_SIZE))
        || (residual.is_some() && (rounding.is_none() || conv.activation != Activation::NONE));
    if unsupported {
        return None;
    }
    let per_output = conv.weights_per_output().max(1);
    let mut weights = Vec::with_capacity(conv.weights.len());
    let mut bias = Vec::with_capacity(conv.bias.len());
    let mut multipliers = Vec::with_capacity(conv.bias.len());
    let (output, in_codes) = output_of(conv.activation, residual, rounding);
    let rows = conv.weights.chunks_exact(per_output);
    for ((row, scale), real_bias) in rows.zip(scales).zip(&conv.bias) {
        let mut channel = quantize_row(row, *scale)?;
        let mut unit = f64::from(input.scale) * f64::from(*scale);
        // The weights of a dead channel are next to nothing beside its bias, which then does not
        // fit; their scale grows until it does, with an error far below a code of the output.
        let least_unit = f64::from(*real_bias).abs() / MAX_BIAS;
        if unit < least_unit {
            let scale = (least_unit / f64::from(input.scale)) as f32 * 1.0001;
            channel = row
                .iter()
                .map(|weight| (weight / scale).round_ties_even() as i16)
                .collect();
            unit = f64::from(input.scale) * f64::from(scale);
        }
        let sum: i64 = channel.iter().map(|code| i64::from(*code)).sum();
        let absolute: i64 = channel.iter().map(|code| i64::from(*code).abs()).sum();
        weights.append(&mut channel);
        let real = (f64::from(*real_bias) / unit).round_ties_even();
        if real.is_nan() {
            return None;
        }
        let folded = real as i64 - i64::from(input.zero_point) * sum;
        let largest = folded.abs() + absolute * i64::from(u8::MAX);
        let multiplier = if in_codes {
            let scale = rounding.map_or(1.0, |rounding| rounding.scale);
            (unit / f64::from(scale)) as f32
        } else {
            unit as f32
        };
        let reaches = largest as f64 * f64::from(multiplier);
        if largest >= MAX_SUM || !(reaches.is_finite() && reaches < MAX_SUM as f64) {
            return None;
        }
        bias.push(folded as i32);
        multipliers.push(multiplier);
    }
    multipliers.resize(multipliers.len().next_multiple_of(CHANNEL_GROUP), 0.0);
    Some(ConvInt8 {
        weights,
        bias,
        depthwise: conv.depthwise,
        window: conv.window,
        requantize: Requantize {
            multipliers,
            output,
        },
        zero_point: input.zero_point,
        residual: residual.is_some(),
    })
}

/// The codes of an output channel's weights, less their zero point, if they are codes of one byte.
fn quantize_row(row: &[f32], scale: f32) -> Option<Vec<i16>> {
    let code = |weight: &f32| {
        let code = (weight / scale).round_ties_even();
        let is_code = WEIGHT_CODES.contains(&code) && (code * scale - weight).abs() <= scale * 1e-3;
        is_code.then_some(code as i16)
    };
    row.iter().map(code).collect()
}

/// Whether a convolution can apply the activation and round in its epilogue; if not, it writes float32.
pub(super) fn has_code_function(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Clamp { .. } | Activation::HardSwish | Activation::HardSigmoid
    )
}

/// What is written, and whether the multipliers are in codes.
fn output_of(
    activation: Activation,
    residual: Option<Codes>,
    rounding: Option<FakeQuantize>,
) -> (Int8Output, bool) {
    let Some(to) = rounding else {
        return (Int8Output::Float(activation), false);
    };
    let inverse_scale = 1.0 / to.scale;
    let (function, range) = match activation {
        Activation::Clamp { low, high } => {
            let limits = CodeRange {
                zero_point: to.zero_point,
                low: to.code(low),
                high: to.code(high),
            };
            (CodeFunction::None, limits)
        }
        Activation::HardSwish => (CodeFunction::HardSwish { inverse_scale }, to.range()),
        Activation::HardSigmoid => (CodeFunction::HardSigmoid { inverse_scale }, to.range()),
        // `has_code_function` keeps them out.
        _ => return (Int8Output::Float(activation), false),
    };
    let residual = residual.map(|codes| Residual {
        rounding: None,
        multiplier: (f64::from(codes.scale) / f64::from(to.scale)) as f32,
        zero_point: codes.zero_point,
    });
    let in_codes = function == CodeFunction::None;
    let output = Int8Output::Codes {
        function,
        residual,
        range,
    };
    (output, in_codes)
}

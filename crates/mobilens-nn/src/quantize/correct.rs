//! Codes of convolutions, and correction of their bias.
//!
//! Rounding moves the mean of what a convolution computes; that error is the same for every picture
//! and adds up over the layers. Bias correction (Nagel et al., "Data-Free Quantization Through
//! Weight Equalization and Bias Correction", 2019, section 4.2; here with means over pictures)
//! takes it out of the bias. Layers are corrected in their order, each with inputs that come from
//! corrected layers: all at once would correct the same error many times.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::observe::Geometry;
use super::placement::QuantizedConv;
use super::proto::{constant_floats, ints, name_of, text};
use super::ranges::{BIAS_LIMIT, Scale, weight_code, weight_scale};
use super::write::ConvCodes;

/// Weights and bias of a convolution in float32.
#[derive(Debug)]
pub(super) struct FloatConv {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl FloatConv {
    /// Those of the file.
    pub fn of(graph: &GraphProto, conv: &QuantizedConv) -> Result<Self, String> {
        let node = &graph.node[conv.node];
        let constant = |at: usize| constant_floats(graph, node.input.get(at)?);
        let weights = constant(1).unwrap_or_default();
        let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
        let bias = if has_bias {
            constant(2).unwrap_or_default()
        } else {
            vec![0.0; conv.shape[0]]
        };
        if weights.len() != conv.shape.iter().product::<usize>() || bias.len() != conv.shape[0] {
            return Err(format!("{}: damaged weights", name_of(node)));
        }
        Ok(Self { weights, bias })
    }

    /// The codes before any correction.
    pub fn codes(&self, input: Scale) -> ConvCodes {
        let rows = || self.weights.chunks(per_channel(self)).zip(&self.bias);
        let weight_scales: Vec<f32> = rows()
            .map(|(row, bias)| weight_scale(row, *bias, input.scale))
            .collect();
        let codes = rows().zip(&weight_scales);
        let weights = codes
            .flat_map(|((row, _), scale)| row.iter().map(move |w| weight_code(*w, *scale)))
            .collect();
        let mut codes = ConvCodes {
            weights,
            weight_scales,
            bias: Vec::new(),
        };
        let bias: Vec<f64> = self.bias.iter().map(|b| f64::from(*b)).collect();
        codes.bias = bias_codes(&codes, &bias, input);
        codes
    }

    /// Gives the codes a bias with which the mean of each output channel is that of float32.
    /// `float_means` and `code_means` are the mean inputs of each channel and tap, of the float
    /// network and of the quantised one.
    pub fn correct(
        &self,
        codes: &mut ConvCodes,
        conv: &QuantizedConv,
        input: Scale,
        (float_means, code_means): (&[f64], &[f64]),
    ) {
        let per_channel = per_channel(self);
        let inputs = float_means.len() / per_channel.max(1);
        let reals = codes.real_weights();
        let rows = self
            .weights
            .chunks(per_channel)
            .zip(reals.chunks(per_channel));
        let bias: Vec<f64> = rows
            .enumerate()
            .map(|(channel, (float, real))| {
                // An output channel of a depthwise convolution reads its own input channel.
                let group = if conv.depthwise {
                    channel * inputs / conv.shape[0].max(1)
                } else {
                    0
                };
                let at = group * per_channel;
                let mean = |weights: &[f32], means: &[f64]| -> f64 {
                    let of_channel = weights.iter().zip(&means[at..]);
                    of_channel.map(|(w, mean)| f64::from(*w) * mean).sum()
                };
                let lost = mean(float, float_means) - mean(real, code_means);
                f64::from(self.bias[channel]) + lost
            })
            .collect();
        codes.bias = bias_codes(codes, &bias, input);
    }
}

fn per_channel(conv: &FloatConv) -> usize {
    (conv.weights.len() / conv.bias.len().max(1)).max(1)
}

fn bias_codes(codes: &ConvCodes, bias: &[f64], input: Scale) -> Vec<i32> {
    let scales = codes.bias_scales(input).into_iter();
    bias.iter()
        .zip(scales)
        .map(|(bias, scale)| {
            let code = (bias / f64::from(scale)).round_ties_even();
            code.clamp(-BIAS_LIMIT, BIAS_LIMIT) as i32
        })
        .collect()
}

/// Which input pixels a convolution reads, for an input of shape `[1, channels, rows, columns]`.
///
/// # Errors
/// When the attributes do not fit the input.
pub(super) fn geometry(
    node: &NodeProto,
    conv: &QuantizedConv,
    input: &[usize],
) -> Result<Geometry, String> {
    let fault = |why: &str| format!("{}: {why}", name_of(node));
    let &[1, channels, rows, columns] = input else {
        return Err(fault(&format!(
            "its input has the shape {input:?}, expected [1, channels, rows, columns]"
        )));
    };
    let [_, group_channels, kernel_h, kernel_w] = conv.shape;
    let fits = if conv.depthwise {
        channels > 0 && conv.shape[0].is_multiple_of(channels)
    } else {
        channels == group_channels
    };
    if !fits || kernel_h == 0 || kernel_w == 0 {
        return Err(fault("its weights do not fit its input"));
    }
    let pair = |name: &str, otherwise: usize| -> Result<[usize; 2], String> {
        match ints(node, name) {
            [] => Ok([otherwise; 2]),
            [y, x] => match (usize::try_from(*y), usize::try_from(*x)) {
                (Ok(y), Ok(x)) if y > 0 && x > 0 => Ok([y, x]),
                _ => Err(fault(&format!("invalid {name}"))),
            },
            _ => Err(fault(&format!("invalid {name}"))),
        }
    };
    let (stride, dilation) = (pair("strides", 1)?, pair("dilations", 1)?);
    let pads: Vec<usize> = ints(node, "pads")
        .iter()
        .map(|pad| usize::try_from(*pad).map_err(|_| fault("negative padding")))
        .collect::<Result<_, _>>()?;
    let kernel = [kernel_h, kernel_w];
    let (mut pad, mut output) = ([0; 2], [0; 2]);
    for axis in 0..2 {
        let size = [rows, columns][axis];
        let reach = (kernel[axis] - 1) * dilation[axis] + 1;
        let whole = match text(node, "auto_pad") {
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                let steps = size.div_ceil(stride[axis]);
                let total = ((steps.max(1) - 1) * stride[axis] + reach).saturating_sub(size);
                pad[axis] = match same {
                    "SAME_UPPER" => total / 2,
                    _ => total.div_ceil(2),
                };
                size + total
            }
            "VALID" => size,
            _ => match pads[..] {
                [] => size,
                [top, left, bottom, right] => {
                    pad[axis] = [top, left][axis];
                    size + pad[axis] + [bottom, right][axis]
                }
                _ => return Err(fault("invalid pads")),
            },
        };
        let free = whole
            .checked_sub(reach)
            .ok_or_else(|| fault("its kernel is larger than its input"))?;
        output[axis] = free / stride[axis] + 1;
    }
    Ok(Geometry {
        input: [channels, rows, columns],
        output,
        kernel,
        stride,
        dilation,
        pad,
    })
}

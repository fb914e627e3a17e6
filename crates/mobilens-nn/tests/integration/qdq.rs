//! Quantised files in the forms that exporters write them: the values by their definition, bit by
//! bit, on tract and on every instruction set of this CPU. All scales are powers of two and all sums
//! are short, so that float32 has no rounding of its own.

use std::fs;

use mobilens_nn::{KernelChoice, Network};

use crate::onnx::{Onnx, Type, Value};
use crate::parity::{KERNELS, load, outputs, values};

/// Scale, zero point and type of an activation.
#[derive(Clone, Copy, Debug)]
pub struct Activation(pub f32, pub i32, pub Type);

impl Activation {
    /// The value that `x` is rounded to.
    pub fn round(self, x: f32) -> f32 {
        let Self(scale, zero_point, element) = self;
        let (low, high) = if element == Type::Int8 {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        let zero_point = zero_point as f32;
        ((x / scale).round_ties_even() + zero_point).clamp(low, high) * scale - zero_point * scale
    }

    /// Names of the constants scale and zero point.
    pub fn constants(self, onnx: &mut Onnx) -> [String; 2] {
        let scale = onnx.constant(&[], &[self.0]);
        [scale, onnx.codes(&[], self.2, &[self.1])]
    }

    pub fn quantize(self, onnx: &mut Onnx, x: &str) -> String {
        let [scale, zero_point] = self.constants(onnx);
        onnx.node("QuantizeLinear", &[x, &scale, &zero_point], &[])
    }

    pub fn dequantize(self, onnx: &mut Onnx, x: &str) -> String {
        let [scale, zero_point] = self.constants(onnx);
        onnx.node("DequantizeLinear", &[x, &scale, &zero_point], &[])
    }

    pub fn both(self, onnx: &mut Onnx, x: &str) -> String {
        let x = self.quantize(onnx, x);
        self.dequantize(onnx, &x)
    }
}

const INPUTS: usize = 3;
const OUTPUTS: usize = 4;
pub const SHAPE: [usize; 4] = [1, INPUTS, 5, 6];
const OUTPUT_SHAPE: [usize; 4] = [1, OUTPUTS, 5, 6];
/// Weights of one output channel: 3x3.
const TAPS: usize = 9;

/// A 3x3 convolution between quantised activations.
#[derive(Clone, Copy, Debug)]
struct Case {
    before: Activation,
    after: Activation,
    /// uint8 weights have the zero point 119.
    weights: Type,
    per_channel: bool,
    relu: bool,
}

impl Case {
    fn weight_scales(&self) -> Vec<f32> {
        let scale =
            |channel: usize| 1.0 / (128 << if self.per_channel { channel } else { 0 }) as f32;
        (0..OUTPUTS).map(scale).collect()
    }

    fn zero_point(&self) -> i32 {
        if self.weights == Type::Uint8 { 119 } else { 0 }
    }

    fn weight_codes(&self) -> Vec<i32> {
        let least = if self.weights == Type::Uint8 { 0 } else { -128 };
        let codes = values(OUTPUTS * INPUTS * TAPS, 3);
        let codes = codes.iter().map(|v| least + ((v + 1.0) * 127.9) as i32);
        codes.collect()
    }

    fn weights(&self) -> Vec<f32> {
        let scales = self.weight_scales();
        let codes = self.weight_codes().into_iter().enumerate();
        let real = |(at, code)| (code - self.zero_point()) as f32 * scales[at / (INPUTS * TAPS)];
        codes.map(real).collect()
    }

    fn bias_codes() -> Vec<i32> {
        values(OUTPUTS, 8)
            .iter()
            .map(|v| (v * 9000.0) as i32)
            .collect()
    }

    fn expected(&self, input: &[f32]) -> Vec<f32> {
        let weights = self.weights();
        let (h, w) = (SHAPE[2] as isize, SHAPE[3] as isize);
        let scales = self.weight_scales();
        let mut output = Vec::new();
        for (channel, bias) in Self::bias_codes().into_iter().enumerate() {
            for at in 0..h * w {
                let mut sum = bias as f32 * (scales[channel] * self.before.0);
                for from in 0..INPUTS {
                    for tap in 0..TAPS {
                        let y = at / w + (tap / 3) as isize - 1;
                        let x = at % w + (tap % 3) as isize - 1;
                        if (0..h).contains(&y) && (0..w).contains(&x) {
                            let value = input[from * (h * w) as usize + (y * w + x) as usize];
                            let weight = weights[(channel * INPUTS + from) * TAPS + tap];
                            sum += self.before.round(value) * weight;
                        }
                    }
                }
                let sum = if self.relu { sum.max(0.0) } else { sum };
                output.push(self.after.round(sum));
            }
        }
        output
    }

    /// Scales and zero points of the weights, one or one for each channel.
    fn weight_params(&self, onnx: &mut Onnx) -> [String; 2] {
        let scales = self.weight_scales();
        if self.per_channel {
            let zero_points = onnx.codes(&[OUTPUTS], self.weights, &[self.zero_point(); OUTPUTS]);
            [onnx.constant(&[OUTPUTS], &scales), zero_points]
        } else {
            let zero_point = onnx.codes(&[], self.weights, &[self.zero_point()]);
            [onnx.constant(&[], &scales[..1]), zero_point]
        }
    }

    fn bias(&self, onnx: &mut Onnx) -> String {
        let scales: Vec<f32> = self
            .weight_scales()
            .iter()
            .map(|s| s * self.before.0)
            .collect();
        let scales = onnx.constant(&[OUTPUTS], &scales);
        let codes = onnx.codes(&[OUTPUTS], Type::Int32, &Self::bias_codes());
        let axis = [("axis", Value::Int(0))];
        onnx.node("DequantizeLinear", &[&codes, &scales], &axis)
    }

    fn conv(&self, onnx: &mut Onnx, x: &str, weights: &str) -> String {
        let bias = self.bias(onnx);
        let attributes = [
            ("kernel_shape", Value::Ints(&[3, 3])),
            ("pads", Value::Ints(&[1, 1, 1, 1])),
        ];
        let x = onnx.node("Conv", &[x, weights, &bias], &attributes);
        if self.relu {
            onnx.node("Relu", &[&x], &[])
        } else {
            x
        }
    }

    /// The network in QDQ form, with weights as `weights` writes them.
    fn qdq(&self, weights: fn(&Self, &mut Onnx) -> String) -> (Onnx, String) {
        let mut onnx = Onnx::default();
        let x = self.before.both(&mut onnx, "input");
        let weights = weights(self, &mut onnx);
        let x = self.conv(&mut onnx, &x, &weights);
        let x = self.after.both(&mut onnx, &x);
        (onnx, x)
    }
}

const ALL_TYPES: [Type; 2] = [Type::Uint8, Type::Int8];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for activations in ALL_TYPES {
        for weights in ALL_TYPES {
            for (per_channel, relu, zero) in [
                (true, true, 7),
                (false, false, 100),
                (true, false, 0),
                (false, true, -28),
            ] {
                let zero = if activations == Type::Uint8 {
                    zero + 28
                } else {
                    zero
                };
                cases.push(Case {
                    before: Activation(1.0 / 64.0, zero, activations),
                    after: Activation(1.0 / 32.0, zero, activations),
                    weights,
                    per_channel,
                    relu,
                });
            }
        }
    }
    cases
}

/// The network for every implementation of this CPU.
pub fn each_network(file: &[u8], mut check: impl FnMut(&Network, KernelChoice)) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("quantised.onnx");
    fs::write(&path, file).expect("room");
    for kernels in KERNELS.into_iter().chain([KernelChoice::Tract]) {
        if let Some(network) = load(&path, kernels) {
            check(&network, kernels);
        }
    }
}

pub fn input() -> Vec<f32> {
    let values = values(SHAPE.iter().product(), 21);
    values.iter().map(|v| v * 3.0).collect()
}

pub fn gives(onnx: &Onnx, output: &str, shape: &[usize], expected: &[f32], what: &str) {
    each_network(&onnx.file(&SHAPE, output, shape), |network, kernels| {
        let got = &outputs(network, 1, 2, &input())[0];
        assert_eq!(got, expected, "{kernels:?}: {what}");
        assert!(
            kernels == KernelChoice::Tract || network.layers().iter().all(|l| l.runs_on != "tract")
        );
    });
}

fn quantised_weights(case: &Case, onnx: &mut Onnx) -> String {
    let codes = case.weight_codes();
    let codes = onnx.codes(&[OUTPUTS, INPUTS, 3, 3], case.weights, &codes);
    let [scale, zero_point] = case.weight_params(onnx);
    let axis = [("axis", Value::Signed(-4))];
    onnx.node("DequantizeLinear", &[&codes, &scale, &zero_point], &axis)
}

#[test]
fn qdq_with_any_types_zero_points_and_scales() {
    for case in cases() {
        let (onnx, output) = case.qdq(quantised_weights);
        let expected = case.expected(&input());
        // Else limits and rounding of the output would not be tested.
        assert!(expected.iter().any(|v| *v != expected[0]));
        gives(
            &onnx,
            &output,
            &OUTPUT_SHAPE,
            &expected,
            &format!("{case:?}"),
        );
    }
}

/// As torch and NNCF write weights: float values, quantised in the file.
#[test]
fn float_weights_that_the_file_quantises() {
    for case in cases() {
        let (onnx, output) = case.qdq(|case, onnx| {
            // Off the grid, so that rounding matters.
            let scales = case.weight_scales();
            let weights = case.weights().into_iter().enumerate();
            let weights: Vec<f32> = weights
                .map(|(at, weight)| weight + 0.375 * scales[at / (INPUTS * TAPS)])
                .collect();
            let weights = onnx.constant(&[OUTPUTS, INPUTS, 3, 3], &weights);
            let axis = [("axis", Value::Int(0))];
            let [scale, zero_point] = case.weight_params(onnx);
            let codes = onnx.node("QuantizeLinear", &[&weights, &scale, &zero_point], &axis);
            let (least, most) = if case.weights == Type::Int8 {
                (-128, 127)
            } else {
                (0, 255)
            };
            let least = onnx.codes(&[], case.weights, &[least]);
            let most = onnx.codes(&[], case.weights, &[most]);
            let codes = onnx.node("Clip", &[&codes, &least, &most], &[]);
            onnx.node("DequantizeLinear", &[&codes, &scale, &zero_point], &axis)
        });
        let expected = case.expected(&input());
        gives(
            &onnx,
            &output,
            &OUTPUT_SHAPE,
            &expected,
            &format!("{case:?}"),
        );
    }
}

/// As tf2onnx writes them: height, width, input, output; the scales on the last axis.
#[test]
fn weights_that_are_transposed_after_they_are_dequantised() {
    for case in cases() {
        let (onnx, output) = case.qdq(|case, onnx| {
            let codes = case.weight_codes();
            let at = |i: usize| {
                let (tap, from, to) = (i / OUTPUTS / INPUTS, i / OUTPUTS % INPUTS, i % OUTPUTS);
                codes[(to * INPUTS + from) * TAPS + tap]
            };
            let moved: Vec<i32> = (0..codes.len()).map(at).collect();
            let moved = onnx.codes(&[9, INPUTS, OUTPUTS], case.weights, &moved);
            let [scale, zero_point] = case.weight_params(onnx);
            let axis = [("axis", Value::Int(2))];
            let weights = onnx.node("DequantizeLinear", &[&moved, &scale, &zero_point], &axis);
            let shape = onnx.integers(&[3, 3, 0, -1]);
            // A zero copies the third size of [9, in, out], which is the last: give both.
            let shape = if INPUTS == OUTPUTS {
                shape
            } else {
                onnx.integers(&[3, 3, 3, 4])
            };
            let weights = onnx.node("Reshape", &[&weights, &shape], &[]);
            let order = [("perm", Value::Ints(&[3, 2, 0, 1]))];
            onnx.node("Transpose", &[&weights], &order)
        });
        let expected = case.expected(&input());
        gives(
            &onnx,
            &output,
            &OUTPUT_SHAPE,
            &expected,
            &format!("{case:?}"),
        );
    }
}

#[test]
fn qlinear_conv() {
    for case in cases().into_iter().filter(|case| !case.relu) {
        let mut onnx = Onnx::default();
        let x = case.before.quantize(&mut onnx, "input");
        let codes = case.weight_codes();
        let codes = onnx.codes(&[OUTPUTS, INPUTS, 3, 3], case.weights, &codes);
        let [w_scale, w_zero] = case.weight_params(&mut onnx);
        let [x_scale, x_zero] = case.before.constants(&mut onnx);
        let [y_scale, y_zero] = case.after.constants(&mut onnx);
        let bias = onnx.codes(&[OUTPUTS], Type::Int32, &Case::bias_codes());
        let inputs = [
            &x, &x_scale, &x_zero, &codes, &w_scale, &w_zero, &y_scale, &y_zero, &bias,
        ];
        let pads = [("pads", Value::Ints(&[1, 1, 1, 1]))];
        let y = onnx.node("QLinearConv", &inputs.map(String::as_str), &pads);
        let y = case.after.dequantize(&mut onnx, &y);
        let expected = case.expected(&input());
        gives(&onnx, &y, &OUTPUT_SHAPE, &expected, &format!("{case:?}"));
    }
}

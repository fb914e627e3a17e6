//! Random small quantised networks, of convolutions with all that exporters put around them: the
//! same bytes on every instruction set of this CPU, and close to tract, which rounds in float32.

use std::fs;

use mobilens_nn::KernelChoice;
use proptest::prelude::*;

use crate::onnx::{Onnx, Type, Value};
use crate::parity::{KERNELS, load, outputs, values};
use crate::qdq::Activation;

#[derive(Clone, Debug)]
struct Case {
    height: usize,
    width: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 4],
    depthwise: bool,
    function: Function,
    residual: bool,
    squeeze: bool,
    /// The last convolution writes float32.
    head: bool,
    expand: usize,
    /// Weights are uint8 with a zero point, so that some are outside of a signed byte.
    weight_zero: Option<u8>,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    None,
    Relu6,
    HardSwish,
}

prop_compose! {
    fn case()(
        height in 1usize..20, width in 1usize..20, channels in 1usize..70, outputs in 1usize..140,
        kernel in prop::sample::select(vec![1usize, 3, 3, 5]), stride in 1usize..3,
        dilation in 1usize..4, pads in prop::array::uniform4(0usize..4), depthwise: bool,
        function in prop::sample::select(vec![Function::None, Function::Relu6, Function::HardSwish]),
        residual: bool, squeeze: bool, head: bool, expand in 1usize..200,
        weight_zero in prop_oneof![3 => Just(None), 1 => prop::sample::select(vec![Some(1), Some(40), Some(200)])],
        seed: u64,
    ) -> Case {
        // No exporter pads a kernel of one pixel, and tract cannot always load one.
        let pads = if kernel == 1 { [0; 4] } else { pads };
        Case {
            height, width, channels, outputs, kernel, stride, dilation, pads, depthwise, function,
            residual, squeeze, head, expand, weight_zero, seed,
        }
    }
}

struct Network {
    file: Vec<u8>,
    inputs: usize,
    /// Distance of two values of the output, and so of its last rounding.
    scale: f32,
}

const INPUT: Activation = Activation(2.0 / 255.0, 127, Type::Uint8);
const INNER: Activation = Activation(6.0 / 255.0, 3, Type::Uint8);
/// A zero point of an int8 tensor.
const OUTER: Activation = Activation(8.0 / 255.0, -7, Type::Int8);

struct Builder {
    onnx: Onnx,
    weight_zero: Option<u8>,
    seed: u64,
}

impl Builder {
    /// A convolution with quantised weights and bias, of a quantised `x`.
    fn conv(
        &mut self,
        x: &str,
        before: Activation,
        shape: [usize; 4],
        lists: &[(&str, Value<'_>)],
        groups: usize,
    ) -> String {
        self.seed = self.seed.wrapping_add(1);
        let count: usize = shape.iter().product();
        let fan_in = (count / shape[0]) as f32;
        let codes = values(count, self.seed);
        let middle = if self.weight_zero.is_some() { 127 } else { 0 };
        let codes = codes.iter().map(|v| (v * 127.4) as i32 + middle);
        let codes: Vec<i32> = codes.collect();
        let spread = values(shape[0], self.seed ^ 55);
        let scales: Vec<f32> = spread
            .iter()
            .map(|v| (1.2 + v) * 2.0 / 127.0 / fan_in.sqrt())
            .collect();
        let bias = values(shape[0], self.seed ^ 77);
        let bias_scales: Vec<f32> = scales.iter().map(|scale| scale * before.0).collect();
        let bias = bias.iter().zip(&bias_scales);
        let bias: Vec<i32> = bias.map(|(b, scale)| (b / scale) as i32).collect();
        let axis = [("axis", Value::Int(0))];
        let onnx = &mut self.onnx;
        let (kind, zero) = match self.weight_zero {
            Some(zero) => (Type::Uint8, zero),
            None => (Type::Int8, 0),
        };
        let weights = onnx.codes(&shape, kind, &codes);
        let scales = onnx.constant(&[shape[0]], &scales);
        let zeros = onnx.codes(&[shape[0]], kind, &vec![i32::from(zero); shape[0]]);
        let weights = onnx.node("DequantizeLinear", &[&weights, &scales, &zeros], &axis);
        let bias = onnx.codes(&[shape[0]], Type::Int32, &bias);
        let scales = onnx.constant(&[shape[0]], &bias_scales);
        let bias = onnx.node("DequantizeLinear", &[&bias, &scales], &axis);
        let mut attributes = lists.to_vec();
        attributes.push(("group", Value::Int(groups)));
        onnx.node("Conv", &[x, &weights, &bias], &attributes)
    }

    fn function(&mut self, function: Function, x: &str) -> String {
        match function {
            Function::None => x.to_owned(),
            Function::Relu6 => {
                let low = self.onnx.constant(&[], &[0.0]);
                let high = self.onnx.constant(&[], &[6.0]);
                self.onnx.node("Clip", &[x, &low, &high], &[])
            }
            Function::HardSwish => self.onnx.node("HardSwish", &[x], &[]),
        }
    }
}

/// Expansion, depthwise or dense convolution, squeeze-and-excite, projection, residual.
fn network(case: &Case) -> Option<Network> {
    let mut builder = Builder {
        onnx: Onnx::default(),
        weight_zero: case.weight_zero,
        seed: case.seed,
    };
    let one: &[(&str, Value<'_>)] = &[("kernel_shape", Value::Ints(&[1, 1]))];
    let first = INPUT.both(&mut builder.onnx, "input");
    let expanded = builder.conv(&first, INPUT, [case.expand, case.channels, 1, 1], one, 1);
    let expanded = builder.function(case.function, &expanded);
    let expanded = INNER.both(&mut builder.onnx, &expanded);
    let reach = (case.kernel - 1) * case.dilation + 1;
    let out = |side: usize, before: usize, after: usize| {
        Some((side + before + after).checked_sub(reach)? / case.stride + 1)
    };
    let [top, left, bottom, right] = case.pads;
    let h = out(case.height, top, bottom)?;
    let w = out(case.width, left, right)?;
    let (kernels, strides, dilations) = ([case.kernel; 2], [case.stride; 2], [case.dilation; 2]);
    let lists = [
        ("kernel_shape", Value::Ints(&kernels)),
        ("strides", Value::Ints(&strides)),
        ("dilations", Value::Ints(&dilations)),
        ("pads", Value::Ints(&case.pads)),
    ];
    let inputs = if case.depthwise { 1 } else { case.expand };
    let groups = if case.depthwise { case.expand } else { 1 };
    let shape = [case.expand, inputs, case.kernel, case.kernel];
    let filtered = builder.conv(&expanded, INNER, shape, &lists, groups);
    let filtered = builder.function(case.function, &filtered);
    let mut filtered = INNER.both(&mut builder.onnx, &filtered);
    if case.squeeze {
        let pooled = builder.onnx.node("GlobalAveragePool", &[&filtered], &[]);
        let pooled = INNER.both(&mut builder.onnx, &pooled);
        let gate = builder.conv(&pooled, INNER, [case.expand, case.expand, 1, 1], one, 1);
        let gate = builder.onnx.node("HardSigmoid", &[&gate], &[]);
        let gate = INPUT.both(&mut builder.onnx, &gate);
        filtered = builder.onnx.node("Mul", &[&filtered, &gate], &[]);
        filtered = INNER.both(&mut builder.onnx, &filtered);
    }
    let mut x = builder.conv(&filtered, INNER, [case.outputs, case.expand, 1, 1], one, 1);
    if !case.head {
        x = OUTER.both(&mut builder.onnx, &x);
        if case.residual && (h, w, case.outputs) == (case.height, case.width, case.channels) {
            x = builder.onnx.node("Add", &[&first, &x], &[]);
            x = OUTER.both(&mut builder.onnx, &x);
        }
    }
    let shape = [1, case.channels, case.height, case.width];
    Some(Network {
        file: builder.onnx.file(&shape, &x, &[1, case.outputs, h, w]),
        inputs: shape.iter().product(),
        scale: OUTER.0,
    })
}

fn is_the_same_everywhere(case: &Case) {
    let Some(Network {
        file,
        inputs,
        scale,
    }) = network(case)
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("case.onnx");
    fs::write(&path, file).expect("room");
    let input = values(inputs, case.seed ^ 4242);
    let portable = load(&path, KernelChoice::Portable).expect("runs everywhere");
    let int8 = portable.layers().iter().filter(|l| l.precision == "int8");
    assert!(int8.count() >= 3, "the convolutions run in int8: {case:?}");
    let expected = outputs(&portable, 1, 1, &input);
    for kernels in KERNELS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        for threads in 1..4 {
            let got = outputs(&network, threads, 2, &input);
            assert!(
                got == expected,
                "{kernels:?}, {threads} threads, differ from the portable kernels in {case:?}"
            );
        }
    }
    // A value that lies between two codes may be rounded to the other one.
    let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let rounded = outputs(&tract, 1, 1, &input);
    let off = rounded[0]
        .iter()
        .zip(&expected[0])
        .map(|(a, b)| (a - b).abs());
    let mean = off.clone().sum::<f32>() / expected[0].len() as f32;
    let largest = off.fold(0.0, f32::max);
    assert!(
        mean <= scale / 2.0 && largest <= 6.0 * scale,
        "{mean} and {largest} off tract in {case:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn int8_networks_are_the_same_everywhere(case in case()) {
        is_the_same_everywhere(&case);
    }

    #[test]
    fn int8_inverted_residuals_are_the_same_everywhere(case in case()) {
        is_the_same_everywhere(&Case {
            depthwise: true,
            residual: true,
            head: false,
            kernel: 3,
            stride: 1,
            outputs: case.channels,
            pads: [case.dilation; 4],
            ..case
        });
    }
}

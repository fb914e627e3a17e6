//! The activations of newer networks, as exporters write them: in the epilogue of the convolution before
//! them, or one step where they follow something else.

use crate::fusion_patterns::{
    ONE_BY_ONE, SAME, SHAPE, THREE_BY_THREE, conv, kinds, layers, with_scalar,
};
use crate::onnx::{Onnx, Value};
use crate::parity::values;

type Write = fn(&mut Onnx, &str) -> String;

fn gelu_by_tanh(onnx: &mut Onnx, x: &str, cube: &str) -> String {
    let scaled = with_scalar(onnx, "Mul", cube, 0.044715);
    let sum = onnx.node("Add", &[x, &scaled], &[]);
    let inner = with_scalar(onnx, "Mul", &sum, 0.797_884_6);
    let tanh = onnx.node("Tanh", &[&inner], &[]);
    let plus = with_scalar(onnx, "Add", &tanh, 1.0);
    let half = with_scalar(onnx, "Mul", x, 0.5);
    onnx.node("Mul", &[&half, &plus], &[])
}

/// Each activation, in each way that it is written.
const WRITTEN: [(&str, Write); 9] = [
    ("silu", |onnx, x| {
        let gate = onnx.node("Sigmoid", &[x], &[]);
        onnx.node("Mul", &[x, &gate], &[])
    }),
    ("silu, the gate first", |onnx, x| {
        let gate = onnx.node("Sigmoid", &[x], &[]);
        onnx.node("Mul", &[&gate, x], &[])
    }),
    ("gelu of opset 13", |onnx, x| {
        let inner = with_scalar(onnx, "Div", x, std::f32::consts::SQRT_2);
        let erf = onnx.node("Erf", &[&inner], &[]);
        let plus = with_scalar(onnx, "Add", &erf, 1.0);
        let product = onnx.node("Mul", &[x, &plus], &[]);
        with_scalar(onnx, "Mul", &product, 0.5)
    }),
    ("gelu with the half first", |onnx, x| {
        let half = with_scalar(onnx, "Mul", x, 0.5);
        let inner = with_scalar(onnx, "Mul", x, std::f32::consts::FRAC_1_SQRT_2);
        let erf = onnx.node("Erf", &[&inner], &[]);
        let plus = with_scalar(onnx, "Add", &erf, 1.0);
        onnx.node("Mul", &[&half, &plus], &[])
    }),
    ("gelu by tanh and a power", |onnx, x| {
        let cube = with_scalar(onnx, "Pow", x, 3.0);
        gelu_by_tanh(onnx, x, &cube)
    }),
    ("gelu by tanh and products", |onnx, x| {
        let square = onnx.node("Mul", &[x, x], &[]);
        let cube = onnx.node("Mul", &[x, &square], &[]);
        gelu_by_tanh(onnx, x, &cube)
    }),
    ("leaky relu", |onnx, x| {
        onnx.node("LeakyRelu", &[x], &[("alpha", Value::Float(0.1))])
    }),
    ("prelu of one slope", |onnx, x| {
        let slope = onnx.constant(&[1, 1, 1], &[0.25]);
        onnx.node("PRelu", &[x, &slope], &[])
    }),
    ("sigmoid", |onnx, x| onnx.node("Sigmoid", &[x], &[])),
];

#[test]
fn activations_are_fused_into_the_convolution() {
    for (name, write) in WRITTEN {
        let mut onnx = Onnx::default();
        let x = conv(&mut onnx, "input", [24, 19, 1, 1], &[ONE_BY_ONE]);
        let x = write(&mut onnx, &x);
        let fused = layers(&onnx, SHAPE, &x, &[1, 24, 9, 11]);
        assert_eq!(kinds(&fused), ["pointwise"], "{name}");
    }
}

#[test]
fn activations_are_fused_into_the_depthwise_convolution() {
    for (name, write) in WRITTEN {
        let mut onnx = Onnx::default();
        let attributes = [THREE_BY_THREE, SAME, ("group", Value::Int(32))];
        let x = conv(&mut onnx, "input", [32, 1, 3, 3], &attributes);
        let x = write(&mut onnx, &x);
        let shape = [1, 32, 9, 11];
        assert_eq!(
            kinds(&layers(&onnx, shape, &x, &shape)),
            ["depthwise 3x3"],
            "{name}"
        );
    }
}

#[test]
fn activations_after_a_sum_are_one_step() {
    for (name, write) in WRITTEN {
        let mut onnx = Onnx::default();
        let x = conv(&mut onnx, "input", [19, 19, 1, 1], &[ONE_BY_ONE]);
        let x = onnx.node("Add", &[&x, "input"], &[]);
        let x = write(&mut onnx, &x);
        let fused = layers(&onnx, SHAPE, &x, &SHAPE);
        assert_eq!(kinds(&fused), ["pointwise", "unary"], "{name}");
    }
}

#[test]
fn prelu_of_a_slope_for_each_channel_runs_on_the_kernels() {
    let mut onnx = Onnx::default();
    let x = conv(&mut onnx, "input", [24, 19, 1, 1], &[ONE_BY_ONE]);
    let slopes = onnx.constant(&[24, 1, 1], &values(24, 3));
    let x = onnx.node("PRelu", &[&x, &slopes], &[]);
    let x = conv(&mut onnx, &x, [8, 24, 1, 1], &[ONE_BY_ONE]);
    let fused = layers(&onnx, SHAPE, &x, &[1, 8, 9, 11]);
    assert_eq!(kinds(&fused), ["pointwise", "prelu", "pointwise"]);
}

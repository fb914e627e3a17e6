//! Quantised operators other than convolutions, and what may stand between quantising and
//! dequantising: the values by their definition, as in `qdq.rs`.

use std::fs;

use mobilens_nn::{KeptClasses, KernelChoice, LoadOptions, Network};

use crate::onnx::{Onnx, Type, Value};
use crate::parity::{outputs, values};
use crate::qdq::{Activation, SHAPE, each_network, gives, input};

const A: Activation = Activation(1.0 / 32.0, 90, Type::Uint8);
const B: Activation = Activation(1.0 / 16.0, 3, Type::Int8);
const C: Activation = Activation(1.0 / 8.0, -5, Type::Int8);

/// A 1x1 convolution that leaves each value as it is.
fn identity(onnx: &mut Onnx, x: &str) -> String {
    let weights: Vec<f32> = (0..9).map(|i| f32::from(u8::from(i % 4 == 0))).collect();
    let weights = onnx.constant(&[3, 3, 1, 1], &weights);
    onnx.node("Conv", &[x, &weights], &[])
}

#[test]
fn other_qoperators() {
    let input = input();
    let a: Vec<f32> = input.iter().map(|x| A.round(*x)).collect();
    let b: Vec<f32> = input.iter().map(|x| B.round(*x)).collect();
    let round = |values: Vec<f32>| -> Vec<f32> { values.into_iter().map(|x| C.round(x)).collect() };
    let both = |f: fn(f32, f32) -> f32| round(a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect());
    let joined = round(a.iter().chain(&b).copied().collect());
    let pooled: Vec<f32> = a.chunks(30).map(|c| c.iter().sum::<f32>() / 30.0).collect();
    let leaky = a.iter().map(|x| if *x < 0.0 { x * 0.25 } else { *x });
    let tests: [(&str, bool, Vec<f32>, [usize; 4]); 5] = [
        ("QLinearAdd", true, both(|a, b| a + b), SHAPE),
        ("QLinearMul", true, both(|a, b| a * b), SHAPE),
        ("QLinearConcat", true, joined, [1, 6, 5, 6]),
        (
            "QLinearGlobalAveragePool",
            false,
            round(pooled),
            [1, 3, 1, 1],
        ),
        ("QLinearLeakyRelu", false, round(leaky.collect()), SHAPE),
    ];
    for (op, two, expected, shape) in tests {
        let mut onnx = Onnx::default();
        let x = identity(&mut onnx, "input");
        let mut operands = Vec::new();
        for activation in [A, B].into_iter().take(if two { 2 } else { 1 }) {
            operands.push(activation.quantize(&mut onnx, &x));
            operands.extend(activation.constants(&mut onnx));
        }
        let at = if op == "QLinearConcat" {
            0
        } else {
            operands.len()
        };
        operands.splice(at..at, C.constants(&mut onnx));
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        let attributes: &[(&str, Value<'_>)] = match op {
            "QLinearConcat" => &[("axis", Value::Int(1))],
            "QLinearLeakyRelu" => &[("alpha", Value::Float(0.25))],
            "QLinearGlobalAveragePool" => &[("channels_last", Value::Int(0))],
            _ => &[],
        };
        let y = onnx.node(op, &operands, attributes);
        let y = C.dequantize(&mut onnx, &y);
        each_network(&onnx.file(&SHAPE, &y, &shape), |network, kernels| {
            let got = &outputs(network, 1, 2, &input)[0];
            assert_eq!(got, &expected, "{kernels:?}: {op}");
        });
    }
}

#[test]
fn operators_that_move_codes_may_stand_between() {
    let mut onnx = Onnx::default();
    let x = identity(&mut onnx, "input");
    let q = A.quantize(&mut onnx, &x);
    let (low, high) = (
        onnx.codes(&[], Type::Uint8, &[40]),
        onnx.codes(&[], Type::Uint8, &[180]),
    );
    let clipped = onnx.node("Clip", &[&q, &low, &high], &[]);
    let moved = onnx.node(
        "Transpose",
        &[&clipped],
        &[("perm", Value::Ints(&[0, 2, 3, 1]))],
    );
    let shape = onnx.integers(&[1, 30, 3]);
    let moved = onnx.node("Reshape", &[&moved, &shape], &[]);
    // Both consumers, and one that reads the codes before they are limited.
    let one = A.dequantize(&mut onnx, &moved);
    let two = A.dequantize(&mut onnx, &moved);
    let sum = onnx.node("Add", &[&one, &two], &[]);
    let whole = A.dequantize(&mut onnx, &q);
    let whole = onnx.node(
        "Transpose",
        &[&whole],
        &[("perm", Value::Ints(&[0, 2, 3, 1]))],
    );
    let whole = onnx.node("Reshape", &[&whole, &shape], &[]);
    let sum = onnx.node("Add", &[&sum, &whole], &[]);
    let input = input();
    let expected: Vec<f32> = (0..90)
        .map(|i| A.round(input[i % 3 * 30 + i / 3]))
        .map(|x| 2.0 * x.clamp((40.0 - 90.0) / 32.0, (180.0 - 90.0) / 32.0) + x)
        .collect();
    each_network(&onnx.file(&SHAPE, &sum, &[1, 30, 3]), |network, kernels| {
        assert_eq!(outputs(network, 1, 1, &input)[0], expected, "{kernels:?}");
    });
}

/// torch writes the narrow range of its fake quantisation by a `Clip`.
#[test]
fn a_clip_of_codes_narrows_the_range() {
    let mut onnx = Onnx::default();
    let x = identity(&mut onnx, "input");
    let x = B.quantize(&mut onnx, &x);
    let (low, high) = (
        onnx.codes(&[], Type::Int8, &[-20]),
        onnx.codes(&[], Type::Int8, &[30]),
    );
    let x = onnx.node("Clip", &[&x, &low, &high], &[]);
    let x = B.dequantize(&mut onnx, &x);
    let expected: Vec<f32> = input()
        .iter()
        .map(|x| B.round(*x).clamp(-23.0 / 16.0, 27.0 / 16.0))
        .collect();
    gives(&onnx, &x, &SHAPE, &expected, "Clip");
}

#[test]
fn quantised_inputs_and_outputs_are_float32() {
    let mut onnx = Onnx::with_types([Type::Uint8, Type::Int8]);
    let x = A.dequantize(&mut onnx, "input");
    let x = identity(&mut onnx, &x);
    let x = B.quantize(&mut onnx, &x);
    let expected: Vec<f32> = input().iter().map(|x| B.round(A.round(*x))).collect();
    gives(&onnx, &x, &SHAPE, &expected, "codes in, codes out");
}

#[test]
fn a_missing_zero_point_is_zero() {
    let mut onnx = Onnx::default();
    let x = identity(&mut onnx, "input");
    let scale = onnx.constant(&[1], &[1.0 / 32.0]);
    let x = onnx.node("QuantizeLinear", &[&x, &scale], &[]);
    let x = onnx.node("DequantizeLinear", &[&x, &scale], &[]);
    let expected: Vec<f32> = input()
        .iter()
        .map(|x| Activation(1.0 / 32.0, 0, Type::Uint8).round(*x))
        .collect();
    gives(&onnx, &x, &SHAPE, &expected, "no zero point");
}

/// Class pruning goes through the rounding of the heads.
#[test]
fn quantised_class_heads_are_pruned() {
    let mut onnx = Onnx::default();
    let x = A.both(&mut onnx, "input");
    let heads: Vec<String> = [1, 2]
        .map(|head| {
            let weights = onnx.constant(&[6, 3, 1, 1], &values(18, head));
            let y = onnx.node("Conv", &[&x, &weights], &[]);
            let y = B.both(&mut onnx, &y);
            let y = onnx.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 2, 3, 1]))]);
            let shape = onnx.integers(&[1, 90, 2]);
            onnx.node("Reshape", &[&y, &shape], &[])
        })
        .into();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let y = onnx.node("Concat", &heads, &[("axis", Value::Int(1))]);
    let y = C.both(&mut onnx, &y);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("heads.onnx");
    fs::write(&path, onnx.file(&SHAPE, &y, &[1, 180, 2])).expect("room");
    let run = |keep| {
        let kernels = KernelChoice::Portable;
        let options = LoadOptions {
            kernels,
            keep,
            ..LoadOptions::default()
        };
        let network = Network::load(&path, &options).expect("it loads");
        let output = outputs(&network, 1, 1, &input()).remove(0);
        (network.pruned_classes().is_some(), output)
    };
    let (_, whole) = run(None);
    let keep = KeptClasses {
        output: y,
        classes: vec![1],
    };
    let (is_pruned, pruned) = run(Some(keep));
    assert!(is_pruned);
    let expected: Vec<f32> = whole.chunks(2).map(|scores| scores[1]).collect();
    assert_eq!(pruned, expected);
}

/// As NNCF quantises the input of depthwise convolutions.
#[test]
fn a_scale_for_each_channel() {
    for (element, zero_points) in [
        (Type::Uint8, [3, 3, 3]),
        (Type::Int8, [-7, 0, 20]),
        (Type::Uint8, [0, 128, 255]),
    ] {
        let scales = [1.0 / 64.0, 1.0 / 32.0, 1.0 / 128.0];
        let mut onnx = Onnx::default();
        let x = identity(&mut onnx, "input");
        let parts = [
            onnx.constant(&[3], &scales),
            onnx.codes(&[3], element, &zero_points),
        ];
        let axis = [("axis", Value::Int(1))];
        let x = onnx.node("QuantizeLinear", &[&x, &parts[0], &parts[1]], &axis);
        let x = onnx.node("DequantizeLinear", &[&x, &parts[0], &parts[1]], &axis);
        let expected: Vec<f32> = input()
            .iter()
            .enumerate()
            .map(|(at, x)| {
                let channel = at / 30;
                Activation(scales[channel], zero_points[channel], element).round(*x)
            })
            .collect();
        gives(&onnx, &x, &SHAPE, &expected, "channels");
    }
}

/// The channel scales are folded into the convolutions before and after.
#[test]
fn channel_scales_between_convolutions_leave_no_operators() {
    let mut onnx = Onnx::default();
    let quantized = |onnx: &mut Onnx, shape: &[usize], codes: &[i32], scale: f32| {
        let codes = onnx.codes(shape, Type::Int8, codes);
        let scale = onnx.constant(&[], &[scale]);
        onnx.node("DequantizeLinear", &[&codes, &scale], &[])
    };
    let x = A.both(&mut onnx, "input");
    let weights = quantized(
        &mut onnx,
        &[3, 3, 1, 1],
        &[40, -9, 3, 5, 37, 8, -20, 11, 64],
        0.125,
    );
    let x = onnx.node("Conv", &[&x, &weights], &[]);
    let limits = [0.0, 6.0].map(|limit| onnx.constant(&[], &[limit]));
    let x = onnx.node("Clip", &[&x, &limits[0], &limits[1]], &[]);
    let scales = [1.0 / 64.0, 1.0 / 128.0, 1.0 / 256.0];
    let parts = [
        onnx.constant(&[3], &scales),
        onnx.codes(&[3], Type::Uint8, &[0, 0, 0]),
    ];
    let axis = [("axis", Value::Int(1))];
    let x = onnx.node("QuantizeLinear", &[&x, &parts[0], &parts[1]], &axis);
    let x = onnx.node("DequantizeLinear", &[&x, &parts[0], &parts[1]], &axis);
    let taps: Vec<i32> = (0..27).map(|i| i * 9 - 120).collect();
    let weights = quantized(&mut onnx, &[3, 1, 3, 3], &taps, 0.25);
    let attributes = [
        ("pads", Value::Ints(&[1, 1, 1, 1])),
        ("group", Value::Int(3)),
    ];
    let x = onnx.node("Conv", &[&x, &weights], &attributes);
    let x = Activation(1.0, 100, Type::Uint8).both(&mut onnx, &x);
    let mut expected = Vec::new();
    each_network(&onnx.file(&SHAPE, &x, &SHAPE), |network, kernels| {
        if kernels == KernelChoice::Tract {
            let tract = outputs(network, 1, 1, &input()).remove(0);
            assert!(expected.iter().all(|got| *got == tract));
            return;
        }
        let kinds: Vec<&str> = network.layers().iter().map(|l| l.op.as_str()).collect();
        assert!(!kinds.contains(&"affine"), "{kernels:?}: {kinds:?}");
        expected.push(outputs(network, 1, 2, &input()).remove(0));
    });
}

/// As torch's exporter writes scales and zero points: by `Constant` nodes and casts.
#[test]
fn scales_and_zero_points_may_be_computed_by_nodes() {
    let mut onnx = Onnx::default();
    let x = identity(&mut onnx, "input");
    let scale = onnx.node(
        "Constant",
        &[],
        &[("value_float", Value::Float(1.0 / 16.0))],
    );
    let zero_point = onnx.node("Constant", &[], &[("value_int", Value::Int(3))]);
    let zero_point = onnx.node("Cast", &[&zero_point], &[("to", Value::Int(3))]);
    let zero_point = onnx.node("Identity", &[&zero_point], &[]);
    let x = onnx.node("QuantizeLinear", &[&x, &scale, &zero_point], &[]);
    let x = onnx.node("DequantizeLinear", &[&x, &scale, &zero_point], &[]);
    let expected: Vec<f32> = input().iter().map(|x| B.round(*x)).collect();
    gives(&onnx, &x, &SHAPE, &expected, "computed parameters");
}

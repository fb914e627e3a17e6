//! Quantised files that are wrong: one line that says what, and where.

use std::fs;

use mobilens_nn::{LoadOptions, Network, NnError};

use crate::onnx::{Onnx, Type, Value};
use crate::qdq::Activation;

const SHAPE: [usize; 4] = [1, 3, 4, 4];
const A: Activation = Activation(0.5, 3, Type::Uint8);

/// A file, and what its error must say.
struct Wrong {
    name: &'static str,
    expected: &'static [&'static str],
    build: fn(&mut Onnx) -> String,
}

/// Weights `[2, 3, 1, 1]` with these scales and zero points along an axis.
fn weights(onnx: &mut Onnx, scales: &[f32], zeros: &[i32], axis: i64) -> String {
    let codes = onnx.codes(&[2, 3, 1, 1], Type::Int8, &[1, 2, 3, 4, 5, 6]);
    let scales = onnx.constant(&[scales.len()], scales);
    let zeros = onnx.codes(&[zeros.len()], Type::Int8, zeros);
    let axis = [("axis", Value::Signed(axis))];
    let weights = onnx.node("DequantizeLinear", &[&codes, &scales, &zeros], &axis);
    onnx.node("Conv", &["input", &weights], &[])
}

fn with_scale(onnx: &mut Onnx, scale: f32) -> String {
    Activation(scale, 0, Type::Uint8).both(onnx, "input")
}

const ALL: [Wrong; 22] = [
    Wrong {
        name: "no scale",
        expected: &["QuantizeLinear n", "it has no scale"],
        build: |onnx| onnx.node("QuantizeLinear", &["input"], &[]),
    },
    Wrong {
        name: "a scale that is not in the file",
        expected: &["QuantizeLinear n", "its scale nowhere is not a constant"],
        build: |onnx| onnx.node("QuantizeLinear", &["input", "nowhere"], &[]),
    },
    Wrong {
        name: "scale 0",
        expected: &["its scale is 0, expected a finite number above 0"],
        build: |onnx| with_scale(onnx, 0.0),
    },
    Wrong {
        name: "negative scale",
        expected: &["its scale is -0.5, expected"],
        build: |onnx| with_scale(onnx, -0.5),
    },
    Wrong {
        name: "infinite scale",
        expected: &["its scale is inf, expected"],
        build: |onnx| with_scale(onnx, f32::INFINITY),
    },
    Wrong {
        name: "NaN as scale",
        expected: &["is NaN at index 0"],
        build: |onnx| with_scale(onnx, f32::NAN),
    },
    Wrong {
        name: "one of the scales of weights is 0",
        expected: &["DequantizeLinear n", "its scale is 0, expected"],
        build: |onnx| weights(onnx, &[0.5, 0.0], &[0, 0], 0),
    },
    Wrong {
        name: "an axis that does not exist",
        expected: &["axis 4 of a tensor of 4 dimensions"],
        build: |onnx| weights(onnx, &[0.5, 0.5], &[0, 0], 4),
    },
    Wrong {
        name: "a negative axis that does not exist",
        expected: &["axis -5 of a tensor of 4 dimensions"],
        build: |onnx| weights(onnx, &[0.5, 0.5], &[0, 0], -5),
    },
    Wrong {
        name: "scales for another axis",
        expected: &["2 scales for axis 1, whose size is 3"],
        build: |onnx| weights(onnx, &[0.5, 0.5], &[0, 0], 1),
    },
    Wrong {
        name: "fewer zero points than scales",
        expected: &["1 zero points and 2 scales"],
        build: |onnx| weights(onnx, &[0.5, 0.5], &[0], 0),
    },
    Wrong {
        name: "a zero point of another type",
        expected: &["its input is int8, but its zero point uint8"],
        build: |onnx| {
            let codes = onnx.codes(&[3], Type::Int8, &[1, 2, 3]);
            let [scale, zero] = A.constants(onnx);
            let constant = onnx.node("DequantizeLinear", &[&codes, &scale, &zero], &[]);
            onnx.node("Mul", &["input", &constant], &[])
        },
    },
    Wrong {
        name: "a zero point of float32",
        expected: &["its zero point is float32, expected int8 or uint8"],
        build: |onnx| {
            let one = onnx.constant(&[], &[1.0]);
            onnx.node("QuantizeLinear", &["input", &one, &one], &[])
        },
    },
    Wrong {
        name: "a scale of float16",
        expected: &["its type is float16, which is not supported"],
        build: |onnx| {
            let one = onnx.tensor(&[], Type::Float16, vec![0, 0x3c]);
            onnx.node("QuantizeLinear", &["input", &one], &[])
        },
    },
    Wrong {
        name: "mixed zero points",
        expected: &[
            "scale 0.5, zero point 4 of uint8",
            "was quantised with scale 0.5, zero point 3 of uint8",
        ],
        build: |onnx| {
            let x = A.quantize(onnx, "input");
            Activation(0.5, 4, Type::Uint8).dequantize(onnx, &x)
        },
    },
    Wrong {
        name: "mixed types",
        expected: &["zero point 3 of int8", "was quantised with", "of uint8"],
        build: |onnx| {
            let x = A.quantize(onnx, "input");
            Activation(0.5, 3, Type::Int8).dequantize(onnx, &x)
        },
    },
    Wrong {
        name: "an activation with several scales along another axis than the channels",
        expected: &["3 scales along axis 2; an activation may have several only for its channels"],
        build: |onnx| {
            let scales = onnx.constant(&[3], &[0.5, 1.0, 2.0]);
            let zeros = onnx.codes(&[3], Type::Uint8, &[0, 0, 0]);
            let axis = [("axis", Value::Int(2))];
            onnx.node("QuantizeLinear", &["input", &scales, &zeros], &axis)
        },
    },
    Wrong {
        name: "codes from nowhere",
        expected: &["its input input is neither constant nor quantised"],
        build: |onnx| A.dequantize(onnx, "input"),
    },
    Wrong {
        name: "quantised twice",
        expected: &["is quantised already"],
        build: |onnx| {
            let x = A.quantize(onnx, "input");
            A.quantize(onnx, &x)
        },
    },
    Wrong {
        name: "an operator that does not know codes",
        expected: &["Relu n", "is not supported for quantised values"],
        build: |onnx| {
            let x = A.quantize(onnx, "input");
            let x = onnx.node("Relu", &[&x], &[]);
            A.dequantize(onnx, &x)
        },
    },
    Wrong {
        name: "an unknown quantised operator",
        expected: &["QLinearWhere n", "this quantised operator is not supported"],
        build: |onnx| {
            let x = A.quantize(onnx, "input");
            onnx.node("QLinearWhere", &[&x], &[])
        },
    },
    Wrong {
        name: "fewer values than the shape says",
        expected: &["[2, 3], 6 bytes; the file has 5"],
        build: |onnx| {
            let codes = onnx.codes(&[2, 3], Type::Int8, &[1, 2, 3, 4, 5]);
            let scale = onnx.constant(&[], &[0.5]);
            let constant = onnx.node("DequantizeLinear", &[&codes, &scale], &[]);
            onnx.node("Mul", &["input", &constant], &[])
        },
    },
];

#[test]
fn each_is_one_clear_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("wrong.onnx");
    for wrong in ALL {
        let name = wrong.name;
        let mut onnx = Onnx::default();
        let output = (wrong.build)(&mut onnx);
        fs::write(&path, onnx.file(&SHAPE, &output, &SHAPE)).expect("room");
        let error = match Network::load(&path, &LoadOptions::default()) {
            Err(error @ NnError::InvalidModel { .. }) => error.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        for expected in wrong.expected {
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert!(!error.contains('\n'), "{name}: {error}");
    }
}

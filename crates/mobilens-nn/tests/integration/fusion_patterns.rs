//! What exporters write for the same thing: each pattern is fused to the layers that it should be,
//! all of them on the kernels, with the results of plain tract.

use std::fs;

use mobilens_nn::{KernelChoice, LayerReport};

use crate::onnx::{Onnx, Value};
use crate::parity::{KERNELS, TOLERANCE, difference, load, outputs, values};

/// An input shape, small and odd.
pub const SHAPE: [usize; 4] = [1, 19, 9, 11];
pub const ONE_BY_ONE: (&str, Value<'static>) = ("kernel_shape", Value::Ints(&[1, 1]));
pub const THREE_BY_THREE: (&str, Value<'static>) = ("kernel_shape", Value::Ints(&[3, 3]));
pub const SAME: (&str, Value<'static>) = ("pads", Value::Ints(&[1, 1, 1, 1]));

/// Writes the network, holds every path to plain tract, and returns the layers of the best one.
pub fn layers(
    onnx: &Onnx,
    shape: [usize; 4],
    output: &str,
    output_shape: &[usize],
) -> Vec<LayerReport> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("pattern.onnx");
    fs::write(&path, onnx.file(&shape, output, output_shape)).expect("room");
    let input: Vec<f32> = values(shape.iter().product(), 11)
        .iter()
        .map(|v| v * 4.0)
        .collect();
    let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let expected = outputs(&tract, 1, 1, &input);
    let mut layers = Vec::new();
    for kernels in KERNELS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        let off = difference(&outputs(&network, 1, 2, &input)[0], &expected[0]);
        assert!(off <= TOLERANCE, "{kernels:?}: {off}");
        layers = network.layers().to_vec();
        let on_tract: Vec<_> = layers.iter().filter(|l| l.runs_on == "tract").collect();
        assert!(
            on_tract.is_empty(),
            "{kernels:?}: left to tract: {on_tract:?}"
        );
    }
    layers
}

/// The operators of the layers, in order, without the last one if it only transposes the result to
/// the layout of the file.
pub fn kinds(layers: &[LayerReport]) -> Vec<&str> {
    let mut kinds: Vec<_> = layers.iter().map(|layer| layer.op.as_str()).collect();
    if kinds.last() == Some(&"transpose") {
        kinds.pop();
    }
    kinds
}

pub fn conv(
    onnx: &mut Onnx,
    x: &str,
    [outputs, inputs, h, w]: [usize; 4],
    attributes: &[(&str, Value<'_>)],
) -> String {
    let count = outputs * inputs * h * w;
    let weights: Vec<f32> = values(count, count as u64)
        .iter()
        .map(|v| v * 0.2)
        .collect();
    let weights = onnx.constant(&[outputs, inputs, h, w], &weights);
    let bias = onnx.constant(&[outputs], &values(outputs, 5));
    onnx.node("Conv", &[x, &weights, &bias], attributes)
}

pub fn with_scalar(onnx: &mut Onnx, op: &str, x: &str, value: f32) -> String {
    let value = onnx.constant(&[], &[value]);
    onnx.node(op, &[x, &value], &[])
}

fn clip(onnx: &mut Onnx, x: &str, low: f32, high: f32) -> String {
    let (low, high) = (onnx.constant(&[], &[low]), onnx.constant(&[], &[high]));
    onnx.node("Clip", &[x, &low, &high], &[])
}

#[test]
fn batch_normalisation_and_relu6_are_fused_into_the_convolution() {
    let mut onnx = Onnx::default();
    let x = conv(&mut onnx, "input", [24, 19, 3, 3], &[THREE_BY_THREE, SAME]);
    let positive: Vec<f32> = values(24, 3).iter().map(|v| v.abs() + 0.5).collect();
    let [scale, offset, mean] = [1, 2, 4].map(|seed| onnx.constant(&[24], &values(24, seed)));
    let variance = onnx.constant(&[24], &positive);
    let inputs = [&x, &scale, &offset, &mean, &variance].map(String::as_str);
    let x = onnx.node(
        "BatchNormalization",
        &inputs,
        &[("epsilon", Value::Float(1e-3))],
    );
    let x = clip(&mut onnx, &x, 0.0, 6.0);
    assert_eq!(
        kinds(&layers(&onnx, SHAPE, &x, &[1, 24, 9, 11])),
        ["conv 3x3"]
    );
}

#[test]
fn the_relu_behind_a_residual_sum_is_in_the_epilogue() {
    // 19 channels are one panel and a part of one, 40 channels on more pixels go through all tiles.
    for (channels, shape) in [(19, SHAPE), (40, [1, 40, 13, 17])] {
        let mut onnx = Onnx::default();
        let x = clip(&mut onnx, "input", -1.0, 1.0);
        let y = conv(
            &mut onnx,
            &x,
            [channels, channels, 3, 3],
            &[THREE_BY_THREE, SAME],
        );
        let sum = onnx.node("Add", &[&y, &x], &[]);
        let relu = onnx.node("Relu", &[&sum], &[]);
        let out = conv(&mut onnx, &relu, [channels, channels, 1, 1], &[ONE_BY_ONE]);
        let layers = layers(&onnx, shape, &out, &shape);
        let steps: Vec<_> = layers.iter().map(|layer| layer.step).collect();
        let kinds = kinds(&layers);
        let at = kinds.iter().position(|kind| *kind == "conv 3x3");
        let at = at.expect("a convolution");
        assert_eq!(kinds[at..], ["conv 3x3", "unary", "pointwise"]);
        assert_eq!(steps[at], steps[at + 1], "one step: {layers:?}");
    }
}

#[test]
fn scale_and_offset_are_folded_into_a_depthwise_convolution() {
    let mut onnx = Onnx::default();
    let attributes = [THREE_BY_THREE, SAME, ("group", Value::Int(19))];
    let x = conv(&mut onnx, "input", [19, 1, 3, 3], &attributes);
    let scale = onnx.constant(&[1, 19, 1, 1], &values(19, 1));
    let offset = onnx.constant(&[1, 19, 1, 1], &values(19, 2));
    let x = onnx.node("Mul", &[&x, &scale], &[]);
    let x = onnx.node("Add", &[&offset, &x], &[]);
    let x = onnx.node("Relu", &[&x], &[]);
    assert_eq!(kinds(&layers(&onnx, SHAPE, &x, &SHAPE)), ["depthwise 3x3"]);
}

#[test]
fn hard_swish_is_fused_in_all_its_decompositions() {
    let decompositions: [fn(&mut Onnx, &str) -> String; 5] = [
        |onnx, x| onnx.node("HardSwish", &[x], &[]),
        |onnx, x| {
            let third = [
                ("alpha", Value::Float(1.0 / 6.0)),
                ("beta", Value::Float(0.5)),
            ];
            let gate = onnx.node("HardSigmoid", &[x], &third);
            onnx.node("Mul", &[x, &gate], &[])
        },
        |onnx, x| {
            let plus = with_scalar(onnx, "Add", x, 3.0);
            let gate = clip(onnx, &plus, 0.0, 6.0);
            let scaled = onnx.node("Mul", &[x, &gate], &[]);
            with_scalar(onnx, "Div", &scaled, 6.0)
        },
        |onnx, x| {
            let plus = with_scalar(onnx, "Add", x, 3.0);
            let gate = clip(onnx, &plus, 0.0, 6.0);
            let gate = with_scalar(onnx, "Mul", &gate, 1.0 / 6.0);
            onnx.node("Mul", &[&gate, x], &[])
        },
        |onnx, x| {
            let scaled = with_scalar(onnx, "Mul", x, 1.0 / 6.0);
            let plus = with_scalar(onnx, "Add", &scaled, 0.5);
            let gate = clip(onnx, &plus, 0.0, 1.0);
            onnx.node("Mul", &[&gate, x], &[])
        },
    ];
    for (index, decomposition) in decompositions.iter().enumerate() {
        let mut onnx = Onnx::default();
        let x = conv(&mut onnx, "input", [24, 19, 1, 1], &[ONE_BY_ONE]);
        let x = decomposition(&mut onnx, &x);
        let layers = layers(&onnx, SHAPE, &x, &[1, 24, 9, 11]);
        assert_eq!(kinds(&layers), ["pointwise"], "decomposition {index}");
    }
}

#[test]
fn zero_padding_is_fused_into_the_convolution() {
    let mut onnx = Onnx::default();
    let pads = onnx.integers(&[0, 0, 0, 0, 0, 0, 1, 1]);
    let x = onnx.node("Pad", &["input", &pads], &[]);
    let stride = ("strides", Value::Ints(&[2, 2]));
    let attributes = [THREE_BY_THREE, stride, ("group", Value::Int(19))];
    let x = conv(&mut onnx, &x, [19, 1, 3, 3], &attributes);
    let layers = layers(&onnx, SHAPE, &x, &[1, 19, 4, 5]);
    assert_eq!(kinds(&layers), ["depthwise 3x3"]);
}

#[test]
fn transposes_around_convolutions_are_eliminated() {
    let mut onnx = Onnx::default();
    let in_front = [("perm", Value::Ints(&[0, 3, 1, 2]))];
    let behind = [("perm", Value::Ints(&[0, 2, 3, 1]))];
    let x = onnx.node("Transpose", &["input"], &in_front);
    let x = conv(&mut onnx, &x, [24, 19, 1, 1], &[ONE_BY_ONE]);
    let x = onnx.node("Transpose", &[&x], &behind);
    let x = onnx.node("Relu", &[&x], &[]);
    let x = onnx.node("Transpose", &[&x], &in_front);
    let x = conv(&mut onnx, &x, [8, 24, 1, 1], &[ONE_BY_ONE]);
    let x = onnx.node("Transpose", &[&x], &behind);
    let layers = layers(&onnx, [1, 9, 11, 19], &x, &[1, 9, 11, 8]);
    let kinds: Vec<_> = layers.iter().map(|layer| layer.op.as_str()).collect();
    assert_eq!(kinds, ["pointwise", "pointwise"]);
}

#[test]
fn squeeze_and_excite_runs_on_the_kernels() {
    for mean in ["GlobalAveragePool", "ReduceMean"] {
        let mut onnx = Onnx::default();
        let attributes = [
            ("kernel_shape", Value::Ints(&[5, 5])),
            ("pads", Value::Ints(&[2, 2, 2, 2])),
            ("group", Value::Int(19)),
        ];
        let wide = conv(&mut onnx, "input", [19, 1, 5, 5], &attributes);
        let wide = onnx.node("HardSwish", &[&wide], &[]);
        let x = if mean == "ReduceMean" {
            let axes = [("axes", Value::Ints(&[2, 3])), ("keepdims", Value::Int(1))];
            onnx.node(mean, &[&wide], &axes)
        } else {
            onnx.node(mean, &[&wide], &[])
        };
        let x = conv(&mut onnx, &x, [8, 19, 1, 1], &[ONE_BY_ONE]);
        let x = onnx.node("Relu", &[&x], &[]);
        let x = conv(&mut onnx, &x, [19, 8, 1, 1], &[ONE_BY_ONE]);
        let third = [
            ("alpha", Value::Float(1.0 / 6.0)),
            ("beta", Value::Float(0.5)),
        ];
        let x = onnx.node("HardSigmoid", &[&x], &third);
        let x = onnx.node("Mul", &[&wide, &x], &[]);
        let layers = layers(&onnx, SHAPE, &x, &SHAPE);
        let convs = kinds(&layers);
        assert_eq!(
            convs.iter().filter(|k| **k == "pointwise").count(),
            2,
            "{convs:?}"
        );
        assert_eq!(convs[0], "depthwise 5x5", "{mean}");
    }
}

#[test]
fn bilinear_resizes_run_on_the_kernels() {
    for mode in ["half_pixel", "align_corners", "asymmetric"] {
        let mut onnx = Onnx::default();
        let sizes = onnx.integers(&[1, 19, 23, 30]);
        let attributes = [
            ("mode", Value::Text("linear")),
            ("coordinate_transformation_mode", Value::Text(mode)),
        ];
        let x = conv(&mut onnx, "input", [19, 19, 1, 1], &[ONE_BY_ONE]);
        let x = onnx.node("Resize", &[&x, "", "", &sizes], &attributes);
        let layers = layers(&onnx, SHAPE, &x, &[1, 19, 23, 30]);
        assert_eq!(kinds(&layers), ["pointwise", "resize"], "{mode}");
    }
}

#[test]
fn heads_are_concatenated_in_place() {
    let mut onnx = Onnx::default();
    let mut head = |outputs: usize| {
        let x = conv(&mut onnx, "input", [outputs, 19, 1, 1], &[ONE_BY_ONE]);
        let x = onnx.node("Transpose", &[&x], &[("perm", Value::Ints(&[0, 2, 3, 1]))]);
        let shape = onnx.integers(&[1, (99 * outputs / 4) as i64, 4]);
        onnx.node("Reshape", &[&x, &shape], &[])
    };
    let heads = [head(8), head(12)];
    let x = onnx.node(
        "Concat",
        &[&heads[0], &heads[1]],
        &[("axis", Value::Int(1))],
    );
    let layers = layers(&onnx, SHAPE, &x, &[1, 99 * 5, 4]);
    assert_eq!(kinds(&layers), ["pointwise", "pointwise"]);
}

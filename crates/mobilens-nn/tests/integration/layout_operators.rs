//! Pooling, slices, padding, resizing, depth to space, transposed convolution and softmax, as the exporters of
//! CNNs and YOLOs write them: all on the kernels, with the results of plain tract.

use std::fs;

use mobilens_nn::KernelChoice;
use proptest::prelude::*;

use crate::fusion_patterns::{ONE_BY_ONE, SHAPE, conv, kinds, layers, with_scalar};
use crate::onnx::{Onnx, Value};
use crate::parity::{load, outputs, values};

/// The layers of a convolution to `channels`, the operators that `write` adds, and a convolution of their
/// `output` of so many channels and pixels.
fn between(
    channels: usize,
    output: [usize; 3],
    write: impl FnOnce(&mut Onnx, &str) -> String,
) -> Vec<String> {
    let mut onnx = Onnx::default();
    let x = conv(&mut onnx, "input", [channels, 19, 1, 1], &[ONE_BY_ONE]);
    let x = write(&mut onnx, &x);
    let x = conv(&mut onnx, &x, [5, output[0], 1, 1], &[ONE_BY_ONE]);
    let shape = [1, 5, output[1], output[2]];
    let layers = layers(&onnx, SHAPE, &x, &shape);
    let kinds = kinds(&layers);
    kinds.into_iter().map(str::to_owned).collect()
}

#[test]
fn pooling_runs_on_the_kernels() {
    for (op, name) in [("MaxPool", "max pool"), ("AveragePool", "average pool")] {
        for (kernel, stride, pads, ceil, output) in [
            ([2, 2], [2, 2], [0, 0, 0, 0], 0, [4, 5]),
            ([2, 2], [2, 2], [0, 0, 0, 0], 1, [5, 6]),
            ([3, 3], [2, 2], [1, 1, 1, 1], 0, [5, 6]),
            ([5, 5], [1, 1], [2, 2, 2, 2], 0, [9, 11]),
            ([13, 13], [1, 1], [6, 6, 6, 6], 0, [9, 11]),
            ([3, 2], [3, 1], [0, 1, 2, 0], 1, [4, 11]),
        ] {
            for counts_padding in 0..2 {
                let pads: [usize; 4] = pads;
                let mut attributes = vec![
                    ("kernel_shape", Value::Ints(&kernel)),
                    ("strides", Value::Ints(&stride)),
                    ("pads", Value::Ints(&pads)),
                    ("ceil_mode", Value::Int(ceil)),
                ];
                if op == "AveragePool" {
                    attributes.push(("count_include_pad", Value::Int(counts_padding)));
                }
                let kinds = between(24, [24, output[0], output[1]], |onnx, x| {
                    onnx.node(op, &[x], &attributes)
                });
                assert_eq!(kinds, ["pointwise", name, "pointwise"], "{kernel:?}");
            }
        }
    }
}

#[test]
fn max_pooling_of_dilated_windows_runs_on_the_kernels() {
    let kinds = between(24, [24, 7, 9], |onnx, x| {
        let attributes = [
            ("kernel_shape", Value::Ints(&[3, 3])),
            ("dilations", Value::Ints(&[2, 2])),
            ("pads", Value::Ints(&[1, 1, 1, 1])),
        ];
        onnx.node("MaxPool", &[x], &attributes)
    });
    assert_eq!(kinds, ["pointwise", "max pool", "pointwise"]);
}

fn slice(onnx: &mut Onnx, x: &str, axis: i64, start: i64, end: i64, step: i64) -> String {
    let [start, end, axis, step] = [start, end, axis, step].map(|v| onnx.integers(&[v]));
    onnx.node("Slice", &[x, &start, &end, &axis, &step], &[])
}

#[test]
fn channels_that_are_split_do_not_cut_the_program() {
    let kinds = between(24, [32, 9, 11], |onnx, x| {
        let sizes = onnx.integers(&[16, 8]);
        let parts = onnx.node_with_outputs("Split", &[x, &sizes], 2, &[("axis", Value::Int(1))]);
        let y = conv(onnx, &parts[1], [8, 8, 1, 1], &[ONE_BY_ONE]);
        let inputs = [&parts[0], &parts[1], &y].map(String::as_str);
        onnx.node("Concat", &inputs, &[("axis", Value::Int(1))])
    });
    // The two parts together are the value that was split.
    let slices = kinds.iter().filter(|kind| *kind == "transpose").count();
    assert_eq!(slices, 1, "{kinds:?}");
}

#[test]
fn slices_of_pixels_run_on_the_kernels() {
    for (axis, start, end, step, output) in [
        (2, 2, 7, 1, [24, 5, 11]),
        (3, 1, 10, 1, [24, 9, 9]),
        (2, 1, 9, 2, [24, 4, 11]),
        (3, 0, 11, 2, [24, 9, 6]),
        (3, 1, 11, 3, [24, 9, 4]),
        (1, 3, 20, 2, [9, 9, 11]),
    ] {
        between(24, output, |onnx, x| slice(onnx, x, axis, start, end, step));
    }
}

#[test]
fn focus_is_one_step() {
    let mut onnx = Onnx::default();
    let mut parts = Vec::new();
    for column in 0..2 {
        for row in 0..2 {
            let x = slice(&mut onnx, "input", 2, row, 100, 2);
            parts.push(slice(&mut onnx, &x, 3, column, 100, 2));
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let x = onnx.node("Concat", &parts, &[("axis", Value::Int(1))]);
    let x = conv(&mut onnx, &x, [8, 12, 1, 1], &[ONE_BY_ONE]);
    let fused = layers(&onnx, [1, 3, 10, 14], &x, &[1, 8, 5, 7]);
    assert_eq!(kinds(&fused), ["space to depth", "pointwise"]);
}

#[test]
fn nearest_resizes_run_on_the_kernels() {
    for (transform, rounding, sizes) in [
        ("asymmetric", "floor", [18, 22]),
        ("half_pixel", "round_prefer_ceil", [18, 22]),
        ("half_pixel", "round_prefer_floor", [27, 33]),
        ("asymmetric", "floor", [20, 31]),
        ("asymmetric", "floor", [5, 4]),
        ("half_pixel", "round_prefer_ceil", [13, 40]),
    ] {
        let kinds = between(24, [24, sizes[0], sizes[1]], |onnx, x| {
            let scales = [1.0, 1.0, sizes[0] as f32 / 9.0, sizes[1] as f32 / 11.0];
            let attributes = [
                ("mode", Value::Text("nearest")),
                ("coordinate_transformation_mode", Value::Text(transform)),
                ("nearest_mode", Value::Text(rounding)),
            ];
            if sizes[0] % 9 == 0 {
                let scales = onnx.constant(&[4], &scales);
                return onnx.node("Resize", &[x, "", &scales], &attributes);
            }
            let sizes = onnx.integers(&[1, 24, sizes[0] as i64, sizes[1] as i64]);
            onnx.node("Resize", &[x, "", "", &sizes], &attributes)
        });
        assert_eq!(kinds, ["pointwise", "resize", "pointwise"]);
    }
}

#[test]
fn nearest_resizes_of_old_opsets_round_down() {
    let mut onnx = Onnx::of_opset(10);
    let scales = onnx.constant(&[4], &[1.0, 1.0, 4.0, 4.0]);
    let mode = [("mode", Value::Text("nearest"))];
    let x = onnx.node("Resize", &["input", &scales], &mode);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("resize.onnx");
    fs::write(&path, onnx.file(&[1, 3, 4, 5], &x, &[1, 3, 16, 20])).expect("room");
    let input = values(60, 3);
    let expected: Vec<f32> = (0..3 * 16 * 20)
        .map(|at| input[at / 320 * 20 + at / 20 % 16 / 4 * 5 + at % 20 / 4])
        .collect();
    for kernels in [KernelChoice::Tract, KernelChoice::Portable] {
        let network = load(&path, kernels).expect("runs everywhere");
        assert_eq!(outputs(&network, 1, 1, &input)[0], expected, "{kernels:?}");
    }
}

#[test]
fn padding_by_any_constant_runs_on_the_kernels() {
    for (pads, output) in [
        ([0, 0, 0, 1, 0, 0, 2, 0], [24, 11, 12]),
        ([0, 0, 0, 0, 0, 12, 0, 0], [36, 9, 11]),
        ([0, 3, 1, 0, 0, 0, 0, 2], [27, 10, 13]),
    ] {
        let kinds = between(24, output, |onnx, x| {
            let pads = onnx.integers(&pads);
            let value = onnx.constant(&[], &[-2.5]);
            onnx.node("Pad", &[x, &pads, &value], &[])
        });
        assert_eq!(kinds, ["pointwise", "pad", "pointwise"]);
    }
}

#[test]
fn depth_and_space_are_exchanged_by_one_copy() {
    for mode in ["DCR", "CRD"] {
        let kinds = between(24, [6, 18, 22], |onnx, x| {
            let attributes = [("blocksize", Value::Int(2)), ("mode", Value::Text(mode))];
            onnx.node("DepthToSpace", &[x], &attributes)
        });
        assert_eq!(kinds, ["pointwise", "transpose", "pointwise"], "{mode}");
    }
    let mut onnx = Onnx::default();
    let x = conv(&mut onnx, "input", [24, 19, 1, 1], &[ONE_BY_ONE]);
    let x = onnx.node("SpaceToDepth", &[&x], &[("blocksize", Value::Int(2))]);
    let x = conv(&mut onnx, &x, [5, 96, 1, 1], &[ONE_BY_ONE]);
    let fused = layers(&onnx, [1, 19, 8, 12], &x, &[1, 5, 4, 6]);
    assert_eq!(kinds(&fused), ["pointwise", "transpose", "pointwise"]);
}

#[test]
fn channels_are_shuffled_by_one_copy() {
    let kinds = between(24, [24, 9, 11], |onnx, x| {
        let [split, whole] =
            [&[1, 2, 12, 9, 11][..], &[1, 24, 9, 11]].map(|shape| onnx.integers(shape));
        let x = onnx.node("Reshape", &[x, &split], &[]);
        let x = onnx.node(
            "Transpose",
            &[&x],
            &[("perm", Value::Ints(&[0, 2, 1, 3, 4]))],
        );
        onnx.node("Reshape", &[&x, &whole], &[])
    });
    assert_eq!(kinds, ["pointwise", "transpose", "pointwise"]);
}

#[test]
fn transposed_convolution_with_normalisation_is_a_convolution_and_a_copy() {
    let kinds = between(24, [16, 18, 22], |onnx, x| {
        let weights = onnx.constant(&[24, 16, 2, 2], &values(24 * 64, 3));
        let attributes = [
            ("kernel_shape", Value::Ints(&[2, 2])),
            ("strides", Value::Ints(&[2, 2])),
        ];
        let x = onnx.node("ConvTranspose", &[x, &weights], &attributes);
        let scale = onnx.constant(&[1, 16, 1, 1], &values(16, 1));
        let offset = onnx.constant(&[1, 16, 1, 1], &values(16, 2));
        let x = onnx.node("Mul", &[&x, &scale], &[]);
        let x = onnx.node("Add", &[&x, &offset], &[]);
        let gate = onnx.node("Sigmoid", &[&x], &[]);
        onnx.node("Mul", &[&x, &gate], &[])
    });
    assert_eq!(
        kinds,
        ["pointwise", "pointwise", "depth to space", "pointwise"]
    );
}

#[test]
fn softmax_along_any_axis_runs_on_the_kernels() {
    for axis in 0..4 {
        let kinds = between(24, [24, 9, 11], |onnx, x| {
            onnx.node("Softmax", &[x], &[("axis", Value::Int(axis))])
        });
        assert_eq!(kinds, ["pointwise", "softmax", "pointwise"], "{axis}");
    }
}

/// The head of YOLOv8 with 5 classes and 4 bins over 9 x 11 pixels, from 21 channels on.
#[test]
fn distributions_of_box_sides_are_decoded_on_the_kernels() {
    let mut onnx = Onnx::default();
    let x = conv(&mut onnx, "input", [21, 19, 1, 1], &[ONE_BY_ONE]);
    let y = conv(&mut onnx, "input", [21, 19, 1, 1], &[ONE_BY_ONE]);
    let flat = onnx.integers(&[1, 21, -1]);
    let [x, y] = [x, y].map(|x| onnx.node("Reshape", &[&x, &flat], &[]));
    let x = onnx.node("Concat", &[&x, &y], &[("axis", Value::Int(2))]);
    let sizes = onnx.integers(&[16, 5]);
    let parts = onnx.node_with_outputs("Split", &[&x, &sizes], 2, &[("axis", Value::Int(1))]);
    let shape = onnx.integers(&[1, 4, 4, 198]);
    let x = onnx.node("Reshape", &[&parts[0], &shape], &[]);
    let x = onnx.node("Transpose", &[&x], &[("perm", Value::Ints(&[0, 2, 1, 3]))]);
    let x = onnx.node("Softmax", &[&x], &[("axis", Value::Int(1))]);
    let x = conv(&mut onnx, &x, [1, 4, 1, 1], &[ONE_BY_ONE]);
    let shape = onnx.integers(&[1, 4, 198]);
    let x = onnx.node("Reshape", &[&x, &shape], &[]);
    let near = slice(&mut onnx, &x, 1, 0, 2, 1);
    let far = slice(&mut onnx, &x, 1, 2, 4, 1);
    let anchors = onnx.constant(&[1, 2, 198], &values(396, 9));
    let near = onnx.node("Sub", &[&anchors, &near], &[]);
    let far = onnx.node("Add", &[&anchors, &far], &[]);
    let sum = onnx.node("Add", &[&near, &far], &[]);
    let middle = with_scalar(&mut onnx, "Div", &sum, 2.0);
    let size = onnx.node("Sub", &[&far, &near], &[]);
    let boxes = onnx.node("Concat", &[&middle, &size], &[("axis", Value::Int(1))]);
    let strides = onnx.constant(&[1, 198], &values(198, 10));
    let boxes = onnx.node("Mul", &[&boxes, &strides], &[]);
    let scores = onnx.node("Sigmoid", &[&parts[1]], &[]);
    let x = onnx.node("Concat", &[&boxes, &scores], &[("axis", Value::Int(1))]);
    let fused = layers(&onnx, SHAPE, &x, &[1, 9, 198]);
    assert!(kinds(&fused).contains(&"softmax"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn transposed_convolutions_equal_tract(
        (h, w) in (1usize..8, 1usize..8), (inputs, outputs) in (1usize..20, 1usize..20),
        kernel in (1usize..5, 1usize..5), stride in (1usize..4, 1usize..4),
        dilation in (1usize..3, 1usize..3), pads in prop::array::uniform4(0usize..3),
        more in (0usize..2, 0usize..2), seed: u64,
    ) {
        let size = |size: usize, kernel: usize, stride: usize, dilation: usize, pads: [usize; 2], more: usize| {
            let whole = (size - 1) * stride + (kernel - 1) * dilation + 1 + more.min(stride - 1);
            let most = (kernel - 1) * dilation;
            whole.checked_sub(pads[0] + pads[1]).filter(|size| *size > 0 && pads[0] <= most && pads[1] <= most)
        };
        let new_h = size(h, kernel.0, stride.0, dilation.0, [pads[0], pads[2]], more.0);
        let new_w = size(w, kernel.1, stride.1, dilation.1, [pads[1], pads[3]], more.1);
        let (Some(new_h), Some(new_w)) = (new_h, new_w) else {
            return Ok(());
        };
        let mut onnx = Onnx::default();
        let weights = values(inputs * outputs * kernel.0 * kernel.1, seed);
        let weights = onnx.constant(&[inputs, outputs, kernel.0, kernel.1], &weights);
        let bias = onnx.constant(&[outputs], &values(outputs, seed ^ 5));
        let (kernel, strides, dilations) =
            ([kernel.0, kernel.1], [stride.0, stride.1], [dilation.0, dilation.1]);
        let more = [more.0.min(stride.0 - 1), more.1.min(stride.1 - 1)];
        let attributes = [
            ("kernel_shape", Value::Ints(&kernel)),
            ("strides", Value::Ints(&strides)),
            ("dilations", Value::Ints(&dilations)),
            ("pads", Value::Ints(&pads)),
            ("output_padding", Value::Ints(&more)),
        ];
        let x = onnx.node("ConvTranspose", &["input", &weights, &bias], &attributes);
        layers(&onnx, [1, inputs, h, w], &x, &[1, outputs, new_h, new_w]);
    }
}

//! The parts of transformers as exporters write them, against plain tract on every instruction set of this CPU:
//! attention in the forms of MobileViT, EfficientFormer, MobileNetV4 and YOLO, layer normalisation in each
//! decomposition, and softmax, reductions, slices and broadcasting over any axes.

use std::fs;

use mobilens_nn::KernelChoice;
use proptest::prelude::*;

use crate::onnx::{Onnx, Value};
use crate::parity::{KERNELS, TOLERANCE, difference, load, outputs, values};

/// Writes the network, holds every path to plain tract and two threads to one, and returns the operators of the
/// layers, all of them on the kernels.
fn operators(onnx: &Onnx, shape: &[usize], output: &str, output_shape: &[usize]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("part.onnx");
    fs::write(&path, onnx.file(shape, output, output_shape)).expect("room");
    let input: Vec<f32> = values(shape.iter().product(), 11)
        .iter()
        .map(|v| v * 2.0)
        .collect();
    let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let expected = outputs(&tract, 1, 1, &input);
    let mut operators = Vec::new();
    for kernels in KERNELS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        let layers = network.layers();
        let on_tract: Vec<_> = layers.iter().filter(|l| l.runs_on == "tract").collect();
        assert!(on_tract.is_empty(), "left to tract: {on_tract:?}");
        operators = layers.iter().map(|layer| layer.op.clone()).collect();
        let got = outputs(&network, 1, 2, &input);
        let off = difference(&got[0], &expected[0]);
        assert!(off <= TOLERANCE, "{kernels:?}: {off}");
        assert!(
            outputs(&network, 3, 2, &input) == got,
            "{kernels:?}: 3 threads differ"
        );
    }
    operators
}

fn count(operators: &[String], wanted: &str) -> usize {
    operators.iter().filter(|op| *op == wanted).count()
}

fn constant(onnx: &mut Onnx, shape: &[usize], factor: f32) -> String {
    let len: usize = shape.iter().product();
    let values: Vec<f32> = values(len, len as u64 + 5)
        .iter()
        .map(|v| v * factor)
        .collect();
    onnx.constant(shape, &values)
}

/// A product with constant weights, and a bias.
fn linear(onnx: &mut Onnx, x: &str, k: usize, n: usize) -> String {
    let weights = constant(onnx, &[k, n], 1.5 / (k as f32).sqrt());
    let bias = constant(onnx, &[n], 0.5);
    let product = onnx.node("MatMul", &[x, &weights], &[]);
    onnx.node("Add", &[&bias, &product], &[])
}

fn pointwise(onnx: &mut Onnx, x: &str, inputs: usize, outputs: usize) -> String {
    let weights = constant(onnx, &[outputs, inputs, 1, 1], 1.5 / (inputs as f32).sqrt());
    let bias = constant(onnx, &[outputs], 0.5);
    let one = [("kernel_shape", Value::Ints(&[1, 1]))];
    onnx.node("Conv", &[x, &weights, &bias], &one)
}

fn reshape(onnx: &mut Onnx, x: &str, shape: &[i64]) -> String {
    let shape = onnx.integers(shape);
    onnx.node("Reshape", &[x, &shape], &[])
}

fn transpose(onnx: &mut Onnx, x: &str, order: &[usize]) -> String {
    onnx.node("Transpose", &[x], &[("perm", Value::Ints(order))])
}

/// `[start, start + len)` of an axis.
fn slice(onnx: &mut Onnx, x: &str, axis: i64, start: usize, len: usize) -> String {
    let [start, end, axis] =
        [start as i64, (start + len) as i64, axis].map(|v| onnx.integers(&[v]));
    onnx.node("Slice", &[x, &start, &end, &axis], &[])
}

fn scaled(onnx: &mut Onnx, x: &str, factor: f32) -> String {
    let factor = onnx.constant(&[], &[factor]);
    onnx.node("Mul", &[x, &factor], &[])
}

const LAST: (&str, Value<'static>) = ("axis", Value::Signed(-1));

/// How layer normalisation is written.
#[derive(Clone, Copy, Debug)]
enum Norm {
    Whole,
    PowSqrtDiv,
    MulSqrtReciprocal,
}

fn layer_norm(onnx: &mut Onnx, x: &str, n: usize, form: Norm) -> String {
    let (gamma, beta) = (constant(onnx, &[n], 1.0), constant(onnx, &[n], 0.7));
    if let Norm::Whole = form {
        let attributes = [LAST, ("epsilon", Value::Float(1e-4))];
        return onnx.node("LayerNormalization", &[x, &gamma, &beta], &attributes);
    }
    let mean =
        |onnx: &mut Onnx, x: &str| onnx.node("ReduceMean", &[x], &[("axes", Value::Ints(&[2]))]);
    let average = mean(onnx, x);
    let less = onnx.node("Sub", &[x, &average], &[]);
    let square = match form {
        Norm::PowSqrtDiv => {
            let two = onnx.constant(&[], &[2.0]);
            onnx.node("Pow", &[&less, &two], &[])
        }
        _ => onnx.node("Mul", &[&less, &less], &[]),
    };
    let variance = mean(onnx, &square);
    let epsilon = onnx.constant(&[], &[1e-4]);
    let variance = onnx.node("Add", &[&variance, &epsilon], &[]);
    let root = onnx.node("Sqrt", &[&variance], &[]);
    let normalised = match form {
        Norm::PowSqrtDiv => onnx.node("Div", &[&less, &root], &[]),
        _ => {
            let inverse = onnx.node("Reciprocal", &[&root], &[]);
            onnx.node("Mul", &[&less, &inverse], &[])
        }
    };
    let scaled = onnx.node("Mul", &[&normalised, &gamma], &[]);
    onnx.node("Add", &[&scaled, &beta], &[])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// A block of a vision transformer: norm, heads out of one product, attention, projection, residual. With one token
    /// a bias of the scores is one number a head, which is fused otherwise.
    #[test]
    fn blocks_of_vision_transformers_equal_tract(
        batch in 1usize..4, tokens in 2usize..70, heads in 1usize..4, depth in 1usize..24,
        with_bias: bool,
        norm in prop::sample::select(vec![Norm::Whole, Norm::PowSqrtDiv, Norm::MulSqrtReciprocal]),
    ) {
        let mut onnx = Onnx::default();
        let width = heads * depth;
        let [b, t, h, d] = [batch, tokens, heads, depth].map(|size| size as i64);
        let x = linear(&mut onnx, "input", 9, width);
        let y = layer_norm(&mut onnx, &x, width, norm);
        let qkv = linear(&mut onnx, &y, width, 3 * width);
        let qkv = reshape(&mut onnx, &qkv, &[b, t, 3, h, d]);
        let qkv = transpose(&mut onnx, &qkv, &[2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| {
            let part = slice(&mut onnx, &qkv, 0, i, 1);
            reshape(&mut onnx, &part, &[b, h, t, d])
        });
        let q = scaled(&mut onnx, &q, 0.7);
        let k = transpose(&mut onnx, &k, &[0, 1, 3, 2]);
        let mut scores = onnx.node("MatMul", &[&q, &k], &[]);
        if with_bias {
            let bias = constant(&mut onnx, &[heads, tokens, tokens], 1.0);
            scores = onnx.node("Add", &[&scores, &bias], &[]);
        }
        let weights = onnx.node("Softmax", &[&scores], &[LAST]);
        let heads = onnx.node("MatMul", &[&weights, &v], &[]);
        let heads = transpose(&mut onnx, &heads, &[0, 2, 1, 3]);
        let y = reshape(&mut onnx, &heads, &[b, t, h * d]);
        let y = linear(&mut onnx, &y, width, width);
        let y = onnx.node("Add", &[&x, &y], &[]);
        let operators = operators(&onnx, &[batch, tokens, 9], &y, &[batch, tokens, width]);
        prop_assert_eq!(count(&operators, "attention"), 1, "{:?}", &operators);
        prop_assert_eq!(count(&operators, "layer norm"), 1, "{:?}", &operators);
        // Q, K and V are read where they lie.
        prop_assert!(count(&operators, "transpose") == 0, "{:?}", &operators);
        prop_assert_eq!(operators.len(), 5, "{:?}", &operators);
    }

    /// YOLO11: heads and their parts along the channels, the tokens last.
    #[test]
    fn attention_with_channels_first_equals_tract(
        rows in 2usize..12, columns in 1usize..12, heads in 1usize..4, depth in 1usize..20,
    ) {
        let mut onnx = Onnx::default();
        let (tokens, channels) = (rows * columns, heads * 4 * depth);
        let [h, w, n, d, t] = [rows, columns, heads, depth, tokens].map(|size| size as i64);
        let x = pointwise(&mut onnx, "input", 12, channels);
        let qkv = reshape(&mut onnx, &x, &[1, n, 4 * d, t]);
        let q = slice(&mut onnx, &qkv, 2, 0, depth);
        let k = slice(&mut onnx, &qkv, 2, depth, depth);
        let v = slice(&mut onnx, &qkv, 2, 2 * depth, 2 * depth);
        let q = scaled(&mut onnx, &q, 0.4);
        let q = transpose(&mut onnx, &q, &[0, 1, 3, 2]);
        let scores = onnx.node("MatMul", &[&q, &k], &[]);
        let weights = onnx.node("Softmax", &[&scores], &[LAST]);
        let weights = transpose(&mut onnx, &weights, &[0, 1, 3, 2]);
        let y = onnx.node("MatMul", &[&v, &weights], &[]);
        let y = reshape(&mut onnx, &y, &[1, n * 2 * d, h, w]);
        let v = reshape(&mut onnx, &v, &[1, n * 2 * d, h, w]);
        let y = onnx.node("Add", &[&y, &v], &[]);
        let y = pointwise(&mut onnx, &y, heads * 2 * depth, 7);
        let operators = operators(&onnx, &[1, 12, rows, columns], &y, &[1, 7, rows, columns]);
        prop_assert_eq!(count(&operators, "attention"), 1, "{:?}", &operators);
    }

    #[test]
    fn softmax_and_reductions_over_any_axes_equal_tract(
        shape in prop::collection::vec(1usize..9, 2..5), axis in 0usize..4, more in 0usize..4, kept: bool,
        kind in prop::sample::select(vec!["Softmax", "ReduceMean", "ReduceMax", "ReduceMin"]),
    ) {
        let rank = shape.len();
        let (axis, more) = (axis % rank, more % rank);
        let mut onnx = Onnx::default();
        let x = onnx.node("HardSwish", &["input"], &[]);
        let (y, output) = if kind == "Softmax" {
            (onnx.node(kind, &[&x], &[("axis", Value::Int(axis))]), shape.clone())
        } else {
            let mut axes = vec![axis, more];
            axes.sort_unstable();
            axes.dedup();
            let attributes = [("axes", Value::Ints(&axes)), ("keepdims", Value::Int(usize::from(kept)))];
            let sizes = shape.iter().enumerate().filter(|(axis, _)| kept || !axes.contains(axis));
            let sizes = sizes.map(|(axis, size)| if axes.contains(&axis) { 1 } else { *size });
            (onnx.node(kind, &[&x], &attributes), sizes.collect())
        };
        // Of a matrix, so that the part is one that the kernels take.
        let elements: usize = output.iter().product();
        let y = reshape(&mut onnx, &y, &[1, elements as i64]);
        let y = linear(&mut onnx, &y, elements, 3);
        operators(&onnx, &shape, &y, &[1, 3]);
    }

    #[test]
    fn broadcasting_and_slices_equal_tract(
        shape in prop::collection::vec(2usize..8, 3..5), mask in 0usize..16, axis in 0usize..4,
        function in prop::sample::select(vec!["Add", "Sub", "Mul", "Max"]), swapped: bool, fixed: bool,
    ) {
        let rank = shape.len();
        let axis = axis % rank;
        let mut onnx = Onnx::default();
        let last = shape[rank - 1];
        let x = linear(&mut onnx, "input", last, last);
        let narrow: Vec<usize> = (0..rank).map(|i| if mask >> i & 1 == 1 { 1 } else { shape[i] }).collect();
        let other = if fixed {
            constant(&mut onnx, &narrow, 1.0)
        } else {
            let axes: Vec<usize> = (0..rank).filter(|i| mask >> i & 1 == 1).collect();
            if axes.is_empty() {
                onnx.node("HardSwish", &[&x], &[])
            } else {
                onnx.node("ReduceMax", &[&x], &[("axes", Value::Ints(&axes))])
            }
        };
        let operands = if swapped { [&other, &x] } else { [&x, &other] };
        let y = onnx.node(function, &operands.map(String::as_str), &[]);
        let y = slice(&mut onnx, &y, axis as i64, 1, shape[axis] - 1);
        let y = onnx.node("HardSwish", &[&y], &[]);
        let mut output = shape.clone();
        output[axis] -= 1;
        operators(&onnx, &shape, &y, &output);
    }
}

/// MobileNetV4's multi-query attention: keys and values of a smaller map, shared by all heads.
#[test]
fn multi_query_attention_is_one_step() {
    let mut onnx = Onnx::default();
    let x = pointwise(&mut onnx, "input", 16, 24);
    let q = pointwise(&mut onnx, &x, 24, 4 * 8);
    let q = reshape(&mut onnx, &q, &[1, 4, 8, -1]);
    let q = transpose(&mut onnx, &q, &[0, 1, 3, 2]);
    let q = scaled(&mut onnx, &q, 0.35);
    let [k, v] = [0, 1].map(|_| {
        let weights = constant(&mut onnx, &[24, 1, 3, 3], 0.3);
        let attributes = [
            ("kernel_shape", Value::Ints(&[3, 3])),
            ("strides", Value::Ints(&[2, 2])),
            ("pads", Value::Ints(&[1, 1, 1, 1])),
            ("group", Value::Int(24)),
        ];
        let small = onnx.node("Conv", &[&x, &weights], &attributes);
        let part = pointwise(&mut onnx, &small, 24, 8);
        let part = reshape(&mut onnx, &part, &[1, 8, -1]);
        let part = transpose(&mut onnx, &part, &[0, 2, 1]);
        reshape(&mut onnx, &part, &[1, 1, -1, 8])
    });
    let k = transpose(&mut onnx, &k, &[0, 1, 3, 2]);
    let scores = onnx.node("MatMul", &[&q, &k], &[]);
    let weights = onnx.node("Softmax", &[&scores], &[LAST]);
    let y = onnx.node("MatMul", &[&weights, &v], &[]);
    let y = transpose(&mut onnx, &y, &[0, 2, 1, 3]);
    let y = reshape(&mut onnx, &y, &[1, 10, 12, 32]);
    let y = transpose(&mut onnx, &y, &[0, 3, 1, 2]);
    let y = pointwise(&mut onnx, &y, 32, 24);
    let y = onnx.node("Add", &[&y, &x], &[]);
    let operators = operators(&onnx, &[1, 16, 10, 12], &y, &[1, 24, 10, 12]);
    assert_eq!(count(&operators, "attention"), 1, "{operators:?}");
    assert!(count(&operators, "transpose") <= 1, "{operators:?}");
}

/// MobileViT's patches: a feature map as sequences of tokens and back, each with one copy.
#[test]
fn patches_of_a_feature_map_are_copied_once_each_way() {
    let mut onnx = Onnx::default();
    let x = pointwise(&mut onnx, "input", 5, 24);
    let y = reshape(&mut onnx, &x, &[24 * 4, 2, 6, 2]);
    let y = transpose(&mut onnx, &y, &[0, 2, 1, 3]);
    let y = reshape(&mut onnx, &y, &[1, 24, 24, 4]);
    let y = transpose(&mut onnx, &y, &[0, 3, 2, 1]);
    let y = reshape(&mut onnx, &y, &[4, 24, 24]);
    let y = layer_norm(&mut onnx, &y, 24, Norm::Whole);
    let y = linear(&mut onnx, &y, 24, 24);
    let y = reshape(&mut onnx, &y, &[1, 4, 24, 24]);
    let y = transpose(&mut onnx, &y, &[0, 3, 2, 1]);
    let y = reshape(&mut onnx, &y, &[24 * 4, 6, 2, 2]);
    let y = transpose(&mut onnx, &y, &[0, 2, 1, 3]);
    let y = reshape(&mut onnx, &y, &[1, 24, 8, 12]);
    let y = pointwise(&mut onnx, &y, 24, 3);
    let operators = operators(&onnx, &[1, 5, 8, 12], &y, &[1, 3, 8, 12]);
    // One each way, and that of the result to the layout of the file.
    assert_eq!(count(&operators, "transpose"), 3, "{operators:?}");
}

/// Group normalisation as it is exported: instance normalisation of groups.
#[test]
fn group_normalisation_runs_on_the_kernels() {
    let mut onnx = Onnx::default();
    let x = pointwise(&mut onnx, "input", 5, 24);
    let y = reshape(&mut onnx, &x, &[1, 4, -1]);
    let (one, zero) = (
        onnx.constant(&[4], &[1.0; 4]),
        onnx.constant(&[4], &[0.0; 4]),
    );
    let y = onnx.node(
        "InstanceNormalization",
        &[&y, &one, &zero],
        &[("epsilon", Value::Float(1e-3))],
    );
    let y = reshape(&mut onnx, &y, &[1, 24, 6, 7]);
    let gamma = constant(&mut onnx, &[24, 1, 1], 1.0);
    let beta = constant(&mut onnx, &[24, 1, 1], 1.0);
    let y = onnx.node("Mul", &[&y, &gamma], &[]);
    let y = onnx.node("Add", &[&y, &beta], &[]);
    let y = pointwise(&mut onnx, &y, 24, 3);
    let operators = operators(&onnx, &[1, 5, 6, 7], &y, &[1, 3, 6, 7]);
    assert_eq!(count(&operators, "layer norm"), 1, "{operators:?}");
}

/// Products with constant weights over the last axis of four, and products of two values.
#[test]
fn matrix_products_of_any_rank_run_on_the_kernels() {
    let mut onnx = Onnx::default();
    let x = linear(&mut onnx, "input", 10, 12);
    let y = transpose(&mut onnx, &x, &[0, 1, 3, 2]);
    let product = onnx.node("MatMul", &[&x, &y], &[]);
    let y = linear(&mut onnx, &product, 7, 5);
    let y = onnx.node("Relu", &[&y], &[]);
    let operators = operators(&onnx, &[2, 3, 7, 10], &y, &[2, 3, 7, 5]);
    // Bias and activation in the epilogues.
    assert_eq!(operators, ["matmul"; 3]);
}

//! Fully connected layers (`Gemm`, `MatMul` with constant weights) and what stands around them, against plain
//! tract on every instruction set of this CPU.

use std::fs;

use mobilens_nn::KernelChoice;
use proptest::prelude::*;

use crate::onnx::{Onnx, Value};
use crate::parity::{KERNELS, TOLERANCE, difference, load, outputs, values};

#[derive(Clone, Debug)]
struct Case {
    /// Above 0: this many matrices of `rows` rows by `MatMul`; else one by `Gemm`.
    matrices: usize,
    rows: usize,
    inputs: usize,
    outputs: usize,
    transposed: bool,
    scaled: bool,
    bias: bool,
    activation: &'static str,
    residual: bool,
    seed: u64,
}

prop_compose! {
    fn case()(
        matrices in 0usize..4, rows in 1usize..40, inputs in 1usize..150, outputs in 1usize..150,
        transposed: bool, scaled: bool, bias: bool, residual: bool,
        activation in prop::sample::select(vec!["", "Relu", "HardSwish"]), seed: u64,
    ) -> Case {
        let outputs = if residual { inputs } else { outputs };
        Case { matrices, rows, inputs, outputs, transposed, scaled, bias, activation, residual, seed }
    }
}

fn network(case: &Case) -> (Vec<u8>, usize) {
    let mut onnx = Onnx::default();
    let (k, n) = (case.inputs, case.outputs);
    let weights: Vec<f32> = values(k * n, case.seed)
        .iter()
        .map(|v| v * 2.0 / (k as f32).sqrt())
        .collect();
    let bias = onnx.constant(&[n], &values(n, case.seed ^ 77));
    let mut x = if case.matrices == 0 {
        let shape = if case.transposed { [n, k] } else { [k, n] };
        let weights = onnx.constant(&shape, &weights);
        let mut attributes = vec![("transB", Value::Int(usize::from(case.transposed)))];
        if case.scaled {
            attributes.push(("alpha", Value::Float(0.5)));
            attributes.push(("beta", Value::Float(2.0)));
        }
        let mut operands = vec!["input", &weights];
        if case.bias {
            operands.push(&bias);
        }
        onnx.node("Gemm", &operands, &attributes)
    } else {
        let weights = onnx.constant(&[k, n], &weights);
        let product = onnx.node("MatMul", &["input", &weights], &[]);
        if case.bias {
            onnx.node("Add", &[&product, &bias], &[])
        } else {
            product
        }
    };
    if !case.activation.is_empty() {
        x = onnx.node(case.activation, &[&x], &[]);
    }
    if case.residual {
        x = onnx.node("Add", &[&x, "input"], &[]);
    }
    let shape = |last: usize| match case.matrices {
        0 => vec![case.rows, last],
        matrices => vec![matrices, case.rows, last],
    };
    let file = onnx.file(&shape(k), &x, &shape(n));
    (file, shape(k).iter().product())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn matrix_products_equal_tract(case in case()) {
        let (file, inputs) = network(&case);
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("case.onnx");
        fs::write(&path, file).expect("room");
        let input = values(inputs, case.seed ^ 4242);
        let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
        let expected = outputs(&tract, 1, 1, &input);
        for kernels in KERNELS {
            let Some(network) = load(&path, kernels) else {
                continue;
            };
            let on_tract = network.layers().iter().find(|layer| layer.runs_on == "tract");
            prop_assert!(on_tract.is_none(), "{on_tract:?} in {case:?}");
            let got = outputs(&network, 1, 2, &input);
            let off = difference(&got[0], &expected[0]);
            prop_assert!(off <= TOLERANCE, "{kernels:?}: {off} in {case:?}");
            prop_assert!(outputs(&network, 2, 2, &input) == got, "{kernels:?}: 2 threads differ in {case:?}");
        }
    }
}

/// A classifier's end: pooled feature maps, flattened, a hidden layer with h-swish, and the logits.
#[test]
fn a_classifiers_head_runs_on_the_kernels() {
    let mut onnx = Onnx::default();
    let layer = |onnx: &mut Onnx, x: &str, k: usize, n: usize| {
        let scale = 1.0 / (k as f32).sqrt();
        let weights: Vec<f32> = values(n * k, n as u64).iter().map(|v| v * scale).collect();
        let weights = onnx.constant(&[n, k], &weights);
        let bias = onnx.constant(&[n], &values(n, 5));
        onnx.node("Gemm", &[x, &weights, &bias], &[("transB", Value::Int(1))])
    };
    let pooled = onnx.node("GlobalAveragePool", &["input"], &[]);
    let flat = onnx.node("Flatten", &[&pooled], &[]);
    let hidden = layer(&mut onnx, &flat, 96, 128);
    let hidden = onnx.node("HardSwish", &[&hidden], &[]);
    let logits = layer(&mut onnx, &hidden, 128, 10);
    let file = onnx.file(&[1, 96, 7, 7], &logits, &[1, 10]);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("classifier.onnx");
    fs::write(&path, file).expect("room");
    let input = values(96 * 49, 3);
    let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let expected = outputs(&tract, 1, 1, &input);
    for kernels in KERNELS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        let products = network.layers().iter().filter(|layer| layer.op == "matmul");
        assert_eq!(products.count(), 2, "{:?}", network.layers());
        assert!(
            network
                .layers()
                .iter()
                .all(|layer| layer.runs_on != "tract")
        );
        let got = outputs(&network, 1, 2, &input);
        assert!(
            difference(&got[0], &expected[0]) <= TOLERANCE,
            "{kernels:?}"
        );
    }
}

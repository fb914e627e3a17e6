//! Number formats of a quantised file: with its rounding, or with its limits alone.

use std::fs;

use mobilens_nn::{KernelChoice, LoadOptions, Network, NnError, Precision};

use crate::onnx::{Onnx, Type};
use crate::parity::{KERNELS, outputs, values};
use crate::qdq::Activation;

const SHAPE: [usize; 4] = [1, 3, 5, 6];
/// From -90/32 to 165/32.
const BEFORE: Activation = Activation(1.0 / 32.0, 90, Type::Uint8);
/// From -125/64 to 130/64.
const AFTER: Activation = Activation(1.0 / 64.0, -3, Type::Int8);

/// A 1x1 convolution that leaves each value as it is, between quantised activations if `quantised`.
fn file(quantised: bool) -> Vec<u8> {
    let mut onnx = Onnx::default();
    let mut x = "input".to_owned();
    if quantised {
        x = BEFORE.both(&mut onnx, &x);
    }
    let weights: Vec<f32> = (0..9).map(|i| f32::from(u8::from(i % 4 == 0))).collect();
    let weights = onnx.constant(&[3, 3, 1, 1], &weights);
    x = onnx.node("Conv", &[&x, &weights], &[]);
    if quantised {
        x = AFTER.both(&mut onnx, &x);
    }
    onnx.file(&SHAPE, &x, &SHAPE)
}

fn load(file: &[u8], kernels: KernelChoice, precision: Precision) -> Result<Network, NnError> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("network.onnx");
    fs::write(&path, file).expect("room");
    let options = LoadOptions {
        kernels,
        precision,
        ..LoadOptions::default()
    };
    Network::load(&path, &options)
}

#[test]
fn float32_keeps_the_limits_of_a_quantised_file_and_drops_its_rounding() {
    let input: Vec<f32> = values(90, 5).iter().map(|v| v * 4.0).collect();
    let limited: Vec<f32> = input
        .iter()
        .map(|x| x.clamp(-90.0 / 32.0, 165.0 / 32.0))
        .map(|x| x.clamp(-125.0 / 64.0, 130.0 / 64.0))
        .collect();
    assert_ne!(limited, input);
    let file = file(true);
    for kernels in KERNELS.into_iter().chain([KernelChoice::Tract]) {
        let network = match load(&file, kernels, Precision::F32) {
            Err(NnError::UnsupportedIsa { .. }) => continue,
            network => network.expect("it loads"),
        };
        assert_eq!(outputs(&network, 1, 1, &input)[0], limited, "{kernels:?}");
        assert_eq!(network.precision(), "f32");
        // The float32 kernels beside those of int8.
        let float = match kernels {
            KernelChoice::AvxVnni => KernelChoice::Avx2,
            KernelChoice::Avx512Vnni => KernelChoice::Avx512,
            kernels => kernels,
        };
        assert_eq!(network.instruction_set(), float.name());
        for precision in [Precision::Model, Precision::Int8, Precision::Fast] {
            let network = load(&file, kernels, precision).expect("it is quantised");
            let rounded = &outputs(&network, 1, 1, &input)[0];
            assert_ne!(*rounded, limited, "{kernels:?} {precision:?}");
            let codes = rounded.iter().map(|value| value * 64.0);
            assert!(codes.into_iter().all(|code| code == code.round()));
        }
    }
}

#[test]
fn a_file_that_is_not_quantised_has_no_int8() {
    let file = file(false);
    for precision in [Precision::Model, Precision::F32] {
        let network = load(&file, KernelChoice::Portable, precision).expect("it loads");
        assert_eq!(network.to_string(), "f32 on portable");
    }
    let error = load(&file, KernelChoice::Portable, Precision::Int8).expect_err("not quantised");
    assert!(matches!(error, NnError::NotQuantized { .. }), "{error}");
}

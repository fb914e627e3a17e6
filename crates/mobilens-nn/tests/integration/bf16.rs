//! Networks in bfloat16 against float32, where the CPU has AVX-512 BF16.

use std::path::{Path, PathBuf};

use mobilens_nn::{KernelChoice, LoadOptions, Network, NnError, Precision};

use crate::parity::{difference, outputs, values};

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name)
}

/// The network in bfloat16; `None` if this CPU does not support it.
fn load_bf16(path: &Path, kernels: KernelChoice) -> Option<Network> {
    let options = LoadOptions {
        kernels,
        precision: Precision::Bf16,
        ..LoadOptions::default()
    };
    match Network::load(path, &options) {
        Ok(network) => Some(network),
        Err(NnError::UnsupportedPrecision { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_shipped_detectors_are_near_float32_in_bfloat16() {
    for name in [
        "ssdlite_mobilenet_v2_coco.onnx",
        "ssd_mobilenet_v2_oidv4.onnx",
    ] {
        let path = model(name);
        let float = Network::load(&path, &LoadOptions::default()).expect("a shipped model");
        let input = values(float.input().len(), 5);
        let expected = outputs(&float, 1, 1, &input);
        for kernels in [KernelChoice::Auto, KernelChoice::Avx512Vnni] {
            let Some(network) = load_bf16(&path, kernels) else {
                eprintln!("SKIPPED bfloat16 of {name}: this CPU has no AVX-512 BF16");
                continue;
            };
            assert_eq!(network.precision(), "bf16");
            let got = outputs(&network, 1, 1, &input);
            for (index, expected) in expected.iter().enumerate() {
                let off = difference(&got[index], expected);
                assert!(off < 0.1, "{name}, {kernels:?}, output {index}: {off}");
                let squares = |values: &mut dyn Iterator<Item = f32>| -> f32 {
                    values.map(|value| value * value).sum()
                };
                let noise = got[index].iter().zip(expected).map(|(a, b)| a - b);
                let ratio = squares(&mut expected.iter().copied())
                    / squares(&mut noise.into_iter()).max(1e-12);
                let decibels = 10.0 * ratio.log10();
                assert!(decibels > 25.0, "{name}, {kernels:?}: {decibels} dB");
            }
            let on_two = outputs(&network, 2, 2, &input);
            assert!(on_two == got, "{name}, {kernels:?}: two threads differ");
        }
    }
}

#[test]
fn a_segmenter_is_near_float32_in_bfloat16() {
    let path = model("deeplabv3_mobilenet_v2_voc_os16.onnx");
    let options = |precision| LoadOptions {
        precision,
        input: Some((129, 129)),
        ..LoadOptions::default()
    };
    let float = Network::load(&path, &options(Precision::F32)).expect("a shipped model");
    let bf16 = match Network::load(&path, &options(Precision::Bf16)) {
        Ok(network) => network,
        Err(NnError::UnsupportedPrecision { .. }) => {
            eprintln!("SKIPPED bfloat16 of DeepLab: this CPU has no AVX-512 BF16");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let input = values(float.input().len(), 6);
    let expected = outputs(&float, 1, 1, &input);
    let off = difference(&outputs(&bf16, 1, 1, &input)[0], &expected[0]);
    assert!(off < 0.1, "{off}");
}

//! Files that exporters wrote, `tests/qdq/*.onnx`: what ONNX Runtime gives for them, up to values that
//! lie between two codes and are rounded the other way.

use std::fs;
use std::path::{Path, PathBuf};

use mobilens_nn::KernelChoice;

use crate::parity::{KERNELS, difference, load, outputs, values};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qdq")
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).expect("it lies beside the file");
    let values = bytes.as_chunks().0.iter();
    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn mean_difference(got: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let off: f32 = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum();
    off / got.len() as f32 / largest
}

#[test]
fn each_gives_what_onnx_runtime_gives() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        count += 1;
        let input = floats(&path.with_extension("input.f32"));
        let expected = floats(&path.with_extension("output.f32"));
        for kernels in KERNELS.into_iter().chain([KernelChoice::Tract]) {
            let Some(network) = load(&path, kernels) else {
                continue;
            };
            let got = &outputs(&network, 1, 2, &input)[0];
            let (most, mean) = (difference(got, &expected), mean_difference(got, &expected));
            let what = format!("{}: {kernels:?}: {most}, mean {mean}", path.display());
            assert!(most <= 0.05 && mean <= 0.005, "{what}");
            println!("{what}");
        }
    }
    assert!(count >= 5, "{count} files");
}

/// The shipped models as quantised files, too large for the repository: `../shared/bench/int8` beside
/// the checkout, or below the folder that the environment variable `MOBILENS_SHARED` names.
#[test]
fn quantised_detectors_run_on_the_kernels_as_on_tract() {
    let shared = std::env::var_os("MOBILENS_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let dir = shared.join("bench/int8");
    if !dir.is_dir() {
        let why = format!("{} does not exist", dir.display());
        assert!(std::env::var_os("MOBILENS_CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
        return;
    }
    for model in ["ssdlite_mobilenet_v2_coco", "ssd_mobilenet_v2_oidv4"] {
        let path = dir.join(format!("{model}.qdq.onnx"));
        let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
        let network = load(&path, KernelChoice::Auto).expect("runs everywhere");
        let input = values(network.input().len(), 5);
        let expected = outputs(&tract, 1, 1, &input);
        for (got, expected) in outputs(&network, 2, 1, &input).iter().zip(&expected) {
            // Values between two codes are rounded either way, and some fifty layers follow.
            let mean = mean_difference(got, expected);
            assert!(mean <= 0.02, "{model}: {mean}");
            println!("{model}: mean {mean}");
        }
        let kernels = network.layers().iter().filter(|l| l.runs_on != "tract");
        assert!(
            [0, network.layers().len()].contains(&kernels.count()),
            "{model}"
        );
    }
}

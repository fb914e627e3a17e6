//! The shipped models on a real picture, against plain tract, on every instruction set of this CPU
//! and any number of threads.

use std::path::{Path, PathBuf};

use mobilens_image::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};
use mobilens_image::{PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};
use mobilens_nn::{KernelChoice, Network};

use crate::parity::{KERNELS, TOLERANCE, difference, load_at, outputs};

fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// The picture `name` as the network's input.
fn input_of(network: &Network, name: &str) -> Vec<f32> {
    let rgb = image::open(file("tests/data/pictures").join(name))
        .expect("a picture")
        .into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw());
    let image = image.expect("tightly packed");
    let side = network.input().shape[2] as u32;
    let mut preprocessor = Preprocessor::new(&PreprocessParams {
        width_px: side,
        height_px: side,
        bgr: false,
        mean: [127.5; 3],
        std: [127.5; 3],
        resize: ResizeMode::Stretch,
        half_pixel: false,
        filter: ResizeFilter::Bilinear,
    });
    let mut input = vec![0.0; network.input().len()];
    preprocessor.run(&image, TensorLayout::Nchw, &mut input);
    input
}

/// Holds every path to plain tract, and more threads to one, at the file's own input size or at
/// `side` x `side` pixels.
fn equals_tract(model: &str, side: Option<usize>) {
    let path = file(&format!("models/{model}.onnx"));
    let size = side.map(|side| (side, side));
    let tract = load_at(&path, KernelChoice::Tract, size).expect("runs everywhere");
    let input = input_of(&tract, "astronaut.png");
    let expected = outputs(&tract, 1, 1, &input);
    for kernels in KERNELS {
        let Some(network) = load_at(&path, kernels, size) else {
            continue;
        };
        assert!(
            network.layers().iter().all(|l| l.runs_on != "tract"),
            "{model}"
        );
        // Twice: what the first run leaves in memory must not show in the second.
        let one_thread = outputs(&network, 1, 2, &input);
        for (got, expected) in one_thread.iter().zip(&expected) {
            let off = difference(got, expected);
            assert!(off <= TOLERANCE, "{model} {kernels:?}: {off}");
        }
        for threads in [2, 3] {
            assert!(
                outputs(&network, threads, 2, &input) == one_thread,
                "{model} {kernels:?}: {threads} threads differ"
            );
        }
    }
}

#[test]
fn ssdlite_mobilenet_v2_equals_tract() {
    equals_tract("ssdlite_mobilenet_v2_coco", None);
}

#[test]
fn ssd_mobilenet_v2_equals_tract() {
    equals_tract("ssd_mobilenet_v2_oidv4", None);
}

#[test]
fn deeplabv3_of_output_stride_8_equals_tract_at_a_small_input_size() {
    equals_tract("deeplabv3_mobilenet_v2_voc_os8", Some(129));
}

#[test]
fn deeplabv3_of_output_stride_16_equals_tract_at_a_small_input_size() {
    equals_tract("deeplabv3_mobilenet_v2_voc_os16", Some(129));
}

#[test]
#[ignore = "slow: run by CI"]
fn deeplabv3_of_output_stride_8_equals_tract_at_its_own_input_size() {
    equals_tract("deeplabv3_mobilenet_v2_voc_os8", None);
}

#[test]
#[ignore = "slow: run by CI"]
fn deeplabv3_of_output_stride_16_equals_tract_at_its_own_input_size() {
    equals_tract("deeplabv3_mobilenet_v2_voc_os16", None);
}

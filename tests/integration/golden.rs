//! Raw outputs against the original runtimes' (models/import/golden.py, golden_torch.py), from the picture on.

use std::fs;

use crate::support::file;
use mobilens_image::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};
use mobilens_image::{LetterboxAnchor, PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};
use mobilens_nn::{InputLayout, LoadOptions, Network};

/// Largest difference as a share of the largest value.
const TOLERANCE: f32 = 1e-3;
/// The same between two runtimes of an int8 file: values that lie between two codes may go to either.
const TOLERANCE_INT8: f32 = 2e-2;
/// Least signal of the float32 logits over what int8 changes in them.
const LEAST_SQNR_DB: f64 = 15.0;

struct Golden {
    model: String,
    picture: String,
    tensor: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    max_abs: f32,
}

fn goldens(index: &str) -> Vec<Golden> {
    let folder = file("tests/data/golden");
    let index = fs::read_to_string(folder.join(index)).expect("the index");
    let index: Vec<serde_json::Value> = serde_json::from_str(&index).expect("JSON");
    let text = |e: &serde_json::Value, key: &str| e[key].as_str().expect("a text").to_owned();
    index
        .iter()
        .map(|entry| {
            let max_abs = entry["max_abs"].as_f64().expect("a number") as f32;
            let raw = fs::read(folder.join(text(entry, "file"))).expect("a golden");
            let to_f32 = |b: &[u8; 2]| f32::from(i16::from_le_bytes(*b)) * (max_abs / 32767.0);
            let shape = entry["shape"].as_array().expect("a list");
            Golden {
                model: text(entry, "model"),
                picture: text(entry, "picture"),
                tensor: text(entry, "tensor"),
                shape: shape
                    .iter()
                    .map(|d| d.as_u64().expect("a size") as usize)
                    .collect(),
                values: raw.as_chunks::<2>().0.iter().map(to_f32).collect(),
                max_abs,
            }
        })
        .collect()
}

fn preprocessor(model: &str) -> Preprocessor {
    let segments = model.starts_with("deeplab");
    let side = if segments { 513 } else { 300 };
    Preprocessor::new(&PreprocessParams {
        width_px: side,
        height_px: side,
        bgr: false,
        mean: [127.5; 3],
        std: [127.5; 3],
        resize: if segments {
            ResizeMode::Letterbox {
                pad_value: [127.5; 3],
                anchor: LetterboxAnchor::TopLeft,
            }
        } else {
            ResizeMode::Stretch
        },
        half_pixel: false,
        filter: ResizeFilter::Bilinear,
    })
}

fn picture(name: &str) -> Image {
    let path = file(&format!("tests/data/pictures/{name}.png"));
    let rgb = image::open(path).expect("a picture").into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw()).expect("tight")
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn the_input_equals_tensorflows() {
    let inputs: Vec<Golden> = goldens("index.json")
        .into_iter()
        .filter(|g| g.tensor == "input")
        .collect();
    assert_eq!(inputs.len(), 2);
    for golden in inputs {
        let mut tensor = vec![0.0; golden.values.len()];
        preprocessor(&golden.model).run(&picture(&golden.picture), TensorLayout::Nhwc, &mut tensor);
        let off = largest_difference(&tensor, &golden.values);
        assert!(off <= 1e-4, "{}: {off}", golden.model);
    }
}

fn outputs_equal(model: &str) {
    let path = file(&format!("models/{model}.onnx"));
    let network = Network::load(&path, &LoadOptions::default()).expect("a model");
    let mut session = network.session(1).expect("a session");
    let mut compared = 0;
    for golden in goldens("index.json")
        .iter()
        .filter(|g| g.model == model && g.tensor != "input")
    {
        let index = network
            .outputs()
            .iter()
            .position(|o| o.name == golden.tensor)
            .expect("the output");
        assert_eq!(network.outputs()[index].shape, golden.shape);
        let layout = match session.input_layout() {
            InputLayout::Nchw => TensorLayout::Nchw,
            InputLayout::Nhwc => TensorLayout::Nhwc,
        };
        preprocessor(model).run(&picture(&golden.picture), layout, session.input_mut());
        session.run().expect("runs");
        let off = largest_difference(session.output(index), &golden.values) / golden.max_abs;
        eprintln!("{model} {} {}: {off:.1e}", golden.picture, golden.tensor);
        assert!(
            off <= TOLERANCE,
            "{model} {} {}: {off}",
            golden.picture,
            golden.tensor
        );
        compared += 1;
    }
    assert!(compared >= 3);
}

#[test]
fn ssdlite_equals_tensorflow() {
    outputs_equal("ssdlite_mobilenet_v2_coco");
}

#[test]
fn oidv4_equals_litert() {
    outputs_equal("ssd_mobilenet_v2_oidv4");
}

#[test]
fn deeplab_equals_tensorflow_at_both_strides() {
    outputs_equal("deeplabv3_mobilenet_v2_voc_os8");
    outputs_equal("deeplabv3_mobilenet_v2_voc_os16");
}

/// The int8 classifier from the card on: what ONNX Runtime computes of the same file, and near what PyTorch
/// computes of the original weights.
#[test]
fn efficientnet_equals_onnx_runtime_and_is_near_pytorch() {
    let name = "efficientnet_lite0_imagenet";
    let card = file(&format!("models/{name}_int8.yaml"));
    let (card, _) = mobilens::config::load_card(&card).expect("a card");
    let network = Network::load(&card.file, &LoadOptions::default()).expect("a model");
    let mut session = network.session(1).expect("a session");
    let mut preprocessor = Preprocessor::new(&mobilens::pipeline::preprocess_params(&card));
    let goldens = goldens("index_torch.json");
    assert_eq!(goldens.len(), 6);
    for golden in goldens {
        let layout = match session.input_layout() {
            InputLayout::Nchw => TensorLayout::Nchw,
            InputLayout::Nhwc => TensorLayout::Nhwc,
        };
        let image = picture(&golden.picture);
        if let Some((rounding, codes)) = session.input_codes_mut() {
            let code = |value| rounding.code(value);
            preprocessor.run_as(&image, layout, code, codes);
        } else {
            preprocessor.run(&image, layout, session.input_mut());
        }
        session.run().expect("runs");
        let logits = session.output(0);
        assert_eq!(network.outputs()[0].shape, golden.shape);
        let of = format!("{} {}", golden.model, golden.picture);
        let best = |values: &[f32]| {
            let values = values.iter().enumerate();
            values.max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
        };
        if golden.model == name {
            let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
                values.map(|v| f64::from(v).powi(2)).sum()
            };
            let signal = squares(&mut golden.values.iter().copied());
            let noise = squares(&mut golden.values.iter().zip(logits).map(|(a, b)| a - b));
            let db = 10.0 * (signal / noise).log10();
            eprintln!("{of}: SQNR {db:.1} dB");
            assert!(db >= LEAST_SQNR_DB, "{of}: {db} dB");
            if golden.picture == "coffee" {
                assert_eq!(best(logits), Some(967), "espresso");
            }
        } else {
            let off = largest_difference(logits, &golden.values) / golden.max_abs;
            eprintln!("{of}: {off:.1e}");
            assert!(off <= TOLERANCE_INT8, "{of}: {off}");
            assert_eq!(best(logits), best(&golden.values), "{of}");
        }
    }
}

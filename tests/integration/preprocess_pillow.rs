//! The network's input is what torchvision's `Resize` and `CenterCrop` make of the same picture.

use std::fs;

use crate::support::file;
use mobilens_image::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};
use mobilens_image::{LetterboxAnchor, PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};

/// Codes (of 255) that a value without rounding may be off.
const TOLERANCE: f32 = 0.02;

/// The codes of the picture, its shorter side brought to `shorter_px` and the middle cut out.
fn codes(shorter_px: u32, side: u32, filter: ResizeFilter) -> Vec<f32> {
    tensor(&PreprocessParams {
        width_px: side,
        height_px: side,
        bgr: false,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: ResizeMode::CenterCrop { shorter_px },
        half_pixel: true,
        filter,
    })
}

fn tensor(params: &PreprocessParams) -> Vec<f32> {
    let rgb = image::open(file("tests/data/pictures/chelsea.png")).expect("a picture");
    let rgb = rgb.into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw());
    let mut preprocessor = Preprocessor::new(params);
    let mut out = vec![f32::NAN; 3 * (params.width_px * params.height_px) as usize];
    preprocessor.run(&image.expect("tight"), TensorLayout::Nhwc, &mut out);
    out
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(file("tests/data/preprocess").join(name)).expect("the golden tensor")
}

#[test]
fn antialiased_pictures_equal_pillows() {
    for (filter, rule) in [
        (ResizeFilter::PilBilinear, "bilinear"),
        (ResizeFilter::PilBicubic, "bicubic"),
    ] {
        for (shorter_px, side) in [(73, 64), (400, 50)] {
            let name = format!("chelsea_{shorter_px}_{side}_pil_{rule}.u8");
            let got = codes(shorter_px, side, filter);
            let want: Vec<f32> = golden(&name).into_iter().map(f32::from).collect();
            assert!(got == want, "{name}");
        }
    }
}

#[test]
fn letterboxed_pictures_equal_pillows_in_any_colour_and_corner() {
    let (mean, std) = ([10.0, 20.0, 30.0], [2.0, 4.0, 8.0]);
    for (anchor, name) in [
        (LetterboxAnchor::BottomRight, "bottom_right"),
        (LetterboxAnchor::Center, "center"),
    ] {
        let got = tensor(&PreprocessParams {
            width_px: 48,
            height_px: 48,
            bgr: true,
            mean,
            std,
            resize: ResizeMode::Letterbox {
                // Blue first, as the tensor.
                pad_value: [200.0, 20.0, 114.0],
                anchor,
            },
            half_pixel: true,
            filter: ResizeFilter::PilBilinear,
        });
        let want = golden(&format!("chelsea_48_letterbox_{name}_bgr.u8"));
        let channels = (0..3).cycle();
        let want = want.into_iter().zip(channels);
        let want: Vec<f32> = want
            .map(|(code, c)| (f32::from(code) - mean[c]) / std[c])
            .collect();
        assert!(got == want, "{name}");
    }
}

#[test]
fn pictures_without_antialiasing_equal_torchs() {
    let got = codes(73, 64, ResizeFilter::Bilinear);
    let bytes = golden("chelsea_73_64_bilinear.f32");
    let (words, _) = bytes.as_chunks::<4>();
    assert_eq!(got.len(), words.len());
    for (i, (got, want)) in got.iter().zip(words).enumerate() {
        let want = f32::from_le_bytes(*want);
        assert!((got - want).abs() <= TOLERANCE, "[{i}]: {got}, not {want}");
    }
}

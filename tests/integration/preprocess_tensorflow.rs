//! The network's input is what TensorFlow makes of the same picture.

use std::path::Path;

use mobilens_image::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};
use mobilens_image::{PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};

/// Part of the range (-1 to 1) that a value may be off.
const TOLERANCE: f32 = 1e-4;

/// The picture of `tests/data/preprocess/make.py`.
fn picture() -> Image {
    let size = SizePx {
        width: 37,
        height: 23,
    };
    let mut state = 1_u32;
    let data = (0..PixelFormat::Rgb8.bytes(size))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data).expect("tight buffer")
}

#[test]
fn resized_pictures_equal_tensorflows() {
    let picture = picture();
    for (width_px, height_px) in [(12, 10), (50, 30), (37, 23)] {
        for (half_pixel, rule) in [(false, "point"), (true, "half")] {
            let spec = PreprocessParams {
                width_px,
                height_px,
                bgr: false,
                mean: [127.5; 3],
                std: [127.5; 3],
                resize: ResizeMode::Stretch,
                half_pixel,
                filter: ResizeFilter::Bilinear,
            };
            let mut got = vec![0.0; 3 * (width_px * height_px) as usize];
            Preprocessor::new(&spec).run(&picture, TensorLayout::Nhwc, &mut got);

            let name = format!("{width_px}x{height_px}_{rule}.f32");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/preprocess");
            let bytes = std::fs::read(path.join(&name)).expect("the golden tensor");
            let (words, _) = bytes.as_chunks::<4>();
            assert_eq!(words.len(), got.len(), "{name}");
            for (i, (got, want)) in got.iter().zip(words).enumerate() {
                let want = f32::from_le_bytes(*want);
                assert!(
                    (got - want).abs() <= 2.0 * TOLERANCE,
                    "{name} [{i}]: {got}, not {want}"
                );
            }
        }
    }
}

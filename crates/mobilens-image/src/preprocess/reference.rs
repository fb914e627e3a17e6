//! Reference implementation of preprocessing, and the tests that compare the fast one with it.
//!
//! Each pixel of the picture becomes RGB by the equations of [`crate`]'s colours with its
//! chroma repeated; then four of them are blended (`ResizeBilinear`), clamped to 0..255 and
//! normalised.

use proptest::prelude::*;

use super::fit::Fit;
use super::{LetterboxAnchor, PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};
use crate::colour::tests::{arbitrary_image, codes_at, reference as rgb_reference};
use crate::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};

/// How far a value may be off, as a part of the range of codes (255): RGB pictures, worked in f32.
const TOLERANCE_RGB: f64 = 1e-4;
/// The same for YUV pictures, worked in fixed point: an eighth of a code.
const TOLERANCE_YUV: f64 = 5e-4;

/// `[3, height_px, width_px]` or `[height_px, width_px, 3]`.
fn reference(spec: &PreprocessParams, image: &Image, layout: TensorLayout) -> Vec<f64> {
    let (width, height) = (spec.width_px as usize, spec.height_px as usize);
    let input = SizePx {
        width: spec.width_px,
        height: spec.height_px,
    };
    let fit = Fit::new(spec.resize, image.size(), input);
    let mut out = vec![f64::NAN; 3 * width * height];
    for y in 0..height {
        for x in 0..width {
            let inside_x = x.wrapping_sub(fit.left) < fit.width;
            let inside_y = y.wrapping_sub(fit.top) < fit.height;
            let rgb = match spec.resize {
                ResizeMode::Letterbox { pad_value, .. } if !inside_x || !inside_y => {
                    // In the tensor's order, which the exchange of channels below undoes.
                    let [a, b, c] = pad_value.map(f64::from);
                    if spec.bgr { [c, b, a] } else { [a, b, c] }
                }
                _ => {
                    let (size, half_pixel) = (image.size(), spec.half_pixel);
                    let columns = x - fit.left + fit.cut.0;
                    let columns = source(columns, fit.scaled.0, size.width, half_pixel);
                    let rows = y - fit.top + fit.cut.1;
                    let rows = source(rows, fit.scaled.1, size.height, half_pixel);
                    bilinear(image, columns, rows).map(|code| code.clamp(0.0, 255.0))
                }
            };
            for c in 0..3 {
                let code = if spec.bgr { rgb[2 - c] } else { rgb[c] };
                let at = match layout {
                    TensorLayout::Nchw => (c * height + y) * width + x,
                    TensorLayout::Nhwc => (y * width + x) * 3 + c,
                };
                out[at] = (code - f64::from(spec.mean[c])) / f64::from(spec.std[c]);
            }
        }
    }
    out
}

/// Lower and upper sample and the weight of the upper, for output sample `i`.
fn source(i: usize, out: usize, input: u32, half_pixel: bool) -> (usize, usize, f64) {
    let scale = input as f32 / out as f32;
    let at = match half_pixel {
        true => (i as f32 + 0.5) * scale - 0.5,
        false => i as f32 * scale,
    };
    let lower = at.floor().max(0.0) as usize;
    let upper = (at.ceil().max(0.0) as usize).min(input as usize - 1);
    (
        lower.min(input as usize - 1),
        upper,
        f64::from(at - at.floor()),
    )
}

fn bilinear(
    image: &Image,
    (x0, x1, fx): (usize, usize, f64),
    (y0, y1, fy): (usize, usize, f64),
) -> [f64; 3] {
    let at = |x, y| {
        let codes = codes_at(image, x, y);
        match image.format() {
            PixelFormat::Rgb8 => codes.map(f64::from),
            _ => rgb_reference(image.colour(), codes),
        }
    };
    let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
    std::array::from_fn(|i| {
        let top = a[i] + (b[i] - a[i]) * fx;
        let bottom = c[i] + (d[i] - c[i]) * fx;
        top + (bottom - top) * fy
    })
}

fn assert_close(spec: &PreprocessParams, image: &Image) {
    let mut preprocessor = Preprocessor::new(spec);
    for layout in [TensorLayout::Nchw, TensorLayout::Nhwc] {
        let want = reference(spec, image, layout);
        let mut got = vec![f32::NAN; tensor_len(spec)];
        preprocessor.run(image, layout, &mut got);
        let codes = match image.format() {
            PixelFormat::Rgb8 => 255.0 * TOLERANCE_RGB,
            _ => 255.0 * TOLERANCE_YUV,
        };
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let c = match layout {
                TensorLayout::Nchw => i / (tensor_len(spec) / 3),
                TensorLayout::Nhwc => i % 3,
            };
            let off = (f64::from(*got) - want).abs() * f64::from(spec.std[c]);
            assert!(
                off <= codes,
                "{image:?} {spec:?} {layout:?} [{i}]: {got}, not {want}; {off} codes off"
            );
        }
    }
}

fn tensor_len(spec: &PreprocessParams) -> usize {
    3 * (spec.width_px * spec.height_px) as usize
}

fn spec(width_px: u32, height_px: u32) -> PreprocessParams {
    PreprocessParams {
        width_px,
        height_px,
        bgr: false,
        mean: [127.5; 3],
        std: [127.5; 3],
        resize: ResizeMode::Stretch,
        half_pixel: false,
        filter: ResizeFilter::Bilinear,
    }
}

fn arbitrary_spec() -> impl Strategy<Value = PreprocessParams> {
    let resize = prop_oneof![
        Just(ResizeMode::Stretch),
        (
            proptest::array::uniform3(0.0_f32..255.0),
            prop_oneof![
                Just(LetterboxAnchor::TopLeft),
                Just(LetterboxAnchor::TopRight),
                Just(LetterboxAnchor::BottomLeft),
                Just(LetterboxAnchor::BottomRight),
                Just(LetterboxAnchor::Center)
            ]
        )
            .prop_map(|(pad_value, anchor)| ResizeMode::Letterbox { pad_value, anchor }),
        // Added to the input's longer side.
        (0_u32..20).prop_map(|shorter_px| ResizeMode::CenterCrop { shorter_px }),
    ];
    let numbers = (
        proptest::array::uniform3(0.0_f32..255.0),
        proptest::array::uniform3(0.5_f32..255.0),
    );
    (
        1_u32..60,
        1_u32..60,
        any::<bool>(),
        numbers,
        resize,
        any::<bool>(),
    )
        .prop_map(
            |(width_px, height_px, bgr, (mean, std), resize, half_pixel)| PreprocessParams {
                width_px,
                height_px,
                bgr,
                mean,
                std,
                resize: match resize {
                    ResizeMode::CenterCrop { shorter_px } => ResizeMode::CenterCrop {
                        shorter_px: shorter_px + width_px.max(height_px),
                    },
                    resize => resize,
                },
                half_pixel,
                filter: ResizeFilter::Bilinear,
            },
        )
}

/// A picture of `size` filled from a fixed sequence.
fn noise(size: SizePx, format: PixelFormat) -> Image {
    let mut state = 1_u32;
    let data = (0..format.bytes(size))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Image::new(size, format, YuvColour::DEFAULT, data).expect("tight buffer")
}

const FORMATS: [PixelFormat; 4] = [
    PixelFormat::I420,
    PixelFormat::Nv12,
    PixelFormat::Yuyv,
    PixelFormat::Rgb8,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn fast_is_the_reference(spec in arbitrary_spec(), image in arbitrary_image(90)) {
        assert_close(&spec, &image);
    }
}

#[test]
fn extreme_sizes_are_the_reference() {
    for (width, height) in [(1, 1), (2, 1), (1, 2), (3, 2000), (2000, 3), (640, 360)] {
        for format in FORMATS {
            let width = match format {
                PixelFormat::Yuyv => u32::next_multiple_of(width, 2),
                _ => width,
            };
            let image = noise(SizePx { width, height }, format);
            for half_pixel in [false, true] {
                let mut spec = spec(300, 300);
                spec.half_pixel = half_pixel;
                assert_close(&spec, &image);
                spec.resize = ResizeMode::Letterbox {
                    pad_value: [0.0; 3],
                    anchor: LetterboxAnchor::Center,
                };
                assert_close(&spec, &image);
                spec.resize = ResizeMode::CenterCrop { shorter_px: 342 };
                assert_close(&spec, &image);
            }
        }
    }
}

/// The same as [`reference`] by Pillow's rule, in floating point and without rounding to codes.
fn pil_reference(spec: &PreprocessParams, image: &Image) -> Vec<f64> {
    let (width, height) = (spec.width_px as usize, spec.height_px as usize);
    let input = SizePx {
        width: spec.width_px,
        height: spec.height_px,
    };
    let fit = Fit::new(spec.resize, image.size(), input);
    let size = image.size();
    let mean = |i: usize, input: u32, out: usize| -> Vec<(usize, f64)> {
        let scale = f64::from(input) / out as f64;
        let growth = scale.max(1.0);
        let at = |x: u32| {
            let off = ((f64::from(x) + 0.5) - (i as f64 + 0.5) * scale) / growth;
            (1.0 - off.abs()).max(0.0)
        };
        let sum: f64 = (0..input).map(at).sum();
        let shares = (0..input).map(|x| (x as usize, at(x) / sum));
        shares.filter(|(_, share)| *share > 0.0).collect()
    };
    let mut out = Vec::new();
    for y in 0..height {
        let rows = mean(y + fit.cut.1, size.height, fit.scaled.1);
        for x in 0..width {
            let columns = mean(x + fit.cut.0, size.width, fit.scaled.0);
            let mut sums = [0.0; 3];
            for (y, of_row) in &rows {
                for (x, of_column) in &columns {
                    for (sum, code) in sums.iter_mut().zip(codes_at(image, *x, *y)) {
                        *sum += of_row * of_column * f64::from(code);
                    }
                }
            }
            out.extend(sums);
        }
    }
    out
}

#[test]
fn antialiased_bilinear_is_a_mean_under_a_triangle() {
    let sizes = [(90, 70), (40, 90), (24, 24), (5, 7), (1, 300)];
    for (width, height) in sizes {
        let image = noise(SizePx { width, height }, PixelFormat::Rgb8);
        for resize in [
            ResizeMode::Stretch,
            ResizeMode::CenterCrop { shorter_px: 28 },
        ] {
            let spec = PreprocessParams {
                mean: [0.0; 3],
                std: [1.0; 3],
                resize,
                filter: ResizeFilter::PilBilinear,
                ..spec(24, 20)
            };
            let mut got = vec![f32::NAN; tensor_len(&spec)];
            Preprocessor::new(&spec).run(&image, TensorLayout::Nhwc, &mut got);
            for (got, want) in got.iter().zip(pil_reference(&spec, &image)) {
                // Rounded twice.
                assert!(
                    (f64::from(*got) - want).abs() <= 1.01,
                    "{got} {want} {resize:?}"
                );
            }
        }
    }
}

#[test]
fn antialiased_yuv_is_the_same_as_its_rgb_picture() {
    for format in FORMATS {
        let size = SizePx {
            width: 70,
            height: 50,
        };
        let image = noise(size, format);
        let mut rgb = image::RgbImage::new(0, 0);
        crate::rgb_from_image(&image, &mut rgb);
        let rgb = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw());
        let spec = PreprocessParams {
            bgr: true,
            resize: ResizeMode::Letterbox {
                pad_value: [9.0; 3],
                anchor: LetterboxAnchor::Center,
            },
            filter: ResizeFilter::PilBicubic,
            ..spec(30, 30)
        };
        let tensor = |image: &Image| {
            let mut out = vec![f32::NAN; tensor_len(&spec)];
            Preprocessor::new(&spec).run(image, TensorLayout::Nchw, &mut out);
            out
        };
        assert_eq!(tensor(&image), tensor(&rgb.expect("tight buffer")));
    }
}

#[test]
fn a_change_of_size_and_format_is_noticed() {
    let spec = spec(30, 20);
    let mut preprocessor = Preprocessor::new(&spec);
    let mut kept = vec![0.0; tensor_len(&spec)];
    let mut fresh = kept.clone();
    for (width, format) in [
        (64, PixelFormat::I420),
        (66, PixelFormat::I420),
        (66, PixelFormat::Nv12),
        (66, PixelFormat::Rgb8),
        (64, PixelFormat::I420),
    ] {
        let image = noise(SizePx { width, height: 40 }, format);
        preprocessor.run(&image, TensorLayout::Nhwc, &mut kept);
        Preprocessor::new(&spec).run(&image, TensorLayout::Nhwc, &mut fresh);
        assert_eq!(kept, fresh);
    }
}

//! Bilinear resampling straight from the source's planes.
//!
//! The coordinate rules are TensorFlow's `ResizeBilinear`: without half-pixel centres, output `i`
//! reads at `i * in / out`; with them at `(i + 0.5) * in / out - 0.5`. Interpolation is done on
//! YUV codes (a pixel's chroma is that of its 2x2 or 2x1 block), colours are converted after:
//! both are linear, so this equals converting every pixel first, up to colours out of gamut.

use super::PreprocessSpec;
use super::fit::{Fit, Resize};
use crate::frame::{
    Image, ImageFromModel, PixelFormat, RgbFromYuv, SizePx, TensorLayout, YuvRow, i420_row,
    nv12_row, yuyv_row,
};

/// Turns pictures into input tensors; keeps what it learned of the last picture's size.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    spec: PreprocessSpec,
    plan: Option<Plan>,
    /// One output row, pixel by pixel.
    row: Vec<[f32; 3]>,
}

/// What depends on the picture's size alone.
#[derive(Clone, Debug)]
struct Plan {
    image: SizePx,
    fit: Fit,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
}

/// Where an output sample reads: two neighbours and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    low: usize,
    high: usize,
    share: f32,
}

fn taps(inputs: usize, outputs: usize, half_pixel: bool) -> Vec<Tap> {
    let scale = inputs as f32 / outputs as f32;
    let last = inputs as f32 - 1.0;
    (0..outputs)
        .map(|i| {
            let at = if half_pixel {
                (i as f32 + 0.5) * scale - 0.5
            } else {
                i as f32 * scale
            };
            let floor = at.floor();
            Tap {
                low: floor.clamp(0.0, last) as usize,
                high: (floor + 1.0).clamp(0.0, last) as usize,
                share: at - floor,
            }
        })
        .collect()
}

#[inline]
fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

#[inline]
fn mix_taps(top: [[f32; 3]; 2], bottom: [[f32; 3]; 2], x: f32, y: f32) -> [f32; 3] {
    std::array::from_fn(|c| {
        mix(
            mix(top[0][c], top[1][c], x),
            mix(bottom[0][c], bottom[1][c], x),
            y,
        )
    })
}

impl Preprocessor {
    /// A preprocessor for a network that wants `spec`.
    pub fn new(spec: &PreprocessSpec) -> Self {
        Self {
            spec: spec.clone(),
            plan: None,
            row: Vec::new(),
        }
    }

    /// Fills `tensor` (rows x columns x 3 values in `layout`) from `image`.
    ///
    /// # Panics
    /// When `tensor` has another length.
    pub fn run(
        &mut self,
        image: &Image,
        layout: TensorLayout,
        tensor: &mut [f32],
    ) -> ImageFromModel {
        let input = SizePx {
            width: self.spec.width_px,
            height: self.spec.height_px,
        };
        let (width, height) = (input.width as usize, input.height as usize);
        assert_eq!(tensor.len(), 3 * width * height, "the tensor's length");
        let size = image.size();
        let plan = match self.plan.take() {
            Some(plan) if plan.image == size => plan,
            _ => Plan::new(&self.spec, size, input),
        };
        let to_tensor = ToTensor::new(&self.spec);
        self.row.resize(width, [0.0; 3]);
        for y in 0..height {
            if y < plan.fit.top || y >= plan.fit.top + plan.fit.height {
                self.row.fill(to_tensor.padding);
            } else {
                self.row[..plan.fit.left].fill(to_tensor.padding);
                self.row[plan.fit.left + plan.fit.width..].fill(to_tensor.padding);
                let out = &mut self.row[plan.fit.left..][..plan.fit.width];
                plan.sample_row(image, y - plan.fit.top, &to_tensor, out);
            }
            write_row(&self.row, y, height, layout, tensor);
        }
        let image_from_model = plan.fit.image_from_model(size, input);
        self.plan = Some(plan);
        image_from_model
    }
}

impl Plan {
    fn new(spec: &PreprocessSpec, image: SizePx, input: SizePx) -> Self {
        let fit = Fit::new(spec.resize, image, input);
        Self {
            image,
            fit,
            columns: taps(image.width as usize, fit.width, spec.half_pixel),
            rows: taps(image.height as usize, fit.height, spec.half_pixel),
        }
    }

    fn sample_row(&self, image: &Image, y: usize, to_tensor: &ToTensor, out: &mut [[f32; 3]]) {
        let Tap { low, high, share } = self.rows[y];
        match image.format() {
            PixelFormat::I420 => {
                let rows = [i420_row(image, low), i420_row(image, high)];
                self.sample_yuv(rows, share, image, to_tensor, out);
            }
            PixelFormat::Nv12 => {
                let rows = [nv12_row(image, low), nv12_row(image, high)];
                self.sample_yuv(rows, share, image, to_tensor, out);
            }
            PixelFormat::Yuyv => {
                let rows = [yuyv_row(image, low), yuyv_row(image, high)];
                self.sample_yuv(rows, share, image, to_tensor, out);
            }
            PixelFormat::Rgb8 => {
                let stride = 3 * self.image.width as usize;
                let row = |y: usize| {
                    image.data()[y * stride..(y + 1) * stride]
                        .as_chunks::<3>()
                        .0
                };
                let (top, bottom) = (row(low), row(high));
                for (pixel, tap) in out.iter_mut().zip(&self.columns) {
                    let rgb =
                        |row: &[[u8; 3]]| [row[tap.low], row[tap.high]].map(|p| p.map(f32::from));
                    *pixel = to_tensor.value(mix_taps(rgb(top), rgb(bottom), tap.share, share));
                }
            }
        }
    }

    fn sample_yuv<const L: usize, const C: usize>(
        &self,
        [top, bottom]: [YuvRow<'_, L, C>; 2],
        share: f32,
        image: &Image,
        to_tensor: &ToTensor,
        out: &mut [[f32; 3]],
    ) {
        let rgb_from_yuv = RgbFromYuv::new(image.colour());
        for (pixel, tap) in out.iter_mut().zip(&self.columns) {
            let yuv = |row: &YuvRow<'_, L, C>| [row.yuv(tap.low), row.yuv(tap.high)];
            let [y, u, v] = mix_taps(yuv(&top), yuv(&bottom), tap.share, share);
            *pixel = to_tensor.value(rgb_from_yuv.rgb(y, u, v));
        }
    }
}

/// From RGB 0 to 255 to the tensor's values and channel order.
struct ToTensor {
    bgr: bool,
    mean: [f32; 3],
    std: [f32; 3],
    padding: [f32; 3],
}

impl ToTensor {
    fn new(spec: &PreprocessSpec) -> Self {
        let mut this = Self {
            bgr: spec.bgr,
            mean: spec.mean,
            std: spec.std,
            padding: [0.0; 3],
        };
        if let Resize::Letterbox { pad_value, .. } = spec.resize {
            this.padding = this.value([pad_value; 3]);
        }
        this
    }

    #[inline]
    fn value(&self, [r, g, b]: [f32; 3]) -> [f32; 3] {
        let ordered = if self.bgr { [b, g, r] } else { [r, g, b] };
        std::array::from_fn(|c| (ordered[c] - self.mean[c]) / self.std[c])
    }
}

fn write_row(row: &[[f32; 3]], y: usize, height: usize, layout: TensorLayout, tensor: &mut [f32]) {
    let width = row.len();
    match layout {
        TensorLayout::Nhwc => {
            tensor[3 * y * width..][..3 * width].copy_from_slice(row.as_flattened());
        }
        TensorLayout::Nchw => {
            for (c, plane) in tensor.chunks_exact_mut(width * height).enumerate() {
                for (out, pixel) in plane[y * width..][..width].iter_mut().zip(row) {
                    *out = pixel[c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{YuvColour, YuvMatrix, YuvRange};
    use crate::preprocess::LetterboxAnchor;

    /// Codes of 255 by which interpolating before and after the conversion may differ where colours
    /// lie out of gamut: the test pictures stay in it.
    const TOLERANCE: f32 = 0.01;

    fn spec(width_px: u32, height_px: u32, half_pixel: bool) -> PreprocessSpec {
        PreprocessSpec {
            width_px,
            height_px,
            bgr: false,
            mean: [10.0, 20.0, 30.0],
            std: [2.0, 4.0, 8.0],
            resize: Resize::Stretch,
            half_pixel,
        }
    }

    /// Converts every pixel, then resizes as TensorFlow's kernel does, one sample at a time.
    fn reference(image: &Image, spec: &PreprocessSpec) -> Vec<[f32; 3]> {
        let (w, h) = (image.size().width as usize, image.size().height as usize);
        let to_rgb = RgbFromYuv::new(image.colour());
        let rgb = |x: usize, y: usize| -> [f32; 3] {
            let [luma, u, v] = match image.format() {
                PixelFormat::Rgb8 => {
                    let at = 3 * (y * w + x);
                    return [0, 1, 2].map(|c| f32::from(image.data()[at + c]));
                }
                PixelFormat::I420 => i420_row(image, y).yuv(x),
                PixelFormat::Nv12 => nv12_row(image, y).yuv(x),
                PixelFormat::Yuyv => yuyv_row(image, y).yuv(x),
            };
            to_rgb.rgb(luma, u, v)
        };
        let place = |i: usize, inputs: usize, outputs: u32| {
            let scale = inputs as f32 / outputs as f32;
            let at = if spec.half_pixel {
                (i as f32 + 0.5) * scale - 0.5
            } else {
                i as f32 * scale
            };
            let low = (at.floor() as isize).clamp(0, inputs as isize - 1) as usize;
            let high = (at.floor() as isize + 1).clamp(0, inputs as isize - 1) as usize;
            (low, high, at - at.floor())
        };
        let mut out = Vec::new();
        for y in 0..spec.height_px as usize {
            for x in 0..spec.width_px as usize {
                let (x0, x1, fx) = place(x, w, spec.width_px);
                let (y0, y1, fy) = place(y, h, spec.height_px);
                let corners = [rgb(x0, y0), rgb(x1, y0), rgb(x0, y1), rgb(x1, y1)];
                out.push(std::array::from_fn(|c| {
                    let top = corners[0][c] + (corners[1][c] - corners[0][c]) * fx;
                    let bottom = corners[2][c] + (corners[3][c] - corners[2][c]) * fx;
                    (top + (bottom - top) * fy - spec.mean[c]) / spec.std[c]
                }));
            }
        }
        out
    }

    prop_compose! {
        /// Luma in the middle and little chroma: every colour is in gamut.
        fn image()(
            format in prop::sample::select(vec![
                PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Rgb8,
            ]),
            width in 1u32..50, height in 1u32..50, seed: u64,
        ) -> Image {
            let width = if format == PixelFormat::Yuyv { 2 * width } else { width };
            let size = SizePx { width, height };
            let mut state = seed | 1;
            let data = (0..format.bytes(size)).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                100 + (state >> 32) as u8 % 50
            }).collect();
            let colour = YuvColour { matrix: YuvMatrix::Bt709, range: YuvRange::Limited };
            Image::new(size, format, colour, data).expect("tight buffer")
        }
    }

    proptest! {
        #[test]
        fn equals_converting_first_and_resizing_after(
            image in image(), width in 1u32..40, height in 1u32..40, half_pixel: bool,
        ) {
            let spec = spec(width, height, half_pixel);
            let expected = reference(&image, &spec);
            let mut preprocessor = Preprocessor::new(&spec);
            let mut nhwc = vec![0.0; expected.len() * 3];
            preprocessor.run(&image, TensorLayout::Nhwc, &mut nhwc);
            let mut nchw = nhwc.clone();
            preprocessor.run(&image, TensorLayout::Nchw, &mut nchw);
            for (i, expected) in expected.iter().enumerate() {
                for c in 0..3 {
                    let got = nhwc[3 * i + c];
                    prop_assert!((got - expected[c]).abs() <= TOLERANCE, "{} for {}", got, expected[c]);
                    prop_assert_eq!(nchw[c * (nchw.len() / 3) + i], got);
                }
            }
        }
    }

    #[test]
    fn a_line_of_two_thousand_rows_and_a_single_pixel() {
        for (width, height) in [(1, 1), (3, 2000)] {
            let rgb = RgbImage::from_pixel(width, height, image::Rgb([10, 24, 38]));
            let size = SizePx { width, height };
            let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw());
            let mut tensor = vec![9.0; 3 * 30 * 30];
            let mut preprocessor = Preprocessor::new(&spec(30, 30, false));
            preprocessor.run(&image.expect("tight"), TensorLayout::Nhwc, &mut tensor);
            assert!(
                tensor
                    .as_chunks::<3>()
                    .0
                    .iter()
                    .all(|p| *p == [0.0, 1.0, 1.0])
            );
        }
    }

    #[test]
    fn padding_lies_where_the_picture_does_not() {
        let size = SizePx {
            width: 20,
            height: 10,
        };
        let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![100; 600]);
        let image = image.expect("tight");
        let pad = |anchor| {
            let spec = PreprocessSpec {
                resize: Resize::Letterbox {
                    pad_value: 50.0,
                    anchor,
                },
                mean: [0.0; 3],
                std: [1.0; 3],
                ..spec(8, 8, false)
            };
            let mut tensor = vec![0.0; 3 * 64];
            Preprocessor::new(&spec).run(&image, TensorLayout::Nhwc, &mut tensor);
            tensor.chunks(24).map(|row| row[0]).collect::<Vec<_>>()
        };
        assert_eq!(
            pad(LetterboxAnchor::TopLeft),
            [100.0, 100.0, 100.0, 100.0, 50.0, 50.0, 50.0, 50.0]
        );
        assert_eq!(
            pad(LetterboxAnchor::Center),
            [50.0, 50.0, 100.0, 100.0, 100.0, 100.0, 50.0, 50.0]
        );
    }
}

//! The preprocessor: fills the input tensor from images.

use super::axis::{InterpolationWeight, interpolation_weights};
use super::fit::{Fit, ResizeMode};
use super::pil::PilResampler;
use super::resample::{RowResampler, TensorRow};
use super::{PreprocessParams, ResizeFilter};
use crate::{Image, ImageFromModel, PixelFormat, SizePx, TensorLayout, YuvColour};

/// Fills the network's input from pictures of any size and format.
///
/// What depends on the picture's size is worked out when it changes and kept until it changes
/// again, so each stream should have its own.
pub struct Preprocessor {
    spec: PreprocessParams,
    plan: Option<Plan>,
}

/// What is the same for all pictures of one size, format and colour.
struct Plan {
    picture: (SizePx, PixelFormat, YuvColour),
    fit: Fit,
    resampler: Resampler,
    line: TensorRow,
}

/// Makes the lines of the tensor by the filter's rule.
enum Resampler {
    Bilinear {
        /// One a row of the fitted picture.
        rows: Vec<InterpolationWeight>,
        maker: RowResampler,
    },
    Pil(Box<PilResampler>),
}

impl Resampler {
    fn new(spec: &PreprocessParams, image: &Image, fit: &Fit) -> Self {
        if spec.filter != ResizeFilter::Bilinear {
            return Self::Pil(Box::new(PilResampler::new(spec, image, fit)));
        }
        let size = image.size();
        let weights = |length: u32, scaled: usize, cut: usize, out: usize| {
            interpolation_weights(length as usize, scaled, cut..cut + out, spec.half_pixel)
        };
        let columns = weights(size.width, fit.scaled.0, fit.cut.0, fit.width);
        Self::Bilinear {
            rows: weights(size.height, fit.scaled.1, fit.cut.1, fit.height),
            maker: RowResampler::new(spec, image, columns),
        }
    }
}

impl Plan {
    fn new(spec: &PreprocessParams, image: &Image) -> Self {
        let fit = Fit::new(spec.resize, image.size(), input_size(spec));
        Self {
            picture: (image.size(), image.format(), image.colour()),
            resampler: Resampler::new(spec, image, &fit),
            line: TensorRow::new(fit.width),
            fit,
        }
    }
}

impl Preprocessor {
    /// A preprocessor for a network with parameters `spec`.
    pub fn new(spec: &PreprocessParams) -> Self {
        Self {
            spec: spec.clone(),
            plan: None,
        }
    }

    /// Fills `out` (rows x columns x 3 values in `layout`) from `image`; returns the transform back to the picture.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn run(&mut self, image: &Image, layout: TensorLayout, out: &mut [f32]) -> ImageFromModel {
        self.run_as(image, layout, |value| value, out)
    }

    /// As [`run`](Self::run), with each value turned into what `convert` makes of it: the codes of
    /// an int8 network.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn run_as<T: Copy>(
        &mut self,
        image: &Image,
        layout: TensorLayout,
        convert: impl Fn(f32) -> T + Copy,
        out: &mut [T],
    ) -> ImageFromModel {
        let spec = &self.spec;
        let (width, height) = (spec.width_px as usize, spec.height_px as usize);
        assert_eq!(out.len(), 3 * width * height, "the tensor's length");
        let picture = (image.size(), image.format(), image.colour());
        let plan = match &mut self.plan {
            Some(plan) if plan.picture == picture => plan,
            stale => stale.insert(Plan::new(spec, image)),
        };
        let fit = plan.fit;
        let covers_all = fit.width == width && fit.height == height;
        if let ResizeMode::Letterbox { pad_value, .. } = spec.resize
            && !covers_all
        {
            pad(spec, pad_value, layout, convert, out);
        }

        let planes = image.planes();
        let columns = fit.left..fit.left + fit.width;
        if let Resampler::Pil(resampler) = &mut plan.resampler {
            resampler.begin(image);
        }
        for (i, j) in (fit.top..fit.top + fit.height).enumerate() {
            match &mut plan.resampler {
                Resampler::Bilinear { rows, maker } => maker.make(&planes, rows[i], &mut plan.line),
                Resampler::Pil(resampler) => resampler.make(i, &mut plan.line),
            }
            match layout {
                TensorLayout::Nchw => {
                    for (c, plane) in out.chunks_exact_mut(width * height).enumerate() {
                        let row = &mut plane[j * width..][columns.clone()];
                        plan.line.copy_channel(c, convert, row);
                    }
                }
                TensorLayout::Nhwc => {
                    let row = &mut out[3 * j * width..][3 * columns.start..3 * columns.end];
                    plan.line.copy_interleaved(convert, row);
                }
            }
        }
        fit.image_from_model(image.size(), input_size(spec))
    }
}

fn input_size(spec: &PreprocessParams) -> SizePx {
    SizePx {
        width: spec.width_px,
        height: spec.height_px,
    }
}

/// Fills the tensor with padding.
fn pad<T: Copy>(
    spec: &PreprocessParams,
    pad_value: [f32; 3],
    layout: TensorLayout,
    convert: impl Fn(f32) -> T,
    out: &mut [T],
) {
    let value: [T; 3] =
        std::array::from_fn(|c| convert((pad_value[c] - spec.mean[c]) / spec.std[c]));
    let plane_len = out.len() / 3;
    match layout {
        TensorLayout::Nchw => {
            for (plane, value) in out.chunks_exact_mut(plane_len).zip(value) {
                plane.fill(value);
            }
        }
        TensorLayout::Nhwc => {
            let (pixels, _) = out.as_chunks_mut::<3>();
            pixels.fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LetterboxAnchor;

    #[test]
    fn padding_lies_where_the_picture_does_not() {
        let size = SizePx {
            width: 20,
            height: 10,
        };
        let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![100; 600])
            .expect("tight buffer");
        let first_column = |anchor| {
            let spec = PreprocessParams {
                width_px: 8,
                height_px: 8,
                bgr: false,
                mean: [0.0; 3],
                std: [1.0; 3],
                resize: ResizeMode::Letterbox {
                    pad_value: [50.0, 60.0, 70.0],
                    anchor,
                },
                half_pixel: false,
                filter: ResizeFilter::Bilinear,
            };
            let mut tensor = vec![0.0; 3 * 64];
            Preprocessor::new(&spec).run(&image, TensorLayout::Nhwc, &mut tensor);
            tensor.chunks(24).map(|row| row[0]).collect::<Vec<_>>()
        };
        assert_eq!(
            first_column(LetterboxAnchor::TopLeft),
            [100.0, 100.0, 100.0, 100.0, 50.0, 50.0, 50.0, 50.0]
        );
        assert_eq!(
            first_column(LetterboxAnchor::Center),
            [50.0, 50.0, 100.0, 100.0, 100.0, 100.0, 50.0, 50.0]
        );
        assert_eq!(
            first_column(LetterboxAnchor::BottomLeft),
            [50.0, 50.0, 50.0, 50.0, 100.0, 100.0, 100.0, 100.0]
        );
    }
}

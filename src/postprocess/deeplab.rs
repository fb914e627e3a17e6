//! DeepLab decoder: upsampling and argmax of the logits to a class mask of the frame's size.
//!
//! The logits are coarse: a few dozen columns for a thousand pixels. They are interpolated
//! bilinearly, as by the network's authors (Chen et al., "Rethinking Atrous Convolution for
//! Semantic Image Segmentation", section 3.1: logits are upsampled, not labels shrunk), followed
//! by argmax; both are fused, so that full-size logits are never stored.
//!
//! Within a cell of four logits, every class is interpolated with the same weights. A class that is
//! not greater at any of the four corners is not greater between them, rounding included, as every
//! step is monotonic. So most of a picture is decided per cell; only cells at class borders are
//! evaluated per pixel, for the candidate classes.

use mobilens_image::{ImageFromModel, SizePx};

use super::class_mask::{ClassMask, UNKNOWN};

/// Parameters of a DeepLab head.
#[derive(Clone, Debug, PartialEq)]
pub struct DeepLabParams {
    /// Classes, the logits' channels.
    pub classes: usize,
    /// Columns and rows of the logits.
    pub grid: (usize, usize),
    /// Columns and rows of the network's input.
    pub input: (u32, u32),
    /// `align_corners`: the first and last logits lie on the first and last pixels of the input;
    /// otherwise half-pixel centres.
    pub align_corners: bool,
    /// Whether preprocessing used half-pixel centres.
    pub half_pixel: bool,
    /// A pixel whose best class has a lower softmax probability is [`UNKNOWN`].
    pub confidence_floor: Option<f32>,
}

/// Pixels per vector loop.
const LANES: usize = 16;

/// Pixels along one axis between the same two logits.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Indices of the two logits.
    cell: (usize, usize),
    start: usize,
    end: usize,
}

/// Mapping of one frame axis to the logits.
#[derive(Clone, Debug, Default)]
struct Axis {
    spans: Vec<Span>,
    /// Per pixel, the weight of the second logit.
    weights: Vec<f32>,
}

impl Axis {
    /// Axis of `pixels` frame pixels, of which pixel `x` lies at `x * step + start` of `input` input
    /// pixels, over `grid` logits.
    fn new(pixels: u32, (step, start): (f64, f64), input: u32, grid: usize, aligned: bool) -> Self {
        let mut axis = Self::default();
        let last_in = f64::from(input) - 1.0;
        let last = grid as f64 - 1.0;
        for x in 0..pixels as usize {
            let at = (x as f64 * step + start).clamp(0.0, last_in);
            let at = if aligned {
                at * last / last_in.max(1.0)
            } else {
                (at + 0.5) * grid as f64 / f64::from(input) - 0.5
            };
            let at = at.clamp(0.0, last);
            let before = (at as usize).min(grid.saturating_sub(2));
            let cell = (before, (before + 1).min(grid - 1));
            axis.weights.push((at - before as f64) as f32);
            match axis.spans.last_mut() {
                Some(span) if span.cell == cell => span.end = x + 1,
                _ => axis.spans.push(Span {
                    cell,
                    start: x,
                    end: x + 1,
                }),
            }
        }
        axis
    }
}

/// Mapping of a frame's pixels to the logits.
#[derive(Clone, Debug)]
struct Geometry {
    of: (ImageFromModel, SizePx),
    right: Axis,
    down: Axis,
}

/// Decodes logits into masks; reuses its scratch memory from frame to frame.
#[derive(Debug)]
pub struct DeepLabDecoder {
    params: DeepLabParams,
    geometry: Option<Geometry>,
    /// The logits in NHWC order.
    logits: Vec<f32>,
    candidates: Vec<usize>,
    /// Candidate classes, ascending, and their values at a row's left and right end.
    ends: Vec<(u8, [f32; 2])>,
}

impl DeepLabDecoder {
    /// A decoder for one head.
    ///
    /// # Panics
    /// When there are no classes, more than 255, or no logits.
    pub fn new(params: DeepLabParams) -> Self {
        assert!((1..=255).contains(&params.classes), "1 to 255 classes");
        assert!(params.grid.0 > 0 && params.grid.1 > 0, "logits");
        Self {
            params,
            geometry: None,
            logits: Vec::new(),
            candidates: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The mask of a frame of `image` pixels, from its logits `[1, classes, rows, columns]`.
    ///
    /// # Panics
    /// When there are not as many logits.
    pub fn decode(
        &mut self,
        logits: &[f32],
        image_from_model: &ImageFromModel,
        image: SizePx,
    ) -> ClassMask {
        let (columns, rows) = self.params.grid;
        let classes = self.params.classes;
        assert_eq!(logits.len(), classes * rows * columns, "one logit each");
        self.logits.resize(logits.len(), 0.0);
        for (class, plane) in logits.chunks_exact(rows * columns).enumerate() {
            for (at, value) in plane.iter().enumerate() {
                self.logits[at * classes + class] = *value;
            }
        }
        let geometry = match self.geometry.take() {
            Some(geometry) if geometry.of == (*image_from_model, image) => geometry,
            _ => self.params.geometry(image_from_model, image),
        };
        let mut mask = vec![0; image.width as usize * image.height as usize];
        for down in &geometry.down.spans {
            for right in &geometry.right.spans {
                self.cell(&geometry, *down, *right, &mut mask, image.width as usize);
            }
        }
        self.geometry = Some(geometry);
        ClassMask::new(image, mask).unwrap_or_else(|| unreachable!("a class for every pixel"))
    }

    fn cell(
        &mut self,
        geometry: &Geometry,
        down: Span,
        right: Span,
        mask: &mut [u8],
        width: usize,
    ) {
        let (columns, classes) = (self.params.grid.0, self.params.classes);
        let at = |row: usize, column: usize| {
            &self.logits[(row * columns + column) * classes..][..classes]
        };
        let corners = [
            at(down.cell.0, right.cell.0),
            at(down.cell.0, right.cell.1),
            at(down.cell.1, right.cell.0),
            at(down.cell.1, right.cell.1),
        ];
        self.candidates.clear();
        if self.params.confidence_floor.is_some() {
            // The softmax needs the values of all classes.
            self.candidates.extend(0..classes);
        } else {
            candidate_classes(corners, &mut self.candidates);
            if let [class] = self.candidates[..] {
                for y in down.start..down.end {
                    mask[y * width..][right.start..right.end].fill(class as u8);
                }
                return;
            }
        }
        let weights = &geometry.right.weights[right.start..right.end];
        for y in down.start..down.end {
            let lower = geometry.down.weights[y];
            let ends = self.candidates.iter().map(|class| {
                let [a, b, c, d] = corners.map(|corner| corner[*class]);
                (*class as u8, [lerp(a, c, lower), lerp(b, d, lower)])
            });
            self.ends.clear();
            self.ends.extend(ends);
            if self.params.confidence_floor.is_none() {
                retain_candidates(&mut self.ends);
            }
            let row = &mut mask[y * width..][right.start..right.end];
            if let ([(class, _)], None) = (&self.ends[..], self.params.confidence_floor) {
                row.fill(*class);
                continue;
            }
            for (pixels, weights) in row.chunks_mut(LANES).zip(weights.chunks(LANES)) {
                self.params.decide(&self.ends, weights, pixels);
            }
        }
    }
}

impl DeepLabParams {
    /// The class of up to [`LANES`] pixels between two ends.
    fn decide(&self, ends: &[(u8, [f32; 2])], weights: &[f32], pixels: &mut [u8]) {
        // Fixed length, so that everything stays in registers.
        let mut lanes = [0.0; LANES];
        lanes[..weights.len()].copy_from_slice(weights);
        let mut best = [f32::NEG_INFINITY; LANES];
        let mut classes = [0_u32; LANES];
        for (class, [left, right]) in ends {
            let class = u32::from(*class);
            for ((best, class_here), weight) in best.iter_mut().zip(&mut classes).zip(&lanes) {
                let value = lerp(*left, *right, *weight);
                // Bitwise select: a branch would be unpredictable.
                let greater = u32::from(value > *best).wrapping_neg();
                *best = f32::from_bits(value.to_bits() & greater | best.to_bits() & !greater);
                *class_here = class & greater | *class_here & !greater;
            }
        }
        for (pixel, class) in pixels.iter_mut().zip(classes) {
            *pixel = class as u8;
        }
        let Some(floor) = self.confidence_floor else {
            return;
        };
        for ((pixel, best), weight) in pixels.iter_mut().zip(best).zip(weights) {
            let terms = ends
                .iter()
                .map(|(_, [left, right])| (lerp(*left, *right, *weight) - best).exp());
            if 1.0 / terms.sum::<f32>() < floor {
                *pixel = UNKNOWN;
            }
        }
    }

    /// The logits' column nearest to each column of a frame so wide.
    pub(super) fn nearest_columns(&self, transform: &ImageFromModel, width: u32) -> Vec<usize> {
        let scale = (transform.scale_x_px, transform.offset_x_px);
        self.nearest(width, scale, self.input.0, self.grid.0)
    }

    /// The logits' row nearest to each row of a frame so high.
    pub(super) fn nearest_rows(&self, transform: &ImageFromModel, height: u32) -> Vec<usize> {
        let scale = (transform.scale_y_px, transform.offset_y_px);
        self.nearest(height, scale, self.input.1, self.grid.1)
    }

    fn nearest(
        &self,
        pixels: u32,
        (scale, offset): (f32, f32),
        input: u32,
        grid: usize,
    ) -> Vec<usize> {
        let (step, start) = self.step(scale, offset, input);
        let last = f64::from(input) - 1.0;
        let place = |x: u32| {
            let at = (f64::from(x) * step + start).clamp(0.0, last);
            let at = if self.align_corners {
                at * (grid as f64 - 1.0) / last.max(1.0) + 0.5
            } else {
                (at + 0.5) * grid as f64 / f64::from(input)
            };
            (at as usize).min(grid - 1)
        };
        (0..pixels).map(place).collect()
    }

    /// Pixel `x` of the frame lies at `x * step + start` of the input's pixels.
    fn step(&self, scale: f32, offset: f32, input: u32) -> (f64, f64) {
        let step = f64::from(input) / f64::from(scale);
        let half = if self.half_pixel { 0.5 } else { 0.0 };
        (step, (half - f64::from(offset)) * step - half)
    }

    fn geometry(&self, image_from_model: &ImageFromModel, image: SizePx) -> Geometry {
        let axis = |pixels, scale: f32, offset: f32, input: u32, grid| {
            let step = self.step(scale, offset, input);
            Axis::new(pixels, step, input, grid, self.align_corners)
        };
        let transform = *image_from_model;
        Geometry {
            of: (transform, image),
            right: axis(
                image.width,
                transform.scale_x_px,
                transform.offset_x_px,
                self.input.0,
                self.grid.0,
            ),
            down: axis(
                image.height,
                transform.scale_y_px,
                transform.offset_y_px,
                self.input.1,
                self.grid.1,
            ),
        }
    }
}

/// Linear interpolation from `a` to `b`. Monotonic in rounding: a pair that is not less than another in
/// both values gives a value that is not less.
fn lerp(a: f32, b: f32, weight: f32) -> f32 {
    a * (1.0 - weight) + b * weight
}

/// The classes that may be the argmax somewhere between the corners, ascending.
fn candidate_classes(corners: [&[f32]; 4], into: &mut Vec<usize>) {
    let classes = corners[0].len();
    // The class with the greatest sum eliminates most others.
    let sum = |class: usize| corners.map(|corner| corner[class]).iter().sum::<f32>();
    let (mut champion, mut most) = (0, sum(0));
    for class in 1..classes {
        let sum = sum(class);
        if sum > most {
            (champion, most) = (class, sum);
        }
    }
    for class in 0..classes {
        // The lower class wins ties, so it must be exceeded strictly.
        let beaten = class != champion
            && corners.iter().all(|corner| {
                corner[champion] > corner[class]
                    || (champion < class && corner[champion] == corner[class])
            });
        if !beaten {
            into.push(class);
        }
    }
}

/// Retains the classes that may be the argmax somewhere between two ends.
fn retain_candidates(ends: &mut Vec<(u8, [f32; 2])>) {
    let (mut at, mut greatest) = (0, f32::NEG_INFINITY);
    for (index, (_, [left, right])) in ends.iter().enumerate() {
        let sum = left + right;
        if sum > greatest {
            (at, greatest) = (index, sum);
        }
    }
    let Some(&(champion, most)) = ends.get(at) else {
        return;
    };
    ends.retain(|(class, values)| {
        let beaten = most.iter().zip(values).all(|(most, value)| {
            // The lower class wins ties, so it must be exceeded strictly.
            most > value || (champion < *class && most == value)
        });
        *class == champion || !beaten
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Full-size logits of all classes.
    fn reference(
        params: &DeepLabParams,
        logits: &[f32],
        transform: &ImageFromModel,
        image: SizePx,
    ) -> Vec<Vec<f32>> {
        let geometry = params.geometry(transform, image);
        let (columns, rows) = params.grid;
        let cells = |axis: &Axis| -> Vec<(usize, usize, f32)> {
            let cells = axis
                .spans
                .iter()
                .flat_map(|s| (s.start..s.end).map(|_| s.cell));
            cells
                .zip(&axis.weights)
                .map(|((a, b), w)| (a, b, *w))
                .collect()
        };
        let mut pixels = Vec::new();
        for (top, bottom, lower) in cells(&geometry.down) {
            for (left, right, weight) in cells(&geometry.right) {
                let planes = logits.chunks_exact(columns * rows);
                let values = planes.map(|plane| {
                    let column = |x: usize| {
                        lerp(plane[top * columns + x], plane[bottom * columns + x], lower)
                    };
                    lerp(column(left), column(right), weight)
                });
                pixels.push(values.collect());
            }
        }
        pixels
    }

    proptest! {
        #[test]
        fn masks_equal_the_argmax_of_all_classes_at_full_size(
            (columns, rows) in (1usize..9, 1usize..9), classes in 1usize..12,
            (width, height) in (1u32..60, 1u32..60), aligned: bool, half_pixel: bool,
            (scale_x, scale_y) in (0.5f32..2.0, 0.5f32..2.0), seed in 1u64..u64::MAX,
            coarse: bool, floor in prop::option::of(0.1f32..0.9),
        ) {
            let params = DeepLabParams {
                classes, grid: (columns, rows), input: (65, 49), align_corners: aligned, half_pixel,
                confidence_floor: floor,
            };
            let mut state = seed;
            let logits: Vec<f32> = (0..classes * columns * rows).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let value = (state >> 40) as f32 / (1u64 << 22) as f32;
                // Few different values make ties.
                if coarse { value.round() } else { value }
            }).collect();
            let image = SizePx { width, height };
            let transform = ImageFromModel {
                scale_x_px: scale_x * width as f32, scale_y_px: scale_y * height as f32,
                offset_x_px: (1.0 - scale_x) * width as f32 / 2.0, offset_y_px: 0.0,
            };
            let mut decoder = DeepLabDecoder::new(params.clone());
            let mask = decoder.decode(&logits, &transform, image);
            for (values, got) in reference(&params, &logits, &transform, image).iter().zip(mask.classes()) {
                let best = values.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
                let wanted = values.iter().position(|v| *v == best).expect("a best");
                let confidence = 1.0 / values.iter().map(|v| (v - best).exp()).sum::<f32>();
                match floor {
                    Some(floor) if (confidence - floor).abs() < 1e-5 => {}
                    Some(floor) if confidence < floor => prop_assert_eq!(*got, UNKNOWN),
                    _ => prop_assert!(
                        usize::from(*got) == wanted || values[usize::from(*got)] == best,
                        "class {} of {:?}", got, values
                    ),
                }
            }
            prop_assert_eq!(mask.counts().iter().sum::<u64>(), u64::from(width) * u64::from(height));
        }
    }
}

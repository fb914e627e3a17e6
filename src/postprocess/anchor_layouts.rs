//! Anchors of other rules than TensorFlow's `ssd_anchor_generator`, each in its own order.

use mobilens_image::SizePx;

use super::anchors::Anchor;
use super::input_boxes::cells;

/// Anchors of a feature pyramid: TensorFlow's `multiscale_anchor_generator` (Lin et al., "Focal Loss for Dense
/// Object Detection", section 4: anchors at levels 3 to 7, octave scales and three aspect ratios).
#[derive(Clone, Debug, PartialEq)]
pub struct MultiscaleAnchors {
    /// The first level; cells of level `l` are `2^l` pixels of the input apart.
    pub min_level: u32,
    /// The last level.
    pub max_level: u32,
    /// Side of a square anchor of the first octave scale, in cells: 4.
    pub anchor_scale: f32,
    /// Scales in an octave: 2.
    pub scales_per_octave: u32,
    /// Aspect ratios (width over height): 1, 2, 0.5.
    pub aspect_ratios: Vec<f32>,
}

impl MultiscaleAnchors {
    /// The anchors on an input of this size: by level, row, column, aspect ratio, octave scale. Centres are in
    /// the middle of their cells where the input's side is a multiple of the stride, else at their corners. Where
    /// there are more than `most`, not all of them.
    pub fn anchors(&self, input: SizePx, most: usize) -> Vec<Anchor> {
        let (width, height) = (input.width as f32, input.height as f32);
        let mut all = Vec::new();
        for level in self.min_level..=self.max_level.min(20) {
            let stride = 1_u32 << level.min(20);
            let (rows, columns) = cells(input, stride);
            let offset = |side: u32| {
                if side.is_multiple_of(stride) {
                    0.5
                } else {
                    0.0
                }
            };
            let step = stride as f32;
            for cell in 0..rows * columns {
                if all.len() > most {
                    return all;
                }
                let cx = ((cell % columns) as f32 + offset(input.width)) * step / width;
                let cy = ((cell / columns) as f32 + offset(input.height)) * step / height;
                for ratio in &self.aspect_ratios {
                    for octave in 0..self.scales_per_octave {
                        let octave = (octave as f32 / self.scales_per_octave as f32).exp2();
                        let side = self.anchor_scale * step * octave;
                        all.push(Anchor {
                            cy,
                            cx,
                            h: side / ratio.sqrt() / height,
                            w: side * ratio.sqrt() / width,
                        });
                    }
                }
            }
        }
        all
    }
}

/// Default boxes of torchvision's SSD and SSDLite (`DefaultBoxGenerator`; Liu et al., section 2.2).
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultBoxes {
    /// Side of each square feature map.
    pub feature_maps: Vec<u32>,
    /// Scale of the first map as a share of the picture: 0.2 of SSDLite320.
    pub min_ratio: f32,
    /// Scale of the last: 0.95.
    pub max_ratio: f32,
    /// Aspect ratios of each map besides 1; each stands for itself and its inverse: 2, 3.
    pub aspect_ratios: Vec<Vec<f32>>,
}

impl DefaultBoxes {
    /// The anchors: by map, row, column; of each cell the square, the square of the geometric mean of this and
    /// the next scale, then for each aspect ratio the wide and the high one. No side is longer than the picture.
    /// Where there are more than `most`, not all of them.
    pub fn anchors(&self, most: usize) -> Vec<Anchor> {
        let maps = self.feature_maps.len();
        let scale = |map: usize| {
            if map == maps {
                return 1.0;
            }
            let step = (self.max_ratio - self.min_ratio) / (maps.max(2) - 1) as f32;
            self.min_ratio + step * map as f32
        };
        let mut all = Vec::new();
        for (map, (side, ratios)) in self
            .feature_maps
            .iter()
            .zip(&self.aspect_ratios)
            .enumerate()
        {
            let (here, between) = (scale(map), (scale(map) * scale(map + 1)).sqrt());
            let mut shapes = vec![(here, here), (between, between)];
            for ratio in ratios {
                let (long, short) = (here * ratio.sqrt(), here / ratio.sqrt());
                shapes.extend([(short, long), (long, short)]);
            }
            for cell in 0..side * side {
                if all.len() > most {
                    return all;
                }
                let centre = |at: u32| (at as f32 + 0.5) / *side as f32;
                all.extend(shapes.iter().map(|(h, w)| Anchor {
                    cy: centre(cell / side),
                    cx: centre(cell % side),
                    h: h.clamp(0.0, 1.0),
                    w: w.clamp(0.0, 1.0),
                }));
            }
        }
        all
    }
}

/// Anchors as large as the picture (Bazarevsky et al., "BlazeFace", section 3.3; MediaPipe's
/// `SsdAnchorsCalculator` with `fixed_anchor_size`): `per_cell[i]` in the middle of each cell of `strides[i]`.
/// Where there are more than `most`, not all of them.
pub fn fixed_anchors(input: SizePx, strides: &[u32], per_cell: &[u32], most: usize) -> Vec<Anchor> {
    let mut all = Vec::new();
    for (stride, count) in strides.iter().zip(per_cell) {
        let (rows, columns) = cells(input, *stride);
        for cell in 0..rows * columns {
            if all.len() > most {
                return all;
            }
            let anchor = Anchor {
                cy: ((cell / columns) as f32 + 0.5) / rows as f32,
                cx: ((cell % columns) as f32 + 0.5) / columns as f32,
                h: 1.0,
                w: 1.0,
            };
            all.extend(std::iter::repeat_n(anchor, *count as usize));
        }
    }
    all
}

/// What the four values of a listed anchor are, as shares of the picture's sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorCoding {
    /// y1, x1, y2, x2.
    Corners,
    /// Centre y and x, height, width.
    Centers,
}

impl AnchorCoding {
    /// Anchors from a tensor `[N, 4]`.
    pub fn anchors(self, values: &[f32]) -> impl Iterator<Item = Anchor> + '_ {
        let rows = values.as_chunks::<4>().0.iter();
        rows.map(move |&[a, b, c, d]| match self {
            Self::Corners => Anchor {
                cy: f32::midpoint(a, c),
                cx: f32::midpoint(b, d),
                h: c - a,
                w: d - b,
            },
            Self::Centers => Anchor {
                cy: a,
                cx: b,
                h: c,
                w: d,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: SizePx = SizePx {
        width: 320,
        height: 320,
    };

    #[test]
    fn fpn_lite_of_320_pixels_has_its_anchors() {
        let anchors = MultiscaleAnchors {
            min_level: 3,
            max_level: 7,
            anchor_scale: 4.0,
            scales_per_octave: 2,
            aspect_ratios: vec![1.0, 2.0, 0.5],
        }
        .anchors(INPUT, 99_999);
        // 40, 20, 10, 5 and 3 cells a side.
        assert_eq!(anchors.len(), 6 * (1600 + 400 + 100 + 25 + 9));
        let first = anchors[0];
        assert_eq!(
            (first.cy, first.cx, first.h, first.w),
            (0.0125, 0.0125, 0.1, 0.1)
        );
        assert!((anchors[1].h - 0.1 * 2_f32.sqrt()).abs() < 1e-6);
        assert!((anchors[2].w / anchors[2].h - 2.0).abs() < 1e-6);
        // 128 does not divide 320.
        let last = anchors[anchors.len() - 54];
        assert_eq!((last.cy, last.cx), (0.0, 0.0));
    }

    #[test]
    fn torchvisions_ssdlite_has_3234_default_boxes() {
        let anchors = DefaultBoxes {
            feature_maps: vec![20, 10, 5, 3, 2, 1],
            min_ratio: 0.2,
            max_ratio: 0.95,
            aspect_ratios: vec![vec![2.0, 3.0]; 6],
        }
        .anchors(99_999);
        assert_eq!(anchors.len(), 3234);
        let [square, between, wide, high] = [0, 1, 2, 3].map(|i| anchors[i]);
        assert_eq!((square.cx, square.w, square.h), (0.025, 0.2, 0.2));
        assert!((between.w - (0.2_f32 * 0.35).sqrt()).abs() < 1e-6);
        assert!((wide.w - 0.282_842_7).abs() < 1e-6 && wide.h < wide.w);
        assert!((high.h - wide.w).abs() < 1e-7);
        assert!(anchors.iter().all(|a| a.w <= 1.0 && a.h <= 1.0));
    }

    #[test]
    fn blazeface_has_896_anchors() {
        let input = SizePx {
            width: 128,
            height: 128,
        };
        let anchors = fixed_anchors(input, &[8, 16], &[2, 6], 99_999);
        assert_eq!(anchors.len(), 896);
        let last = anchors[895];
        assert_eq!(
            (last.cy, last.cx, last.h, last.w),
            (0.9375, 0.9375, 1.0, 1.0)
        );
    }

    #[test]
    fn both_codings_mean_the_same() {
        let corners: Vec<Anchor> = AnchorCoding::Corners
            .anchors(&[0.25, 0.5, 0.75, 1.0])
            .collect();
        let centers: Vec<Anchor> = AnchorCoding::Centers
            .anchors(&[0.5, 0.75, 0.5, 0.5])
            .collect();
        assert_eq!(corners, centers);
    }
}

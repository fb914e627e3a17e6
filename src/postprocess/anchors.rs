//! SSD anchors (Liu et al., "SSD: Single Shot MultiBox Detector", section 2.2), in the order and
//! by the rules of the TensorFlow Object Detection API's `ssd_anchor_generator`.

/// Anchor layout of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorParams {
    /// The feature maps, largest first.
    pub feature_maps: Vec<FeatureMap>,
    /// Scale of each feature map's anchors as a share of the input that the network was trained with; as
    /// many as `feature_maps`.
    pub scales: Vec<f32>,
    /// Height and width of that input as shares of those of this one; 1 where it is the same.
    pub trained_share: (f32, f32),
    /// Aspect ratios (width over height) of the anchors in each cell.
    pub aspect_ratios: Vec<f32>,
    /// Aspect ratio of one additional anchor at the geometric mean of this and the next scale; 0 for
    /// none.
    pub interpolated_scale_aspect_ratio: f32,
    /// The first feature map has three anchors only, the first at scale 0.1.
    pub reduce_boxes_in_lowest_layer: bool,
}

/// The cells of a feature map, down and across.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureMap {
    /// Its rows.
    pub rows: Cells,
    /// Its columns.
    pub columns: Cells,
}

/// Cells in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cells {
    /// Their number.
    pub count: u32,
    /// Centre of the first, in cells: half of one where they divide the picture evenly.
    pub first: f32,
    /// Cells in the picture's side, not always whole.
    pub per_side: f32,
}

impl Cells {
    /// `count` that divide the picture evenly, as at the input size of the training.
    fn even(count: u32) -> Self {
        Self {
            count,
            first: 0.5,
            per_side: count as f32,
        }
    }

    /// Centre of a cell, as a share of the picture's side.
    fn centre(&self, index: u32) -> f32 {
        (index as f32 + self.first) / self.per_side
    }
}

impl FeatureMap {
    /// A square one, at the input size of the training.
    pub fn square(side: u32) -> Self {
        Self {
            rows: Cells::even(side),
            columns: Cells::even(side),
        }
    }
}

impl AnchorParams {
    /// Number of anchors, without making them.
    pub fn count(&self) -> usize {
        let layers = self.feature_maps.iter().enumerate();
        let of_layers = layers.map(|(layer, map)| {
            let shapes = if layer == 0 && self.reduce_boxes_in_lowest_layer {
                3
            } else {
                self.aspect_ratios.len() + usize::from(self.interpolated_scale_aspect_ratio > 0.0)
            };
            let cells = (map.rows.count as usize).saturating_mul(map.columns.count as usize);
            cells.saturating_mul(shapes)
        });
        of_layers.fold(0, usize::saturating_add)
    }

    /// The same anchors, in pixels, on an input of `size` instead of the `trained` one, both height and
    /// width: feature maps have more cells or fewer, and anchors are other shares of the picture. The
    /// first `most` feature maps are left, or fewer where some have no cell.
    ///
    /// The padding of each convolution is that of the training, so a cell looks at the same pixels as
    /// there, counted from the upper left corner: the centres are as far apart as the map's stride, and
    /// those in the middle of the trained input are where the training had them.
    ///
    /// `None` where the feature maps are not those of a network that halves its input again and again,
    /// rounding up ("SAME" padding of 3x3 kernels at stride 2).
    pub fn at_size(&self, trained: (u32, u32), size: (u32, u32), most: usize) -> Option<Self> {
        let cells = |axis: fn(&FeatureMap) -> u32, trained: u32, size: u32| {
            let counts: Vec<u32> = self.feature_maps.iter().map(axis).collect();
            cells_at_size(&counts, trained, size)
        };
        let rows = cells(|map| map.rows.count, trained.0, size.0)?;
        let columns = cells(|map| map.columns.count, trained.1, size.1)?;
        let maps = rows.into_iter().zip(columns);
        let maps = maps.map(|(rows, columns)| FeatureMap { rows, columns });
        let share = |trained: u32, now: u32| trained as f32 / now.max(1) as f32;
        Some(Self {
            feature_maps: maps.take(most).collect(),
            trained_share: (share(trained.0, size.0), share(trained.1, size.1)),
            ..self.clone()
        })
    }
}

/// The cells along one side of each feature map at an input side of `size` instead of `trained`, where they
/// are `counts`; of those that have any.
fn cells_at_size(counts: &[u32], trained: u32, size: u32) -> Option<Vec<Cells>> {
    let first = *counts.first()?;
    let (mut as_trained, mut now, mut stride) = (trained, size, 1);
    let mut halve = |as_trained: &mut u32, now: &mut u32| {
        // Padded by one pixel where the trained side is even, else by two.
        let padding = 1 + *as_trained % 2;
        *now = (*now + padding)
            .checked_sub(3)
            .map_or(0, |room| room / 2 + 1);
        *as_trained = as_trained.div_ceil(2);
        stride *= 2;
        stride
    };
    let mut here = 1;
    while as_trained > first {
        here = halve(&mut as_trained, &mut now);
    }
    let mut cells = Vec::with_capacity(counts.len());
    for (map, count) in counts.iter().enumerate() {
        if map > 0 {
            here = halve(&mut as_trained, &mut now);
        }
        if as_trained != *count {
            return None;
        }
        if now == 0 {
            break;
        }
        let middle = (*count - 1) as f32 / 2.0;
        cells.push(Cells {
            count: now,
            first: trained as f32 / 2.0 / here as f32 - middle,
            per_side: size as f32 / here as f32,
        });
    }
    Some(cells)
}

/// An anchor by centre and size, as shares of the picture's sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// Centre row.
    pub cy: f32,
    /// Centre column.
    pub cx: f32,
    /// Height.
    pub h: f32,
    /// Width.
    pub w: f32,
}

/// All anchors, ordered by feature map, row, column, shape.
pub fn anchors(params: &AnchorParams) -> Vec<Anchor> {
    let mut all = Vec::new();
    let (of_height, of_width) = params.trained_share;
    for (layer, map) in params.feature_maps.iter().enumerate() {
        let shapes = shapes_of_layer(params, layer);
        for y in 0..map.rows.count {
            for x in 0..map.columns.count {
                for &(h, w) in &shapes {
                    all.push(Anchor {
                        cy: map.rows.centre(y),
                        cx: map.columns.centre(x),
                        h: h * of_height,
                        w: w * of_width,
                    });
                }
            }
        }
    }
    all
}

/// `(height, width)` of the anchors in each cell of a feature map.
fn shapes_of_layer(params: &AnchorParams, layer: usize) -> Vec<(f32, f32)> {
    let scale = params.scales.get(layer).copied().unwrap_or(1.0);
    let next = params.scales.get(layer + 1).copied().unwrap_or(1.0);
    let mut scale_and_ratio: Vec<(f32, f32)> = Vec::new();
    if layer == 0 && params.reduce_boxes_in_lowest_layer {
        scale_and_ratio.extend([(0.1, 1.0), (scale, 2.0), (scale, 0.5)]);
    } else {
        scale_and_ratio.extend(params.aspect_ratios.iter().map(|&ratio| (scale, ratio)));
        if params.interpolated_scale_aspect_ratio > 0.0 {
            scale_and_ratio.push((
                (scale * next).sqrt(),
                params.interpolated_scale_aspect_ratio,
            ));
        }
    }
    scale_and_ratio
        .into_iter()
        .map(|(scale, ratio)| (scale / ratio.sqrt(), scale * ratio.sqrt()))
        .collect()
}

#[cfg(test)]
pub(super) fn coco_params() -> AnchorParams {
    AnchorParams {
        feature_maps: [19, 10, 5, 3, 2, 1].map(FeatureMap::square).to_vec(),
        scales: vec![0.2, 0.35, 0.5, 0.65, 0.8, 0.95],
        aspect_ratios: vec![1.0, 2.0, 0.5, 3.0, 0.3333],
        interpolated_scale_aspect_ratio: 1.0,
        reduce_boxes_in_lowest_layer: true,
        trained_share: (1.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billions_of_anchors_are_counted_and_not_made() {
        let params = AnchorParams {
            feature_maps: vec![FeatureMap::square(512); 1000],
            aspect_ratios: vec![1.0; 1000],
            reduce_boxes_in_lowest_layer: false,
            ..coco_params()
        };
        assert_eq!(params.count(), 512 * 512 * 1000 * 1001);
    }

    #[test]
    fn anchors_keep_their_pixels_at_another_size() {
        let params = coco_params();
        let wide = params.at_size((300, 300), (236, 556), 2);
        let wide = wide.expect("halved again and again");
        let counts = |params: &AnchorParams| -> Vec<(u32, u32)> {
            let maps = params.feature_maps.iter();
            maps.map(|map| (map.rows.count, map.columns.count))
                .collect()
        };
        assert_eq!(counts(&wide), [(15, 35), (8, 18)]);
        let all = anchors(&wide);
        assert_eq!(all.len(), 3 * 15 * 35 + 6 * 8 * 18);
        // Scale .1 of 300 pixels, in the first cell.
        assert!((all[0].h * 236.0 - 30.0).abs() < 1e-3 && (all[0].w * 556.0 - 30.0).abs() < 1e-3);
        // The cell in the middle of 15 rows is in the middle of the picture; its neighbour a stride below.
        let middle = all[3 * 7 * 35];
        let below = all[3 * 8 * 35];
        assert!((middle.cy - 0.5).abs() < 1e-6);
        assert!(((below.cy - middle.cy) * 236.0 - 16.0).abs() < 1e-3);
        // The fourth, of an even number of rows instead of an odd one, is padded as in training; the last has
        // no rows.
        let wide = params
            .at_size((300, 300), (236, 556), 6)
            .expect("as before");
        assert_eq!(counts(&wide)[2..], [(4, 9), (2, 5), (1, 3)]);
        // Maps of 20 cells do not come of halving 300.
        let other = AnchorParams {
            feature_maps: vec![FeatureMap::square(20), FeatureMap::square(10)],
            ..params
        };
        assert_eq!(other.at_size((300, 300), (364, 364), 2), None);
    }

    #[test]
    fn ssd_300_has_1917_anchors() {
        let all = anchors(&coco_params());
        assert_eq!(all.len(), 3 * 361 + 6 * (100 + 25 + 9 + 4 + 1));
        assert_eq!(coco_params().count(), all.len());
        let first = all[0];
        assert!((first.cx - 0.5 / 19.0).abs() < 1e-6);
        assert!((first.h - 0.1).abs() < 1e-6);
        // Aspect ratio 2 is wide.
        assert!(all[1].w > all[1].h);
        // The last layer's interpolated anchor lies between its scale and the whole picture.
        let last = all[1916];
        assert!((last.w - (0.95f32).sqrt()).abs() < 1e-6);
    }
}

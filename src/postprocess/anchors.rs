//! SSD anchors (Liu et al., "SSD: Single Shot MultiBox Detector", section 2.2), in the order and
//! by the rules of the TensorFlow Object Detection API's `ssd_anchor_generator`.

/// Anchor layout of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorParams {
    /// Side of each square feature map, largest first.
    pub feature_maps: Vec<u32>,
    /// Scale of each feature map's anchors as a share of the picture; as many as `feature_maps`.
    pub scales: Vec<f32>,
    /// Aspect ratios (width over height) of the anchors in each cell.
    pub aspect_ratios: Vec<f32>,
    /// Aspect ratio of one additional anchor at the geometric mean of this and the next scale; 0 for
    /// none.
    pub interpolated_scale_aspect_ratio: f32,
    /// The first feature map has three anchors only, the first at scale 0.1.
    pub reduce_boxes_in_lowest_layer: bool,
}

impl AnchorParams {
    /// Number of anchors, without making them.
    pub fn count(&self) -> usize {
        let layers = self.feature_maps.iter().enumerate();
        let of_layers = layers.map(|(layer, &side)| {
            let shapes = if layer == 0 && self.reduce_boxes_in_lowest_layer {
                3
            } else {
                self.aspect_ratios.len() + usize::from(self.interpolated_scale_aspect_ratio > 0.0)
            };
            (side as usize).saturating_pow(2).saturating_mul(shapes)
        });
        of_layers.fold(0, usize::saturating_add)
    }
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
    for (layer, &side) in params.feature_maps.iter().enumerate() {
        let shapes = shapes_of_layer(params, layer);
        for y in 0..side {
            for x in 0..side {
                for &(h, w) in &shapes {
                    all.push(Anchor {
                        cy: (y as f32 + 0.5) / side as f32,
                        cx: (x as f32 + 0.5) / side as f32,
                        h,
                        w,
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
        feature_maps: vec![19, 10, 5, 3, 2, 1],
        scales: vec![0.2, 0.35, 0.5, 0.65, 0.8, 0.95],
        aspect_ratios: vec![1.0, 2.0, 0.5, 3.0, 0.3333],
        interpolated_scale_aspect_ratio: 1.0,
        reduce_boxes_in_lowest_layer: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billions_of_anchors_are_counted_and_not_made() {
        let params = AnchorParams {
            feature_maps: vec![512; 1000],
            aspect_ratios: vec![1.0; 1000],
            reduce_boxes_in_lowest_layer: false,
            ..coco_params()
        };
        assert_eq!(params.count(), 512 * 512 * 1000 * 1001);
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

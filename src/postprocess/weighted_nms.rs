//! Weighted non-maximum suppression (Bazarevsky et al., "BlazeFace", section 3.4, "blending"; MediaPipe's
//! `NonMaxSuppressionCalculator` with `WEIGHTED`).

use super::detection::{Detection, Keypoint};
use mobilens_image::RectPx;

/// Detections of one class, best first, whose boxes are not yet clipped: the best takes the mean of the boxes
/// and keypoints of all that overlap it by more than `iou`, weighted by their scores, and keeps its score; then
/// the best of the others. At most `limit`.
pub(super) fn weighted_nms(mut rest: Vec<Detection>, iou: f32, limit: usize) -> Vec<Detection> {
    let mut kept = Vec::new();
    while !rest.is_empty() && kept.len() < limit {
        let best = rest[0].rect;
        // The best overlaps itself, whatever the threshold.
        let mut is_first = true;
        let (overlapping, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|detection| {
            std::mem::take(&mut is_first) || detection.rect.iou(&best) > iou
        });
        kept.push(mean(&overlapping));
        rest = others;
    }
    kept
}

/// The first, with the mean of the boxes and keypoints.
fn mean(of: &[Detection]) -> Detection {
    let sum: f32 = of.iter().map(|detection| detection.score).sum();
    let mut first = of[0].clone();
    if of.len() == 1 || sum <= 0.0 {
        return first;
    }
    let mean = |value: &dyn Fn(&Detection) -> f32| {
        of.iter().map(|d| value(d) * d.score).sum::<f32>() / sum
    };
    let (x0, y0) = (mean(&|d| d.rect.x), mean(&|d| d.rect.y));
    first.rect = RectPx {
        x: x0,
        y: y0,
        width: mean(&|d| d.rect.x + d.rect.width) - x0,
        height: mean(&|d| d.rect.y + d.rect.height) - y0,
    };
    let count = first.keypoints.len();
    if of.iter().all(|d| d.keypoints.len() == count) {
        let points = (0..count).map(|i| Keypoint {
            x: mean(&|d| d.keypoints[i].x),
            y: mean(&|d| d.keypoints[i].y),
            score: mean(&|d| d.keypoints[i].score),
        });
        first.keypoints = points.collect();
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(score: f32, x: f32) -> Detection {
        let point = |x| Keypoint {
            x,
            y: 5.0,
            score: 1.0,
        };
        Detection {
            category_id: 0,
            score,
            rect: RectPx {
                x,
                y: 0.0,
                width: 10.0,
                height: 10.0,
            },
            keypoints: vec![point(x + 2.0)],
            mask: None,
        }
    }

    #[test]
    fn the_best_takes_the_mean_and_keeps_its_score() {
        let faces = vec![face(0.9, 0.0), face(0.6, 30.0), face(0.3, 2.0)];
        let got = weighted_nms(faces.clone(), 0.3, 10);
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].score, got[1].score), (0.9, 0.6));
        assert!((got[0].rect.x - 0.5).abs() < 1e-6, "{got:?}");
        assert!((got[0].keypoints[0].x - 2.5).abs() < 1e-6, "{got:?}");
        assert_eq!(got[1], faces[1]);
        assert_eq!(weighted_nms(faces.clone(), 1.0, 10), faces);
        assert_eq!(weighted_nms(faces, 0.3, 1).len(), 1);
    }
}

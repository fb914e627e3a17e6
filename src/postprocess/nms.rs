//! Non-maximum suppression of one class, and of the detections of several input sizes.

use super::detection::Detection;
use mobilens_image::RectPx;

/// A candidate box of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Its box.
    pub rect: RectPx,
    /// Index of its anchor; breaks ties of equal scores.
    pub anchor: u32,
}

impl Candidate {
    /// Best first; of equal scores the first anchor.
    pub fn by_score(&self, other: &Self) -> std::cmp::Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then_with(|| self.anchor.cmp(&other.anchor))
    }
}

/// Greedy NMS in place: each candidate that is kept suppresses later ones with an IoU above
/// `iou_threshold`. At most `limit` are kept, best first; `candidates` is truncated to them.
pub fn nms_mut(candidates: &mut Vec<Candidate>, iou_threshold: f32, limit: usize) {
    candidates.sort_unstable_by(Candidate::by_score);
    let mut kept = 0;
    for i in 0..candidates.len() {
        if kept == limit {
            break;
        }
        let candidate = candidates[i];
        let overlaps = |better: &Candidate| better.rect.iou(&candidate.rect) > iou_threshold;
        if !candidates[..kept].iter().any(overlaps) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// Joins the detections of one picture at several input sizes: class-wise non-maximum suppression, best
/// first, at most `limit`. Of equal scores that of the first size comes first.
pub fn join_scales(of_scales: Vec<Vec<Detection>>, iou: f32, limit: usize) -> Vec<Detection> {
    let mut all: Vec<Detection> = of_scales.into_iter().flatten().collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut joined: Vec<Detection> = Vec::new();
    for detection in all {
        if joined.len() == limit {
            break;
        }
        let suppresses = |better: &Detection| {
            better.category_id == detection.category_id && better.rect.iou(&detection.rect) > iou
        };
        if !joined.iter().any(suppresses) {
            joined.push(detection);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without optimisation: repeatedly takes the best of the rest.
    fn reference(mut left: Vec<Candidate>, iou_threshold: f32, limit: usize) -> Vec<Candidate> {
        let mut kept = Vec::new();
        while kept.len() < limit && !left.is_empty() {
            let best = left
                .iter()
                .copied()
                .reduce(|a, b| {
                    if (b.score, std::cmp::Reverse(b.anchor))
                        > (a.score, std::cmp::Reverse(a.anchor))
                    {
                        b
                    } else {
                        a
                    }
                })
                .expect("not empty");
            left.retain(|c| c.anchor != best.anchor && best.rect.iou(&c.rect) <= iou_threshold);
            kept.push(best);
        }
        kept
    }

    prop_compose! {
        fn candidates()(raw in prop::collection::vec((0u8..20, 0u8..20, 1u8..12, 1u8..12, 0u8..10), 0..60))
            -> Vec<Candidate>
        {
            raw.into_iter().enumerate().map(|(i, (x, y, w, h, s))| Candidate {
                score: f32::from(s) / 10.0,
                rect: RectPx {
                    x: x.into(), y: y.into(), width: w.into(), height: h.into(),
                },
                anchor: i as u32,
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(all in candidates(), iou in 0.0f32..1.0, limit in 0usize..70) {
            let expected = reference(all.clone(), iou, limit);
            let mut got = all;
            nms_mut(&mut got, iou, limit);
            prop_assert_eq!(got, expected);
        }
    }
}

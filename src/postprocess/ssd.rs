//! SSD decoder: raw box encodings and class logits to detections.
//!
//! | tensor | shape | meaning |
//! |---|---|---|
//! | boxes | `[anchors, 4]` | ty, tx, th, tw: Faster R-CNN box coding (Ren et al., section 3.1.2) |
//! | scores | `[anchors, channels]` | logits; channel 0 may be the background |
//!
//! A box is decoded only where a class passes its threshold; thresholds are compared in logit
//! space, so that the sigmoid is computed only for scores that pass. NMS is per class, then the best
//! `max_detections` of all classes are kept, as the TensorFlow Object Detection API's `multiclass_non_max_suppression` does.

use super::activation::{ScoreActivation, sigmoid};
use super::anchors::{Anchor, AnchorParams, anchors};
use super::detection::Detection;
use super::selection::{Selection, WantedClass};
use mobilens_image::{ImageFromModel, RectPx, SizePx};

/// Divisors of the box encodings ("scale factors" of the box coder).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoding {
    /// Of ty.
    pub y: f32,
    /// Of tx.
    pub x: f32,
    /// Of th.
    pub h: f32,
    /// Of tw.
    pub w: f32,
}

/// Parameters of an [`SsdDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct SsdParams {
    /// Layout of the anchors.
    pub anchors: AnchorParams,
    /// Divisors of the encodings.
    pub box_coding: BoxCoding,
    /// Activation of the class logits.
    pub activation: ScoreActivation,
    /// Channels of the scores tensor.
    pub channels: usize,
    /// The requested classes.
    pub classes: Vec<WantedClass>,
    /// IoU threshold of NMS.
    pub nms_iou: f32,
    /// Most detections per frame.
    pub max_detections: usize,
}

/// Decodes the raw heads of an SSD. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct SsdDecoder {
    params: SsdParams,
    anchors: Vec<Anchor>,
    /// Raw value of each class's threshold; unused with softmax.
    raw_thresholds: Vec<f32>,
    selection: Selection,
}

impl SsdDecoder {
    /// A decoder for one head; computes the anchors.
    pub fn new(params: SsdParams) -> Self {
        let raw_thresholds = params
            .classes
            .iter()
            .map(|class| params.activation.raw_threshold(class.score_threshold))
            .collect();
        let iou = Some(params.nms_iou);
        Self {
            anchors: anchors(&params.anchors),
            raw_thresholds,
            selection: Selection::new(params.classes.clone(), true, iou, params.max_detections),
            params,
        }
    }

    /// Number of anchors, which is the number of rows of both tensors.
    pub fn anchor_count(&self) -> usize {
        self.anchors.len()
    }

    /// Decodes one frame. `boxes` is `[anchors, 4]`, `scores` `[anchors, channels]`; the result is
    /// in pixels of a frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        boxes: &[f32],
        scores: &[f32],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        debug_assert_eq!(boxes.len(), 4 * self.anchors.len());
        debug_assert_eq!(scores.len(), self.params.channels * self.anchors.len());
        self.selection.clear();
        let rows = boxes
            .chunks_exact(4)
            .zip(scores.chunks_exact(self.params.channels));
        for (anchor_index, (encoding, logits)) in rows.enumerate() {
            self.collect(anchor_index, encoding, logits, image_from_model);
        }
        self.selection.finish(size)
    }

    /// Adds one anchor to the candidates of each class whose threshold it passes.
    fn collect(
        &mut self,
        anchor_index: usize,
        encoding: &[f32],
        logits: &[f32],
        image_from_model: &ImageFromModel,
    ) {
        let softmax = match self.params.activation {
            ScoreActivation::None | ScoreActivation::Sigmoid => None,
            ScoreActivation::Softmax => {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|l| (l - largest).exp()).sum();
                Some((largest, sum))
            }
        };
        let mut rect = None;
        for (i, class) in self.params.classes.iter().enumerate() {
            let logit = logits[class.channel];
            let score = match softmax {
                _ if !logit.is_finite() || logit < self.raw_thresholds[i] => continue,
                None if self.params.activation == ScoreActivation::None => logit,
                None => sigmoid(logit),
                Some((largest, sum)) => (logit - largest).exp() / sum,
            };
            if score.is_nan() || score < class.score_threshold {
                continue;
            }
            let rect = *rect.get_or_insert_with(|| {
                self.rect(&self.anchors[anchor_index], encoding, image_from_model)
            });
            self.selection.push(i, score, rect, anchor_index);
        }
    }

    /// Decodes one box.
    fn rect(&self, anchor: &Anchor, encoding: &[f32], to_image: &ImageFromModel) -> RectPx {
        let coding = &self.params.box_coding;
        let cy = encoding[0] / coding.y * anchor.h + anchor.cy;
        let cx = encoding[1] / coding.x * anchor.w + anchor.cx;
        let h = (encoding[2] / coding.h).exp() * anchor.h;
        let w = (encoding[3] / coding.w).exp() * anchor.w;
        to_image.rect(cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::anchors::coco_params;
    use super::*;

    const FRAME: SizePx = SizePx {
        width: 640,
        height: 480,
    };

    fn params(activation: ScoreActivation, threshold: f32) -> SsdParams {
        SsdParams {
            anchors: coco_params(),
            box_coding: BoxCoding {
                y: 10.0,
                x: 10.0,
                h: 5.0,
                w: 5.0,
            },
            activation,
            channels: 4,
            classes: [1, 3]
                .map(|channel| WantedClass {
                    channel,
                    category_id: channel as u32 * 10,
                    score_threshold: threshold,
                })
                .to_vec(),
            nms_iou: 0.6,
            max_detections: 100,
        }
    }

    #[test]
    fn a_zero_encoding_is_its_anchor() {
        let mut decoder = SsdDecoder::new(params(ScoreActivation::Sigmoid, 0.5));
        let n = decoder.anchor_count();
        let boxes = vec![0.0; 4 * n];
        let mut scores = vec![-9.0; 4 * n];
        scores[4 * 500 + 1] = 2.0;
        scores[4 * 500 + 2] = 9.0; // not wanted
        let got = decoder.decode(&boxes, &scores, &ImageFromModel::stretch(FRAME), FRAME);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].category_id, 10);
        assert!((got[0].score - 0.880_797).abs() < 1e-5);
        let anchor = anchors(&coco_params())[500];
        assert!((got[0].rect.x - (anchor.cx - anchor.w / 2.0) * 640.0).abs() < 1e-3);
        assert!((got[0].rect.height - anchor.h * 480.0).abs() < 1e-3);
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let mut decoder = SsdDecoder::new(params(ScoreActivation::Sigmoid, 0.5));
        let n = decoder.anchor_count();
        let mut scores = vec![-9.0; 4 * n];
        scores[4 * 700 + 1] = 1.0;
        scores[4 * 700 + 3] = 2.0;
        let boxes = vec![0.0; 4 * n];
        let got = decoder.decode(&boxes, &scores, &ImageFromModel::stretch(FRAME), FRAME);
        assert_eq!(
            got.iter().map(|d| d.category_id).collect::<Vec<_>>(),
            [30, 10]
        );
    }

    #[test]
    fn softmax_counts_the_background() {
        let mut decoder = SsdDecoder::new(params(ScoreActivation::Softmax, 0.3));
        let n = decoder.anchor_count();
        let mut scores: Vec<f32> = [9.0, 0.0, 0.0, 0.0].repeat(n);
        scores[4 * 700] = 1.0;
        scores[4 * 700 + 1] = 1.0;
        let boxes = vec![0.0; 4 * n];
        let got = decoder.decode(&boxes, &scores, &ImageFromModel::stretch(FRAME), FRAME);
        let e = 1f32.exp();
        assert_eq!(got.len(), 1);
        assert!((got[0].score - e / (2.0 * e + 2.0)).abs() < 1e-6);
    }

    #[test]
    fn nan_and_infinity_give_no_detection() {
        let mut decoder = SsdDecoder::new(params(ScoreActivation::Sigmoid, 0.001));
        let n = decoder.anchor_count();
        for (encoding, logit) in [(f32::NAN, 5.0), (f32::INFINITY, 5.0), (0.0, f32::NAN)] {
            let boxes = vec![encoding; 4 * n];
            let scores = vec![logit; 4 * n];
            let got = decoder.decode(&boxes, &scores, &ImageFromModel::stretch(FRAME), FRAME);
            assert_eq!(got, []);
        }
    }

    proptest! {
        #[test]
        fn the_threshold_in_logit_space_drops_what_the_score_would(
            threshold in 0.0f32..1.0, logits in prop::collection::vec(-12f32..12.0, 1917)
        ) {
            let mut decoder = SsdDecoder::new(SsdParams { nms_iou: 1.0, max_detections: 5000, ..params(ScoreActivation::Sigmoid, threshold) });
            let boxes = vec![0.0; 4 * logits.len()];
            let scores: Vec<f32> = logits.iter().flat_map(|&l| [0.0, l, 0.0, -99.0]).collect();
            let got = decoder.decode(&boxes, &scores, &ImageFromModel::stretch(FRAME), FRAME);
            let expected = logits.iter().filter(|&&l| sigmoid(l) >= threshold).count();
            let found = got.iter().filter(|d| d.category_id == 10).count();
            prop_assert_eq!(found, expected);
        }
    }
}

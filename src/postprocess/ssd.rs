//! SSD decoder: raw box encodings and class logits to detections.
//!
//! | tensor | shape | meaning |
//! |---|---|---|
//! | boxes | `[anchors, 4]` | ty, tx, th, tw: Faster R-CNN box coding (Ren et al., section 3.1.2) |
//! | | | tx, ty, tw, th in torchvision |
//! | | `[anchors, 4 + 2K]` | x, y, w, h, then `K` times x, y, all in pixels: BlazeFace, whose anchors are as large as the picture |
//! | scores | `[anchors, channels]` | logits or scores; channel 0 may be the background |
//! | anchors | `[anchors, 4]` | where they are an output: y1, x1, y2, x2 or cy, cx, h, w, as shares of the picture |
//!
//! A box is decoded only where a class passes its threshold; thresholds are compared in logit
//! space, so that the sigmoid is computed only for scores that pass. NMS is per class, then the best
//! `max_detections` of all classes are kept, as the TensorFlow Object Detection API's `multiclass_non_max_suppression` does.

use std::sync::Arc;

use super::activation::{ScoreActivation, sigmoid};
use super::anchor_layouts::AnchorCoding;
use super::anchors::{Anchor, AnchorParams, anchors};
use super::detection::{Detection, Keypoint};
use super::input_boxes::InputBoxes;
use super::selection::{Selection, WantedClass};
use super::weighted_nms::weighted_nms;
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

/// Where the anchors come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SsdAnchors {
    /// By the rules of TensorFlow's `ssd_anchor_generator`.
    Generated(AnchorParams),
    /// By any other rules, or from a list.
    List(Arc<[Anchor]>),
    /// From the network's last output, which is not one of boxes and scores.
    Output(AnchorCoding),
}

/// What the values of a box are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SsdBoxes {
    /// Divisors of the encodings.
    pub coding: BoxCoding,
    /// tx, ty, tw, th (torchvision, MediaPipe) instead of ty, tx, th, tw (TensorFlow).
    pub x_first: bool,
    /// Widths and heights are shares of the anchor's (BlazeFace) instead of logarithms of such shares.
    pub linear_sizes: bool,
    /// Largest logarithm (`bbox_xform_clip` of torchvision).
    pub max_log_size: Option<f32>,
    /// Clip boxes to the input before NMS.
    pub clip: bool,
    /// Keypoints behind each box: x, y, coded like its centre.
    pub keypoints: usize,
}

/// Non-maximum suppression of an SSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SsdNms {
    /// Boxes of one class suppress each other; a box may have several classes.
    #[default]
    ClassWise,
    /// Each box has its best class only, and suppresses those of other classes, too: `TFLite_Detection_PostProcess`
    /// without `use_regular_nms`.
    ClassAgnostic,
    /// The mean of boxes of one class that overlap: BlazeFace.
    Weighted,
}

/// Parameters of an [`SsdDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct SsdParams {
    /// The anchors.
    pub anchors: SsdAnchors,
    /// What the values of a box are.
    pub boxes: SsdBoxes,
    /// Activation of the class logits.
    pub activation: ScoreActivation,
    /// Channels of the scores tensor.
    pub channels: usize,
    /// The first channel of a label: 1 where channel 0 is the background.
    pub first_label: usize,
    /// Number of pairs of outputs, boxes and scores, whose rows follow one another.
    pub maps: usize,
    /// The requested classes.
    pub classes: Vec<WantedClass>,
    /// Which boxes suppress each other.
    pub nms: SsdNms,
    /// IoU threshold of NMS.
    pub nms_iou: f32,
    /// Most candidates of a class before NMS.
    pub candidates_per_class: Option<usize>,
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
        let mut selection =
            Selection::new(params.classes.clone(), true, iou, params.max_detections);
        selection.limit_candidates(params.candidates_per_class);
        if params.nms == SsdNms::ClassAgnostic {
            selection.suppress_across_classes();
        }
        Self {
            anchors: match &params.anchors {
                SsdAnchors::Generated(params) => anchors(params),
                SsdAnchors::List(list) => list.to_vec(),
                SsdAnchors::Output(_) => Vec::new(),
            },
            raw_thresholds,
            selection,
            params,
        }
    }

    /// Number of anchors, which is the number of rows of both tensors; 0 where they are an output.
    pub fn anchor_count(&self) -> usize {
        self.anchors.len()
    }

    /// Decodes one frame. `outputs` are boxes `[anchors, 4]`, with `2 * keypoints` values more where there are
    /// any, and scores `[anchors, channels]`, of each map, then the anchors where they are an output. The result
    /// is in pixels of a frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let maps = 2 * self.params.maps;
        if let (SsdAnchors::Output(coding), Some(values)) =
            (&self.params.anchors, outputs.get(maps))
        {
            self.anchors.clear();
            self.anchors.extend(coding.anchors(values));
        }
        let values = 4 + 2 * self.params.boxes.keypoints;
        let channels = self.params.channels;
        let pairs = || outputs[..maps.min(outputs.len())].as_chunks::<2>().0.iter();
        let encodings = || pairs().flat_map(|[boxes, _]| boxes.chunks_exact(values));
        let scores = pairs().flat_map(|[_, scores]| scores.chunks_exact(channels));
        let count = self.anchors.len();
        for (anchor_index, (encoding, logits)) in encodings().zip(scores).enumerate().take(count) {
            self.collect(anchor_index, encoding, logits, image_from_model);
        }
        let keypoints = |detection: &mut Detection, anchor: usize, decoder: &Self| {
            if decoder.params.boxes.keypoints > 0
                && let Some(encoding) = row_of(outputs, decoder.params.maps, values, anchor)
            {
                let anchor = &decoder.anchors[anchor];
                detection.set_keypoints(decoder.keypoints(anchor, encoding, image_from_model));
            }
        };
        if self.params.nms == SsdNms::Weighted {
            let (iou, limit) = (self.params.nms_iou, self.params.max_detections);
            let mut found = Vec::new();
            for mut of_class in self.selection.take_candidates() {
                for (detection, anchor) in &mut of_class {
                    keypoints(detection, *anchor, self);
                }
                let of_class = of_class.into_iter().map(|(detection, _)| detection);
                found.extend(weighted_nms(of_class.collect(), iou, limit));
            }
            for detection in &mut found {
                detection.rect = detection.rect.clipped(size);
            }
            found.retain(|detection| detection.rect.area() > 0.0);
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(limit);
            return found;
        }
        let mut found = self.selection.finish_with_anchors(size);
        for (detection, anchor) in &mut found {
            keypoints(detection, *anchor, self);
        }
        found.into_iter().map(|(detection, _)| detection).collect()
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
            if score.is_nan() || score < class.score_threshold || !self.is_label(logits, class) {
                continue;
            }
            let rect = *rect.get_or_insert_with(|| {
                self.rect(&self.anchors[anchor_index], encoding, image_from_model)
            });
            self.selection.push(i, score, rect, anchor_index);
        }
    }

    /// Whether a box may have a class: any, or the best only, the first of equal ones.
    fn is_label(&self, logits: &[f32], class: &WantedClass) -> bool {
        if self.params.nms != SsdNms::ClassAgnostic {
            return true;
        }
        let own = logits[class.channel];
        let mut others = logits.iter().enumerate().skip(self.params.first_label);
        others.all(|(channel, value)| !(*value > own || *value == own && channel < class.channel))
    }

    /// Decodes one box.
    fn rect(&self, anchor: &Anchor, encoding: &[f32], to_image: &ImageFromModel) -> RectPx {
        let boxes = &self.params.boxes;
        let coding = &boxes.coding;
        let [ty, tx, th, tw] = if boxes.x_first {
            [1, 0, 3, 2].map(|i| encoding[i])
        } else {
            [0, 1, 2, 3].map(|i| encoding[i])
        };
        let side = |encoded: f32, anchor: f32| {
            if boxes.linear_sizes {
                return encoded * anchor;
            }
            match boxes.max_log_size {
                Some(most) if encoded > most => most.exp() * anchor,
                _ => encoded.exp() * anchor,
            }
        };
        let cy = ty / coding.y * anchor.h + anchor.cy;
        let cx = tx / coding.x * anchor.w + anchor.cx;
        let h = side(th / coding.h, anchor.h);
        let w = side(tw / coding.w, anchor.w);
        let edges = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        let [x0, y0, x1, y1] = if boxes.clip {
            edges.map(|edge| edge.clamp(0.0, 1.0))
        } else {
            edges
        };
        to_image.rect(x0, y0, x1, y1)
    }

    /// Decodes the keypoints behind a box.
    fn keypoints(
        &self,
        anchor: &Anchor,
        encoding: &[f32],
        to_image: &ImageFromModel,
    ) -> Vec<Keypoint> {
        let coding = &self.params.boxes.coding;
        let boxes = InputBoxes::normalized(to_image);
        let points = encoding[4..].as_chunks::<2>().0.iter();
        points
            .map(|&[first, second]| {
                let (x, y) = if self.params.boxes.x_first {
                    (first, second)
                } else {
                    (second, first)
                };
                let [x, y] = boxes.point(
                    x / coding.x * anchor.w + anchor.cx,
                    y / coding.y * anchor.h + anchor.cy,
                );
                Keypoint { x, y, score: 1.0 }
            })
            .collect()
    }
}

/// The `values` numbers of box `row` among the boxes of all maps.
fn row_of<'a>(
    outputs: &[&'a [f32]],
    maps: usize,
    values: usize,
    mut row: usize,
) -> Option<&'a [f32]> {
    for boxes in outputs.iter().step_by(2).take(maps) {
        let rows = boxes.len() / values;
        if row < rows {
            return boxes.get(row * values..(row + 1) * values);
        }
        row -= rows;
    }
    None
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
            anchors: SsdAnchors::Generated(coco_params()),
            boxes: SsdBoxes {
                coding: BoxCoding {
                    y: 10.0,
                    x: 10.0,
                    h: 5.0,
                    w: 5.0,
                },
                x_first: false,
                linear_sizes: false,
                max_log_size: None,
                clip: false,
                keypoints: 0,
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
            first_label: 0,
            maps: 1,
            nms: SsdNms::ClassWise,
            nms_iou: 0.6,
            candidates_per_class: None,
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
        let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
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
        let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
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
        let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
        let e = 1f32.exp();
        assert_eq!(got.len(), 1);
        assert!((got[0].score - e / (2.0 * e + 2.0)).abs() < 1e-6);
    }

    #[test]
    fn a_box_of_one_class_suppresses_those_of_others_where_it_is_asked_for() {
        let mut decoder = SsdDecoder::new(SsdParams {
            nms: SsdNms::ClassAgnostic,
            ..params(ScoreActivation::Sigmoid, 0.5)
        });
        let n = decoder.anchor_count();
        let boxes = vec![0.0; 4 * n];
        let mut scores = vec![-9.0; 4 * n];
        for (at, logit) in [(4 * 700 + 1, 1.0), (4 * 700 + 3, 2.0), (4 * 300 + 1, 3.0)] {
            scores[at] = logit;
        }
        // The best class of this box is not wanted.
        scores[4 * 300 + 2] = 4.0;
        let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(got[0].category_id, 30);
    }

    #[test]
    fn anchors_may_be_an_output_and_rows_those_of_two_maps() {
        let mut decoder = SsdDecoder::new(SsdParams {
            anchors: SsdAnchors::Output(AnchorCoding::Corners),
            maps: 2,
            ..params(ScoreActivation::None, 0.5)
        });
        let low: &[f32] = &[0.0, 0.1, 0.0, 0.0];
        let high: &[f32] = &[0.0, 0.9, 0.0, 0.0];
        let anchors: &[f32] = &[0.0, 0.0, 0.5, 0.5, 0.5, 0.25, 1.0, 0.75];
        let outputs = [&[0.0; 4][..], low, &[0.0; 4], high, anchors];
        let got = decoder.decode(&outputs, &ImageFromModel::stretch(FRAME), FRAME);
        let r = got[0].rect;
        assert_eq!((r.x, r.y, r.width, r.height), (160.0, 240.0, 320.0, 240.0));
        assert_eq!(
            decoder.decode(&outputs[..1], &ImageFromModel::stretch(FRAME), FRAME),
            []
        );
    }

    #[test]
    fn nan_and_infinity_give_no_detection() {
        let mut decoder = SsdDecoder::new(params(ScoreActivation::Sigmoid, 0.001));
        let n = decoder.anchor_count();
        for (encoding, logit) in [(f32::NAN, 5.0), (f32::INFINITY, 5.0), (0.0, f32::NAN)] {
            let boxes = vec![encoding; 4 * n];
            let scores = vec![logit; 4 * n];
            let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
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
            let got = decoder.decode(&[&boxes, &scores], &ImageFromModel::stretch(FRAME), FRAME);
            let expected = logits.iter().filter(|&&l| sigmoid(l) >= threshold).count();
            let found = got.iter().filter(|d| d.category_id == 10).count();
            prop_assert_eq!(found, expected);
        }
    }
}

//! From scores to detections: thresholds, class-wise NMS, the best of all classes.

use super::activation::{ScoreActivation, sigmoid};
use super::detection::Detection;
use super::nms::{Candidate, nms_mut};
use super::predictions::Predictions;
use mobilens_image::{RectPx, SizePx};

/// A requested class: one channel of the scores tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WantedClass {
    /// Index in the scores tensor.
    pub channel: usize,
    /// Label id of the detections.
    pub category_id: u32,
    /// Detections with a lower score are dropped.
    pub score_threshold: f32,
}

/// Rows scanned for one class before the next class.
const BLOCK: usize = 64;

/// Scores of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Raw class scores; without channels, the objectness is the score of the only class.
    pub classes: Predictions<'a>,
    /// Raw objectness, in channel 0; the class scores are multiplied by it.
    pub objectness: Option<Predictions<'a>>,
    /// Activation of the class scores. Objectness is activated by a sigmoid unless this is `None`.
    pub activation: ScoreActivation,
    /// How many of the class scores, from the first on, are those of labels; the others are background.
    pub labels: usize,
}

/// Collects the candidates of a frame. Owns its scratch memory.
#[derive(Clone, Debug)]
pub struct Selection {
    classes: Vec<WantedClass>,
    /// A box may be a candidate of each class whose threshold it passes, not only of its best one.
    multi_label: bool,
    /// IoU threshold of NMS; `None` for no NMS.
    nms_iou: Option<f32>,
    max_detections: usize,
    /// Added to the width and height of each box in NMS.
    border: (f32, f32),
    /// Most candidates of a class before NMS.
    candidates_per_class: Option<usize>,
    /// Boxes of one class suppress those of others.
    across_classes: bool,
    /// Candidates per class.
    candidates: Vec<Vec<Candidate>>,
}

impl Selection {
    /// No candidates yet.
    pub fn new(
        classes: Vec<WantedClass>,
        multi_label: bool,
        nms_iou: Option<f32>,
        max_detections: usize,
    ) -> Self {
        Self {
            candidates: vec![Vec::new(); classes.len()],
            classes,
            multi_label,
            nms_iou,
            max_detections,
            border: (0.0, 0.0),
            candidates_per_class: None,
            across_classes: false,
        }
    }

    /// NMS that counts the last pixel of a box as part of it, where pixels have this width and height in the
    /// frame: `x1 - x0 + 1` in the code of the original Faster R-CNN and what descends from it.
    pub fn include_last_pixel(&mut self, pixel: (f32, f32)) {
        self.border = pixel;
    }

    /// At most so many candidates of each class, the best ones, take part in NMS.
    pub fn limit_candidates(&mut self, most: Option<usize>) {
        self.candidates_per_class = most;
    }

    /// NMS in which boxes of one class suppress those of others.
    pub fn suppress_across_classes(&mut self) {
        self.across_classes = true;
    }

    /// Forgets the candidates of the last frame.
    pub fn clear(&mut self) {
        for of_class in &mut self.candidates {
            of_class.clear();
        }
    }

    /// Adds the rows that pass a threshold; `rect` gives the box of a row, `first` is the number of the
    /// first row among all of the frame.
    pub fn scan(&mut self, scores: &Scores<'_>, first: usize, rect: impl Fn(usize) -> RectPx) {
        if scores.objectness.is_none() && scores.activation != ScoreActivation::Softmax {
            self.scan_classes(scores, first, rect);
        } else {
            self.scan_rows(scores, first, rect);
        }
    }

    /// Independent class scores: class by class, in blocks of rows.
    fn scan_classes(&mut self, scores: &Scores<'_>, first: usize, rect: impl Fn(usize) -> RectPx) {
        let classes = &scores.classes;
        for start in (0..classes.rows()).step_by(BLOCK) {
            let block = start..classes.rows().min(start + BLOCK);
            for i in 0..self.classes.len() {
                let class = self.classes[i];
                if class.channel >= classes.channels() {
                    continue;
                }
                let raw_threshold = scores.activation.raw_threshold(class.score_threshold);
                for row in block.clone() {
                    let raw = classes.at(row, class.channel);
                    if !raw.is_finite() || raw < raw_threshold {
                        continue;
                    }
                    let score = match scores.activation {
                        ScoreActivation::None => raw,
                        _ => sigmoid(raw),
                    };
                    if score >= class.score_threshold && self.is_label(scores, row, class.channel) {
                        self.push(i, score, rect(row), first + row);
                    }
                }
            }
        }
    }

    /// Class scores times objectness, or softmax: row by row.
    fn scan_rows(&mut self, scores: &Scores<'_>, first: usize, rect: impl Fn(usize) -> RectPx) {
        let classes = &scores.classes;
        let thresholds = self.classes.iter().map(|class| class.score_threshold);
        let lowest = thresholds.fold(f32::INFINITY, f32::min);
        let objectness_activation = match scores.activation {
            ScoreActivation::None => ScoreActivation::None,
            _ => ScoreActivation::Sigmoid,
        };
        let raw_threshold = objectness_activation.raw_threshold(lowest);
        let rows = match &scores.objectness {
            Some(objectness) => objectness.rows(),
            None => classes.rows(),
        };
        for row in 0..rows {
            let objectness = match &scores.objectness {
                None => 1.0,
                Some(objectness) => {
                    let raw = objectness.at(row, 0);
                    if !raw.is_finite() || raw < raw_threshold {
                        continue;
                    }
                    match objectness_activation {
                        ScoreActivation::None => raw,
                        _ => sigmoid(raw),
                    }
                }
            };
            let softmax = (scores.activation == ScoreActivation::Softmax).then(|| {
                let logits = || (0..classes.channels()).map(|channel| classes.at(row, channel));
                let largest = logits().fold(f32::NEG_INFINITY, f32::max);
                (largest, logits().map(|l| (l - largest).exp()).sum::<f32>())
            });
            for i in 0..self.classes.len() {
                let class = self.classes[i];
                let of_class = if classes.channels() == 0 {
                    1.0
                } else if class.channel >= classes.channels() {
                    continue;
                } else {
                    let raw = classes.at(row, class.channel);
                    match (scores.activation, softmax) {
                        _ if !raw.is_finite() => continue,
                        (_, Some((largest, sum))) => (raw - largest).exp() / sum,
                        (ScoreActivation::None, _) => raw,
                        _ => sigmoid(raw),
                    }
                };
                let score = objectness * of_class;
                if score >= class.score_threshold && self.is_label(scores, row, class.channel) {
                    self.push(i, score, rect(row), first + row);
                }
            }
        }
    }

    /// Whether a row may have the label of `channel`: any with several labels a box, else the best, the
    /// first of equal ones.
    fn is_label(&self, scores: &Scores<'_>, row: usize, channel: usize) -> bool {
        let classes = &scores.classes;
        if self.multi_label || classes.channels() == 0 {
            return true;
        }
        let own = classes.at(row, channel);
        (0..classes.channels().min(scores.labels)).all(|other| {
            let raw = classes.at(row, other);
            !(raw > own || (raw == own && other < channel))
        })
    }

    /// Adds a candidate of the wanted class with that number, unless its box or score is not a number, not
    /// finite or empty.
    pub fn push(&mut self, class: usize, score: f32, rect: RectPx, anchor: usize) {
        let has_area = rect.width > 0.0 && rect.height > 0.0 && rect.area().is_finite();
        if score.is_finite() && has_area && rect.x.is_finite() && rect.y.is_finite() {
            self.candidates[class].push(Candidate {
                score,
                rect: RectPx {
                    width: rect.width + self.border.0,
                    height: rect.height + self.border.1,
                    ..rect
                },
                anchor: anchor as u32,
            });
        }
    }

    /// The number of the wanted class with this channel and a threshold that `score` passes.
    pub fn class_of(&self, channel: usize, score: f32) -> Option<usize> {
        let is_it = |c: &WantedClass| c.channel == channel && score >= c.score_threshold;
        self.classes.iter().position(is_it)
    }

    /// The candidates of each class, best first, not clipped, each with the number of its row.
    pub fn take_candidates(&mut self) -> Vec<Vec<(Detection, usize)>> {
        self.limit();
        let classes = self.classes.iter().zip(&mut self.candidates);
        let of_class = |(class, candidates): (&WantedClass, &mut Vec<Candidate>)| {
            candidates.sort_unstable_by(Candidate::by_score);
            let detections = candidates.drain(..).map(|candidate| {
                let detection = Detection {
                    category_id: class.category_id,
                    score: candidate.score,
                    rect: candidate.rect,
                    ..Detection::default()
                };
                (detection, candidate.anchor as usize)
            });
            detections.collect()
        };
        classes.map(of_class).collect()
    }

    /// Leaves the best candidates of each class.
    fn limit(&mut self) {
        let Some(most) = self.candidates_per_class else {
            return;
        };
        for candidates in &mut self.candidates {
            if candidates.len() > most {
                candidates.sort_unstable_by(Candidate::by_score);
                candidates.truncate(most);
            }
        }
    }

    /// NMS of all classes at once.
    fn suppress_all(&mut self, iou: f32) {
        let of_classes = self.candidates.iter_mut().enumerate();
        let mut all: Vec<(usize, Candidate)> = of_classes
            .flat_map(|(class, candidates)| candidates.drain(..).map(move |c| (class, c)))
            .collect();
        all.sort_by(|(_, a), (_, b)| a.by_score(b));
        let mut kept: Vec<RectPx> = Vec::new();
        for (class, candidate) in all {
            if kept.len() == self.max_detections {
                break;
            }
            if !kept.iter().any(|better| better.iou(&candidate.rect) > iou) {
                kept.push(candidate.rect);
                self.candidates[class].push(candidate);
            }
        }
    }

    /// Class-wise NMS, then the best of all classes, clipped to a frame of `size`; best first.
    pub fn finish(&mut self, size: SizePx) -> Vec<Detection> {
        let found = self.finish_with_anchors(size);
        found.into_iter().map(|(detection, _)| detection).collect()
    }

    /// As [`finish`](Self::finish), each detection with the number of its row.
    pub fn finish_with_anchors(&mut self, size: SizePx) -> Vec<(Detection, usize)> {
        let mut found = Vec::new();
        self.limit();
        if let (true, Some(iou)) = (self.across_classes, self.nms_iou) {
            self.suppress_all(iou);
        }
        for (class, candidates) in self.classes.iter().zip(&mut self.candidates) {
            if let (false, Some(iou)) = (self.across_classes, self.nms_iou) {
                nms_mut(candidates, iou, self.max_detections);
            }
            found.extend(candidates.iter().map(|candidate| {
                let rect = RectPx {
                    width: candidate.rect.width - self.border.0,
                    height: candidate.rect.height - self.border.1,
                    ..candidate.rect
                };
                let detection = Detection {
                    category_id: class.category_id,
                    score: candidate.score,
                    rect: rect.clipped(size),
                    ..Detection::default()
                };
                (detection, candidate.anchor as usize)
            }));
        }
        found.retain(|(d, _)| d.rect.area() > 0.0);
        // Stable: equal scores stay in the order of the classes, then of the anchors.
        found.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
        found.truncate(self.max_detections);
        found
    }
}

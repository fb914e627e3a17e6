//! Comparison of two runs on the same frames: which boxes both have, and which only one.
//!
//! Boxes of the same label are matched greedily: of all pairs of a frame whose IoU is high enough,
//! those with the highest first.

use std::collections::BTreeMap;

use crate::records::{DetectionRecord, RecordBox};

/// The boxes of one frame in two runs, by their indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameComparison {
    /// Pairs: index in the first run, index in the second, IoU.
    pub pairs: Vec<(usize, usize, f64)>,
    /// Boxes without a partner in the second run.
    pub only_first: Vec<usize>,
    /// Boxes without a partner in the first run.
    pub only_second: Vec<usize>,
}

impl FrameComparison {
    /// Matches boxes of the same label whose IoU is at least `least_iou`.
    pub fn of(first: &[DetectionRecord], second: &[DetectionRecord], least_iou: f64) -> Self {
        let mut candidates = Vec::new();
        for (i, a) in first.iter().enumerate() {
            for (j, b) in second
                .iter()
                .enumerate()
                .filter(|(_, b)| b.label == a.label)
            {
                let iou = iou(&a.bbox, &b.bbox);
                if iou >= least_iou {
                    candidates.push((i, j, iou));
                }
            }
        }
        // Stable: of equal ones the boxes with the better score, which come first, win.
        candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
        let (mut is_taken_first, mut is_taken_second) =
            (vec![false; first.len()], vec![false; second.len()]);
        let mut pairs = Vec::new();
        for (i, j, iou) in candidates {
            if !is_taken_first[i] && !is_taken_second[j] {
                (is_taken_first[i], is_taken_second[j]) = (true, true);
                pairs.push((i, j, iou));
            }
        }
        let free = |taken: &[bool]| (0..taken.len()).filter(|i| !taken[*i]).collect();
        Self {
            pairs,
            only_first: free(&is_taken_first),
            only_second: free(&is_taken_second),
        }
    }

    /// Whether each box has a partner.
    pub fn is_same(&self) -> bool {
        self.only_first.is_empty() && self.only_second.is_empty()
    }

    /// How much the runs differ: the sum of the scores of boxes without a partner.
    pub fn difference(&self, first: &[DetectionRecord], second: &[DetectionRecord]) -> f64 {
        let first = self.only_first.iter().map(|i| first[*i].score);
        let second = self.only_second.iter().map(|i| second[*i].score);
        first.chain(second).sum()
    }
}

/// The boxes of a class in two runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassComparison {
    /// Boxes that both runs have.
    pub both: u64,
    /// Boxes of the first run alone.
    pub only_first: u64,
    /// Boxes of the second run alone.
    pub only_second: u64,
    score_difference: f64,
    iou: f64,
}

impl ClassComparison {
    /// Mean of the second run's score minus the first's, of boxes that both have; `None` without
    /// any.
    pub fn mean_score_difference(&self) -> Option<f64> {
        (self.both > 0).then(|| self.score_difference / self.both as f64)
    }

    /// Mean IoU of boxes that both have; `None` without any.
    pub fn mean_iou(&self) -> Option<f64> {
        (self.both > 0).then(|| self.iou / self.both as f64)
    }
}

/// Two runs, frame by frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunComparison {
    /// By label.
    pub classes: BTreeMap<String, ClassComparison>,
    /// Frames that were compared.
    pub frames: u64,
    /// Those of them in which a box has no partner.
    pub differing: u64,
}

impl RunComparison {
    /// Adds a frame of both runs.
    pub fn add(
        &mut self,
        first: &[DetectionRecord],
        second: &[DetectionRecord],
        compared: &FrameComparison,
    ) {
        self.frames += 1;
        self.differing += u64::from(!compared.is_same());
        for (i, j, iou) in &compared.pairs {
            let class = self.class(&first[*i].label);
            class.both += 1;
            class.score_difference += second[*j].score - first[*i].score;
            class.iou += iou;
        }
        for i in &compared.only_first {
            self.class(&first[*i].label).only_first += 1;
        }
        for j in &compared.only_second {
            self.class(&second[*j].label).only_second += 1;
        }
    }

    fn class(&mut self, label: &str) -> &mut ClassComparison {
        self.classes.entry(label.to_owned()).or_default()
    }

    /// All classes together.
    pub fn total(&self) -> ClassComparison {
        let mut total = ClassComparison::default();
        for class in self.classes.values() {
            total.both += class.both;
            total.only_first += class.only_first;
            total.only_second += class.only_second;
            total.score_difference += class.score_difference;
            total.iou += class.iou;
        }
        total
    }
}

/// IoU of two boxes; 0 where both are empty.
fn iou(a: &RecordBox, b: &RecordBox) -> f64 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let both = width * height;
    both / (a.width * a.height + b.width * b.height - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(label: &str, score: f64, x: f64) -> DetectionRecord {
        DetectionRecord {
            label: label.to_owned(),
            score,
            bbox: [x, 0.0, 10.0, 10.0].into(),
            ..DetectionRecord::default()
        }
    }

    #[test]
    fn the_best_pair_is_matched_first_and_only_within_a_class() {
        let first = [detection("car", 0.9, 0.0), detection("car", 0.8, 3.0)];
        let second = [
            detection("car", 0.7, 2.0),
            detection("person", 0.6, 3.0),
            detection("car", 0.5, 50.0),
        ];
        // (0, 0): 8 / 12; (1, 0): 9 / 11.
        let compared = FrameComparison::of(&first, &second, 0.5);
        assert_eq!(compared.pairs, [(1, 0, 90.0 / 110.0)]);
        assert_eq!(compared.only_first, [0]);
        assert_eq!(compared.only_second, [1, 2]);
        assert!((compared.difference(&first, &second) - (0.9 + 0.6 + 0.5)).abs() < 1e-12);
        let strict = FrameComparison::of(&first, &second, 0.9);
        assert_eq!(strict.pairs, []);
        // A run is as itself, and both ways round the same.
        assert!(FrameComparison::of(&first, &first, 1.0).is_same());
        let back = FrameComparison::of(&second, &first, 0.5);
        assert_eq!(back.pairs, [(0, 1, 90.0 / 110.0)]);
        assert_eq!(back.only_first, compared.only_second);
    }

    #[test]
    fn counts_and_means_are_by_class() {
        let first = [detection("car", 0.9, 0.0), detection("cat", 0.8, 30.0)];
        let second = [detection("car", 0.7, 0.0), detection("dog", 0.6, 30.0)];
        let mut run = RunComparison::default();
        run.add(&first, &second, &FrameComparison::of(&first, &second, 0.5));
        run.add(&first, &first, &FrameComparison::of(&first, &first, 0.5));
        assert_eq!((run.frames, run.differing), (2, 1));
        let car = run.classes["car"];
        assert_eq!((car.both, car.only_first, car.only_second), (2, 0, 0));
        assert!((car.mean_score_difference().expect("both") + 0.1).abs() < 1e-12);
        assert_eq!(car.mean_iou(), Some(1.0));
        let dog = run.classes["dog"];
        assert_eq!((dog.both, dog.only_first, dog.only_second), (0, 0, 1));
        assert_eq!(dog.mean_iou(), None);
        let all = run.total();
        assert_eq!((all.both, all.only_first, all.only_second), (3, 1, 1));
    }
}

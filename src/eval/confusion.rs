//! Confusion matrix, IoU and pixel accuracy of segmentation.

use crate::postprocess::ClassMask;

use super::ground_truth::IGNORED;

/// Pixel counts by ground-truth and predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `[ground truth][predicted]`, with one more column for unknown pixels.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * (classes + 1)],
        }
    }

    /// Adds a picture; pixels whose ground truth is [`IGNORED`] or no class of the model are skipped.
    /// Returns `false`, and counts nothing, if the sizes differ.
    pub fn add(&mut self, truth: &ClassMask, found: &ClassMask) -> bool {
        if truth.size() != found.size() {
            return false;
        }
        for (truth, found) in truth.classes().iter().zip(found.classes()) {
            let truth = usize::from(*truth);
            if truth >= self.classes || truth == usize::from(IGNORED) {
                continue;
            }
            let found = usize::from(*found).min(self.classes);
            self.counts[truth * (self.classes + 1) + found] += 1;
        }
        true
    }

    /// Intersection over union of each class; `None` for one that is neither there nor found.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let row = |class: usize| &self.counts[class * (self.classes + 1)..][..=self.classes];
        (0..self.classes)
            .map(|class| {
                let hit = row(class)[class];
                let there: u64 = row(class).iter().sum();
                let found: u64 = (0..self.classes).map(|truth| row(truth)[class]).sum();
                let union = there + found - hit;
                (union > 0).then(|| hit as f64 / union as f64)
            })
            .collect()
    }

    /// The mean over all classes that are there or found.
    pub fn mean_iou(&self) -> Option<f64> {
        let known: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// The share of pixels with the right class.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let all: u64 = self.counts.iter().sum();
        let hits = (0..self.classes).map(|class| self.counts[class * (self.classes + 2)]);
        (all > 0).then(|| hits.sum::<u64>() as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilens_image::SizePx;

    #[test]
    fn figures_are_those_of_a_small_case_by_hand() {
        let mask = |classes: &[u8]| {
            let size = SizePx {
                width: classes.len() as u32,
                height: 1,
            };
            ClassMask::new(size, classes.to_vec()).expect("fits")
        };
        let mut confusion = ConfusionMatrix::new(4);
        let truth = mask(&[0, 0, 0, 1, 1, 1, 255, 255, 2, 77]);
        let found = mask(&[0, 0, 1, 1, 1, 0, 0, 3, 255, 0]);
        assert!(confusion.add(&truth, &found));
        let iou = confusion.iou();
        assert_eq!(iou, [Some(0.5), Some(0.5), Some(0.0), None]);
        assert_eq!(confusion.mean_iou(), Some(1.0 / 3.0));
        assert_eq!(confusion.pixel_accuracy(), Some(4.0 / 7.0));
        assert!(!confusion.add(&truth, &mask(&[0])));
        assert_eq!(ConfusionMatrix::new(3).mean_iou(), None);
        assert_eq!(ConfusionMatrix::new(3).pixel_accuracy(), None);
    }
}

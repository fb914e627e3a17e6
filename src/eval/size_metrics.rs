//! AP, AR and precision over recall of objects of one range of sizes.

/// Number of IoU thresholds, .5 to .95.
pub const IOU_THRESHOLDS: usize = 10;
/// Number of recall levels, 0 to 1 in steps of .01.
pub const RECALL_LEVELS: usize = 101;

/// Metrics of objects of one range of sizes: sums over the classes that have such objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SizeMetrics {
    curves: [ClassCurve; IOU_THRESHOLDS],
    classes: u32,
    objects: u32,
}

/// Interpolated precision at each recall level, and the greatest recall, at one IoU threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassCurve {
    /// At a recall of 0, .01, .02, ... 1.
    pub precision: [f64; RECALL_LEVELS],
    /// 0 to 1.
    pub recall: f64,
}

impl Default for ClassCurve {
    fn default() -> Self {
        Self {
            precision: [0.0; RECALL_LEVELS],
            recall: 0.0,
        }
    }
}

impl SizeMetrics {
    /// Adds a class: its curves by IoU threshold and the number of its objects; `None` without any.
    pub(super) fn add(&mut self, class: Option<([ClassCurve; IOU_THRESHOLDS], u32)>) {
        let Some((curves, objects)) = class else {
            return;
        };
        self.classes += 1;
        self.objects += objects;
        for (sum, curve) in self.curves.iter_mut().zip(curves) {
            sum.recall += curve.recall;
            for (sum, precision) in sum.precision.iter_mut().zip(curve.precision) {
                *sum += precision;
            }
        }
    }

    /// Number of objects, crowds not counted.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// Number of classes that have such objects.
    pub fn classes(&self) -> u32 {
        self.classes
    }

    /// AP, averaged over all IoU thresholds; `None` without objects.
    pub fn ap(&self) -> Option<f64> {
        self.mean(&self.curves, |curve| curve.precision.iter().sum::<f64>())
            .map(|sum| sum / RECALL_LEVELS as f64)
    }

    /// AP at an IoU of .5 + .05 `step`.
    pub fn ap_at(&self, step: usize) -> Option<f64> {
        let curve = self.curves.get(step)?;
        self.mean(&[*curve], |curve| curve.precision.iter().sum::<f64>())
            .map(|sum| sum / RECALL_LEVELS as f64)
    }

    /// AR, averaged over all IoU thresholds.
    pub fn ar(&self) -> Option<f64> {
        self.mean(&self.curves, |curve| curve.recall)
    }

    /// Precision over recall at an IoU of .5 + .05 `step`, averaged over the classes: its mean is
    /// [`ap_at`](Self::ap_at).
    pub fn precision_at(&self, step: usize) -> Option<[f64; RECALL_LEVELS]> {
        let curve = self.curves.get(step).filter(|_| self.classes > 0)?;
        Some(curve.precision.map(|sum| sum / f64::from(self.classes)))
    }

    /// Precision over recall, averaged over the classes and all IoU thresholds: its mean is
    /// [`ap`](Self::ap).
    pub fn mean_precision(&self) -> Option<[f64; RECALL_LEVELS]> {
        let mut mean = [0.0; RECALL_LEVELS];
        for step in 0..IOU_THRESHOLDS {
            let precision = self.precision_at(step)?;
            for (mean, precision) in mean.iter_mut().zip(precision) {
                *mean += precision / IOU_THRESHOLDS as f64;
            }
        }
        Some(mean)
    }

    /// The mean of `value` over classes and `curves`.
    fn mean(&self, curves: &[ClassCurve], value: impl Fn(&ClassCurve) -> f64) -> Option<f64> {
        let count = f64::from(self.classes) * curves.len() as f64;
        (self.classes > 0).then(|| curves.iter().map(value).sum::<f64>() / count)
    }
}

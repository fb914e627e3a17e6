//! COCO detection metrics: average precision and recall (pycocotools' `COCOeval`, Lin et al., ECCV
//! 2014): IoU thresholds .5 to .95, 101 recall levels, at most 100 detections per image; crowds and
//! objects outside the area range are ignored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use super::ground_truth::EvalError;
use super::size_metrics::{ClassCurve, IOU_THRESHOLDS, RECALL_LEVELS, SizeMetrics};
use crate::postprocess::Labels;
use crate::records::{CocoResult, image_id_from_name};

/// Most detections per image and class (`maxDets`).
const MAX_DETECTIONS: usize = 100;
/// Areas in square pixels: all, small, medium, large.
const AREAS: [(f64, f64); 4] = [(0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10)];

#[derive(Deserialize)]
struct AnnotationFile {
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: u64,
    #[serde(default)]
    file_name: String,
}

#[derive(Deserialize)]
struct Category {
    id: u32,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u32,
    area: f64,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Clone, Copy)]
struct GroundTruthBox {
    bbox: [f64; 4],
    area: f64,
    is_crowd: bool,
}

/// A detection: its score and box.
type Found = (f64, [f64; 4]);
/// Ground truth and detections of one class in an image.
type Picture<'a> = (&'a [GroundTruthBox], &'a [Found]);

/// Ground-truth boxes of many images.
#[derive(Default)]
pub struct CocoGroundTruth {
    images: BTreeSet<u64>,
    /// Ids by file name, without folders.
    names: HashMap<String, u64>,
    categories: BTreeSet<u32>,
    category_names: HashMap<String, u32>,
    boxes: HashMap<(u64, u32), Vec<GroundTruthBox>>,
}

/// The twelve COCO metrics; -1 without ground truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CocoMetrics {
    /// AP over all IoU thresholds, at .5, at .75; then of small, medium and large objects.
    pub precision: [f64; 6],
    /// AR with 1, 10 and 100 detections; then with 100 of small, medium and large objects.
    pub recall: [f64; 6],
}

impl CocoGroundTruth {
    /// Adds the annotations of a file.
    ///
    /// # Errors
    /// When it cannot be read or is invalid.
    pub fn add(&mut self, path: &Path) -> Result<(), EvalError> {
        let file = File::open(path).map_err(|e| EvalError::file(path, e))?;
        let file: AnnotationFile =
            serde_json::from_reader(BufReader::new(file)).map_err(|e| EvalError::file(path, e))?;
        for image in file.images {
            let name = image.file_name.rsplit('/').next().unwrap_or_default();
            self.images.insert(image.id);
            if !name.is_empty() {
                self.names.insert(name.to_owned(), image.id);
            }
        }
        for category in file.categories {
            self.categories.insert(category.id);
            if !category.name.is_empty() {
                self.category_names.insert(category.name, category.id);
            }
        }
        for annotation in file.annotations {
            let key = (annotation.image_id, annotation.category_id);
            self.boxes.entry(key).or_default().push(GroundTruthBox {
                bbox: annotation.bbox,
                area: annotation.area,
                is_crowd: annotation.iscrowd != 0,
            });
        }
        Ok(())
    }

    /// Whether an image is in the annotation files, even without objects.
    pub fn has_image(&self, image_id: u64) -> bool {
        self.images.contains(&image_id)
    }

    /// The id of the image in the file `name`: by the name in the annotation files, else by its digits
    /// where the annotated files are named after their ids as COCO's are.
    pub fn image_id(&self, name: &str) -> Option<u64> {
        let by_digits = || {
            let id = image_id_from_name(name).filter(|id| self.has_image(*id))?;
            let mut named = self.names.iter().filter(|(_, of)| **of == id);
            let is_id = |name: &str| image_id_from_name(name) == Some(id);
            named.all(|(name, _)| is_id(name)).then_some(id)
        };
        self.names.get(name).copied().or_else(by_digits)
    }

    /// The category that a model's class `name` of number `id` stands for: that of the same name, else
    /// that of the same number unless its name is one of the model's `labels`.
    pub fn category_id(&self, name: &str, id: u32, labels: &Labels) -> Option<u32> {
        if let Some(id) = self.category_names.get(name) {
            return Some(*id);
        }
        let mut of_id = self.category_names.iter().filter(|(_, of)| **of == id);
        let is_other = of_id.any(|(name, _)| labels.id(name).is_some());
        (self.categories.contains(&id) && !is_other).then_some(id)
    }

    /// COCO's twelve metrics of `detections`.
    pub fn figures(&self, detections: &[CocoResult]) -> CocoMetrics {
        self.evaluate(detections).metrics()
    }

    /// Compares `detections` with the truth; images and classes without annotations are ignored.
    pub fn evaluate(&self, detections: &[CocoResult]) -> CocoEvaluation {
        let mut found: BTreeMap<(u32, u64), Vec<Found>> = BTreeMap::new();
        for result in detections {
            let known =
                self.has_image(result.image_id) && self.categories.contains(&result.category_id);
            if let Some(bbox) = result.bbox.filter(|_| known) {
                let key = (result.category_id, result.image_id);
                found
                    .entry(key)
                    .or_default()
                    .push((result.score, bbox.into()));
            }
        }
        for of_image in found.values_mut() {
            of_image.sort_by(|a, b| b.0.total_cmp(&a.0));
            of_image.truncate(MAX_DETECTIONS);
        }
        let mut evaluation = CocoEvaluation::default();
        for category in &self.categories {
            let of_class: Vec<Picture<'_>> = self
                .images
                .iter()
                .map(|image| {
                    let truth = self.boxes.get(&(*image, *category));
                    let found = found.get(&(*category, *image));
                    (truth.map_or(&[][..], |t| t), found.map_or(&[][..], |f| f))
                })
                .collect();
            for (area, range) in evaluation.by_size.iter_mut().zip(AREAS) {
                area.add(evaluate_class(&of_class, range, MAX_DETECTIONS));
            }
            for (few, most) in evaluation.with_few.iter_mut().zip([1, 10]) {
                few.add(evaluate_class(&of_class, AREAS[0], most));
            }
        }
        evaluation
    }
}

/// All that is measured of detections, averaged over classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CocoEvaluation {
    /// Of all objects; of small (area up to 32 x 32 pixels), medium (up to 96 x 96) and large ones.
    pub by_size: [SizeMetrics; 4],
    /// Of all objects, with the best 1 and 10 detections of each image and class.
    with_few: [SizeMetrics; 2],
}

impl CocoEvaluation {
    /// COCO's twelve metrics.
    pub fn metrics(&self) -> CocoMetrics {
        let [all, small, medium, large] = &self.by_size;
        let [one, ten] = &self.with_few;
        let or_minus_1 = |value: Option<f64>| value.unwrap_or(-1.0);
        CocoMetrics {
            precision: [
                all.ap(),
                all.ap_at(0),
                all.ap_at(5),
                small.ap(),
                medium.ap(),
                large.ap(),
            ]
            .map(or_minus_1),
            recall: [
                one.ar(),
                ten.ar(),
                all.ar(),
                small.ar(),
                medium.ar(),
                large.ar(),
            ]
            .map(or_minus_1),
        }
    }
}

/// Result of matching a detection at one IoU threshold.
#[derive(Clone, Copy, PartialEq)]
enum MatchResult {
    TruePositive,
    FalsePositive,
    Ignored,
}

/// The curves of one class by IoU threshold, and the number of its objects; `None` without objects.
fn evaluate_class(
    pictures: &[Picture<'_>],
    range: (f64, f64),
    most: usize,
) -> Option<([ClassCurve; IOU_THRESHOLDS], u32)> {
    let mut results: Vec<(f64, [MatchResult; IOU_THRESHOLDS])> = Vec::new();
    let mut objects = 0;
    for (truth, found) in pictures {
        let found = &found[..found.len().min(most)];
        objects += match_image(truth, found, range, &mut results);
    }
    if objects == 0 {
        return None;
    }
    results.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut curves = [ClassCurve::default(); IOU_THRESHOLDS];
    for (overlap, of_class) in curves.iter_mut().enumerate() {
        let (mut right, mut wrong) = (0_u32, 0_u32);
        let mut curve: Vec<(f64, f64)> = Vec::with_capacity(results.len());
        for (_, verdict) in &results {
            match verdict[overlap] {
                MatchResult::TruePositive => right += 1,
                MatchResult::FalsePositive => wrong += 1,
                MatchResult::Ignored => {}
            }
            let (right, wrong) = (f64::from(right), f64::from(wrong));
            curve.push((
                right / f64::from(objects),
                right / (right + wrong + f64::EPSILON),
            ));
        }
        of_class.recall = curve.last().map_or(0.0, |(recall, _)| *recall);
        for i in (1..curve.len()).rev() {
            curve[i - 1].1 = curve[i - 1].1.max(curve[i].1);
        }
        for (level, precision) in of_class.precision.iter_mut().enumerate() {
            let wanted = level as f64 / (RECALL_LEVELS - 1) as f64;
            let at = curve.partition_point(|(recall, _)| *recall < wanted);
            *precision = curve.get(at).map_or(0.0, |(_, precision)| *precision);
        }
    }
    Some((curves, objects))
}

/// Matches one image's detections, best first; returns the number of objects that count.
fn match_image(
    truth: &[GroundTruthBox],
    found: &[Found],
    (least, greatest): (f64, f64),
    results: &mut Vec<(f64, [MatchResult; IOU_THRESHOLDS])>,
) -> u32 {
    let is_outside = |area: f64| area < least || area > greatest;
    let is_ignored = |t: &GroundTruthBox| t.is_crowd || is_outside(t.area);
    // Objects that count come before ignored ones.
    let mut order: Vec<&GroundTruthBox> = truth.iter().filter(|t| !is_ignored(t)).collect();
    let objects = order.len();
    order.extend(truth.iter().filter(|t| is_ignored(t)));
    let mut taken = vec![[false; IOU_THRESHOLDS]; order.len()];
    for (score, bbox) in found {
        let ious: Vec<f64> = order.iter().map(|t| iou(bbox, t)).collect();
        let mut per_threshold = [MatchResult::FalsePositive; IOU_THRESHOLDS];
        for (overlap, verdict) in per_threshold.iter_mut().enumerate() {
            let mut best = (0.5 + 0.05 * overlap as f64).min(1.0 - 1e-10);
            let mut matched = None;
            for (i, truth) in order.iter().enumerate() {
                if taken[i][overlap] && !truth.is_crowd {
                    continue;
                }
                if i >= objects && matched.is_some_and(|m| m < objects) {
                    break;
                }
                if ious[i] >= best {
                    best = ious[i];
                    matched = Some(i);
                }
            }
            *verdict = match matched {
                Some(i) => {
                    taken[i][overlap] = true;
                    if i < objects {
                        MatchResult::TruePositive
                    } else {
                        MatchResult::Ignored
                    }
                }
                None if is_outside(bbox[2] * bbox[3]) => MatchResult::Ignored,
                None => MatchResult::FalsePositive,
            };
        }
        results.push((*score, per_threshold));
    }
    objects as u32
}

/// IoU of a detection and an object; with a crowd, the share of the detection in it.
fn iou(bbox: &[f64; 4], truth: &GroundTruthBox) -> f64 {
    let [x, y, w, h] = *bbox;
    let [tx, ty, tw, th] = truth.bbox;
    let both_x = (x + w).min(tx + tw) - x.max(tx);
    let both_y = (y + h).min(ty + th) - y.max(ty);
    if both_x <= 0.0 || both_y <= 0.0 {
        return 0.0;
    }
    let both = both_x * both_y;
    let all = if truth.is_crowd {
        w * h
    } else {
        w * h + tw * th - both
    };
    both / all
}

/// Reads a COCO results file.
///
/// # Errors
/// When it cannot be read or is invalid.
pub fn read_results(path: &Path) -> Result<Vec<CocoResult>, EvalError> {
    let file = File::open(path).map_err(|e| EvalError::file(path, e))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|e| EvalError::file(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(score: f64, bbox: [f64; 4]) -> CocoResult {
        CocoResult {
            image_id: 1,
            category_id: 1,
            bbox: Some(bbox.into()),
            segmentation: None,
            keypoints: Vec::new(),
            score,
        }
    }

    fn truth(boxes: &[[f64; 4]]) -> CocoGroundTruth {
        let boxes = boxes.iter().map(|b| GroundTruthBox {
            bbox: *b,
            area: b[2] * b[3],
            is_crowd: false,
        });
        CocoGroundTruth {
            images: BTreeSet::from([1]),
            categories: BTreeSet::from([1, 2]),
            names: HashMap::new(),
            category_names: HashMap::new(),
            boxes: HashMap::from([((1, 1), boxes.collect())]),
        }
    }

    #[test]
    fn all_found_is_one_and_half_found_is_about_half() {
        let two = [[0.0, 0.0, 50.0, 50.0], [100.0, 0.0, 50.0, 50.0]];
        let all = [result(0.9, two[0]), result(0.8, two[1])];
        let figures = truth(&two).figures(&all);
        assert_eq!((figures.precision[0], figures.recall[2]), (1.0, 1.0));
        assert_eq!(figures.recall[0], 0.5, "one detection finds one of two");
        assert_eq!(figures.precision[3], -1.0, "nothing is small");
        let half = truth(&two).figures(&all[..1]);
        assert!((half.precision[0] - 51.0 / 101.0).abs() < 1e-12);
    }

    #[test]
    fn curves_and_sizes_agree_with_the_figures() {
        let boxes = [
            [0.0, 0.0, 20.0, 20.0],
            [100.0, 0.0, 50.0, 50.0],
            [200.0, 0.0, 200.0, 200.0],
            [200.0, 300.0, 200.0, 200.0],
        ];
        let found = [
            result(0.9, boxes[2]),
            result(0.8, [500.0, 0.0, 50.0, 50.0]),
            result(0.7, [102.0, 0.0, 50.0, 50.0]),
        ];
        let evaluation = truth(&boxes).evaluate(&found);
        let [all, small, medium, large] = &evaluation.by_size;
        let objects = [all, small, medium, large].map(SizeMetrics::objects);
        assert_eq!((objects, all.classes()), ([4, 1, 1, 2], 1));
        assert_eq!((small.ap(), small.ar()), (Some(0.0), Some(0.0)));
        assert_eq!(large.ar(), Some(0.5));
        // An IoU of 48 / 52 is enough up to .9.
        assert!((medium.ar().expect("one") - 0.9).abs() < 1e-12);
        let mean = |curve: [f64; RECALL_LEVELS]| curve.iter().sum::<f64>() / 101.0;
        let figures = evaluation.metrics();
        let at_50 = all.precision_at(0).expect("objects");
        assert!((mean(at_50) - figures.precision[1]).abs() < 1e-12);
        assert!(
            (mean(all.mean_precision().expect("objects")) - figures.precision[0]).abs() < 1e-12
        );
        // One of four is found first; the second comes after a false one.
        assert!((at_50[25] - 1.0).abs() < 1e-9 && (at_50[50] - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(at_50[51], 0.0);
    }

    #[test]
    fn pictures_and_classes_are_found_by_name_and_by_number() {
        let mut truth = truth(&[]);
        truth.images.insert(785);
        truth.names = HashMap::from([
            ("0001_street_000038.jpg".to_owned(), 1),
            ("000000000785.jpg".to_owned(), 785),
        ]);
        assert_eq!(truth.image_id("0001_street_000038.jpg"), Some(1));
        assert_eq!(truth.image_id("COCO_val2014_000000000785.jpg"), Some(785));
        assert_eq!(truth.image_id("000000000785.png"), Some(785));
        // Image 1 is another file.
        assert_eq!(truth.image_id("0001.jpg"), None);
        assert_eq!(truth.image_id("38.jpg"), None);

        let labels = |labels: [(u32, &str); 3]| {
            Labels::new(labels.map(|(id, name)| (id, name.to_owned())).to_vec())
        };
        let model = labels([(1, "person"), (2, "bicycle"), (3, "car")]);
        truth.category_names = [("car".to_owned(), 1), ("truck".to_owned(), 2)].into();
        assert_eq!(truth.category_id("car", 3, &model), Some(1));
        // The truth's number 1 is a car, which the model calls by another number.
        assert_eq!(truth.category_id("person", 1, &model), None);
        // Another word for number 2.
        assert_eq!(truth.category_id("bicycle", 2, &model), Some(2));
    }

    #[test]
    fn a_crowd_is_neither_found_nor_missed() {
        let mut boxes = truth(&[[0.0, 0.0, 50.0, 50.0]]);
        let crowd = GroundTruthBox {
            bbox: [100.0, 0.0, 400.0, 400.0],
            area: 9e4,
            is_crowd: true,
        };
        boxes.boxes.get_mut(&(1, 1)).expect("there").push(crowd);
        let seen = [
            result(0.99, [150.0, 50.0, 40.0, 40.0]),
            result(0.98, [300.0, 50.0, 40.0, 40.0]),
            result(0.5, [0.0, 0.0, 50.0, 50.0]),
        ];
        assert!((boxes.figures(&seen).precision[0] - 1.0).abs() < 1e-9);
    }
}

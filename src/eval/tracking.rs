//! Tracking metrics of the MOTChallenge: MOTA, IDF1, HOTA.
//!
//! MOTA after Bernardin and Stiefelhagen (2008), with matches kept from frame to frame as long as
//! they overlap; IDF1 after Ristani et al. (ECCV workshops 2016); HOTA after Luiten et al. (IJCV
//! 2021), as TrackEval computes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::ground_truth::EvalError;
use crate::track::linear_assignment;
use mobilens_image::RectPx;

/// IoU threshold of a match.
const OVERLAP: f64 = 0.5;
/// Number of IoU thresholds over which HOTA is averaged.
const ALPHAS: usize = 19;
/// Most boxes of a frame, and most ids of a file: each is compared with each of the other file.
const MAX_BOXES: usize = 1000;
const MAX_IDS: usize = 5000;

/// Boxes per frame, with their ids.
pub type MotFrames = BTreeMap<u64, Vec<(u64, RectPx)>>;

/// Counts and scores of one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrackingMetrics {
    /// Ground-truth boxes (GT).
    pub objects: u64,
    /// Boxes of the result.
    pub predictions: u64,
    /// False negatives: ground-truth boxes without a match.
    pub missed: u64,
    /// False positives: result boxes without a match.
    pub false_positives: u64,
    /// Identity switches.
    pub id_switches: u64,
    /// IDTP: true positives under the best one-to-one assignment of ids.
    pub id_true_positives: u64,
    /// HOTA, DetA and AssA, averaged over IoU thresholds.
    pub hota: [f64; 3],
}

impl TrackingMetrics {
    /// Multiple object tracking accuracy.
    pub fn mota(&self) -> f64 {
        let wrong = self.missed + self.false_positives + self.id_switches;
        1.0 - wrong as f64 / self.objects.max(1) as f64
    }

    /// IDF1: F1 of boxes with the correct id.
    pub fn idf1(&self) -> f64 {
        2.0 * self.id_true_positives as f64 / (self.objects + self.predictions).max(1) as f64
    }
}

/// Reads a file of the MOTChallenge: `frame, id, left, top, width, height, confidence, ...`. Rows of
/// a truth with confidence 0 are not to be evaluated and are left out.
///
/// # Errors
/// When it cannot be read, a line is invalid, or it has more than 1000 boxes a frame or 5000 ids.
pub fn read_mot(path: &Path, is_truth: bool) -> Result<MotFrames, EvalError> {
    let text = fs::read_to_string(path).map_err(|e| EvalError::file(path, e))?;
    let mut frames = MotFrames::new();
    let mut ids = HashSet::new();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let fields = line
            .split([',', ' '])
            .map(str::trim)
            .filter(|f| !f.is_empty());
        let numbers: Option<Vec<f64>> = fields.map(|f| f.parse().ok()).collect();
        let numbers = numbers.filter(|n| n.len() >= 6 && n.iter().all(|n| n.is_finite()));
        let Some(n) = numbers.filter(|n| n[0] >= 0.0 && n[1] >= 0.0) else {
            let why = format!(
                "line {}: expected frame,id,left,top,width,height,...",
                i + 1
            );
            return Err(EvalError::file(path, why));
        };
        if is_truth && n.get(6) == Some(&0.0) {
            continue;
        }
        let rect = RectPx {
            x: n[2] as f32,
            y: n[3] as f32,
            width: n[4] as f32,
            height: n[5] as f32,
        };
        let (number, id) = (n[0] as u64, n[1] as u64);
        let boxes = frames.entry(number).or_default();
        boxes.push((id, rect));
        ids.insert(id);
        if boxes.len() > MAX_BOXES || ids.len() > MAX_IDS {
            let why = format!(
                "line {}: expected at most {MAX_BOXES} boxes a frame and {MAX_IDS} ids",
                i + 1
            );
            return Err(EvalError::file(path, why));
        }
    }
    Ok(frames)
}

/// Compares tracking results with ground truth.
pub fn evaluate_tracking(truth: &MotFrames, result: &MotFrames) -> TrackingMetrics {
    let none = Vec::new();
    let mut numbers: Vec<u64> = truth.keys().chain(result.keys()).copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let frames: Vec<Frame<'_>> = numbers
        .iter()
        .map(|n| {
            Frame::new(
                truth.get(n).unwrap_or(&none),
                result.get(n).unwrap_or(&none),
            )
        })
        .collect();
    let mut figures = TrackingMetrics {
        objects: frames.iter().map(|f| f.truth.len() as u64).sum(),
        predictions: frames.iter().map(|f| f.result.len() as u64).sum(),
        ..TrackingMetrics::default()
    };
    clear_mot(&frames, &mut figures);
    figures.id_true_positives = id_true_positives(&frames);
    figures.hota = hota(&frames);
    figures
}

/// One frame with all IoUs.
struct Frame<'a> {
    truth: &'a [(u64, RectPx)],
    result: &'a [(u64, RectPx)],
    /// Row-major, one row per ground-truth box.
    ious: Vec<f64>,
}

impl<'a> Frame<'a> {
    fn new(truth: &'a [(u64, RectPx)], result: &'a [(u64, RectPx)]) -> Self {
        let ious = truth
            .iter()
            .flat_map(|(_, t)| result.iter().map(|(_, r)| iou(t, r)));
        Self {
            truth,
            result,
            ious: ious.collect(),
        }
    }

    fn iou(&self, t: usize, r: usize) -> f64 {
        self.ious[t * self.result.len() + r]
    }
}

fn iou(a: &RectPx, b: &RectPx) -> f64 {
    let [ax, ay, aw, ah] = [a.x, a.y, a.width, a.height].map(f64::from);
    let [bx, by, bw, bh] = [b.x, b.y, b.width, b.height].map(f64::from);
    let w = (ax + aw).min(bx + bw) - ax.max(bx);
    let h = (ay + ah).min(by + bh) - ay.max(by);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    w * h / (aw * ah + bw * bh - w * h)
}

/// Misses, false positives and id_switches.
fn clear_mot(frames: &[Frame<'_>], figures: &mut TrackingMetrics) {
    let mut last: HashMap<u64, u64> = HashMap::new();
    for frame in frames {
        let (rows, columns) = (frame.truth.len(), frame.result.len());
        let mut matched: Vec<Option<usize>> = vec![None; rows];
        let mut taken = vec![false; columns];
        for (t, (id, _)) in frame.truth.iter().enumerate() {
            let before = last.get(id);
            let same = frame.result.iter().position(|(r, _)| Some(r) == before);
            if let Some(r) = same.filter(|r| !taken[*r] && frame.iou(t, *r) >= OVERLAP) {
                matched[t] = Some(r);
                taken[r] = true;
            }
        }
        let open: Vec<usize> = (0..rows).filter(|t| matched[*t].is_none()).collect();
        let free: Vec<usize> = (0..columns).filter(|r| !taken[*r]).collect();
        let pairs = open
            .iter()
            .flat_map(|t| free.iter().map(|r| frame.iou(*t, *r)));
        let costs: Vec<f64> = pairs
            .map(|iou| {
                if iou >= OVERLAP {
                    1.0 - iou
                } else {
                    f64::INFINITY
                }
            })
            .collect();
        // As many pairs as can be, then the nearest.
        for (i, r) in linear_assignment(&costs, open.len(), free.len(), 1e6)
            .into_iter()
            .enumerate()
        {
            if let Some(r) = r {
                let (id, number) = (frame.truth[open[i]].0, frame.result[free[r]].0);
                figures.id_switches +=
                    u64::from(last.get(&id).is_some_and(|before| *before != number));
                matched[open[i]] = Some(free[r]);
            }
        }
        for (t, r) in matched.iter().enumerate() {
            if let Some(r) = *r {
                last.insert(frame.truth[t].0, frame.result[r].0);
            }
        }
        let n = matched.iter().flatten().count();
        figures.missed += (rows - n) as u64;
        figures.false_positives += (columns - n) as u64;
    }
}

/// Indices of numbers in the order in which they come.
fn indices<'a>(boxes: impl Iterator<Item = &'a (u64, RectPx)>) -> HashMap<u64, usize> {
    let mut indices = HashMap::new();
    for (id, _) in boxes {
        let next = indices.len();
        indices.entry(*id).or_insert(next);
    }
    indices
}

/// IDTP.
fn id_true_positives(frames: &[Frame<'_>]) -> u64 {
    let objects = indices(frames.iter().flat_map(|f| f.truth));
    let numbers = indices(frames.iter().flat_map(|f| f.result));
    let mut costs = vec![0.0; objects.len() * numbers.len()];
    for frame in frames {
        for (t, (object, _)) in frame.truth.iter().enumerate() {
            for (r, (number, _)) in frame.result.iter().enumerate() {
                if frame.iou(t, r) >= OVERLAP {
                    costs[objects[object] * numbers.len() + numbers[number]] -= 1.0;
                }
            }
        }
    }
    let pairs = linear_assignment(&costs, objects.len(), numbers.len(), 0.0);
    let pairs = pairs.iter().enumerate();
    let right = pairs.filter_map(|(o, n)| Some(-costs[o * numbers.len() + (*n)?]));
    right.sum::<f64>() as u64
}

/// HOTA, DetA and AssA.
fn hota(frames: &[Frame<'_>]) -> [f64; 3] {
    let objects = indices(frames.iter().flat_map(|f| f.truth));
    let numbers = indices(frames.iter().flat_map(|f| f.result));
    let width = numbers.len();
    let (mut of_object, mut of_number) = (vec![0.0; objects.len()], vec![0.0; width]);
    let mut together = vec![0.0; objects.len() * width];
    for frame in frames {
        let row_sum = |t: usize| {
            (0..frame.result.len())
                .map(|r| frame.iou(t, r))
                .sum::<f64>()
        };
        let column_sum = |r: usize| (0..frame.truth.len()).map(|t| frame.iou(t, r)).sum::<f64>();
        let rows: Vec<f64> = (0..frame.truth.len()).map(row_sum).collect();
        let columns: Vec<f64> = (0..frame.result.len()).map(column_sum).collect();
        for (t, (object, _)) in frame.truth.iter().enumerate() {
            of_object[objects[object]] += 1.0;
            for (r, (number, _)) in frame.result.iter().enumerate() {
                let iou = frame.iou(t, r);
                let all = rows[t] + columns[r] - iou;
                if all > 0.0 {
                    together[objects[object] * width + numbers[number]] += iou / all;
                }
            }
        }
        for (number, _) in frame.result {
            of_number[numbers[number]] += 1.0;
        }
    }
    let aligned = |o: usize, n: usize| {
        let both: f64 = together[o * width + n];
        both / (of_object[o] + of_number[n] - both)
    };
    let mut right = [0.0_f64; ALPHAS];
    // By object and number, of which few are ever matched.
    let mut matches: BTreeMap<usize, [f64; ALPHAS]> = BTreeMap::new();
    let (mut all_objects, mut all_numbers) = (0.0, 0.0);
    for frame in frames {
        all_objects += frame.truth.len() as f64;
        all_numbers += frame.result.len() as f64;
        let at = |t: usize, r: usize| (objects[&frame.truth[t].0], numbers[&frame.result[r].0]);
        let pairs = (0..frame.ious.len()).map(|i| (i / frame.result.len(), i % frame.result.len()));
        let costs: Vec<f64> = pairs
            .map(|(t, r)| {
                let (o, n) = at(t, r);
                -aligned(o, n) * frame.iou(t, r)
            })
            .collect();
        let pairs = linear_assignment(&costs, frame.truth.len(), frame.result.len(), 0.0);
        for (t, r) in pairs.into_iter().enumerate() {
            let Some(r) = r else { continue };
            let (o, n) = at(t, r);
            let of_pair = matches.entry(o * width + n).or_default();
            for alpha in 0..ALPHAS {
                if frame.iou(t, r) >= 0.05 * (alpha + 1) as f64 - f64::EPSILON {
                    right[alpha] += 1.0;
                    of_pair[alpha] += 1.0;
                }
            }
        }
    }
    let mut sums = [0.0; 3];
    for (alpha, right) in right.iter().enumerate() {
        let detection = right / (all_objects + all_numbers - right).max(1.0);
        let association: f64 = matches
            .iter()
            .map(|(i, counts)| (i, counts[alpha]))
            .filter(|(_, count)| *count > 0.0)
            .map(|(i, count)| {
                let all = of_object[i / width] + of_number[i % width] - count;
                count * count / all.max(1.0)
            })
            .sum();
        let association = association / right.max(1.0);
        let parts = [(detection * association).sqrt(), detection, association];
        for (sum, part) in sums.iter_mut().zip(parts) {
            *sum += part / ALPHAS as f64;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: f32) -> RectPx {
        RectPx {
            x,
            y: 0.0,
            width: 10.0,
            height: 20.0,
        }
    }

    #[test]
    fn the_truth_is_perfect_and_a_swapped_half_costs_a_switch_each() {
        let truth: MotFrames = (0..10)
            .map(|f| (f, vec![(1, rect(0.0)), (2, rect(50.0))]))
            .collect();
        let perfect = evaluate_tracking(&truth, &truth);
        assert_eq!((perfect.mota(), perfect.idf1()), (1.0, 1.0));
        assert!(perfect.hota.iter().all(|v| (v - 1.0).abs() < 1e-12));
        let swapped = (0..10).map(|f| {
            let (a, b) = if f < 5 { (1, 2) } else { (2, 1) };
            (f, vec![(a, rect(0.0)), (b, rect(50.0))])
        });
        let figures = evaluate_tracking(&truth, &swapped.collect());
        assert_eq!(
            (figures.id_switches, figures.missed, figures.false_positives),
            (2, 0, 0)
        );
        assert_eq!(figures.mota(), 0.9);
        assert_eq!(figures.idf1(), 0.5);
        // Each object shares half of its life with each number: 5 / (10 + 10 - 5).
        assert!((figures.hota[2] - 1.0 / 3.0).abs() < 1e-12);
        assert!((figures.hota[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_crowd_beyond_memory_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("gt.txt");
        let read = |text: String| {
            fs::write(&path, text).expect("room");
            read_mot(&path, true).map_err(|error| error.to_string())
        };
        let boxes = (0..1001).map(|_| "1,1,0,0,9,9,1\n").collect();
        assert!(read(boxes).is_err_and(|why| why.contains("line 1001: expected at most 1000")));
        let ids = (0..5001).map(|i| format!("{i},{i},0,0,9,9,1\n")).collect();
        assert!(read(ids).is_err_and(|why| why.contains("5000 ids")));
        let all = (0..5000).map(|i| format!("{i},{i},0,0,9,9,1\n")).collect();
        assert_eq!(read(all).map(|frames| frames.len()), Ok(5000));
    }

    #[test]
    fn nothing_found_is_nothing() {
        let truth = MotFrames::from([(1, vec![(1, rect(0.0))])]);
        let figures = evaluate_tracking(&truth, &MotFrames::new());
        assert_eq!(
            (figures.mota(), figures.idf1(), figures.hota[0]),
            (0.0, 0.0, 0.0)
        );
    }
}

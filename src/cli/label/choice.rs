//! Which frames a human should label first.
//!
//! Uncertainty sampling (Settles, "Active Learning Literature Survey", 2009, section 3.1): a label is worth
//! most where the model is least certain. A detector decides by its score threshold, so the least certain
//! detection is the one whose score is nearest to it, and a frame is as uncertain as its least certain
//! detection. A frame without any has no score to go by: of these some are taken evenly, since an object
//! that the model misses is seen nowhere else.

use std::collections::BTreeSet;

/// A frame that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its presentation time.
    pub pts_ms: f64,
    /// Distance of the least certain detection's score from the threshold; `None` without detections.
    pub margin: Option<f64>,
}

/// How many frames are chosen, and how far apart.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// At most so many.
    pub frames: usize,
    /// Share of those without detections, 0 to 1.
    pub empty: f64,
    /// Least time between two of them.
    pub every_ms: f64,
}

/// The indices of the chosen ones of `candidates`, which are in order of time, the most useful first.
/// Those without detections are strewn evenly among the others. `taken` are times of frames that were
/// chosen before.
pub fn choose(candidates: &[Candidate], quota: Quota, taken: &[f64]) -> Vec<usize> {
    let mut spread = Spread::new(quota.every_ms, taken);
    let (mut uncertain, empty): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|i| candidates[*i].margin.is_some());
    let margin = |i: usize| candidates[i].margin.unwrap_or(f64::INFINITY);
    // Stable: of equal ones the earlier.
    uncertain.sort_by(|a, b| margin(*a).total_cmp(&margin(*b)));
    let for_empty = (quota.frames as f64 * quota.empty).round() as usize;
    let for_empty = for_empty.min(empty.len());
    let near: Vec<usize> = uncertain
        .into_iter()
        .filter(|i| spread.take(candidates[*i].pts_ms))
        .take(quota.frames - for_empty)
        .collect();
    let apart: Vec<usize> = empty
        .into_iter()
        .filter(|i| spread.take(candidates[*i].pts_ms))
        .collect();
    // Of few with detections, too, they keep their share.
    let is_short = quota.empty < 1.0 && near.len() < quota.frames - for_empty;
    let for_empty = if is_short {
        let share = near.len() as f64 * quota.empty / (1.0 - quota.empty);
        for_empty.min(share.ceil() as usize)
    } else {
        for_empty
    };
    let without = evenly(&apart, for_empty);
    interleave(&near, &without)
}

/// `count` of `from`, evenly over all of them.
fn evenly(from: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(from.len());
    (0..count)
        .map(|i| from[(2 * i + 1) * from.len() / (2 * count)])
        .collect()
}

/// Both, each in its order, so that every beginning has about their shares.
fn interleave(first: &[usize], second: &[usize]) -> Vec<usize> {
    let total = first.len() + second.len();
    let (mut a, mut b) = (first.iter(), second.iter());
    let mut all = Vec::with_capacity(total);
    for i in 0..total {
        let due = (i + 1) * second.len() / total;
        let is_due = second.len() - b.len() < due;
        let next = if is_due { b.next() } else { a.next() };
        all.extend(next);
    }
    all
}

/// Times that are apart, in microseconds.
struct Spread {
    every_us: i64,
    times: BTreeSet<i64>,
}

impl Spread {
    fn new(every_ms: f64, taken: &[f64]) -> Self {
        Self {
            every_us: us(every_ms),
            times: taken.iter().copied().map(us).collect(),
        }
    }

    /// Whether `pts_ms` is far enough from all before, which it then joins.
    fn take(&mut self, pts_ms: f64) -> bool {
        let at = us(pts_ms);
        // Both ends are far enough themselves.
        let near = at.saturating_sub(self.every_us - 1)..at.saturating_add(self.every_us);
        let takes = near.is_empty() || self.times.range(near).next().is_none();
        if takes {
            self.times.insert(at);
        }
        takes
    }
}

fn us(ms: f64) -> i64 {
    (ms * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames at 10 a second.
    fn candidates(margins: &[Option<f64>]) -> Vec<Candidate> {
        let at = |(i, margin): (usize, &Option<f64>)| Candidate {
            pts_ms: i as f64 * 100.0,
            margin: *margin,
        };
        margins.iter().enumerate().map(at).collect()
    }

    fn quota(frames: usize, empty: f64, every_ms: f64) -> Quota {
        Quota {
            frames,
            empty,
            every_ms,
        }
    }

    #[test]
    fn the_least_certain_come_first() {
        let frames = candidates(&[Some(0.3), Some(0.1), None, Some(0.2), Some(0.1)]);
        assert_eq!(choose(&frames, quota(9, 0.0, 0.0), &[]), [1, 4, 3, 0]);
        assert_eq!(choose(&frames, quota(2, 0.0, 0.0), &[]), [1, 4]);
    }

    #[test]
    fn no_two_are_nearer_than_the_least_time() {
        let margins: Vec<_> = (0..100).map(|i| Some(f64::from(i) / 1000.0)).collect();
        let frames = candidates(&margins);
        let chosen = choose(&frames, quota(50, 0.1, 1000.0), &[]);
        assert_eq!(chosen, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        // Also from those of an earlier choice.
        let chosen = choose(&frames, quota(50, 0.1, 1000.0), &[0.0, 9050.0]);
        assert_eq!(chosen, [10, 20, 30, 40, 50, 60, 70, 80]);
    }

    #[test]
    fn empty_frames_are_spread_over_time_and_among_the_others() {
        let mut margins = vec![None; 100];
        margins[..10].fill(Some(0.1));
        let chosen = choose(&candidates(&margins), quota(10, 0.2, 0.0), &[]);
        assert_eq!(chosen, [0, 1, 2, 3, 32, 4, 5, 6, 7, 77]);
        // Where there are too few of them, the others take their places, but not the other way round.
        margins[11..].fill(Some(0.2));
        let chosen = choose(&candidates(&margins), quota(10, 0.5, 0.0), &[]);
        assert_eq!(chosen.len(), 10);
        assert_eq!(chosen.iter().filter(|i| **i == 10).count(), 1);
        let mut few = vec![None; 30];
        few[..5].fill(Some(0.1));
        let chosen = choose(&candidates(&few), quota(100, 0.1, 0.0), &[]);
        assert_eq!(chosen, [0, 1, 2, 3, 4, 17]);
        let chosen = choose(&candidates(&[None; 30]), quota(100, 0.1, 0.0), &[]);
        assert!(chosen.is_empty(), "that is for a share of 1");
        assert!(choose(&[], quota(10, 0.1, 0.0), &[]).is_empty());
    }

    #[test]
    fn all_may_be_empty() {
        let chosen = choose(&candidates(&[None; 100]), quota(4, 1.0, 500.0), &[]);
        assert_eq!(chosen.len(), 4);
        let chosen = choose(&candidates(&[None; 3]), quota(9, 1.0, 0.0), &[]);
        assert_eq!(chosen, [0, 1, 2]);
        let frames = candidates(&[None, Some(0.1), None]);
        assert_eq!(choose(&frames, quota(2, 1.0, 0.0), &[]), [0, 2]);
    }
}

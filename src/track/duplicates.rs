//! Several detections, or several tracks, of one object.
//!
//! A detector reports an object twice: two boxes that overlap too little for its own suppression, a
//! part inside the whole, or two classes on one body (a car that is a truck, too). Each of them may
//! continue a track that it belongs to, but must not begin a second one.

use super::life::{Track, TrackState};
use super::params::Observation;
use mobilens_image::RectPx;

/// IoU with a detection of a track above which another one of the class begins none.
const BIRTH_IOU: f32 = 0.4;
/// The same for intersection over the smaller area, for a part of an object.
const BIRTH_OVERLAP: f32 = 0.8;
/// IoU of two tracks of a class on one body.
const TRACK_IOU: f32 = 0.7;
/// How long two tracks may be seen on one body, in milliseconds.
const DOUBLED_MS: f64 = 500.0;
/// How long after it was last seen a track keeps other classes off its body, in milliseconds.
const BODY_MS: f64 = 500.0;

/// Greedy non-maximum suppression within each class; whether each observation is kept.
pub(super) fn suppress(observations: &[Observation], score_low: f64, iou: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..observations.len())
        .filter(|i| observations[*i].score >= score_low)
        .collect();
    // Stable: of equal scores the first wins.
    order.sort_by(|a, b| observations[*b].score.total_cmp(&observations[*a].score));
    let mut kept: Vec<usize> = Vec::with_capacity(order.len());
    for i in order {
        let observation = &observations[i];
        let is_double = kept.iter().map(|k| &observations[*k]).any(|other| {
            other.category_id == observation.category_id
                && f64::from(other.rect.iou(&observation.rect)) >= iou
        });
        if !is_double {
            kept.push(i);
        }
    }
    let mut is_kept = vec![false; observations.len()];
    kept.iter().for_each(|i| is_kept[*i] = true);
    is_kept
}

/// Whether the detection shows an object that already has a track or another detection: `taken` are
/// the other detections that have or begin a track.
pub(super) fn is_double<'a>(
    observation: &Observation,
    mut taken: impl Iterator<Item = &'a Observation>,
    tracks: &[Track],
    cross_class_iou: f64,
) -> bool {
    let rect = &observation.rect;
    let is_one_body = |other: &RectPx| f64::from(rect.iou(other)) >= cross_class_iou;
    let is_taken = taken.any(|other| {
        if other.category_id == observation.category_id {
            rect.iou(&other.rect) >= BIRTH_IOU || overlap(rect, &other.rect) >= BIRTH_OVERLAP
        } else {
            is_one_body(&other.rect)
        }
    });
    is_taken
        || tracks.iter().any(|track| {
            let is_other = track.is_confirmed() && track.category_id != observation.category_id;
            is_other && track.missed_ms <= BODY_MS && is_one_body(&track.filter.rect())
        })
}

/// Ends one of two tracks that have been seen on one body for a while: the one with less evidence.
pub(super) fn end_doubled(tracks: &mut Vec<Track>, dt_ms: f64, cross_class_iou: f64) {
    let mut doubles: Vec<(usize, usize)> = Vec::new();
    let is_seen = |track: &Track| track.is_confirmed() && track.state == TrackState::Seen;
    for (younger, track) in tracks.iter().enumerate().filter(|(_, t)| is_seen(t)) {
        let older = tracks[..younger].iter().position(|other| {
            let least = if other.category_id == track.category_id {
                f64::from(TRACK_IOU)
            } else {
                cross_class_iou
            };
            is_seen(other) && f64::from(other.filter.rect().iou(&track.filter.rect())) >= least
        });
        doubles.extend(older.map(|older| (older, younger)));
    }
    let mut is_kept = vec![true; tracks.len()];
    let mut at = doubles.iter().peekable();
    for younger in 0..tracks.len() {
        let Some((older, _)) = at.next_if(|(_, of)| *of == younger) else {
            tracks[younger].doubled_ms = 0.0;
            continue;
        };
        tracks[younger].doubled_ms += dt_ms;
        if tracks[younger].doubled_ms >= DOUBLED_MS {
            let is_older_better = tracks[*older].evidence() >= tracks[younger].evidence();
            is_kept[if is_older_better { younger } else { *older }] = false;
        }
    }
    let mut kept = is_kept.into_iter();
    tracks.retain(|_| kept.next().unwrap_or(true));
}

/// Intersection over the smaller area.
fn overlap(a: &RectPx, b: &RectPx) -> f32 {
    let w = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let h = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    let smaller = a.area().min(b.area());
    if w <= 0.0 || h <= 0.0 || smaller <= 0.0 {
        return 0.0;
    }
    w * h / smaller
}

//! One track: what was observed of it, and its life cycle.

use std::collections::VecDeque;

use super::kalman::{BoxKalmanFilter, centre_of};
use super::params::{FrameContext, Observation, TrackerParams};
use mobilens_image::{RectPx, Similarity, SizePx};

/// State of a track in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// Matched with a detection.
    Seen,
    /// No inference ran there; the box is predicted.
    Held,
    /// Not detected; kept for a while.
    Lost,
}

/// A confirmed track in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackView {
    /// Its id, from 1, never reused.
    pub id: u64,
    /// Its class.
    pub category_id: u32,
    /// The filtered or predicted box.
    pub rect: RectPx,
    /// Its state.
    pub state: TrackState,
    /// Media time of its last match, in milliseconds.
    pub seen_ms: f64,
}

/// How long an unconfirmed track is kept without a match, in milliseconds.
const TENTATIVE_MS: f64 = 150.0;
/// Share of a track's mean score from which a detection takes part in its first association, where
/// that is less than `score_high`: an object that never scores high is followed all the same.
const USUAL_SCORE: f64 = 0.9;
/// Motion is measured over at least this time, in milliseconds.
const DIRECTION_MS: f64 = 200.0;
/// Displacement, in box heights, below which a direction counts for less.
const DIRECTION_HEIGHTS: f64 = 0.1;
/// Gap, in milliseconds, from which a track is re-updated: below, the filter's own correction is as good.
const REUPDATE_MS: f64 = 200.0;
/// Variance of an interpolated measurement, in variances of a real one.
const REUPDATE_VARIANCE: f64 = 4.0;
/// Most steps of a re-update.
const REUPDATE_STEPS: u32 = 60;
/// Width of the picture's edge, where objects come in, in picture sides.
const EDGE: f32 = 0.02;
/// Least part of a lost track's box inside the picture; with less, the object has left.
const VISIBLE: f32 = 0.5;

/// The last match, from which a re-update begins.
#[derive(Clone, Debug)]
struct LastMatch {
    filter: BoxKalmanFilter,
    rect: RectPx,
    /// Frames since.
    steps: u32,
}

/// A track.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// 0 until it is confirmed.
    pub(super) id: u64,
    pub(super) category_id: u32,
    pub(super) filter: BoxKalmanFilter,
    pub(super) state: TrackState,
    pub(super) seen_ms: f64,
    /// Time without a match, including time without inference before a failed match.
    pub(super) missed_ms: f64,
    /// Time that it has been seen together with an older track on the same body.
    pub(super) doubled_ms: f64,
    hits: u32,
    score_sum: f64,
    best_score: f64,
    born_ms: f64,
    born_at_edge: bool,
    /// Time since inference last ran at its position.
    uninferred_ms: f64,
    /// Time, with inference at its position, since its last match that was not faint.
    faint_ms: f64,
    /// Times and centres of the last matches, oldest first.
    centres: VecDeque<(f64, [f64; 2])>,
    last: LastMatch,
}

impl Track {
    /// A track that begins with a detection.
    pub(super) fn new(observation: &Observation, frame: &FrameContext<'_>) -> Self {
        let filter = BoxKalmanFilter::new(&observation.rect);
        let rect = observation.rect;
        Self {
            id: 0,
            category_id: observation.category_id,
            filter,
            state: TrackState::Seen,
            seen_ms: frame.t_ms,
            missed_ms: 0.0,
            doubled_ms: 0.0,
            hits: 1,
            score_sum: observation.score,
            best_score: observation.score,
            born_ms: frame.t_ms,
            born_at_edge: frame.size.is_some_and(|size| is_at_edge(&rect, size)),
            uninferred_ms: 0.0,
            faint_ms: 0.0,
            centres: VecDeque::from([(frame.t_ms, centre_of(&rect))]),
            last: LastMatch {
                filter,
                rect,
                steps: 0,
            },
        }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.id > 0
    }

    /// Predicts it to the frame's time.
    pub(super) fn predict(&mut self, frame: &FrameContext<'_>, dt_ms: f64) {
        if let Some(camera) = frame.camera {
            self.compensate_camera_motion(camera);
        }
        if frame.is_still {
            self.filter.zero_velocity();
        } else if self.state != TrackState::Seen {
            self.filter.freeze_size();
        }
        self.filter.predict(dt_ms / 1000.0);
        self.last.steps = self.last.steps.saturating_add(1);
    }

    /// All that is known of the past is brought to the new frame, too.
    fn compensate_camera_motion(&mut self, camera: &Similarity) {
        self.filter.compensate_camera_motion(camera);
        self.last.filter.compensate_camera_motion(camera);
        for (_, centre) in &mut self.centres {
            *centre = camera.point(*centre);
        }
        let scale = camera.scale() as f32;
        let [x, y] = camera.point(centre_of(&self.last.rect)).map(|v| v as f32);
        let (width, height) = (self.last.rect.width * scale, self.last.rect.height * scale);
        self.last.rect = RectPx {
            x: x - width / 2.0,
            y: y - height / 2.0,
            width,
            height,
        };
    }

    /// Whether the detection takes part in the first association with this track.
    pub(super) fn is_strong(&self, observation: &Observation, score_high: f64) -> bool {
        let usual = USUAL_SCORE * self.score_sum / f64::from(self.hits);
        !observation.is_faint && observation.score >= score_high.min(usual)
    }

    /// Time since it was last seen clearly, if it is not in this frame, `dt_ms` after the one before.
    pub(super) fn unclear_ms(&self, dt_ms: f64) -> f64 {
        self.faint_ms + self.uninferred_ms + dt_ms
    }

    /// How well the way to `rect` agrees with the motion so far: 0.5 for the same direction, -0.5 for
    /// the opposite one, 0 if either is not known. The observation-centric momentum of OC-SORT (Cao et
    /// al., CVPR 2023, section 4.2); small displacements, which are noise, count for less.
    pub(super) fn direction_agreement(&self, rect: &RectPx) -> f64 {
        let (Some((_, first)), Some((_, last))) = (self.centres.front(), self.centres.back())
        else {
            return 0.0;
        };
        let between = |a: &[f64; 2], b: &[f64; 2]| [b[0] - a[0], b[1] - a[1]];
        let (before, now) = (between(first, last), between(last, &centre_of(rect)));
        let (length, step) = (before[0].hypot(before[1]), now[0].hypot(now[1]));
        if length <= 0.0 || step <= 0.0 {
            return 0.0;
        }
        let certain = DIRECTION_HEIGHTS * f64::from(self.last.rect.height).max(1.0);
        let weight = (length / certain).min(1.0) * (step / certain).min(1.0);
        let cosine = (before[0] * now[0] + before[1] * now[1]) / (length * step);
        weight * (0.5 - cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI)
    }

    /// Takes over a detection.
    pub(super) fn update(
        &mut self,
        observation: &Observation,
        t_ms: f64,
        dt_ms: f64,
        score_high: f64,
    ) {
        if self.is_strong(observation, score_high) {
            self.faint_ms = 0.0;
        } else {
            self.faint_ms = self.unclear_ms(dt_ms);
        }
        let gap_ms = t_ms - self.seen_ms;
        if self.state == TrackState::Lost && gap_ms >= REUPDATE_MS {
            self.reupdate(&observation.rect, gap_ms);
        } else {
            self.filter.correct(&observation.rect);
        }
        self.hits += 1;
        self.score_sum += observation.score;
        self.best_score = self.best_score.max(observation.score);
        self.seen_ms = t_ms;
        self.missed_ms = 0.0;
        self.uninferred_ms = 0.0;
        self.state = TrackState::Seen;
        self.centres.push_back((t_ms, centre_of(&observation.rect)));
        while self
            .centres
            .get(1)
            .is_some_and(|(at, _)| t_ms - at >= DIRECTION_MS)
        {
            self.centres.pop_front();
        }
        self.last = LastMatch {
            filter: self.filter,
            rect: observation.rect,
            steps: 0,
        };
    }

    /// The filter as if the object had been observed all along on a straight way to `rect`: the
    /// observation-centric re-update of OC-SORT (Cao et al., CVPR 2023, section 4.1). Otherwise what
    /// the filter has made up during the gap outlives it.
    fn reupdate(&mut self, rect: &RectPx, gap_ms: f64) {
        let steps = self.last.steps.clamp(1, REUPDATE_STEPS);
        let from = self.last.rect;
        let mut filter = self.last.filter;
        for step in 1..=steps {
            let share = step as f32 / steps as f32;
            let between = |a: f32, b: f32| a + (b - a) * share;
            let place = RectPx {
                x: between(from.x, rect.x),
                y: between(from.y, rect.y),
                width: between(from.width, rect.width),
                height: between(from.height, rect.height),
            };
            filter.predict(gap_ms / 1000.0 / f64::from(steps));
            if step < steps {
                filter.correct_with(&place, REUPDATE_VARIANCE);
            } else {
                filter.correct(&place);
            }
        }
        self.filter = filter;
    }

    /// Whether it is to get its id: by the number of matches, and by score or, without a score that is
    /// high enough, by time. Where objects come in they are cut off, and score less.
    pub(super) fn is_due(&self, params: &TrackerParams, t_ms: f64) -> bool {
        let start = if self.born_at_edge {
            params.start_score.min(params.score_high)
        } else {
            params.start_score
        };
        let is_certain = self.best_score >= start || t_ms - self.born_ms >= params.confirm_ms;
        self.id == 0 && self.hits >= params.confirm_frames && is_certain
    }

    /// Without a match it is held where no inference ran, otherwise lost. Whether it is kept: not for
    /// longer than `memory_ms`, and not outside the picture.
    pub(super) fn miss(&mut self, frame: &FrameContext<'_>, dt_ms: f64, memory_ms: f64) -> bool {
        let rect = self.filter.rect();
        if frame.size.is_some_and(|size| !is_visible(&rect, size)) {
            return false;
        }
        // A lost track stays lost until it is matched, also when inference runs elsewhere.
        if self.state != TrackState::Lost && !frame.was_inferred(&rect) {
            self.state = TrackState::Held;
            if !frame.is_still {
                self.uninferred_ms += dt_ms;
            }
            return true;
        }
        self.missed_ms += dt_ms + self.uninferred_ms;
        self.faint_ms += dt_ms + self.uninferred_ms;
        self.uninferred_ms = 0.0;
        self.state = TrackState::Lost;
        let memory_ms = if self.is_confirmed() {
            memory_ms
        } else {
            TENTATIVE_MS
        };
        self.missed_ms <= memory_ms
    }

    /// What was seen of it in all: the sum of the scores.
    pub(super) fn evidence(&self) -> f64 {
        self.score_sum
    }

    pub(super) fn view(&self) -> TrackView {
        TrackView {
            id: self.id,
            category_id: self.category_id,
            rect: self.filter.rect(),
            state: self.state,
            seen_ms: self.seen_ms,
        }
    }
}

/// Whether the box touches the edge of a picture of `size`.
fn is_at_edge(rect: &RectPx, size: SizePx) -> bool {
    let (w, h) = (size.width as f32, size.height as f32);
    let (dx, dy) = (EDGE * w, EDGE * h);
    let touches_side = rect.x < dx || rect.x + rect.width > w - dx;
    touches_side || rect.y < dy || rect.y + rect.height > h - dy
}

/// Whether enough of the box is in a picture of `size`.
fn is_visible(rect: &RectPx, size: SizePx) -> bool {
    rect.clipped(size).area() >= VISIBLE * rect.area()
}

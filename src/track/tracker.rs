//! The tracker: association of detections with tracks, and track life cycle.

use super::assignment::linear_assignment;
use super::kalman::BoxKalmanFilter;
use mobilens_image::{RectPx, Similarity};

/// Tracker parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackerParams {
    /// Least score of a detection that may continue a track.
    pub score_low: f64,
    /// Least IoU (of enlarged boxes) of a match.
    pub match_iou: f64,
    /// Matches until a track is confirmed and gets its id.
    pub confirm_frames: u32,
    /// How long a lost track is kept, in milliseconds (`track_buffer` in ByteTrack).
    pub memory_ms: f64,
}

/// A frame's data besides its detections.
#[derive(Clone, Copy, Debug)]
pub struct FrameContext<'a> {
    /// Media time in milliseconds.
    pub t_ms: f64,
    /// A scene cut: all tracks end.
    pub is_cut: bool,
    /// Transform from the last frame to this one, if camera motion is estimated.
    pub camera: Option<&'a Similarity>,
    /// Regions that inference ran on: `None` for the whole frame, empty for no inference.
    pub inferred: Option<&'a [RectPx]>,
    /// Nothing moved since the last inference (the motion gate is closed).
    pub is_still: bool,
}

/// One detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Its class.
    pub category_id: u32,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Its box.
    pub rect: RectPx,
    /// A low score: may continue a track but not start one.
    pub is_faint: bool,
}

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

#[derive(Clone, Debug)]
struct Track {
    /// 0 until it is confirmed.
    id: u64,
    category_id: u32,
    filter: BoxKalmanFilter,
    hits: u32,
    seen_ms: f64,
    /// Time without a match, including time without inference before a failed match.
    missed_ms: f64,
    /// Time since inference last ran at its position.
    uninferred_ms: f64,
    state: TrackState,
}

/// Multi-object tracker.
#[derive(Clone, Debug)]
pub struct Tracker {
    params: TrackerParams,
    tracks: Vec<Track>,
    confirmed: u64,
    t_ms: Option<f64>,
}

/// Each box is enlarged by this share on each side before IoU is computed, so that boxes of small and
/// fast objects still overlap (C-BIoU, Yang et al., WACV 2023).
const BUFFER: f32 = 0.15;
/// Least IoU in the second stage, for low scores.
const LOW_SCORE_IOU: f64 = 0.4;
/// Mahalanobis distance within which a lost track is re-identified.
const REACQUIRE_DISTANCE: f64 = 3.0;
/// How long an unconfirmed track is kept without a match, in milliseconds.
const TENTATIVE_MS: f64 = 150.0;

/// Criterion of a match.
#[derive(Clone, Copy)]
enum MatchCriterion {
    /// At least this IoU.
    Iou(f64),
    /// Mahalanobis distance from the predicted position.
    Mahalanobis,
}

/// An association stage: detections, filter of tracks, and criterion of a match.
type AssociationStage<'a> = (&'a [usize], fn(&Track) -> bool, MatchCriterion);

impl Tracker {
    /// A tracker without tracks.
    pub fn new(params: TrackerParams) -> Self {
        Self {
            params,
            tracks: Vec::new(),
            confirmed: 0,
            t_ms: None,
        }
    }

    /// Processes a frame; the id of each detection's track, if that is confirmed.
    pub fn update(
        &mut self,
        frame: &FrameContext<'_>,
        observations: &[Observation],
    ) -> Vec<Option<u64>> {
        let dt_ms = self
            .t_ms
            .map_or(0.0, |before| (frame.t_ms - before).max(0.0));
        self.t_ms = Some(frame.t_ms);
        if frame.is_cut {
            self.tracks.clear();
        }
        self.predict(frame, dt_ms);
        let mut track_of: Vec<Option<usize>> = vec![None; observations.len()];
        let (first, second): (Vec<usize>, Vec<usize>) = (0..observations.len())
            .filter(|i| observations[*i].score >= self.params.score_low)
            .partition(|i| !observations[*i].is_faint);
        let mut matched = vec![false; self.tracks.len()];
        let least = self.params.match_iou;
        let stages: [AssociationStage<'_>; 4] = [
            (&first, |t| t.id > 0, MatchCriterion::Iou(least)),
            // Lost tracks are not continued by low scores.
            (
                &second,
                |t| t.id > 0 && t.state != TrackState::Lost,
                MatchCriterion::Iou(LOW_SCORE_IOU),
            ),
            (&first, |t| t.id == 0, MatchCriterion::Iou(least)),
            (
                &first,
                |t| t.id > 0 && t.state == TrackState::Lost,
                MatchCriterion::Mahalanobis,
            ),
        ];
        for (candidates, takes_part, criterion) in stages {
            let tracks: Vec<usize> = (0..self.tracks.len())
                .filter(|t| !matched[*t] && takes_part(&self.tracks[*t]))
                .collect();
            let free = candidates.iter().copied();
            let free: Vec<usize> = free.filter(|i| track_of[*i].is_none()).collect();
            for (t, i) in self.matches(&tracks, &free, observations, criterion) {
                matched[t] = true;
                track_of[i] = Some(t);
            }
        }
        for (i, track) in track_of.iter().enumerate() {
            if let Some(t) = *track {
                self.update_matched(t, &observations[i], frame.t_ms);
            }
        }
        for i in first {
            if track_of[i].is_none() {
                track_of[i] = Some(self.start_track(&observations[i], frame.t_ms));
            }
        }
        matched.resize(self.tracks.len(), true);
        let ids = track_of
            .iter()
            .map(|t| t.map(|t| self.tracks[t].id).filter(|id| *id > 0))
            .collect();
        self.update_unmatched(frame, &matched, dt_ms);
        ids
    }

    /// The confirmed tracks, oldest first.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        let confirmed = self.tracks.iter().filter(|track| track.id > 0);
        confirmed.map(|track| TrackView {
            id: track.id,
            category_id: track.category_id,
            rect: track.filter.rect(),
            state: track.state,
            seen_ms: track.seen_ms,
        })
    }

    /// Predicts all tracks to the frame's time.
    fn predict(&mut self, frame: &FrameContext<'_>, dt_ms: f64) {
        for track in &mut self.tracks {
            if let Some(camera) = frame.camera {
                track.filter.compensate_camera_motion(camera);
            }
            if frame.is_still {
                track.filter.zero_velocity();
            } else if track.state != TrackState::Seen {
                track.filter.freeze_size();
            }
            track.filter.predict(dt_ms / 1000.0);
        }
    }

    fn matches(
        &self,
        tracks: &[usize],
        candidates: &[usize],
        observations: &[Observation],
        criterion: MatchCriterion,
    ) -> Vec<(usize, usize)> {
        if tracks.is_empty() || candidates.is_empty() {
            return Vec::new();
        }
        let mut costs = Vec::with_capacity(tracks.len() * candidates.len());
        let boxes: Vec<RectPx> = candidates
            .iter()
            .map(|i| enlarged(&observations[*i].rect))
            .collect();
        for t in tracks {
            let track = &self.tracks[*t];
            let expected = enlarged(&track.filter.rect());
            costs.extend(candidates.iter().zip(&boxes).map(|(i, rect)| {
                let observation = &observations[*i];
                if observation.category_id != track.category_id {
                    return f64::INFINITY;
                }
                match criterion {
                    MatchCriterion::Iou(least) => {
                        let iou = f64::from(expected.iou(rect));
                        // Of equal IoUs the higher score wins; the score alone is no match.
                        if iou < least {
                            f64::INFINITY
                        } else {
                            1.0 - iou * observation.score
                        }
                    }
                    MatchCriterion::Mahalanobis => {
                        let ratio = rect.height / expected.height.max(1.0);
                        let is_similar = (0.5..2.0).contains(&ratio);
                        let squared = track.filter.mahalanobis_squared(&observation.rect);
                        if is_similar {
                            squared / (REACQUIRE_DISTANCE * REACQUIRE_DISTANCE)
                        } else {
                            f64::INFINITY
                        }
                    }
                }
            }));
        }
        let pairs = linear_assignment(&costs, tracks.len(), candidates.len(), 1.0);
        let pairs = pairs.into_iter().enumerate();
        pairs
            .filter_map(|(t, i)| Some((tracks[t], candidates[i?])))
            .collect()
    }

    fn update_matched(&mut self, t: usize, observation: &Observation, t_ms: f64) {
        let track = &mut self.tracks[t];
        track.filter.correct(&observation.rect);
        track.hits += 1;
        track.seen_ms = t_ms;
        track.missed_ms = 0.0;
        track.uninferred_ms = 0.0;
        track.state = TrackState::Seen;
        if track.id == 0 && track.hits >= self.params.confirm_frames {
            self.confirmed += 1;
            track.id = self.confirmed;
        }
    }

    /// Unmatched tracks are held where no inference ran, otherwise lost, and removed after `memory_ms`.
    fn update_unmatched(&mut self, frame: &FrameContext<'_>, matched: &[bool], dt_ms: f64) {
        let mut at = 0;
        let memory_ms = self.params.memory_ms;
        self.tracks.retain_mut(|track| {
            at += 1;
            if matched[at - 1] {
                return true;
            }
            // A lost track stays lost until it is matched, also when inference runs elsewhere.
            let was_present = track.state != TrackState::Lost;
            if was_present && !was_inferred(&track.filter.rect(), frame.inferred) {
                track.state = TrackState::Held;
                if !frame.is_still {
                    track.uninferred_ms += dt_ms;
                }
                return true;
            }
            track.missed_ms += dt_ms + track.uninferred_ms;
            track.uninferred_ms = 0.0;
            track.state = TrackState::Lost;
            let memory_ms = if track.id > 0 {
                memory_ms
            } else {
                TENTATIVE_MS
            };
            track.missed_ms <= memory_ms
        });
    }

    fn start_track(&mut self, observation: &Observation, t_ms: f64) -> usize {
        let mut track = Track {
            id: 0,
            category_id: observation.category_id,
            filter: BoxKalmanFilter::new(&observation.rect),
            hits: 1,
            seen_ms: t_ms,
            missed_ms: 0.0,
            uninferred_ms: 0.0,
            state: TrackState::Seen,
        };
        if self.params.confirm_frames <= 1 {
            self.confirmed += 1;
            track.id = self.confirmed;
        }
        self.tracks.push(track);
        self.tracks.len() - 1
    }
}

/// Whether inference ran at the centre of the box.
fn was_inferred(rect: &RectPx, inferred: Option<&[RectPx]>) -> bool {
    let Some(inferred) = inferred else {
        return true;
    };
    let (x, y) = (rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
    inferred.iter().any(|region| {
        let inside_x = region.x <= x && x < region.x + region.width;
        let inside_y = region.y <= y && y < region.y + region.height;
        inside_x && inside_y
    })
}

fn enlarged(rect: &RectPx) -> RectPx {
    let (dx, dy) = (rect.width * BUFFER, rect.height * BUFFER);
    RectPx {
        x: rect.x - dx,
        y: rect.y - dy,
        width: rect.width + 2.0 * dx,
        height: rect.height + 2.0 * dy,
    }
}

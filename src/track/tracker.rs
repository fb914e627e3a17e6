//! The tracker: association of detections with tracks.

use super::assignment::linear_assignment;
use super::duplicates::{end_doubled, is_double, suppress};
use super::life::{Track, TrackState, TrackView};
use super::params::{FrameContext, Observation, TrackerParams};
use mobilens_image::RectPx;

/// Multi-object tracker.
#[derive(Clone, Debug)]
pub struct Tracker {
    params: TrackerParams,
    tracks: Vec<Track>,
    confirmed: u64,
    t_ms: Option<f64>,
}

/// Shares by which boxes are enlarged on each side before their IoU is computed, so that those of
/// small and fast objects still overlap: little at first, more for what is left (C-BIoU, Yang et al.,
/// WACV 2023, section 3.2).
const BUFFER: f32 = 0.15;
const WIDE_BUFFER: f32 = 0.5;
/// Least IoU of a faint detection with a track that was seen clearly just before. It rises to 1 over
/// `FAINT_MS`: the longer an object was not seen clearly, the nearer to its predicted place a faint
/// detection must be.
const FAINT_IOU: f64 = 0.4;
/// Time, in milliseconds, after which no faint detection continues a track.
const FAINT_MS: f64 = 600.0;
/// Weight of the direction beside the IoU.
const DIRECTION_WEIGHT: f64 = 0.1;
/// Mahalanobis distance within which a lost track is re-identified.
const REACQUIRE_DISTANCE: f64 = 2.5;
/// Cost of a pair that is no match.
const NO_MATCH: f64 = f64::INFINITY;

/// Stages of the association, in this order.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Detections with a high score, and all confirmed tracks.
    High,
    /// Any detection, and the confirmed tracks that are not lost.
    Faint,
    /// What is left of the first, with wider boxes. After the faint ones: a faint detection at the
    /// predicted place is likelier to be the object than a clear one beside it.
    Wide,
    /// Lost tracks, by their distance from the predicted place.
    Reacquire,
    /// Tracks that are not confirmed yet.
    Tentative,
}

const STAGES: [Stage; 5] = [
    Stage::High,
    Stage::Faint,
    Stage::Wide,
    Stage::Reacquire,
    Stage::Tentative,
];

impl Stage {
    fn includes(self, track: &Track) -> bool {
        let is_lost = track.state == TrackState::Lost;
        match self {
            Self::High | Self::Wide => track.is_confirmed(),
            Self::Faint => track.is_confirmed() && !is_lost,
            Self::Reacquire => track.is_confirmed() && is_lost,
            Self::Tentative => !track.is_confirmed(),
        }
    }
}

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
        for track in &mut self.tracks {
            track.predict(frame, dt_ms);
        }
        let is_kept = suppress(observations, self.params.score_low, self.params.nms_iou);
        let mut track_of: Vec<Option<usize>> = vec![None; observations.len()];
        let mut matched = vec![false; self.tracks.len()];
        for stage in STAGES {
            let tracks: Vec<usize> = (0..self.tracks.len())
                .filter(|t| !matched[*t] && stage.includes(&self.tracks[*t]))
                .collect();
            let free: Vec<usize> = (0..observations.len())
                .filter(|i| is_kept[*i] && track_of[*i].is_none())
                .filter(|i| stage == Stage::Faint || !observations[*i].is_faint)
                .collect();
            for (t, i) in self.matches(stage, &tracks, &free, observations, dt_ms) {
                matched[t] = true;
                track_of[i] = Some(t);
            }
        }
        for (i, track) in track_of.iter().enumerate() {
            if let Some(t) = *track {
                let score_high = self.params.score_high;
                self.tracks[t].update(&observations[i], frame.t_ms, dt_ms, score_high);
                self.confirm(t, frame.t_ms);
            }
        }
        self.start_tracks(frame, observations, &is_kept, &mut track_of);
        matched.resize(self.tracks.len(), true);
        let ids = track_of
            .iter()
            .map(|t| t.map(|t| self.tracks[t].id).filter(|id| *id > 0))
            .collect();
        let mut matched = matched.into_iter();
        self.tracks.retain_mut(|track| {
            let is_matched = matched.next().unwrap_or(true);
            is_matched || track.miss(frame, dt_ms, self.params.memory_ms)
        });
        end_doubled(&mut self.tracks, dt_ms, self.params.cross_class_iou);
        ids
    }

    /// The last id that was given.
    pub fn last_id(&self) -> u64 {
        self.confirmed
    }

    /// Gives no id up to `last`, which another tracker of the stream has given.
    pub fn skip_ids(&mut self, last: u64) {
        self.confirmed = self.confirmed.max(last);
    }

    /// Goes on with the tracks of `before`, under its own parameters.
    pub fn continue_from(&mut self, before: Self) {
        *self = Self {
            params: self.params,
            ..before
        };
    }

    /// The confirmed tracks, oldest first.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        let confirmed = self.tracks.iter().filter(|track| track.is_confirmed());
        confirmed.map(Track::view)
    }

    fn matches(
        &self,
        stage: Stage,
        tracks: &[usize],
        candidates: &[usize],
        observations: &[Observation],
        dt_ms: f64,
    ) -> Vec<(usize, usize)> {
        if tracks.is_empty() || candidates.is_empty() {
            return Vec::new();
        }
        let mut costs = Vec::with_capacity(tracks.len() * candidates.len());
        for t in tracks {
            let track = &self.tracks[*t];
            let expected = track.filter.rect();
            costs.extend(candidates.iter().map(|i| {
                let observation = &observations[*i];
                if observation.category_id == track.category_id {
                    self.cost(stage, track, &expected, observation, dt_ms)
                } else {
                    NO_MATCH
                }
            }));
        }
        let pairs = linear_assignment(&costs, tracks.len(), candidates.len(), 1.0);
        let pairs = pairs.into_iter().enumerate();
        pairs
            .filter_map(|(t, i)| Some((tracks[t], candidates[i?])))
            .collect()
    }

    /// Below 1 for a pair that may match.
    fn cost(
        &self,
        stage: Stage,
        track: &Track,
        expected: &RectPx,
        observation: &Observation,
        dt_ms: f64,
    ) -> f64 {
        let params = &self.params;
        let takes_part = matches!(stage, Stage::Faint | Stage::Tentative)
            || track.is_strong(observation, params.score_high);
        if !takes_part {
            return NO_MATCH;
        }
        if stage == Stage::Reacquire {
            let ratio = observation.rect.height / expected.height.max(1.0);
            let squared = track.filter.mahalanobis_squared(&observation.rect);
            return if (0.5..2.0).contains(&ratio) {
                squared / (REACQUIRE_DISTANCE * REACQUIRE_DISTANCE)
            } else {
                NO_MATCH
            };
        }
        let buffer = if stage == Stage::Wide {
            WIDE_BUFFER
        } else {
            BUFFER
        };
        let iou = enlarged(expected, buffer).iou(&enlarged(&observation.rect, buffer));
        let iou = f64::from(iou);
        let (least, direction) = if stage == Stage::Faint {
            let rise = (1.0 - FAINT_IOU) * track.unclear_ms(dt_ms) / FAINT_MS;
            (FAINT_IOU + rise, 0.0)
        } else {
            (
                params.match_iou,
                track.direction_agreement(&observation.rect),
            )
        };
        if iou < least {
            return NO_MATCH;
        }
        // Of equal IoUs the higher score wins; neither score nor direction alone is a match or none.
        let likeness = iou * observation.score + DIRECTION_WEIGHT * direction;
        1.0 - likeness.max(1e-3)
    }

    /// Begins a track with each detection that has none, and is not faint or another one's double.
    fn start_tracks(
        &mut self,
        frame: &FrameContext<'_>,
        observations: &[Observation],
        is_kept: &[bool],
        track_of: &mut [Option<usize>],
    ) {
        let mut new: Vec<usize> = (0..observations.len())
            .filter(|i| is_kept[*i] && track_of[*i].is_none() && !observations[*i].is_faint)
            .collect();
        new.sort_by(|a, b| observations[*b].score.total_cmp(&observations[*a].score));
        let mut taken: Vec<usize> = (0..observations.len())
            .filter(|i| track_of[*i].is_some())
            .collect();
        for i in new {
            let others = taken.iter().map(|i| &observations[*i]);
            let observation = &observations[i];
            if is_double(
                observation,
                others,
                &self.tracks,
                self.params.cross_class_iou,
            ) {
                continue;
            }
            taken.push(i);
            track_of[i] = Some(self.tracks.len());
            self.tracks.push(Track::new(observation, frame));
            self.confirm(self.tracks.len() - 1, frame.t_ms);
        }
    }

    /// Gives the track its id if it is time.
    fn confirm(&mut self, t: usize, t_ms: f64) {
        if self.tracks[t].is_due(&self.params, t_ms) {
            self.confirmed += 1;
            self.tracks[t].id = self.confirmed;
        }
    }
}

fn enlarged(rect: &RectPx, buffer: f32) -> RectPx {
    let (dx, dy) = (rect.width * buffer, rect.height * buffer);
    RectPx {
        x: rect.x - dx,
        y: rect.y - dy,
        width: rect.width + 2.0 * dx,
        height: rect.height + 2.0 * dy,
    }
}

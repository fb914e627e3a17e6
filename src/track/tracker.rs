//! Gives detections the number of the object that they show.

use super::assign::assign;
use super::kalman::BoxMotion;
use mobilens_image::{RectPx, Similarity};

/// How to track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackerParams {
    /// Detections from this score up may continue one.
    pub score_low: f64,
    /// Overlap (IoU of enlarged boxes, by the score) that makes a match.
    pub match_iou: f64,
    /// Frames in which an object must be seen in a row to count.
    pub confirm_frames: u32,
    /// How long an object that is not seen is remembered.
    pub memory_ms: f64,
}

/// What is known of a frame besides its detections.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Media time.
    pub t_ms: f64,
    /// A new scene: all that was is over.
    pub is_cut: bool,
    /// Takes places of the last frame to this one, where the camera moves.
    pub camera: Option<&'a Similarity>,
    /// What was looked at: `None` for all of it, nothing if empty.
    pub looked: Option<&'a [RectPx]>,
    /// Nothing moved since the last frame, which is why it was not looked at.
    pub is_still: bool,
}

/// One detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Its class.
    pub category_id: u32,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Where it is.
    pub rect: RectPx,
    /// Too faint to begin a track.
    pub is_faint: bool,
}

/// What became of a track in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// It was seen.
    Seen,
    /// Nobody looked; it is where it is expected.
    Held,
    /// It was looked for and not found; it is remembered for a while.
    Lost,
}

/// A confirmed track in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackView {
    /// Its number, from 1, never given twice.
    pub id: u64,
    /// Its class.
    pub category_id: u32,
    /// Where it is, smoothed or foreseen.
    pub rect: RectPx,
    /// Whether it was seen.
    pub state: TrackState,
    /// When it was last seen, media time.
    pub seen_ms: f64,
}

#[derive(Clone, Debug)]
struct Track {
    /// 0 until it is confirmed.
    id: u64,
    category_id: u32,
    motion: BoxMotion,
    hits: u32,
    seen_ms: f64,
    /// Time in which it was looked for in vain, or would have been had somebody looked.
    missed_ms: f64,
    /// Time since somebody looked where it is.
    unlooked_ms: f64,
    state: TrackState,
}

/// Gives detections the number of the object that they show.
#[derive(Clone, Debug)]
pub struct Tracker {
    spec: TrackerParams,
    tracks: Vec<Track>,
    confirmed: u64,
    t_ms: Option<f64>,
}

/// Each side of a box is moved out by this part of it before overlaps are taken, so that small and
/// fast objects still meet themselves (after C-BIoU, Yang et al., WACV 2023).
const BUFFER: f32 = 0.15;
/// Least overlap in the second stage, of what scored badly.
const STRICT_IOU: f64 = 0.4;
/// Standard deviations from where it is expected within which something that was hidden comes back.
const EXPECTED: f64 = 3.0;
/// How long an object that has no number yet may be missed.
const TENTATIVE_MS: f64 = 150.0;

/// What makes a match.
#[derive(Clone, Copy)]
enum Match {
    /// So much overlap at least.
    Overlap(f64),
    /// Being where the filter expects it, within what it is unsure of.
    Expected,
}

/// The detections of a stage of association, the tracks that take part, and what makes a match.
type Stage<'a> = (&'a [usize], fn(&Track) -> bool, Match);

impl Tracker {
    /// Knows of nothing yet.
    pub fn new(spec: TrackerParams) -> Self {
        Self {
            spec,
            tracks: Vec::new(),
            confirmed: 0,
            t_ms: None,
        }
    }

    /// Takes in a frame; gives the track of each detection, if it has a confirmed one.
    pub fn update(&mut self, scene: &Scene<'_>, seen: &[Observation]) -> Vec<Option<u64>> {
        let dt_ms = self
            .t_ms
            .map_or(0.0, |before| (scene.t_ms - before).max(0.0));
        self.t_ms = Some(scene.t_ms);
        if scene.is_cut {
            self.tracks.clear();
        }
        self.move_on(scene, dt_ms);
        let mut track_of: Vec<Option<usize>> = vec![None; seen.len()];
        let (first, second): (Vec<usize>, Vec<usize>) = (0..seen.len())
            .filter(|i| seen[*i].score >= self.spec.score_low)
            .partition(|i| !seen[*i].is_faint);
        let mut matched = vec![false; self.tracks.len()];
        let least = self.spec.match_iou;
        let stages: [Stage<'_>; 4] = [
            (&first, |t| t.id > 0, Match::Overlap(least)),
            // What is lost does not come back as a faint shadow.
            (
                &second,
                |t| t.id > 0 && t.state != TrackState::Lost,
                Match::Overlap(STRICT_IOU),
            ),
            (&first, |t| t.id == 0, Match::Overlap(least)),
            (
                &first,
                |t| t.id > 0 && t.state == TrackState::Lost,
                Match::Expected,
            ),
        ];
        for (candidates, takes_part, how) in stages {
            let tracks: Vec<usize> = (0..self.tracks.len())
                .filter(|t| !matched[*t] && takes_part(&self.tracks[*t]))
                .collect();
            let free = candidates.iter().copied();
            let free: Vec<usize> = free.filter(|i| track_of[*i].is_none()).collect();
            for (t, i) in self.matches(&tracks, &free, seen, how) {
                matched[t] = true;
                track_of[i] = Some(t);
            }
        }
        for (i, track) in track_of.iter().enumerate() {
            if let Some(t) = *track {
                self.see(t, &seen[i], scene.t_ms);
            }
        }
        for i in first {
            if track_of[i].is_none() {
                track_of[i] = Some(self.begin(&seen[i], scene.t_ms));
            }
        }
        matched.resize(self.tracks.len(), true);
        let ids = track_of
            .iter()
            .map(|t| t.map(|t| self.tracks[t].id).filter(|id| *id > 0))
            .collect();
        self.miss(scene, &matched, dt_ms);
        ids
    }

    /// The confirmed tracks, oldest first.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        let confirmed = self.tracks.iter().filter(|track| track.id > 0);
        confirmed.map(|track| TrackView {
            id: track.id,
            category_id: track.category_id,
            rect: track.motion.rect(),
            state: track.state,
            seen_ms: track.seen_ms,
        })
    }

    /// All tracks to where they are expected.
    fn move_on(&mut self, scene: &Scene<'_>, dt_ms: f64) {
        for track in &mut self.tracks {
            if let Some(camera) = scene.camera {
                track.motion.follow(camera);
            }
            if scene.is_still {
                track.motion.rest();
            } else if track.state != TrackState::Seen {
                track.motion.keep_size();
            }
            track.motion.predict(dt_ms / 1000.0);
        }
    }

    fn matches(
        &self,
        tracks: &[usize],
        candidates: &[usize],
        seen: &[Observation],
        how: Match,
    ) -> Vec<(usize, usize)> {
        if tracks.is_empty() || candidates.is_empty() {
            return Vec::new();
        }
        let mut costs = Vec::with_capacity(tracks.len() * candidates.len());
        let enlarged: Vec<RectPx> = candidates
            .iter()
            .map(|i| buffered(&seen[*i].rect))
            .collect();
        for t in tracks {
            let track = &self.tracks[*t];
            let expected = buffered(&track.motion.rect());
            costs.extend(candidates.iter().zip(&enlarged).map(|(i, rect)| {
                let observation = &seen[*i];
                if observation.category_id != track.category_id {
                    return f64::INFINITY;
                }
                match how {
                    Match::Overlap(least) => {
                        let iou = f64::from(expected.iou(rect));
                        // The surer of two equal overlaps wins; being sure alone is no match.
                        if iou < least {
                            f64::INFINITY
                        } else {
                            1.0 - iou * observation.score
                        }
                    }
                    Match::Expected => {
                        let ratio = rect.height / expected.height.max(1.0);
                        let is_like = (0.5..2.0).contains(&ratio);
                        let squared = track.motion.distance_squared(&observation.rect);
                        if is_like {
                            squared / (EXPECTED * EXPECTED)
                        } else {
                            f64::INFINITY
                        }
                    }
                }
            }));
        }
        let pairs = assign(&costs, tracks.len(), candidates.len(), 1.0);
        let pairs = pairs.into_iter().enumerate();
        pairs
            .filter_map(|(t, i)| Some((tracks[t], candidates[i?])))
            .collect()
    }

    fn see(&mut self, t: usize, observation: &Observation, t_ms: f64) {
        let track = &mut self.tracks[t];
        track.motion.correct(&observation.rect);
        track.hits += 1;
        track.seen_ms = t_ms;
        track.missed_ms = 0.0;
        track.unlooked_ms = 0.0;
        track.state = TrackState::Seen;
        if track.id == 0 && track.hits >= self.spec.confirm_frames {
            self.confirmed += 1;
            track.id = self.confirmed;
        }
    }

    /// What was not seen is held if nobody looked, else it is lost, and forgotten in the end.
    fn miss(&mut self, scene: &Scene<'_>, matched: &[bool], dt_ms: f64) {
        let mut at = 0;
        let memory_ms = self.spec.memory_ms;
        self.tracks.retain_mut(|track| {
            at += 1;
            if matched[at - 1] {
                return true;
            }
            // What is lost stays so until it is seen; looking elsewhere does not bring it back.
            let was_there = track.state != TrackState::Lost;
            if was_there && !was_looked_at(&track.motion.rect(), scene.looked) {
                track.state = TrackState::Held;
                if !scene.is_still {
                    track.unlooked_ms += dt_ms;
                }
                return true;
            }
            track.missed_ms += dt_ms + track.unlooked_ms;
            track.unlooked_ms = 0.0;
            track.state = TrackState::Lost;
            let memory_ms = if track.id > 0 {
                memory_ms
            } else {
                TENTATIVE_MS
            };
            track.missed_ms <= memory_ms
        });
    }

    fn begin(&mut self, observation: &Observation, t_ms: f64) -> usize {
        let mut track = Track {
            id: 0,
            category_id: observation.category_id,
            motion: BoxMotion::new(&observation.rect),
            hits: 1,
            seen_ms: t_ms,
            missed_ms: 0.0,
            unlooked_ms: 0.0,
            state: TrackState::Seen,
        };
        if self.spec.confirm_frames <= 1 {
            self.confirmed += 1;
            track.id = self.confirmed;
        }
        self.tracks.push(track);
        self.tracks.len() - 1
    }
}

/// Whether most of the box was looked at.
fn was_looked_at(rect: &RectPx, looked: Option<&[RectPx]>) -> bool {
    let Some(looked) = looked else { return true };
    let (x, y) = (rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
    looked.iter().any(|part| {
        let inside_x = part.x <= x && x < part.x + part.width;
        let inside_y = part.y <= y && y < part.y + part.height;
        inside_x && inside_y
    })
}

fn buffered(rect: &RectPx) -> RectPx {
    let (dx, dy) = (rect.width * BUFFER, rect.height * BUFFER);
    RectPx {
        x: rect.x - dx,
        y: rect.y - dy,
        width: rect.width + 2.0 * dx,
        height: rect.height + 2.0 * dy,
    }
}

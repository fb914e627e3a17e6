//! What later stages tell the gating.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LookCosts;
use crate::flow::StopSignal;
use mobilens_image::RectPx;

/// Feedback from later stages: tracks, record age, inference time.
#[derive(Debug, Default)]
pub struct Feedback {
    state: Mutex<FeedbackState>,
    changed: Condvar,
}

/// Frames whose findings are kept.
const KEPT_FRAMES: usize = 64;

#[derive(Debug, Default)]
struct FeedbackState {
    /// The last frame whose record was published.
    published: Option<u64>,
    tracks: Vec<RectPx>,
    /// What was found in the last frames that the network ran on, latest last.
    found: VecDeque<(u64, Vec<RectPx>)>,
    /// Age of records when they are made, exponential average.
    age_ms: Option<f64>,
    /// Time of one inference, exponential average.
    inference_ms: Option<f64>,
    costs: LookCosts,
}

impl Feedback {
    /// Reports that a frame's record was published, with its tracks and its age.
    pub fn published(&self, frame: u64, tracks: Vec<RectPx>, age_ms: Option<f64>) {
        let mut state = self.lock();
        state.published = Some(frame);
        state.tracks = tracks;
        if let Some(age) = age_ms {
            state.age_ms = Some(state.age_ms.map_or(age, |a| a + (age - a) * 0.2));
        }
        self.changed.notify_all();
    }

    /// Reports where something was found or is tracked in a frame that the network ran on; before the frame is
    /// reported as published.
    pub fn has_found(&self, frame: u64, boxes: Vec<RectPx>) {
        let mut state = self.lock();
        state.found.push_back((frame, boxes));
        if state.found.len() > KEPT_FRAMES {
            state.found.pop_front();
        }
    }

    /// Reports the time of one inference.
    pub fn inferred(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let mut state = self.lock();
        state.inference_ms = Some(state.inference_ms.map_or(ms, |a| a + (ms - a) * 0.1));
    }

    /// Reads or changes what is known of the time that looks take.
    pub fn with_costs<R>(&self, f: impl FnOnce(&mut LookCosts) -> R) -> R {
        f(&mut self.lock().costs)
    }

    /// Waits until the record of `frame` is published, if there is such a frame; the tracks then.
    pub(super) fn tracks_after(&self, frame: Option<u64>, stop: &StopSignal) -> Vec<RectPx> {
        let mut state = self.lock();
        while state.published < frame && !stop.is_stopped() {
            let waited = self.changed.wait_timeout(state, Duration::from_millis(50));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.tracks.clone()
    }

    /// Waits until the record of `frame` is published; what was found in it.
    pub(super) fn found_in(&self, frame: u64, stop: &StopSignal) -> Vec<RectPx> {
        let mut state = self.lock();
        while state.published.is_none_or(|last| last < frame) && !stop.is_stopped() {
            let waited = self.changed.wait_timeout(state, Duration::from_millis(50));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let of_frame = state.found.iter().find(|(of, _)| *of == frame);
        of_frame.map_or_else(Vec::new, |(_, boxes)| boxes.clone())
    }

    /// What was found in the last published frame that the network ran on.
    pub(super) fn found(&self) -> Vec<RectPx> {
        let state = self.lock();
        let last = state.found.back();
        last.map_or_else(Vec::new, |(_, boxes)| boxes.clone())
    }

    /// The tracks of the last published frame.
    pub(super) fn tracks(&self) -> Vec<RectPx> {
        self.lock().tracks.clone()
    }

    /// Age of records when they are made, on average.
    pub(super) fn age_ms(&self) -> Option<f64> {
        self.lock().age_ms
    }

    /// Time of one inference, on average.
    pub(super) fn inference_ms(&self) -> Option<f64> {
        self.lock().inference_ms
    }

    fn lock(&self) -> MutexGuard<'_, FeedbackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What later stages tell the gating.

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

#[derive(Debug, Default)]
struct FeedbackState {
    /// The last frame whose record was published.
    published: Option<u64>,
    tracks: Vec<RectPx>,
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

    /// Waits until the record of the frame before `frame` is published; its tracks.
    pub(super) fn tracks_before(&self, frame: u64, stop: &StopSignal) -> Vec<RectPx> {
        let mut state = self.lock();
        while state.published.map_or(0, |last| last + 1) < frame && !stop.is_stopped() {
            let waited = self.changed.wait_timeout(state, Duration::from_millis(50));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.tracks.clone()
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

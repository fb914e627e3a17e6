//! The parts of a running stream that a reload changes.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Changes, Refusal, StreamUpdate};
use crate::config::LoadedPipeline;
use crate::gating::Gating;
use crate::pipeline::build::{SharedSinks, StreamBuilder, StreamModels};
use crate::pipeline::options::RunError;
use crate::pipeline::sink_threads::Removal;
use crate::pipeline::stages::infer::InferenceWorker;
use crate::pipeline::stages::publish::{PublishParams, PublishUpdate, ReloadEvent};
use crate::pipeline::stages::sink_edges::SinkEdges;
use crate::pipeline::threads::{RunningStream, StreamSinks};

/// How often a sink that is removed is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The parts of a running stream that change.
pub struct Parts {
    workers: Option<Vec<Box<dyn InferenceWorker>>>,
    gating: Option<Gating>,
    publish: PublishParams,
    sinks: StreamSinks,
}

impl Parts {
    /// Builds the parts of a stream that `changes` under `next`; its sinks last.
    ///
    /// # Errors
    /// When one cannot be built or opened.
    pub fn build(
        builder: &StreamBuilder,
        next: &LoadedPipeline,
        changes: &Changes,
        models: &StreamModels,
        shared: &Mutex<SharedSinks>,
    ) -> Result<Self, RunError> {
        let workers = if changes.inference {
            Some(builder.workers(next, models)?.0)
        } else {
            None
        };
        let gating = if changes.gating {
            Some(builder.next_gating(next)?)
        } else {
            None
        };
        Ok(Self {
            workers,
            gating,
            publish: builder.publish(next),
            sinks: builder.sinks(next, models, &changes.added, shared)?,
        })
    }
}

/// What tells that an update is in force.
pub struct Applied {
    /// The number of its first frame.
    frame: Receiver<u64>,
    /// The sinks that are removed with it.
    leaving: Vec<Removal>,
}

impl Applied {
    /// Waits for the first frame, and then until what was removed is written; `None` if the frame does not come
    /// until `deadline`.
    pub fn wait(self, deadline: Instant) -> Option<u64> {
        let left = deadline.saturating_duration_since(Instant::now());
        let frame = self.frame.recv_timeout(left).ok()?;
        while !self.leaving.iter().all(Removal::is_done) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        Some(frame)
    }
}

/// Starts the sinks, and gives the stream its update.
///
/// # Errors
/// When the stream has ended.
pub fn give(
    running: &RunningStream,
    parts: Parts,
    next: &LoadedPipeline,
    changes: &Changes,
) -> Result<Applied, Refusal> {
    let mut threads = running.sinks.lock().unwrap_or_else(PoisonError::into_inner);
    if threads.has_ended() {
        return Err(Refusal::Ended);
    }
    threads.reap();
    let added = threads.start(parts.sinks).unwrap_or_else(|error| {
        tracing::error!("{}: no thread for a sink: {error}", next.stream);
        SinkEdges::default()
    });
    let (applied, is_applied) = mpsc::channel();
    let leaving = threads.removals(&changes.removed);
    running.handover.give(StreamUpdate {
        gating: parts.gating,
        workers: parts.workers,
        publish: PublishUpdate {
            params: parts.publish,
            added,
            removed: changes.removed.clone(),
            removals: leaving.iter().map(|removal| removal.stop.clone()).collect(),
            event: ReloadEvent {
                config_sha256: next.sha256(),
                analysis_sha256: next.analysis_sha256(),
                changed: changes.keys.clone(),
            },
            applied,
        },
    })?;
    Ok(Applied {
        frame: is_applied,
        leaving,
    })
}

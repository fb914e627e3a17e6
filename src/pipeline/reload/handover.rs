//! How new settings get into a running stream: they wait at the capture stage, which hands each stage its part and
//! marks the messages from then on with the next generation. So all stages change at the same message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::flow::UpdateSender;
use crate::gating::Gating;
use crate::pipeline::stages::capture::CaptureUpdate;
use crate::pipeline::stages::infer::InferenceWorker;
use crate::pipeline::stages::publish::PublishUpdate;

/// Reloads that may wait for a frame of a stream; the source of one with more gives none.
const MOST_WAITING: usize = 8;

/// What changes in a stream.
pub struct StreamUpdate {
    /// Decides on which frames and regions the network runs, if that changes.
    pub gating: Option<Gating>,
    /// One for each inference thread, if what they do changes.
    pub workers: Option<Vec<Box<dyn InferenceWorker>>>,
    /// What changes when records are made.
    pub publish: PublishUpdate,
}

/// The way of updates into a stream; clones share it.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    updates: VecDeque<StreamUpdate>,
    is_closed: bool,
}

/// Why an update cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stream has ended.
    Ended,
    /// Too many wait for a frame.
    Full,
}

impl Handover {
    /// Has the stream take `update` over with its next frame, after those that wait.
    ///
    /// # Errors
    /// When the stream has ended, or too many wait.
    pub fn give(&self, update: StreamUpdate) -> Result<(), Refusal> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(Refusal::Ended);
        }
        if waiting.updates.len() >= MOST_WAITING {
            return Err(Refusal::Full);
        }
        if update.workers.is_some() {
            // They would never run.
            for before in &mut waiting.updates {
                before.workers = None;
            }
        }
        waiting.updates.push_back(update);
        Ok(())
    }

    /// Drops what waits: nobody takes it over any more.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let dropped = std::mem::take(&mut waiting.updates);
        drop(waiting);
        drop(dropped);
    }

    /// Whether another one may be given.
    pub fn has_room(&self) -> bool {
        self.lock().updates.len() < MOST_WAITING
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands each stage its part.
pub struct Distributor {
    /// Where updates wait.
    pub handover: Handover,
    /// To the inference threads.
    pub workers: Vec<UpdateSender<Box<dyn InferenceWorker>>>,
    /// To publishing.
    pub publish: UpdateSender<PublishUpdate>,
    /// The generation of the messages now.
    pub generation: u64,
}

impl Distributor {
    /// Hands out all that waits; gives capture its own part.
    pub fn next(&mut self) -> Option<CaptureUpdate> {
        let mut waiting = self.handover.lock();
        if waiting.updates.is_empty() {
            return None;
        }
        let updates = std::mem::take(&mut waiting.updates);
        drop(waiting);
        let mut gating = Vec::new();
        for update in updates {
            self.generation += 1;
            for (sender, worker) in self
                .workers
                .iter()
                .zip(update.workers.into_iter().flatten())
            {
                sender.send(self.generation, worker);
            }
            self.publish.send(self.generation, update.publish);
            gating.extend(update.gating);
        }
        Some(CaptureUpdate {
            generation: self.generation,
            gating: gating.pop(),
        })
    }
}

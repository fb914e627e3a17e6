//! Storing: hands frames and events to the event store, and has it write at least once a second.

use std::sync::mpsc;
use std::time::SystemTime;

use super::sink_edges::{MissedEvents, RecordedFrame};
use crate::flow::{Received, Receiver};
use crate::sink::{ErrorGuard, RecordedFile, STORE_FLUSH_INTERVAL, SinkError, StoreSink};

/// Stores the events of a stream.
pub struct StoreStage {
    /// The sink.
    pub sink: StoreSink,
    /// Handles its errors.
    pub guard: ErrorGuard,
    /// What the recordings tell of their files.
    pub files: mpsc::Receiver<RecordedFile>,
}

impl StoreStage {
    /// Works until no more frames come; everything is written then. `missed` gets events that come without a
    /// frame.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn run(
        mut self,
        frames: &Receiver<RecordedFrame>,
        missed: &MissedEvents,
    ) -> Result<(), SinkError> {
        loop {
            match frames.recv_timeout(STORE_FLUSH_INTERVAL) {
                Received::Item(recorded) => {
                    let frame = recorded.frame;
                    for event in missed.take(frame.record.frame) {
                        self.sink.take_event(&event);
                    }
                    let age = frame.meta.captured_at.elapsed();
                    let now = SystemTime::now();
                    let captured_at = now.checked_sub(age).unwrap_or(now);
                    self.sink
                        .take_frame(&frame.record, captured_at, Some(&frame.pictures));
                }
                Received::Nothing => self.take_missed(missed),
                Received::Closed => break,
            }
            if self.sink.is_due() {
                self.flush()?;
            }
            if self.guard.is_disabled() {
                return Ok(());
            }
        }
        self.take_missed(missed);
        self.sink.end();
        self.take_files();
        self.sink.flush().or_else(|error| {
            self.guard.failed(error)?;
            if self.guard.is_disabled() {
                return Ok(());
            }
            self.sink.flush().inspect_err(|_| self.guard.lose(1))
        })
    }

    fn take_missed(&mut self, missed: &MissedEvents) {
        for event in missed.take(u64::MAX) {
            self.sink.take_event(&event);
        }
    }

    fn take_files(&mut self) {
        for file in self.files.try_iter() {
            self.sink.take_file(file);
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.take_files();
        if self.guard.is_due() {
            match self.sink.flush() {
                Ok(()) => self.guard.succeeded(),
                Err(error) => self.guard.failed(error)?,
            }
        }
        let lost = self.sink.trim();
        if lost > 0 {
            self.guard.lose(lost);
        }
        Ok(())
    }
}

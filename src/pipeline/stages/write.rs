//! Writing: hands records, annotated pictures and masks to their sinks, and tries again what a sink
//! could not take.

use std::sync::Arc;

use super::render::RenderedFrame;
use super::sink_edges::SinkMessage;
use crate::flow::{Received, Receiver, StopReason, StopSignal};
use crate::frame::FrameMeta;
use crate::postprocess::ClassMask;
use crate::records::EndRecord;
use crate::sink::{ErrorGuard, ImagesSink, MasksSink, OnError, RecordSink, SinkError};

/// A sink of records and how its errors are handled.
pub struct GuardedSink {
    /// The sink.
    pub sink: Box<dyn RecordSink>,
    /// Handles its errors.
    pub guard: ErrorGuard,
}

impl GuardedSink {
    /// A sink whose errors end the run, by the name of its thread.
    pub fn new(thread: &str, sink: Box<dyn RecordSink>) -> Self {
        let kind = thread.trim_start_matches("4-");
        Self {
            sink,
            guard: ErrorGuard::new(kind, OnError::End),
        }
    }

    /// Takes the last record; where errors are retried, once more.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self, end: &EndRecord) -> Result<(), SinkError> {
        self.sink.finish(end).or_else(|error| {
            self.guard.failed(error)?;
            if self.guard.is_disabled() {
                return Ok(());
            }
            self.sink.reopen()?;
            self.sink.finish(end)
        })
    }
}

/// Writes records until no more come. Gives the sink back, to be finished with the last record; `None`
/// if it was disabled, if it was removed and has its last record, or if its reader went away, which asks `stop`
/// for the end of the run. Once `removed` is stopped too, what fails is tried once more.
///
/// # Errors
/// When the sink fails.
pub fn write_records(
    mut to: GuardedSink,
    messages: &Receiver<SinkMessage>,
    stop: &StopSignal,
    removed: &StopSignal,
) -> Result<Option<GuardedSink>, SinkError> {
    while let Some(mut message) = messages.recv() {
        let events = message.take_events();
        let mut events = events.iter();
        let mut event = events.next();
        loop {
            // An event that is written is not written again when what follows it fails.
            let written = write_guarded(&mut to.guard, removed, |is_again| {
                if is_again {
                    to.sink.reopen()?;
                }
                match (event, &message.frame) {
                    (Some(event), _) => to.sink.event(event),
                    (None, Some(frame)) => to.sink.frame(frame),
                    (None, None) => Ok(()),
                }
            });
            match written {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(SinkError::ReaderGone { target }) => {
                    tracing::info!("{target} was closed by its reader; stopping");
                    stop.stop(StopReason::ReaderGone);
                    return Ok(None);
                }
                Err(error) => {
                    while let Received::Item(_) = messages.try_recv() {
                        to.guard.lose(1);
                    }
                    return Err(error);
                }
            }
            if event.is_none() {
                break;
            }
            event = events.next();
        }
        if let Some(end) = message.end {
            to.finish(&end)?;
            return Ok(None);
        }
    }
    Ok(Some(to))
}

/// Writes annotated pictures until no more come.
///
/// # Errors
/// When one cannot be written.
pub fn write_images(
    (mut sink, mut guard): (ImagesSink, ErrorGuard),
    pictures: &Receiver<RenderedFrame>,
    stop: &StopSignal,
) -> Result<(), SinkError> {
    while let Some(rendered) = pictures.recv() {
        let write = |_| sink.write(&rendered.meta, &rendered.picture);
        if !write_guarded(&mut guard, stop, write)? {
            break;
        }
    }
    Ok(())
}

/// Writes masks until no more come.
///
/// # Errors
/// When one cannot be written.
pub fn write_masks(
    (mut sink, mut guard): (MasksSink, ErrorGuard),
    masks: &Receiver<(FrameMeta, Arc<ClassMask>)>,
    stop: &StopSignal,
) -> Result<(), SinkError> {
    while let Some((meta, mask)) = masks.recv() {
        if !write_guarded(&mut guard, stop, |_| sink.write(&meta, &mask))? {
            break;
        }
    }
    Ok(())
}

/// Tries to write until it works, as `guard` sees fit; `write` is told whether it is not the first
/// attempt. Returns false if the sink is disabled. When the run is stopped, one more attempt is made.
///
/// # Errors
/// The last one, when no further attempt is made.
fn write_guarded(
    guard: &mut ErrorGuard,
    stop: &StopSignal,
    mut write: impl FnMut(bool) -> Result<(), SinkError>,
) -> Result<bool, SinkError> {
    let mut is_last = false;
    let mut is_again = guard.is_failing();
    loop {
        match write(is_again) {
            Ok(()) => {
                guard.succeeded();
                return Ok(true);
            }
            Err(error) if is_last => {
                guard.lose(1);
                return Err(error);
            }
            Err(error) => guard.failed(error)?,
        }
        is_again = true;
        match guard.due() {
            Some(due) => is_last = stop.sleep_until(due),
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Policy, edge};
    use crate::records::{EventRecord, FrameRecord};
    use std::sync::Mutex;

    /// Fails `failures` times, then keeps what it is given.
    struct Flaky {
        failures: usize,
        kept: Arc<Mutex<Vec<String>>>,
    }

    impl Flaky {
        fn keep(&mut self, what: String) -> Result<(), SinkError> {
            if self.failures > 0 {
                self.failures -= 1;
                let full = std::io::ErrorKind::StorageFull.into();
                return Err(SinkError::from_io("disk", full));
            }
            self.kept.lock().expect("no panic").push(what);
            Ok(())
        }
    }

    impl RecordSink for Flaky {
        fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
            // After an event that was kept, another attempt is for the frame alone.
            if record.frame == 1 && self.kept.lock().expect("no panic").len() == 2 {
                self.failures = 1;
                self.kept
                    .lock()
                    .expect("no panic")
                    .push("failed".to_owned());
            }
            self.keep(record.frame.to_string())
        }
        fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
            self.keep(event.name.clone())
        }
        fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
            self.keep("end".to_owned())
        }
    }

    /// What a sink keeps of two frames, the second with an event before it, in a run that is stopping,
    /// and whether it fails.
    fn kept(failures: usize, on_error: OnError) -> (Vec<String>, bool) {
        let kept = Arc::<Mutex<Vec<String>>>::default();
        let sink = Box::new(Flaky {
            failures,
            kept: Arc::clone(&kept),
        });
        let mut to = GuardedSink::new("4-test", sink);
        to.guard = ErrorGuard::new("test", on_error);
        let (tx, rx) = edge("t", 4, Policy::Block);
        for frame in 0..2 {
            let record = FrameRecord {
                frame,
                ..FrameRecord::default()
            };
            let event = EventRecord::of(&record, "source", "new", "lost");
            let message = SinkMessage {
                events: vec![event; frame as usize],
                frame: Some(Arc::new(record)),
                ..SinkMessage::default()
            };
            tx.send(message).expect("open");
        }
        drop(tx);
        // No pauses.
        let stop = StopSignal::new();
        stop.stop(StopReason::Interrupted);
        let written = write_records(to, &rx, &stop, &stop.child());
        let has_failed = written.is_err();
        let finished = written.ok().flatten().map(|to| {
            let frames = crate::records::FrameCounts::default();
            to.finish(&EndRecord::new("s", None, frames))
        });
        let has_failed = has_failed || finished.is_some_and(|finished| finished.is_err());
        let kept = kept.lock().expect("no panic").clone();
        (kept, has_failed)
    }

    #[test]
    fn what_failed_is_tried_again_and_nothing_is_written_twice() {
        let all = ["0", "lost", "failed", "1", "end"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(kept(0, OnError::Retry), (all.clone(), false));
        assert_eq!(kept(1, OnError::Retry), (all, false));
        // One more attempt is made in a run that is stopping.
        assert_eq!(kept(2, OnError::Retry), (vec![], true));
        assert_eq!(kept(1, OnError::Disable), (vec![], false));
        assert_eq!(kept(1, OnError::End), (vec![], true));
    }
}

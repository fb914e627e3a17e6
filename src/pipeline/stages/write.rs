//! Writing: hands records, annotated pictures and masks to their sinks.

use std::sync::Arc;

use super::publish::SinkMessage;
use super::render::RenderedFrame;
use crate::flow::{Receiver, StopReason, StopSignal};
use crate::frame::FrameMeta;
use crate::postprocess::ClassMask;
use crate::sink::{ImagesSink, MasksSink, RecordSink, SinkError};

/// Writes records until no more come. Gives the sink back, to be finished with the last record; `None`
/// if its reader went away, which asks `stop` for the end of the run.
///
/// # Errors
/// When the sink fails.
pub fn write_records(
    mut sink: Box<dyn RecordSink>,
    messages: &Receiver<SinkMessage>,
    stop: &StopSignal,
) -> Result<Option<Box<dyn RecordSink>>, SinkError> {
    while let Some(message) = messages.recv() {
        let written = match &message {
            SinkMessage::Frame(record) => sink.frame(record),
            SinkMessage::Event(event) => sink.event(event),
        };
        match written {
            Ok(()) => {}
            Err(SinkError::ReaderGone { target }) => {
                tracing::info!("{target} was closed by its reader; stopping");
                stop.stop(StopReason::ReaderGone);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(sink))
}

/// Writes annotated pictures until no more come.
///
/// # Errors
/// When one cannot be written.
pub fn write_images(
    mut sink: ImagesSink,
    pictures: &Receiver<RenderedFrame>,
) -> Result<(), SinkError> {
    while let Some(rendered) = pictures.recv() {
        sink.write(&rendered.meta, &rendered.picture)?;
    }
    Ok(())
}

/// Writes masks until no more come.
///
/// # Errors
/// When one cannot be written.
pub fn write_masks(
    mut sink: MasksSink,
    masks: &Receiver<(FrameMeta, Arc<ClassMask>)>,
) -> Result<(), SinkError> {
    while let Some((meta, mask)) = masks.recv() {
        sink.write(&meta, &mask)?;
    }
    Ok(())
}

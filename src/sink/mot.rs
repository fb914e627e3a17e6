//! Tracks in the MOTChallenge's results format.

use std::path::Path;

use super::output::Output;
use super::{RecordSink, SinkError};
use crate::records::{EndRecord, FrameRecord, TrackStateRecord};

/// Writes a line for each followed object of each frame: `frame, id, left, top, width, height, 1, -1,
/// -1, -1`, frames from 1. What was looked for and not found is left out.
#[derive(Debug)]
pub struct MotSink {
    output: Output,
}

impl MotSink {
    /// Opens `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        Ok(Self {
            output: Output::open(path)?,
        })
    }
}

impl RecordSink for MotSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let mut lines = String::new();
        for track in record.tracks.iter().flatten() {
            if track.state != TrackStateRecord::Lost {
                let [x, y, w, h] = track.bbox.into();
                let (frame, id) = (record.frame + 1, track.track_id);
                lines += &format!("{frame},{id},{x},{y},{w},{h},1,-1,-1,-1\n");
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.output.write_chunk(lines.as_bytes())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.output.reopen()
    }
}

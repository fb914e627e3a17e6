//! Records as JSON lines, flushed line by line.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record, RunRecord};

/// Writes one record a line; every line is whole or not there.
#[derive(Debug)]
pub struct JsonlSink {
    output: Output,
    line: Vec<u8>,
    timings: bool,
}

impl JsonlSink {
    /// Opens `path`, or standard output for `-`, and writes the `run` record. Latencies are left
    /// out of the frames' records unless `timings` are asked for, so that runs compare.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn open(path: &Path, run: &RunRecord, timings: bool) -> Result<Self, SinkError> {
        let mut sink = Self {
            output: Output::open(path)?,
            line: Vec::new(),
            timings,
        };
        sink.write(&Record::Run(run.clone()))?;
        Ok(sink)
    }

    fn write(&mut self, record: &impl Serialize) -> Result<(), SinkError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)
            .expect("records are plain data with string keys");
        self.line.push(b'\n');
        self.output.write_chunk(&self.line)
    }
}

impl RecordSink for JsonlSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let mut record = record.clone();
        if !self.timings {
            record.timings = None;
        }
        let events = std::mem::take(&mut record.events);
        self.write(&Record::Frame(record))?;
        for event in events {
            self.write(&Record::Event(event))?;
        }
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        self.write(&Record::Event(event.clone()))
    }

    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.write(&Record::End(record.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::FrameCounts;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut sink = JsonlSink {
            output: Output::create(Path::new("/dev/full")).expect("opens"),
            line: Vec::new(),
            timings: false,
        };
        let end = EndRecord::new("s", None, FrameCounts::default());
        let error = sink.finish(&end).expect_err("no space");
        assert!(matches!(error, SinkError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("cannot write /dev/full: "));
    }
}

//! Records as JSON lines, flushed line by line.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::output::Output;
use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record, RunRecord};

/// Where lines go; several streams may share it.
#[derive(Clone, Debug)]
pub struct LineWriter(Arc<Mutex<Output>>);

impl LineWriter {
    /// Opens `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        Ok(Self(Arc::new(Mutex::new(Output::open(path)?))))
    }
}

/// Writes one record a line; every line is whole or not there.
#[derive(Debug)]
pub struct JsonlSink {
    output: LineWriter,
    line: Vec<u8>,
    timings: bool,
}

impl JsonlSink {
    /// Writes the `run` record. Latencies are left out of the frames' records unless `timings` are
    /// asked for, so that runs compare.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(output: LineWriter, run: &RunRecord, timings: bool) -> Result<Self, SinkError> {
        let mut sink = Self {
            output,
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
        let mut output = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_chunk(&self.line)
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
            output: LineWriter::open(Path::new("/dev/full")).expect("opens"),
            line: Vec::new(),
            timings: false,
        };
        let end = EndRecord::new("s", None, FrameCounts::default());
        let error = sink.finish(&end).expect_err("no space");
        assert!(matches!(error, SinkError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("cannot write /dev/full: "));
    }
}

//! Records as JSON lines, flushed line by line.

use serde::Serialize;

use super::{ErrorGuard, LineWriter, RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record, RunRecord};

/// Writes one record a line; every line is whole or not there.
#[derive(Debug)]
pub struct JsonlSink {
    output: LineWriter,
    lines: Vec<u8>,
    timings: bool,
}

impl JsonlSink {
    /// Writes the `run` record. What depends on the machine is left out unless `timings` are asked for, so
    /// that runs compare: latencies, and the instruction set.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(output: LineWriter, run: &RunRecord, timings: bool) -> Result<Self, SinkError> {
        let (sink, begun) = Self::begin(output, run, timings);
        begun.map(|()| sink)
    }

    /// Like [`new`](Self::new); a `run` record that cannot be written comes with the first frame, as
    /// `guard` sees fit.
    ///
    /// # Errors
    /// When that is not before the run begins.
    pub fn guarded(
        output: LineWriter,
        run: &RunRecord,
        timings: bool,
        guard: &mut ErrorGuard,
    ) -> Result<Self, SinkError> {
        let (sink, begun) = Self::begin(output, run, timings);
        begun.or_else(|error| guard.failed(error))?;
        Ok(sink)
    }

    fn begin(output: LineWriter, run: &RunRecord, timings: bool) -> (Self, Result<(), SinkError>) {
        let mut sink = Self {
            output,
            lines: Vec::new(),
            timings,
        };
        let mut run = run.clone();
        if !timings {
            run.model.instruction_set = None;
            let models = run.models.values_mut();
            models.for_each(|model| model.instruction_set = None);
        }
        sink.add(&Record::Run(run));
        let begun = sink.output.begin(&sink.lines);
        (sink, begun)
    }

    /// Adds a line to those that are written together.
    fn add(&mut self, record: &impl Serialize) {
        serde_json::to_writer(&mut self.lines, record)
            .expect("records are plain data with string keys");
        self.lines.push(b'\n');
    }

    fn write(&mut self) -> Result<(), SinkError> {
        self.output.write(&self.lines)
    }
}

impl RecordSink for JsonlSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let mut record = record.clone();
        if !self.timings {
            record.timings = None;
        }
        let events = std::mem::take(&mut record.events);
        self.lines.clear();
        self.add(&Record::Frame(record));
        for event in events {
            self.add(&Record::Event(event));
        }
        self.write()
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        self.lines.clear();
        self.add(&Record::Event(event.clone()));
        self.write()
    }

    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.lines.clear();
        self.add(&Record::End(record.clone()));
        self.write()?;
        self.output.sync()
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.output.reopen()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::records::FrameCounts;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut sink = JsonlSink {
            output: LineWriter::open(Path::new("/dev/full")).expect("opens"),
            lines: Vec::new(),
            timings: false,
        };
        let end = EndRecord::new("s", None, FrameCounts::default());
        let error = sink.finish(&end).expect_err("no space");
        assert!(matches!(error, SinkError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("cannot write /dev/full: "));
    }
}

//! Where the results of an analysis go: records, tracks, events.

use mobilens::records::{EndRecord, FrameRecord, RunRecord};
use mobilens::sink::{JsonlSink, LineWriter, MotSink, RecordSink, SinkError};

use super::Failure;
use super::arguments::{AnalyzeArgs, AnalyzeFormat};
#[cfg(feature = "store")]
use super::store::open_store;

/// Opened once the run record is read.
pub struct Outputs {
    records: Option<Box<dyn RecordSink>>,
    #[cfg(feature = "store")]
    store: Option<mobilens::sink::StoreSink>,
}

impl Outputs {
    /// With a store, records are written only if a file is named.
    pub fn open(arguments: &AnalyzeArgs, run: &RunRecord) -> Result<Self, Failure> {
        let named = arguments.output.as_deref();
        let is_wanted = named.is_some() || arguments.store.is_none();
        let output = named.unwrap_or("-".as_ref());
        let records = || -> Result<Box<dyn RecordSink>, SinkError> {
            Ok(match arguments.format {
                AnalyzeFormat::Jsonl => {
                    Box::new(JsonlSink::new(LineWriter::open(output)?, run, true)?)
                }
                AnalyzeFormat::Mot => Box::new(MotSink::open(output)?),
            })
        };
        Ok(Self {
            #[cfg(feature = "store")]
            store: open_store(arguments, run)?,
            records: is_wanted.then(records).transpose()?,
        })
    }

    pub fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        #[cfg(feature = "store")]
        if let Some(store) = &mut self.store {
            store.frame(record)?;
        }
        self.records
            .as_mut()
            .map_or(Ok(()), |sink| sink.frame(record))
    }

    /// Takes the last record. Records that were cut off have none; events end with them all the same.
    pub fn finish(mut self, end: Option<&EndRecord>) -> Result<(), SinkError> {
        #[cfg(feature = "store")]
        if let Some(store) = &mut self.store {
            store.end();
            store.flush()?;
        }
        match (&mut self.records, end) {
            (Some(sink), Some(end)) => sink.finish(end),
            _ => Ok(()),
        }
    }
}

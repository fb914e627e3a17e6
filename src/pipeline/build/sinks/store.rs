//! The event store, from the configuration.

use std::sync::mpsc;
use std::time::Duration;

use crate::config::StoreConfig;
use crate::pipeline::stages::store::StoreStage;
use crate::records::RunRecord;
use crate::sink::{ErrorGuard, RecordedFile, SinkError, StoreParams, StoreSink};

/// Opens the store of one stream; also gives what recordings tell of their files to.
pub fn open(
    config: &StoreConfig,
    is_live: bool,
    run: &RunRecord,
    mut guard: ErrorGuard,
) -> Result<(StoreStage, mpsc::Sender<RecordedFile>), SinkError> {
    let params = StoreParams {
        path: config.path.clone(),
        thumbnails: config.thumbnails,
        sync: config.sync,
        max_age: Duration::from_secs_f64(config.keep_days * 86_400.0),
        max_bytes: u64::from(config.max_mb) * 1_000_000,
        is_live,
        began_ms: 0,
    };
    let sink = StoreSink::guarded(params, run, &mut guard)?;
    let (reports, files) = mpsc::channel();
    let stage = StoreStage { sink, guard, files };
    Ok((stage, reports))
}

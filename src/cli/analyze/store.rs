//! `analyze --store`: events of saved records in an event store.

use std::time::Duration;

use jiff::Zoned;
use mobilens::records::RunRecord;
use mobilens::sink::{StoreParams, StoreSink};
use mobilens::store::{instant_text, parse_instant};

use super::Failure;
use super::arguments::AnalyzeArgs;

/// Opens the store, if one is asked for.
pub fn open_store(arguments: &AnalyzeArgs, run: &RunRecord) -> Result<Option<StoreSink>, Failure> {
    let Some(path) = &arguments.store else {
        return Ok(None);
    };
    let began = arguments.began.as_ref().map(|text| {
        let parsed = parse_instant(text, &Zoned::now(), false);
        parsed.map_err(|error| Failure::Began {
            text: text.clone(),
            error,
        })
    });
    let began_ms = began.transpose()?;
    let mut run = run.clone();
    if let Some(began_ms) = began_ms {
        // Records of one camera on two days are two recordings.
        run.source.uri = format!("{} {}", run.source.uri, instant_text(began_ms));
    }
    let params = StoreParams {
        path: path.clone(),
        thumbnails: false,
        sync: true,
        max_age: Duration::MAX,
        max_bytes: u64::MAX,
        is_live: false,
        began_ms: began_ms.unwrap_or(0),
    };
    Ok(Some(StoreSink::open(params, &run)?))
}

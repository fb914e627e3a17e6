//! `mobilens events`: asks an event store.

pub mod arguments;
mod coco;
mod table;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use jiff::Zoned;
use mobilens::sink::SinkError;
use mobilens::store::{EventFilter, Store, StoreError, StoredEvent, csv, parse_instant};

use super::{DONE, FAILED, USAGE, print_error};
use arguments::EventsArgs;

/// Events of a table without `--limit`.
const TABLE_LIMIT: u64 = 100;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("--{option} {text}: {error}")]
    Time {
        option: &'static str,
        text: String,
        error: mobilens::store::InstantError,
    },
    #[error(transparent)]
    Written(#[from] SinkError),
}

/// Prints what was asked for; exit code 2 for a file that is no event store.
pub fn events(arguments: &EventsArgs) -> u8 {
    let failure = match run(arguments) {
        // Whoever reads has had enough.
        Ok(()) | Err(Failure::Written(SinkError::ReaderGone { .. })) => return DONE,
        Err(failure) => failure,
    };
    print_error(&failure.to_string());
    match failure {
        Failure::Store(_) | Failure::Time { .. } => USAGE,
        Failure::Written(_) => FAILED,
    }
}

fn run(arguments: &EventsArgs) -> Result<(), Failure> {
    let now = Zoned::now();
    let time = |option: &'static str, text: Option<&String>, is_end: bool| {
        let parsed = text.map(|text| {
            parse_instant(text, &now, is_end).map_err(|error| Failure::Time {
                option,
                text: text.clone(),
                error,
            })
        });
        parsed.transpose()
    };
    let is_table = !arguments.json && !arguments.csv && arguments.coco.is_none();
    let filter = EventFilter {
        id: arguments.id,
        stream: arguments.stream.clone(),
        kind: arguments.kind.clone(),
        label: arguments.label.clone(),
        zone: arguments.zone.clone(),
        since_ms: time("since", arguments.since.as_ref(), false)?,
        until_ms: time("until", arguments.until.as_ref(), true)?,
        text: arguments.text.clone(),
        limit: arguments.limit.or(is_table.then_some(TABLE_LIMIT)),
        ..EventFilter::default()
    };
    let store = Store::open_read_only(&arguments.database)?;
    if let Some(dir) = &arguments.thumbnails {
        let made = std::fs::create_dir_all(dir);
        made.map_err(|e| SinkError::from_io(&dir.display().to_string(), e))?;
    }
    let asked = Asked {
        store: &store,
        filter: &filter,
        thumbnails: arguments.thumbnails.as_deref(),
    };
    if let Some(file) = &arguments.coco {
        let mut dataset = coco::Dataset::default();
        asked.each(|event| {
            dataset.add(event, store.thumbnail(event.id)?.as_ref());
            Ok(())
        })?;
        return Ok(dataset.write(file)?);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if arguments.json {
        asked.each(|event| line_to(&mut out, &json_of(event)))?;
    } else if arguments.csv {
        line_to(&mut out, &csv::head())?;
        asked.each(|event| line_to(&mut out, &csv::line(event)))?;
    } else {
        let mut table = table::Table::new(now.time_zone().clone());
        asked.each(|event| {
            table.add(event);
            Ok(())
        })?;
        line_to(&mut out, table.to_string().trim_end())?;
        if arguments.limit.is_none() && table.len() == TABLE_LIMIT {
            let count = store.count(&filter)?;
            line_to(&mut out, &format!("{count} in all; --limit N shows more"))?;
        }
    }
    out.flush()
        .map_err(|e| SinkError::from_io("standard output", e))?;
    Ok(())
}

/// What is asked of a store.
struct Asked<'a> {
    store: &'a Store,
    filter: &'a EventFilter,
    /// The folder for thumbnails.
    thumbnails: Option<&'a Path>,
}

impl Asked<'_> {
    /// Writes each event and its thumbnail.
    fn each(
        &self,
        mut write: impl FnMut(&StoredEvent) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut written = Ok(());
        self.store.events(self.filter, |event| {
            written = self.write_thumbnail(&event).and_then(|()| write(&event));
            written.is_ok()
        })?;
        written
    }

    fn write_thumbnail(&self, event: &StoredEvent) -> Result<(), Failure> {
        if let Some(dir) = self.thumbnails
            && let Some(thumbnail) = self.store.thumbnail(event.id)?
        {
            let path = dir.join(thumbnail_name(event));
            let written = std::fs::write(&path, thumbnail.jpeg);
            written.map_err(|e| SinkError::from_io(&path.display().to_string(), e))?;
        }
        Ok(())
    }
}

fn json_of(event: &StoredEvent) -> String {
    serde_json::to_string(event).expect("plain data with string keys")
}

fn line_to(out: &mut impl Write, line: &str) -> Result<(), Failure> {
    let written = writeln!(out, "{line}");
    Ok(written.map_err(|e| SinkError::from_io("standard output", e))?)
}

fn thumbnail_name(event: &StoredEvent) -> String {
    format!("{}.jpg", event.id)
}

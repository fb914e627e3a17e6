//! Events into the event store.
//!
//! Rows are gathered in memory and written at least once a second, each time in one transaction: readers are
//! never kept waiting, and a crash loses at most what came since. When the disk is full, the transaction is
//! undone as a whole, and the same rows are in the next one.

mod picture;
mod rows;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::rows::{EventKey, EventRows};
use super::recorded_files::RecordedFile;
use super::wall_clock::ClockWatch;
use super::{ErrorGuard, RecordSink, SinkError};
use crate::overlay::FramePictures;
use crate::records::{EndRecord, EventRecord, FrameRecord, RunRecord};
use crate::store::{EventRetention, RunInfo, Store, StoreError, StoreTransaction};

/// How often rows are written.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// How often retention looks at the file.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Rows that wait in memory while they cannot be written.
const MOST_WAITING: usize = 5000;
/// Rows and files of which it is remembered that they may belong together.
const MOST_REMEMBERED: usize = 1024;

/// Where events go, and how much is kept.
#[derive(Clone, Debug)]
pub struct StoreParams {
    /// The file.
    pub path: PathBuf,
    /// Whether pictures are kept.
    pub thumbnails: bool,
    /// Whether the disk must have each transaction.
    pub sync: bool,
    /// Live events are deleted when they are older.
    pub max_age: Duration,
    /// Beyond so many bytes the oldest events are deleted.
    pub max_bytes: u64,
    /// Whether times are those of the wall clock; else those of the recording.
    pub is_live: bool,
    /// When the recording began, in milliseconds since 1970, where that is known.
    pub began_ms: i64,
}

/// Writes the events of one stream.
pub struct StoreSink {
    params: StoreParams,
    info: RunInfo,
    store: Option<Store>,
    /// This run's number, once it is written.
    run: Option<i64>,
    rows: EventRows,
    /// Events of which a clip may still come, by their numbers.
    written: VecDeque<(EventKey, i64)>,
    /// What was recorded and is not written yet.
    files: VecDeque<RecordedFile>,
    flushed: Instant,
    swept: Option<Instant>,
    clock: ClockWatch,
}

impl StoreSink {
    /// Opens the store; it is made if it does not exist.
    ///
    /// # Errors
    /// When it cannot be opened, or another program made it.
    pub fn open(params: StoreParams, run: &RunRecord) -> Result<Self, SinkError> {
        let mut sink = Self::closed(params, run);
        sink.store = Some(sink.open_store()?);
        Ok(sink)
    }

    /// Like [`open`](Self::open); a store that cannot be opened is opened once it can be, as `guard` sees fit.
    ///
    /// # Errors
    /// When that is not before the run begins.
    pub fn guarded(
        params: StoreParams,
        run: &RunRecord,
        guard: &mut ErrorGuard,
    ) -> Result<Self, SinkError> {
        let mut sink = Self::closed(params, run);
        match sink.open_store() {
            Ok(store) => sink.store = Some(store),
            Err(error) => guard.failed(error.into())?,
        }
        Ok(sink)
    }

    fn closed(params: StoreParams, run: &RunRecord) -> Self {
        let at = Instant::now();
        Self {
            info: RunInfo {
                stream: run.stream.clone(),
                source: format!("{} {}", run.source.kind, run.source.uri),
                tool: run.tool.clone(),
                config_sha256: run.config_sha256.clone(),
                is_live: params.is_live,
            },
            store: None,
            run: None,
            rows: EventRows::new(
                params.began_ms as f64,
                run.source.width.zip(run.source.height).map(Into::into),
                params.thumbnails,
            ),
            written: VecDeque::new(),
            files: VecDeque::new(),
            flushed: at,
            swept: None,
            clock: ClockWatch::new(SystemTime::now(), at),
            params,
        }
    }

    fn open_store(&self) -> Result<Store, StoreError> {
        Store::open(&self.params.path, self.params.sync)
    }

    /// Takes a frame that was captured at `captured_at`, with its events.
    pub fn take_frame(
        &mut self,
        record: &FrameRecord,
        captured_at: SystemTime,
        pictures: Option<&FramePictures>,
    ) {
        if self.params.is_live {
            let wall = captured_at.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.rows.base_ms = wall.as_secs_f64() * 1000.0 - record.pts_ms;
        }
        self.rows.take_frame(record, pictures);
    }

    /// Takes an event without its frame.
    pub fn take_event(&mut self, event: &EventRecord) {
        self.rows.take_event(event, None);
    }

    /// Takes note of a file of the recordings.
    pub fn take_file(&mut self, file: RecordedFile) {
        self.files.push_back(file);
        let excess = self.files.len().saturating_sub(MOST_REMEMBERED);
        self.files.drain(..excess);
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        self.flushed.elapsed() >= FLUSH_INTERVAL
    }

    /// What still lasts has ended with the stream.
    pub fn end(&mut self) {
        self.rows.end_all();
    }

    /// Drops the oldest rows if too many wait; returns how many went.
    pub fn trim(&mut self) -> u64 {
        self.rows.trim(MOST_WAITING)
    }

    /// Writes what waits, and deletes what is too old or too much.
    ///
    /// # Errors
    /// When it cannot be written; it waits, then.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        self.flushed = Instant::now();
        let written = self.write().and_then(|()| self.sweep());
        if written.is_err() {
            // The next attempt opens it again, whatever became of the file.
            self.store = None;
        }
        Ok(written?)
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.open_store()?,
        };
        self.find_clips();
        let is_dirty = self.rows.rows.values().any(|row| row.is_dirty);
        if is_dirty || !self.files.is_empty() || self.run.is_none() {
            let transaction = store.begin()?;
            let run = self.ensure_run(&transaction)?;
            let ids = self.write_rows(&transaction, run)?;
            let left = self.write_files(&transaction, run)?;
            transaction.commit()?;
            self.run = Some(run);
            self.files = left;
            self.committed(&ids);
        }
        self.store = Some(store);
        Ok(())
    }

    /// The number of this run, which is written if it is not there: in the beginning, and when the file is
    /// another one.
    fn ensure_run(&mut self, transaction: &StoreTransaction<'_>) -> Result<i64, StoreError> {
        if let Some(run) = self.run
            && transaction.has_run(run, &self.info)?
        {
            return Ok(run);
        }
        let (run, replaced) = transaction.add_run(&self.info)?;
        if replaced > 0 {
            let path = self.params.path.display();
            tracing::info!("{path}: {replaced} events of an earlier replay are replaced");
        }
        self.run = None;
        self.written.clear();
        for row in self.rows.rows.values_mut() {
            row.event.id = 0;
            row.is_dirty = true;
        }
        Ok(run)
    }

    /// Writes the rows that changed; returns the numbers of new ones.
    fn write_rows(
        &mut self,
        transaction: &StoreTransaction<'_>,
        run: i64,
    ) -> Result<Vec<(u64, i64)>, StoreError> {
        let mut inserter = transaction.inserter()?;
        let mut ids = Vec::<(u64, i64)>::new();
        let at: Vec<u64> = self.rows.rows.keys().copied().collect();
        for at in at {
            let track = self.rows.rows.get(&at).and_then(|row| row.track);
            let of_track = track.and_then(|track| {
                let known = self.rows.rows.get(&track).map(|row| row.event.id);
                let new = ids
                    .iter()
                    .rev()
                    .find(|(at, _)| *at == track)
                    .map(|(_, id)| *id);
                new.or(known.filter(|id| *id != 0))
            });
            let Some(row) = self.rows.rows.get_mut(&at).filter(|row| row.is_dirty) else {
                continue;
            };
            let id = if row.event.id == 0 {
                row.event.track_event = of_track;
                let id = inserter.insert(run, &row.event)?;
                ids.push((at, id));
                id
            } else {
                row.event.id
            };
            if let Some(cutting) = row.cutting.take() {
                row.thumbnail = Some(cutting.encode());
            }
            if let Some(thumbnail) = &row.thumbnail {
                transaction.set_thumbnail(id, thumbnail)?;
            }
        }
        let known = self.rows.rows.values();
        let changed = known.filter(|row| row.is_dirty && row.event.id != 0);
        transaction.update(changed.map(|row| &row.event))?;
        Ok(ids)
    }

    /// Writes what was recorded; returns what belongs to no row yet.
    fn write_files(
        &self,
        transaction: &StoreTransaction<'_>,
        run: i64,
    ) -> Result<VecDeque<RecordedFile>, StoreError> {
        let mut left = VecDeque::new();
        for file in &self.files {
            match file {
                RecordedFile::Clip {
                    kind,
                    name,
                    track_id,
                    frame,
                    file: clip,
                    offset_us,
                } => {
                    let key = (kind.clone(), name.clone(), *track_id, *frame);
                    let found = self.written.iter().find(|(of, _)| *of == key);
                    match found {
                        Some((_, id)) => {
                            let clip = self.file_name(clip);
                            transaction.set_clip(*id, &clip, *offset_us as f64 / 1000.0)?;
                        }
                        None => left.push_back(file.clone()),
                    }
                }
                RecordedFile::Begun { file, at_us } => {
                    let begins_ms = *at_us as f64 / 1000.0;
                    let start_ms = (self.rows.base_ms + begins_ms).round() as i64;
                    let file = self.file_name(file);
                    transaction.add_recording(run, &file, start_ms, begins_ms)?;
                }
                RecordedFile::Ended { file, at_us } => {
                    let file = self.file_name(file);
                    transaction.end_recording(run, &file, *at_us as f64 / 1000.0)?;
                }
            }
        }
        Ok(left)
    }

    /// Gives clips to their rows, as far as these are in memory.
    fn find_clips(&mut self) {
        let (rows, path) = (&mut self.rows.rows, &self.params.path);
        self.files.retain(|file| {
            let RecordedFile::Clip {
                kind,
                name,
                track_id,
                frame,
                file,
                offset_us,
            } = file
            else {
                return true;
            };
            let key = (kind.clone(), name.clone(), *track_id, *frame);
            let Some(row) = rows.values_mut().find(|row| row.key == key) else {
                return true;
            };
            row.event.clip = Some(name_from(path, file));
            row.event.clip_ms = Some(*offset_us as f64 / 1000.0);
            row.is_dirty = true;
            false
        });
    }

    fn file_name(&self, file: &Path) -> String {
        name_from(&self.params.path, file)
    }

    /// What is in the file now.
    fn committed(&mut self, ids: &[(u64, i64)]) {
        for (at, id) in ids {
            if let Some(row) = self.rows.rows.get_mut(at) {
                row.event.id = *id;
            }
        }
        self.rows.rows.retain(|_, row| {
            row.is_dirty = false;
            row.thumbnail = None;
            if row.event.ended && row.event.kind != "track" {
                self.written.push_back((row.key.clone(), row.event.id));
            }
            !row.event.ended
        });
        let excess = self.written.len().saturating_sub(MOST_REMEMBERED);
        self.written.drain(..excess);
    }

    fn sweep(&mut self) -> Result<(), StoreError> {
        let at = Instant::now();
        let is_due = |swept: Instant| at.saturating_duration_since(swept) >= SWEEP_INTERVAL;
        let Some(store) = self
            .store
            .as_mut()
            .filter(|_| self.swept.is_none_or(is_due))
        else {
            return Ok(());
        };
        self.swept = Some(at);
        let now = SystemTime::now();
        let oldest = now
            .checked_sub(self.params.max_age)
            .filter(|_| self.clock.is_steady(now, at));
        let since = oldest.and_then(|oldest| oldest.duration_since(UNIX_EPOCH).ok());
        let retention = EventRetention {
            before_ms: since.map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
            max_bytes: self.params.max_bytes,
        };
        let deleted = store.sweep(&retention)?;
        if deleted > 0 {
            tracing::debug!(deleted, "events went by keep_days or max_mb");
        }
        Ok(())
    }
}

impl From<StoreError> for SinkError {
    fn from(error: StoreError) -> Self {
        match error.into_io() {
            Ok((path, source)) => Self::from_io(&path.display().to_string(), source),
            Err(refused) => Self::Store(refused.to_string()),
        }
    }
}

/// A file as seen from the folder of the store, so that both can be moved; one elsewhere by its whole path.
fn name_from(store: &Path, file: &Path) -> String {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (store, file) = (whole(store), whole(file));
    let dir = store.parent().unwrap_or(Path::new(""));
    file.strip_prefix(dir)
        .unwrap_or(&file)
        .display()
        .to_string()
}

/// From records alone, as in an analysis of saved ones.
impl RecordSink for StoreSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        self.take_frame(record, SystemTime::now(), None);
        if self.is_due() {
            self.flush()?;
        }
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        self.take_event(event);
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        self.end();
        self.flush()
    }
}

#[cfg(test)]
mod tests;

//! Writing: rows come in transactions.

use std::path::Path;

use rusqlite::{OptionalExtension, Statement, Transaction, TransactionBehavior, params};

use super::{Store, StoreError, StoredEvent, Thumbnail};

/// The run that rows come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// Name of the stream.
    pub stream: String,
    /// Kind and name of its source.
    pub source: String,
    /// Program and version.
    pub tool: String,
    /// Fingerprint of the configuration.
    pub config_sha256: String,
    /// Whether times are those of the wall clock.
    pub is_live: bool,
}

/// What is written together: all of it or nothing.
pub struct StoreTransaction<'a> {
    transaction: Transaction<'a>,
    path: &'a Path,
}

const INSERT: &str = "INSERT INTO events (run, stream, kind, rule, zone, direction, label, attributes, model, \
    score, start_ms, end_ms, ended, track_id, track_event, frame, pts_ms, best_frame, x, y, width, height, \
    latitude, longitude, clip, clip_ms, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
    ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)";

const UPDATE: &str = "UPDATE events SET label = ?2, attributes = ?3, score = ?4, end_ms = ?5, ended = ?6, \
    best_frame = ?7, x = ?8, y = ?9, width = ?10, height = ?11, latitude = ?12, longitude = ?13, clip = ?14, \
    clip_ms = ?15, text = ?16 WHERE id = ?1";

const THUMBNAIL: &str = "INSERT OR REPLACE INTO thumbnails (event, width, height, box_x, box_y, box_width, \
    box_height, jpeg) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

impl Store {
    /// Begins a transaction; without [`commit`](StoreTransaction::commit) nothing of it is kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self) -> Result<StoreTransaction<'_>, StoreError> {
        let (path, behavior) = (&*self.path, TransactionBehavior::Immediate);
        let transaction = self.connection.transaction_with_behavior(behavior);
        let transaction = transaction.map_err(|e| StoreError::sqlite(path, e))?;
        Ok(StoreTransaction { transaction, path })
    }

    /// Has retention leave an event and its track, or not.
    ///
    /// # Errors
    /// When it cannot be written. Returns false if there is no such event.
    pub fn set_kept(&mut self, id: i64, kept: bool) -> Result<bool, StoreError> {
        let sql = "UPDATE events SET kept = ?2 WHERE id = ?1 OR id = (SELECT track_event FROM events WHERE id = ?1)";
        self.with(|connection| Ok(connection.execute(sql, params![id, kept])? > 0))
    }

    /// Like [`delete`](Self::delete), unless the event is kept. Returns false then, too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn delete_unless_kept(&mut self, id: i64) -> Result<bool, StoreError> {
        self.with(|connection| {
            let sql = "DELETE FROM events WHERE id = ?1 AND kept = 0";
            Ok(connection.execute(sql, [id])? > 0)
        })
    }

    /// Deletes an event with its thumbnail. Returns false if there is no such event.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn delete(&mut self, id: i64) -> Result<bool, StoreError> {
        self.with(|connection| {
            Ok(connection.execute("DELETE FROM events WHERE id = ?1", [id])? > 0)
        })
    }
}

impl StoreTransaction<'_> {
    fn execute<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.transaction).map_err(|e| StoreError::sqlite(self.path, e))
    }

    fn prepare(&self, sql: &str) -> Result<Statement<'_>, StoreError> {
        let statement = self.transaction.prepare(sql);
        statement.map_err(|e| StoreError::sqlite(self.path, e))
    }

    /// Adds a run. What an earlier run of its stream left unended has ended; a replay takes the place of earlier
    /// ones of the same stream and source. Returns its number, and how many events that deleted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_run(&self, run: &RunInfo) -> Result<(i64, usize), StoreError> {
        self.execute(|connection| {
            let ended = "UPDATE events SET ended = 1 WHERE stream = ?1 AND ended = 0";
            connection.execute(ended, [&run.stream])?;
            let mut replaced = 0;
            if !run.is_live {
                let of = "(SELECT id FROM runs WHERE stream = ?1 AND source = ?2 AND is_live = 0)";
                for table in ["events", "recordings"] {
                    let sql = format!("DELETE FROM {table} WHERE run IN {of}");
                    let deleted = connection.execute(&sql, [&run.stream, &run.source])?;
                    replaced = replaced.max(if table == "events" { deleted } else { 0 });
                }
                let sql = format!("DELETE FROM runs WHERE id IN {of}");
                connection.execute(&sql, [&run.stream, &run.source])?;
            }
            let RunInfo { stream, source, tool, config_sha256, is_live } = run;
            let sql = "INSERT INTO runs (stream, source, tool, config_sha256, is_live) VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.execute(sql, params![stream, source, tool, config_sha256, is_live])?;
            Ok((connection.last_insert_rowid(), replaced))
        })
    }

    /// Whether run `id` is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_run(&self, id: i64, run: &RunInfo) -> Result<bool, StoreError> {
        self.execute(|connection| {
            let sql = "SELECT 1 FROM runs WHERE id = ?1 AND stream = ?2 AND source = ?3";
            let found = connection.query_row(sql, params![id, run.stream, run.source], |_| Ok(()));
            Ok(found.optional()?.is_some())
        })
    }

    /// Adds events, one by one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn inserter(&self) -> Result<EventInserter<'_>, StoreError> {
        Ok(EventInserter {
            statement: self.prepare(INSERT)?,
            path: self.path,
        })
    }

    /// Writes what may have changed of events that were inserted, by their numbers.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn update<'a>(
        &self,
        events: impl Iterator<Item = &'a StoredEvent>,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(UPDATE)?;
        for event in events {
            let bbox = event.bbox;
            let updated = statement.execute(params![
                event.id,
                event.label,
                attributes_of(event),
                event.score,
                event.end_ms,
                event.ended,
                event.best_frame.map(signed),
                bbox.map(|b| b.x),
                bbox.map(|b| b.y),
                bbox.map(|b| b.width),
                bbox.map(|b| b.height),
                event.latitude,
                event.longitude,
                event.clip,
                event.clip_ms,
                event.searched_text(),
            ]);
            updated.map_err(|e| StoreError::sqlite(self.path, e))?;
        }
        Ok(())
    }

    /// Sets the thumbnail of an event; that of one that was deleted meanwhile is passed over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_thumbnail(&self, event: i64, thumbnail: &Thumbnail) -> Result<(), StoreError> {
        let Thumbnail {
            width,
            height,
            bbox,
            jpeg,
        } = thumbnail;
        self.execute(|connection| {
            let is_there = "SELECT 1 FROM events WHERE id = ?1";
            let found = connection.query_row(is_there, [event], |_| Ok(()));
            if found.optional()?.is_some() {
                let [x, y, w, h] = (*bbox).into();
                connection.execute(THUMBNAIL, params![event, width, height, x, y, w, h, jpeg])?;
            }
            Ok(())
        })
    }

    /// Sets the clip of an event that was written before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_clip(&self, event: i64, file: &str, clip_ms: f64) -> Result<(), StoreError> {
        let sql = "UPDATE events SET clip = ?2, clip_ms = ?3 WHERE id = ?1";
        self.execute(|connection| {
            connection.execute(sql, params![event, file, clip_ms])?;
            Ok(())
        })
    }

    /// Adds a recording of run `run` that begins at `begins_ms` of its media time and `start_ms` of its clock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_recording(
        &self,
        run: i64,
        file: &str,
        start_ms: i64,
        begins_ms: f64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO recordings (run, file, start_ms, begins_ms) VALUES (?1, ?2, ?3, ?4)";
        self.execute(|connection| {
            connection.execute(sql, params![run, file, start_ms, begins_ms])?;
            Ok(())
        })
    }

    /// Sets where a recording ends.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_recording(&self, run: i64, file: &str, ends_ms: f64) -> Result<(), StoreError> {
        let sql = "UPDATE recordings SET ends_ms = ?3 WHERE run = ?1 AND file = ?2";
        self.execute(|connection| {
            connection.execute(sql, params![run, file, ends_ms])?;
            Ok(())
        })
    }

    /// Keeps all of it.
    ///
    /// # Errors
    /// When the disk does not take it; nothing of it is kept then.
    pub fn commit(self) -> Result<(), StoreError> {
        let path = self.path;
        let committed = self.transaction.commit();
        committed.map_err(|e| StoreError::sqlite(path, e))
    }
}

/// Adds events in a transaction.
pub struct EventInserter<'a> {
    statement: Statement<'a>,
    path: &'a Path,
}

impl EventInserter<'_> {
    /// Adds an event of run `run`; returns its number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn insert(&mut self, run: i64, event: &StoredEvent) -> Result<i64, StoreError> {
        let bbox = event.bbox;
        let inserted = self.statement.insert(params![
            run,
            event.stream,
            event.kind,
            event.rule,
            event.zone,
            event.direction,
            event.label,
            attributes_of(event),
            event.model,
            event.score,
            event.start_ms,
            event.end_ms,
            event.ended,
            event.track_id.map(signed),
            event.track_event,
            signed(event.frame),
            event.pts_ms,
            event.best_frame.map(signed),
            bbox.map(|b| b.x),
            bbox.map(|b| b.y),
            bbox.map(|b| b.width),
            bbox.map(|b| b.height),
            event.latitude,
            event.longitude,
            event.clip,
            event.clip_ms,
            event.searched_text(),
        ]);
        inserted.map_err(|e| StoreError::sqlite(self.path, e))
    }
}

fn attributes_of(event: &StoredEvent) -> String {
    serde_json::to_string(&event.attributes).expect("names and labels")
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! The database: its schema, the migrations, and how it is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags, TransactionBehavior};

use super::StoreError;

/// `application_id` in the file's head: "MLev".
pub const APPLICATION_ID: i64 = 0x4d4c_6576;
/// How long one process waits for another that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Also made if it is not there.
const WRITING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_CREATE);
/// What the log is cut back to once its pages are in the database.
const LOG_BYTES: i64 = 4_000_000;

/// The steps from an empty file to the present schema; `user_version` counts those that were made. One that
/// was published never changes.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        source TEXT NOT NULL,
        tool TEXT NOT NULL,
        config_sha256 TEXT NOT NULL,
        is_live INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,
        stream TEXT NOT NULL,
        kind TEXT NOT NULL,
        rule TEXT,
        zone TEXT,
        direction TEXT,
        label TEXT,
        attributes TEXT NOT NULL,
        model TEXT,
        score REAL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        track_id INTEGER,
        track_event INTEGER,
        frame INTEGER NOT NULL,
        pts_ms REAL NOT NULL,
        best_frame INTEGER,
        x REAL, y REAL, width REAL, height REAL,
        latitude REAL, longitude REAL,
        clip TEXT,
        clip_ms REAL,
        text TEXT NOT NULL,
        kept INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX events_by_stream_label ON events (stream, label, start_ms);
    CREATE INDEX events_by_stream ON events (stream, start_ms);
    CREATE INDEX events_by_zone ON events (zone, start_ms) WHERE zone IS NOT NULL;
    CREATE INDEX events_by_start ON events (start_ms);
    CREATE INDEX events_open ON events (stream) WHERE ended = 0;
    CREATE TABLE thumbnails (
        event INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
        width INTEGER NOT NULL, height INTEGER NOT NULL,
        box_x REAL NOT NULL, box_y REAL NOT NULL, box_width REAL NOT NULL, box_height REAL NOT NULL,
        jpeg BLOB NOT NULL
    ) STRICT;
    CREATE TABLE recordings (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        file TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        begins_ms REAL NOT NULL,
        ends_ms REAL
    ) STRICT;
    CREATE INDEX recordings_by_begin ON recordings (run, begins_ms);
"];

/// An open event store.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

impl Store {
    /// Opens `path` for writing; it is made if it does not exist, and migrated if it is older. With `sync`, the
    /// disk has each transaction when it is committed.
    ///
    /// # Errors
    /// When it is no event store, a newer one, or cannot be written.
    pub fn open(path: &Path, sync: bool) -> Result<Self, StoreError> {
        let mut store = Self::connect(path, WRITING)?;
        store.migrate(MIGRATIONS)?;
        store.with(|connection| {
            connection.pragma_update(None, "journal_mode", "wal")?;
            let synchronous = if sync { "full" } else { "normal" };
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.pragma_update(None, "journal_size_limit", LOG_BYTES)
        })?;
        Ok(store)
    }

    /// Opens `path` for reading, also while a run writes to it.
    ///
    /// # Errors
    /// When it does not exist, is no event store, or one of another version.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            let path = path.to_owned();
            return Err(StoreError::Missing { path });
        }
        let store =
            match Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(Self::readable) {
                Err(StoreError::Sqlite { .. }) if !has_log(path) => {
                    // In a folder that may only be read there cannot be a log, so nobody writes, either.
                    Self::connect_immutable(path).and_then(Self::readable)?
                }
                opened => opened?,
            };
        let found = store.version()?;
        let known = latest(MIGRATIONS);
        if found < known {
            let path = path.to_owned();
            return Err(StoreError::Older { path, found, known });
        }
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, flags);
        let store = Self {
            connection: connection.map_err(|e| StoreError::sqlite(path, e))?,
            path: path.to_owned(),
        };
        store.with(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            // No files beside the database's own.
            connection.pragma_update(None, "temp_store", "memory")
        })?;
        Ok(store)
    }

    fn connect_immutable(path: &Path) -> Result<Self, StoreError> {
        let mut uri = "file:".to_owned();
        for byte in path.as_os_str().as_encoded_bytes() {
            uri.push_str(&match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    char::from(*byte).to_string()
                }
                other => format!("%{other:02x}"),
            });
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let mut store = Self::connect(Path::new(&uri), flags)?;
        path.clone_into(&mut store.path);
        Ok(store)
    }

    fn readable(self) -> Result<Self, StoreError> {
        self.ensure_known(MIGRATIONS)?;
        Ok(self)
    }

    /// Makes the steps of `migrations` that are still to be made, all or none.
    pub(super) fn migrate(&mut self, migrations: &[&str]) -> Result<(), StoreError> {
        if self.is_empty()? {
            // Before the first page is written: pages that are free can be given back later.
            self.with(|connection| connection.pragma_update(None, "auto_vacuum", "incremental"))?;
        } else {
            self.ensure_known(migrations)?;
            if self.version()? == latest(migrations) {
                return Ok(());
            }
        }
        let path = self.path.clone();
        let sqlite = |e| StoreError::sqlite(&path, e);
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior);
        let transaction = transaction.map_err(sqlite)?;
        // Another process may have been faster.
        let done = version_of(&transaction).map_err(sqlite)?;
        for step in migrations.iter().skip(usize::try_from(done).unwrap_or(0)) {
            transaction.execute_batch(step).map_err(sqlite)?;
        }
        let set = |name: &str, value: i64| transaction.pragma_update(None, name, value);
        set("application_id", APPLICATION_ID).map_err(sqlite)?;
        set("user_version", latest(migrations).max(done)).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)
    }

    /// Whether it is ours, and not newer than `migrations`.
    fn ensure_known(&self, migrations: &[&str]) -> Result<(), StoreError> {
        let application: i64 = self.with(|connection| {
            connection.pragma_query_value(None, "application_id", |row| row.get(0))
        })?;
        let path = self.path.clone();
        if application != APPLICATION_ID {
            return Err(StoreError::Foreign { path });
        }
        let (found, known) = (self.version()?, latest(migrations));
        if found > known {
            return Err(StoreError::Newer { path, found, known });
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        self.with(|connection| {
            let count = "SELECT count(*) FROM sqlite_schema";
            connection.query_row(count, [], |row| Ok(row.get::<_, i64>(0)? == 0))
        })
    }

    fn version(&self) -> Result<i64, StoreError> {
        self.with(version_of)
    }

    /// Stops what the store is asked, from another thread; it then fails.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// What SQLite's own check of the file says: `ok`, or what is wrong.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn check_integrity(&self) -> Result<String, StoreError> {
        self.with(|connection| {
            connection.pragma_query_value(None, "integrity_check", |row| row.get(0))
        })
    }

    /// Works on the connection; errors name the file.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.connection).map_err(|e| StoreError::sqlite(&self.path, e))
    }
}

fn version_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn latest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// Whether there is a log of what is not in the database yet.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two more steps than there are, as a later version may have.
    fn later() -> Vec<&'static str> {
        let mut steps = MIGRATIONS.to_vec();
        steps.push("ALTER TABLE events ADD COLUMN note TEXT NOT NULL DEFAULT 'none'");
        steps.push("CREATE INDEX events_by_note ON events (note)");
        steps
    }

    fn insert(store: &Store) {
        let sql = "INSERT INTO events (run, stream, kind, attributes, start_ms, end_ms, ended, frame, pts_ms, text)
            VALUES (1, 'gate', 'track', '{}', 1, 2, 1, 0, 0, '')";
        store.with(|c| c.execute(sql, [])).expect("a row");
    }

    #[test]
    fn an_older_store_is_migrated_and_keeps_its_rows() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.db");
        // The empty file is what a disk that was full leaves.
        std::fs::write(&path, "").expect("room");
        insert(&Store::open(&path, false).expect("it is made"));
        let steps = later();
        for known in MIGRATIONS.len()..=steps.len() {
            let mut store = Store::connect(&path, WRITING).expect("it is there");
            store.migrate(&steps[..known]).expect("it is migrated");
            assert_eq!(store.version().expect("a number"), known as i64);
            assert_eq!(store.check_integrity().expect("it is read"), "ok");
        }
        let store = Store::connect(&path, WRITING).expect("it is there");
        let notes = "SELECT note FROM events";
        let note: String = store
            .with(|c| c.query_row(notes, [], |row| row.get(0)))
            .expect("the row, with the new column");
        assert_eq!(note, "none");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.db");
        insert(&Store::open(&path, false).expect("it is made"));
        let mut steps = later();
        steps.push("ALTER TABLE no_such_table ADD COLUMN a TEXT");
        let mut store = Store::connect(&path, WRITING).expect("it is there");
        store.migrate(&steps).expect_err("the last step fails");
        assert_eq!(store.version().expect("a number"), latest(MIGRATIONS));
        let columns = "SELECT count(*) FROM pragma_table_info('events') WHERE name = 'note'";
        let found: i64 = store
            .with(|c| c.query_row(columns, [], |row| row.get(0)))
            .expect("a count");
        assert_eq!(found, 0);
    }

    #[test]
    fn what_is_newer_older_foreign_or_missing_is_refused_in_one_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.db");
        let refused = |path: &Path| {
            let error = Store::open(path, true).expect_err("refused");
            let said = error.to_string();
            assert_eq!(said.lines().count(), 1, "{said}");
            let reading = Store::open_read_only(path).expect_err("refused");
            assert_eq!(reading.to_string(), said);
            (error, said)
        };
        let store = Store::open(&path, false).expect("it is made");
        let set = |name: &str, value: i64| {
            let set = store.with(|c| c.pragma_update(None, name, value));
            set.expect("it is set");
        };
        set("user_version", 99);
        let (error, said) = refused(&path);
        assert!(
            matches!(error, StoreError::Newer { found: 99, .. }),
            "{said}"
        );
        set("user_version", 0);
        let error = Store::open_read_only(&path).expect_err("it cannot be migrated");
        assert!(
            matches!(error, StoreError::Older { found: 0, .. }),
            "{error}"
        );
        set("application_id", 7);
        assert!(matches!(refused(&path).0, StoreError::Foreign { .. }));
        let text = dir.path().join("text.db");
        std::fs::write(&text, "records are lines, and no database\n".repeat(100)).expect("room");
        assert!(matches!(refused(&text).0, StoreError::Foreign { .. }));
        assert!(
            std::fs::read_to_string(&text)
                .expect("as it was")
                .starts_with("records")
        );
        let none = dir.path().join("none.db");
        let error = Store::open_read_only(&none).expect_err("there is none");
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        assert!(!none.exists());
    }
}

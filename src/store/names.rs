//! What there is to ask for.

use rusqlite::types::ToSql;

use super::{Store, StoreError};

/// The distinct labels of a stream: each is one step in the index, however many events have it.
const LABELS: &str = "WITH RECURSIVE labels (name) AS (
        SELECT min(label) FROM events WHERE stream = ?1
        UNION ALL
        SELECT (SELECT min(label) FROM events WHERE stream = ?1 AND label > name) FROM labels WHERE name IS NOT NULL
    )
    SELECT name FROM labels WHERE name IS NOT NULL";

/// The zones and lines that a stream has events of.
const ZONES: &str = "WITH RECURSIVE zones (name) AS (
        SELECT min(zone) FROM events WHERE zone IS NOT NULL
        UNION ALL
        SELECT (SELECT min(zone) FROM events WHERE zone > name) FROM zones WHERE name IS NOT NULL
    )
    SELECT name FROM zones WHERE EXISTS (SELECT 1 FROM events WHERE zone = name AND stream = ?1)";

impl Store {
    /// The classes that there are events of in a stream, in alphabetical order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn labels(&self, stream: &str) -> Result<Vec<String>, StoreError> {
        self.list(LABELS, &stream)
    }

    /// The zones and lines that there are events of in a stream, in alphabetical order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn zones(&self, stream: &str) -> Result<Vec<String>, StoreError> {
        self.list(ZONES, &stream)
    }

    fn list(&self, sql: &str, of: &dyn ToSql) -> Result<Vec<String>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare(sql)?;
            let names = statement.query_map([of], |row| row.get(0))?;
            names.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RunInfo, StoredEvent};

    #[test]
    fn names_are_those_of_the_streams_own_events() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&dir.path().join("events.db"), false).expect("it is made");
        assert_eq!(store.labels("gate").expect("it is read"), [""; 0]);
        assert_eq!(store.zones("gate").expect("it is read"), [""; 0]);
        let transaction = store.begin().expect("it can be written");
        let (run, _) = transaction.add_run(&RunInfo::default()).expect("room");
        let mut inserter = transaction.inserter().expect("it can be written");
        let text = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        for (stream, label, zone) in [
            ("gate", "person", "door"),
            ("gate", "car", ""),
            ("gate", "car", "Lane 2"),
            ("gate", "", "door"),
            ("yard", "fox", "lawn"),
            ("yard", "car", "door"),
        ] {
            let event = StoredEvent {
                stream: stream.to_owned(),
                label: text(label),
                zone: text(zone),
                ..StoredEvent::default()
            };
            inserter.insert(run, &event).expect("room");
        }
        drop(inserter);
        transaction.commit().expect("room");
        assert_eq!(store.labels("gate").expect("read"), ["car", "person"]);
        assert_eq!(store.zones("gate").expect("read"), ["Lane 2", "door"]);
        assert_eq!(store.labels("yard").expect("read"), ["car", "fox"]);
        assert_eq!(store.zones("yard").expect("read"), ["door", "lawn"]);
        // Neither goes through all events.
        for sql in [LABELS, ZONES] {
            let plan = store.with(|connection| {
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let rows = statement.query_map(["gate"], |row| row.get::<_, String>(3))?;
                rows.collect::<Result<Vec<_>, _>>()
            });
            let plan = plan.expect("a plan");
            let scans = plan.iter().filter(|step| step.starts_with("SCAN events"));
            assert_eq!(scans.count(), 0, "{plan:?}");
        }
    }
}

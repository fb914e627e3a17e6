//! Retention: what is too old or too much goes, the oldest first.

use rusqlite::params;

use super::{FIRST_WALL_MS, Store, StoreError};

/// Events that are deleted in one transaction: others write between them.
const BATCH: u32 = 1000;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRetention {
    /// Live events that ended earlier go; those of a replay have no date.
    pub before_ms: i64,
    /// Beyond so many bytes of the file the oldest go, the order being that in which they came.
    pub max_bytes: u64,
}

impl Store {
    /// Deletes what `retention` does not keep; events that are marked to be kept, or that still last, stay.
    /// Returns how many went.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sweep(&mut self, retention: &EventRetention) -> Result<usize, StoreError> {
        let before = retention.before_ms;
        let mut all = 0;
        loop {
            let old = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE start_ms >= ?1 AND start_ms < ?2 \
                       AND end_ms < ?2 AND kept = 0 ORDER BY start_ms LIMIT ?3)";
            let deleted = self.with(|c| c.execute(old, params![FIRST_WALL_MS, before, BATCH]))?;
            all += deleted;
            if deleted < BATCH as usize {
                break;
            }
        }
        let files = "DELETE FROM recordings WHERE start_ms >= ?1 AND start_ms < ?2 AND ends_ms IS NOT NULL \
                     AND start_ms + (ends_ms - begins_ms) < ?2";
        self.with(|connection| connection.execute(files, params![FIRST_WALL_MS, before]))?;
        while self.used_bytes()? > retention.max_bytes {
            let oldest = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE ended = 1 AND kept = 0 \
                          ORDER BY id LIMIT ?1)";
            let rows = self.rows_beyond(retention.max_bytes)?;
            let deleted = self.with(|connection| connection.execute(oldest, [rows]))?;
            if deleted == 0 {
                break;
            }
            all += deleted;
        }
        if all > 0 {
            // Gives free pages back to the disk, one a step.
            self.with(|connection| {
                let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
                let mut pages = vacuum.query([])?;
                while pages.next()?.is_some() {}
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// What the file needs for what is in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let pragma = |name: &str| {
            self.with(|connection| {
                connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            })
        };
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or_default())
    }

    /// About how many of the oldest rows hold what is over `max_bytes`.
    fn rows_beyond(&self, max_bytes: u64) -> Result<u32, StoreError> {
        let used = self.used_bytes()?;
        let count: i64 = self.with(|connection| {
            let rows = "SELECT max(id) - min(id) + 1 FROM events";
            connection.query_row(rows, [], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.unwrap_or(0))
            })
        })?;
        let share = used.saturating_sub(max_bytes) as f64 / used.max(1) as f64;
        Ok(((share * count as f64) as u32).clamp(10, BATCH))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{EventFilter, RunInfo, StoredEvent, Thumbnail};

    const DAY: i64 = 86_400_000;
    const LIVE: i64 = 1_790_000_000_000;
    const ANY_SIZE: u64 = u64::MAX;

    /// An event a day with a thumbnail of 10 kB; the last one still lasts, and one of a replay is the first.
    fn store(path: &Path, days: i64) -> Store {
        let mut store = Store::open(path, false).expect("it is made");
        let transaction = store.begin().expect("it can be written");
        let (run, _) = transaction.add_run(&RunInfo::default()).expect("room");
        let lasts = |start_ms| start_ms == LIVE + (days - 1) * DAY;
        let starts = std::iter::once(0).chain((0..days).map(|day| LIVE + day * DAY));
        let all: Vec<_> = starts
            .map(|start_ms| StoredEvent {
                kind: "track".to_owned(),
                start_ms,
                end_ms: if lasts(start_ms) {
                    LIVE + 1000 * DAY
                } else {
                    start_ms + 10
                },
                ended: !lasts(start_ms),
                ..StoredEvent::default()
            })
            .collect();
        let mut inserter = transaction.inserter().expect("it can be written");
        for event in &all {
            let id = inserter.insert(run, event).expect("room");
            let thumbnail = Thumbnail {
                jpeg: vec![7; 10_000],
                ..Thumbnail::default()
            };
            transaction.set_thumbnail(id, &thumbnail).expect("room");
        }
        drop(inserter);
        transaction.commit().expect("room");
        store
    }

    fn ids(store: &Store) -> Vec<i64> {
        let mut ids = Vec::new();
        let all = |event: StoredEvent| {
            ids.push(event.id);
            true
        };
        store
            .events(&EventFilter::default(), all)
            .expect("it is read");
        ids.sort_unstable();
        ids
    }

    #[test]
    fn what_is_too_old_goes_unless_it_is_kept_or_lasts() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = store(&dir.path().join("events.db"), 10);
        let sweep = |store: &mut Store, days: i64| {
            let before_ms = LIVE + days * DAY;
            let retention = EventRetention {
                before_ms,
                max_bytes: ANY_SIZE,
            };
            store.sweep(&retention).expect("it can be written")
        };
        assert_eq!(sweep(&mut store, 0), 0);
        assert!(store.set_kept(3, true).expect("it can be written"));
        assert!(!store.set_kept(99, true).expect("it can be written"));
        assert_eq!(sweep(&mut store, 4), 3);
        assert_eq!(ids(&store), [1, 3, 6, 7, 8, 9, 10, 11]);
        assert!(store.set_kept(3, false).expect("it can be written"));
        assert_eq!(sweep(&mut store, 100), 6);
        assert_eq!(ids(&store), [1, 11], "the replay's, and the one that lasts");
        let thumbnails = |id| store.thumbnail(id).expect("it is read").is_some();
        assert_eq!([1, 3, 11].map(thumbnails), [true, false, true]);
        assert_eq!(store.check_integrity().expect("it is read"), "ok");
    }

    #[test]
    fn what_is_too_much_goes_and_the_file_shrinks() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.db");
        let mut store = store(&path, 400);
        store.set_kept(2, true).expect("it can be written");
        let before = store.used_bytes().expect("it is read");
        assert!(before > 4_000_000, "{before}");
        let retention = EventRetention {
            before_ms: 0,
            max_bytes: 1_000_000,
        };
        store.sweep(&retention).expect("it can be written");
        let left = ids(&store);
        let used = store.used_bytes().expect("it is read");
        assert!(
            used <= 1_000_000 && left.len() > 50,
            "{used} bytes, {} rows",
            left.len()
        );
        assert!(
            left.contains(&2) && left.contains(&401) && !left.contains(&200),
            "{left:?}"
        );
        assert_eq!(store.check_integrity().expect("it is read"), "ok");
        // When it is closed, the log is in the file.
        drop(store);
        let length = std::fs::metadata(&path).expect("is there").len();
        assert!(length <= 1_100_000, "{length}");
    }

    #[test]
    fn an_event_is_deleted_with_its_thumbnail() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = store(&dir.path().join("events.db"), 2);
        assert!(store.delete(1).expect("it can be written"));
        assert!(!store.delete(1).expect("it can be written"));
        assert_eq!(
            (ids(&store), store.thumbnail(1).expect("it is read")),
            (vec![2, 3], None)
        );
    }
}

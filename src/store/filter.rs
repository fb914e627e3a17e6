//! Asking for events.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params_from_iter};

use super::event::COLUMNS;
use super::{FIRST_WALL_MS, Store, StoreError, StoredEvent, Thumbnail};
use crate::records::RecordBox;

/// Which events are wanted: those to which everything applies that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Number of the event.
    pub id: Option<i64>,
    /// Name of the stream.
    pub stream: Option<String>,
    /// Kind of the event.
    pub kind: Option<String>,
    /// The class.
    pub label: Option<String>,
    /// The zone or line.
    pub zone: Option<String>,
    /// Begin at this time or later. A position in a recording leaves live events out, and the other way round.
    pub since_ms: Option<i64>,
    /// Begin before.
    pub until_ms: Option<i64>,
    /// All these words occur in names, labels and attributes, in upper or lower case.
    pub text: Option<String>,
    /// Only what comes after this one, the newest first.
    pub after: Option<EventPlace>,
    /// So many at most.
    pub limit: Option<u64>,
}

/// The place of an event among all: the newest is the first, and of those that began together the last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// When it began.
    pub start_ms: i64,
    /// Its number.
    pub id: i64,
}

impl From<&StoredEvent> for EventPlace {
    fn from(event: &StoredEvent) -> Self {
        Self {
            start_ms: event.start_ms,
            id: event.id,
        }
    }
}

impl EventFilter {
    fn conditions(&self) -> (String, Vec<Value>) {
        let mut sql = String::from("1");
        let mut values = Vec::<Value>::new();
        let mut add = |condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        if let Some(id) = self.id {
            add("e.id = ?", id.into());
        }
        for (condition, text) in [
            ("e.stream = ?", &self.stream),
            ("e.kind = ?", &self.kind),
            ("e.label = ?", &self.label),
            ("e.zone = ?", &self.zone),
        ] {
            if let Some(text) = text {
                add(condition, text.clone().into());
            }
        }
        if let Some(since) = self.since_ms {
            add("e.start_ms >= ?", since.into());
        }
        if let Some(until) = self.until_ms {
            add("e.start_ms < ?", until.into());
        }
        if let Some(EventPlace { start_ms, id }) = self.after {
            add(&format!("(e.start_ms, e.id) < (?, {id})"), start_ms.into());
        }
        // Both ends are of the same clock.
        match (self.since_ms, self.until_ms) {
            (Some(since), None) if since < FIRST_WALL_MS => {
                add("e.start_ms < ?", FIRST_WALL_MS.into());
            }
            (None, Some(until)) if until >= FIRST_WALL_MS => {
                add("e.start_ms >= ?", FIRST_WALL_MS.into());
            }
            _ => {}
        }
        let words = self.text.as_deref().unwrap_or_default().to_lowercase();
        for word in words.split_whitespace() {
            add("instr(e.text, ?) > 0", word.to_owned().into());
        }
        (sql, values)
    }
}

impl Store {
    /// Gives the events that `filter` wants to `take`, newest first, until that returns false.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events(
        &self,
        filter: &EventFilter,
        mut take: impl FnMut(StoredEvent) -> bool,
    ) -> Result<(), StoreError> {
        let (conditions, values) = filter.conditions();
        // The recording that had begun last, if it had not ended.
        let mut sql = format!(
            "SELECT {COLUMNS} FROM events e LEFT JOIN recordings r ON r.id = (SELECT id FROM recordings \
             WHERE run = e.run AND begins_ms <= e.pts_ms ORDER BY begins_ms DESC LIMIT 1) \
             AND (r.ends_ms IS NULL OR r.ends_ms >= e.pts_ms) \
             WHERE {conditions} ORDER BY e.start_ms DESC, e.id DESC"
        );
        if let Some(limit) = filter.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        let dir = self.path.parent().unwrap_or(Path::new(""));
        let in_dir = |file: Option<String>| file.map(|file| dir.join(file).display().to_string());
        self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let mut event = StoredEvent::from_row(row)?;
                event.clip = in_dir(event.clip);
                event.recording = in_dir(event.recording);
                if !take(event) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// How many events `filter` wants, whatever its limit.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self, filter: &EventFilter) -> Result<u64, StoreError> {
        let (conditions, values) = filter.conditions();
        let sql = format!("SELECT count(*) FROM events e WHERE {conditions}");
        let count: i64 = self.with(|connection| {
            connection.query_row(&sql, params_from_iter(values), |row| row.get(0))
        })?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The thumbnail of an event, which is that of its object's track.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn thumbnail(&self, event: i64) -> Result<Option<Thumbnail>, StoreError> {
        let sql = "SELECT width, height, box_x, box_y, box_width, box_height, jpeg FROM thumbnails WHERE event = \
                   (SELECT coalesce(track_event, id) FROM events WHERE id = ?1)";
        self.with(|connection| {
            let thumbnail = connection.query_row(sql, [event], |row| {
                Ok(Thumbnail {
                    width: row.get(0)?,
                    height: row.get(1)?,
                    bbox: RecordBox {
                        x: row.get(2)?,
                        y: row.get(3)?,
                        width: row.get(4)?,
                        height: row.get(5)?,
                    },
                    jpeg: row.get(6)?,
                })
            });
            thumbnail.optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RunInfo;

    const DAY: i64 = 86_400_000;
    const LIVE: i64 = 1_790_000_000_000;

    fn event(stream: &str, label: &str, start_ms: i64) -> StoredEvent {
        StoredEvent {
            stream: stream.to_owned(),
            kind: "track".to_owned(),
            label: Some(label.to_owned()),
            start_ms,
            end_ms: start_ms + 500,
            ended: true,
            pts_ms: (start_ms % DAY) as f64,
            ..StoredEvent::default()
        }
    }

    /// Ten live events of two streams, one a day, and two of a replay.
    fn store(dir: &Path) -> Store {
        let mut store = Store::open(&dir.join("events.db"), false).expect("it is made");
        let transaction = store.begin().expect("it can be written");
        let run = RunInfo {
            stream: "gate".to_owned(),
            is_live: true,
            ..RunInfo::default()
        };
        let (run, _) = transaction.add_run(&run).expect("room");
        let mut all = Vec::new();
        for i in 0..10 {
            let stream = if i % 2 == 0 { "gate" } else { "yard" };
            let label = if i % 3 == 0 { "Person" } else { "car" };
            let mut event = event(stream, label, LIVE + i * DAY);
            if i == 4 {
                event.zone = Some("Tür".to_owned());
                event.attributes.insert("colour".into(), "dark RED".into());
            }
            all.push(event);
        }
        all.extend([event("gate", "car", 1000), event("gate", "car", 90_000)]);
        let mut inserter = transaction.inserter().expect("it can be written");
        for (event, id) in all.iter().zip(1..) {
            assert_eq!(inserter.insert(run, event).expect("room"), id);
        }
        drop(inserter);
        transaction.commit().expect("room");
        store
    }

    fn ids(store: &Store, filter: &EventFilter) -> Vec<i64> {
        let mut ids = Vec::new();
        let all = |event: StoredEvent| {
            ids.push(event.id);
            true
        };
        store.events(filter, all).expect("it is read");
        let any = EventFilter {
            limit: None,
            ..filter.clone()
        };
        let count = store.count(&any).expect("it is read") as usize;
        assert!(filter.limit.is_some() || count == ids.len());
        ids
    }

    #[test]
    fn everything_that_is_given_applies_and_the_newest_come_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store(dir.path());
        let given = EventFilter::default;
        let text = |text: &str| Some(text.to_owned());
        let filters: [(EventFilter, &[i64]); 13] = [
            (given(), &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 12, 11]),
            (
                EventFilter {
                    limit: Some(2),
                    ..given()
                },
                &[10, 9],
            ),
            (
                EventFilter {
                    after: Some(EventPlace {
                        start_ms: LIVE,
                        id: 1,
                    }),
                    ..given()
                },
                &[12, 11],
            ),
            (
                EventFilter {
                    after: Some(EventPlace {
                        start_ms: LIVE + DAY,
                        id: 3,
                    }),
                    limit: Some(2),
                    ..given()
                },
                &[2, 1],
            ),
            (
                EventFilter {
                    stream: text("yard"),
                    label: text("Person"),
                    ..given()
                },
                &[10, 4],
            ),
            (
                EventFilter {
                    stream: text("yar"),
                    ..given()
                },
                &[],
            ),
            (
                EventFilter {
                    zone: text("Tür"),
                    ..given()
                },
                &[5],
            ),
            (
                EventFilter {
                    text: text("red TÜR gate"),
                    ..given()
                },
                &[5],
            ),
            (
                EventFilter {
                    text: text("red yard"),
                    ..given()
                },
                &[],
            ),
            (
                EventFilter {
                    text: text("100%_'"),
                    ..given()
                },
                &[],
            ),
            (
                EventFilter {
                    since_ms: Some(LIVE + DAY),
                    until_ms: Some(LIVE + 3 * DAY),
                    ..given()
                },
                &[3, 2],
            ),
            (
                EventFilter {
                    since_ms: Some(2000),
                    ..given()
                },
                &[12],
            ),
            (
                EventFilter {
                    until_ms: Some(LIVE + 1),
                    ..given()
                },
                &[1],
            ),
        ];
        for (filter, expected) in filters {
            assert_eq!(ids(&store, &filter), expected, "{filter:?}");
        }
        let mut seen = 0;
        let first = |_| {
            seen += 1;
            false
        };
        store.events(&given(), first).expect("it is read");
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_query_by_stream_label_and_day_uses_its_index() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = store(dir.path());
        let filter = EventFilter {
            stream: Some("gate".to_owned()),
            label: Some("car".to_owned()),
            since_ms: Some(LIVE),
            until_ms: Some(LIVE + DAY),
            ..EventFilter::default()
        };
        let (conditions, values) = filter.conditions();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT * FROM events e WHERE {conditions} ORDER BY e.start_ms DESC, e.id DESC"
        );
        let plan = store.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows =
                statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3))?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        let plan = plan.expect("a plan");
        let used = "events_by_stream_label (stream=? AND label=? AND start_ms>? AND start_ms<?)";
        assert!(plan.len() == 1 && plan[0].contains(used), "{plan:?}");
    }

    #[test]
    fn an_event_is_found_in_the_recording_that_ran() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = store(dir.path());
        let transaction = store.begin().expect("it can be written");
        let add = |file: &str, begins: f64, ends: Option<f64>| {
            let added = transaction.add_recording(1, file, LIVE, begins);
            added.expect("room");
            if let Some(ends) = ends {
                transaction.end_recording(1, file, ends).expect("room");
            }
        };
        add("a.mp4", 0.0, Some(800.0));
        add("b.mp4", 900.0, Some(60_000.0));
        add("/elsewhere/c.mp4", 80_000.0, None);
        transaction.commit().expect("room");
        let of = |store: &Store, id: i64| {
            let mut found = None;
            let filter = EventFilter {
                id: Some(id),
                ..EventFilter::default()
            };
            let take = |event: StoredEvent| {
                found = event.recording.zip(event.recording_ms);
                true
            };
            store.events(&filter, take).expect("it is read");
            found
        };
        let beside = dir.path().join("b.mp4").display().to_string();
        assert_eq!(of(&store, 11), Some((beside, 100.0)));
        assert_eq!(
            of(&store, 12),
            Some(("/elsewhere/c.mp4".to_owned(), 10_000.0))
        );
        let transaction = store.begin().expect("it can be written");
        transaction
            .end_recording(1, "/elsewhere/c.mp4", 85_000.0)
            .expect("room");
        transaction.commit().expect("room");
        assert_eq!(of(&store, 12), None, "in a gap");
    }
}

//! What is asked of the event store, on threads that may be kept waiting.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use rusqlite::InterruptHandle;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use super::ApiError;
use super::query::EventQuery;
use crate::store::{EventFilter, EventPlace, Store, StoreError, StoredEvent};

/// Queries that run at the same time; the others wait, so that files and further requests have threads, too.
const MOST_QUERIES: usize = 2;

/// The places of queries that run.
#[derive(Clone)]
pub struct QuerySlots(Arc<Semaphore>);

impl Default for QuerySlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_QUERIES)))
    }
}

/// The events that a server shows: those of its own streams.
pub struct Archive {
    /// The database.
    pub store: PathBuf,
    /// The streams.
    pub streams: Vec<String>,
    /// The folders that recordings are in.
    pub media_dirs: BTreeSet<PathBuf>,
    pub slots: QuerySlots,
}

/// An event as the API has it: that of `mobilens events --json`, its files without their folders.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct ApiEvent {
    #[serde(flatten)]
    pub event: StoredEvent,
    /// Where in `clip.mp4` it begins; not given if there is no such file (any more).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<f64>,
}

/// A page of events.
#[derive(Debug, Default, Serialize)]
pub struct EventPage {
    /// The newest first.
    pub events: Vec<ApiEvent>,
    /// What the next page is `before`, if there is one.
    pub next: Option<i64>,
}

/// Which file of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// Its clip; the recording that it is in, if it has none.
    ClipOrRecording,
    /// The continuous recording.
    Recording,
}

/// Ends a query that nobody waits for any more; one that has ended is as it was.
struct InterruptOnDrop(InterruptHandle);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

impl Archive {
    /// Events of a page.
    pub async fn page(&self, query: EventQuery) -> Result<EventPage, ApiError> {
        let (streams, dirs) = (self.streams.clone(), self.media_dirs.clone());
        let has_none = query.before.is_none();
        let found = self.read(move |store| page(store, query, &streams, &dirs));
        match found.await? {
            Some(page) => page,
            // The run has not made it yet.
            None if has_none => Ok(EventPage::default()),
            None => Err(ApiError::NotFound("there is no such event".to_owned())),
        }
    }

    /// One event.
    pub async fn event(&self, id: i64) -> Result<ApiEvent, ApiError> {
        let (streams, dirs) = (self.streams.clone(), self.media_dirs.clone());
        self.read_event(move |store| {
            let event = event(store, id, &streams)?;
            Ok(api_event(event, &whole(&dirs)))
        })
        .await
    }

    /// Its picture.
    pub async fn thumbnail(&self, id: i64) -> Result<Bytes, ApiError> {
        let streams = self.streams.clone();
        self.read_event(move |store| {
            event(store, id, &streams)?;
            let thumbnail = store.thumbnail(id).map_err(failed)?;
            let jpeg = thumbnail.map(|thumbnail| thumbnail.jpeg.into());
            jpeg.ok_or_else(|| ApiError::NotFound(format!("event {id} has no picture")))
        })
        .await
    }

    /// Opens a file of it.
    pub async fn open(&self, id: i64, media: Media) -> Result<File, ApiError> {
        let (streams, dirs) = (self.streams.clone(), self.media_dirs.clone());
        self.read_event(move |store| {
            let event = event(store, id, &streams)?;
            let found = media_of(&event, media, &whole(&dirs));
            let file = found.and_then(|(path, _)| File::open(path).ok());
            file.ok_or_else(|| {
                ApiError::NotFound(format!("event {id} has no such file, or no more"))
            })
        })
        .await
    }

    /// The classes, and the zones and lines that there are events of.
    pub async fn names(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), ApiError> {
        let streams = self.streams.clone();
        let found = self.read(move |store| {
            let mut names = (BTreeSet::new(), BTreeSet::new());
            for stream in &streams {
                names.0.extend(store.labels(stream)?);
                names.1.extend(store.zones(stream)?);
            }
            Ok(names)
        });
        let names: Option<Result<_, StoreError>> = found.await?;
        names
            .unwrap_or_else(|| Ok(Default::default()))
            .map_err(failed)
    }

    /// Has retention leave it, or not; returns it as it is then.
    pub async fn keep(&self, id: i64, kept: bool) -> Result<ApiEvent, ApiError> {
        self.event(id).await?;
        self.write(move |store| {
            store.set_kept(id, kept).map_err(failed)?;
            Ok(())
        })
        .await?;
        self.event(id).await
    }

    /// Deletes it with its picture.
    pub async fn delete(&self, id: i64) -> Result<(), ApiError> {
        self.event(id).await?;
        let is_deleted = self.write(move |store| store.delete_unless_kept(id).map_err(failed));
        if is_deleted.await? {
            return Ok(());
        }
        // It is kept, or somebody was faster.
        self.event(id).await?;
        Err(ApiError::Kept(id))
    }

    async fn read_event<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let found = self.read(work).await?;
        found.unwrap_or_else(|| Err(ApiError::NotFound("there is no such event".to_owned())))
    }

    /// Works on a connection of its own that can only read; `None` if there is no file yet.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<Option<T>, ApiError> {
        let Ok(slot) = Arc::clone(&self.slots.0).acquire_owned().await else {
            return Err(ApiError::Unavailable);
        };
        let (opened, handle) = oneshot::channel();
        let path = self.store.clone();
        let task = spawn_blocking(move || {
            let _slot = slot;
            let store = match Store::open_read_only(&path) {
                Ok(store) => store,
                Err(StoreError::Missing { .. }) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            // Without anybody who waits, nothing is asked.
            match opened.send(store.interrupt_handle()) {
                Ok(()) => Ok(Some(work(&store))),
                Err(_) => Ok(None),
            }
        });
        let _interrupt = handle.await.ok().map(InterruptOnDrop);
        task.await.unwrap_or(Err(ApiError::Unavailable))
    }

    /// Works on a connection that writes; it waits for its turn for a few seconds.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Ok(slot) = Arc::clone(&self.slots.0).acquire_owned().await else {
            return Err(ApiError::Unavailable);
        };
        let path = self.store.clone();
        let task = spawn_blocking(move || {
            let _slot = slot;
            work(&mut Store::open(&path, true).map_err(failed)?)
        });
        task.await.unwrap_or(Err(ApiError::Unavailable))
    }
}

/// The log has the whole reason, with the name of the file.
fn failed(error: StoreError) -> ApiError {
    tracing::warn!("a request for events failed: {error}");
    ApiError::Unavailable
}

/// Each stream is asked for itself, so that its index gives the newest events at once, and their answers are
/// merged.
fn page(
    store: &Store,
    query: EventQuery,
    streams: &[String],
    dirs: &BTreeSet<PathBuf>,
) -> Result<EventPage, ApiError> {
    let EventQuery { mut filter, before } = query;
    if let Some(before) = before {
        let place = event(store, before, streams)?;
        filter.after = Some(EventPlace::from(&place));
    }
    let limit = filter.limit.unwrap_or(u64::MAX - 1);
    let wanted = filter.stream.take();
    let mut found = Vec::new();
    for stream in streams {
        if wanted.as_ref().is_some_and(|wanted| wanted != stream) {
            continue;
        }
        let of_stream = EventFilter {
            stream: Some(stream.clone()),
            limit: Some(limit + 1),
            ..filter.clone()
        };
        let take = |event| {
            found.push(event);
            true
        };
        store.events(&of_stream, take).map_err(failed)?;
    }
    found.sort_by_key(|event| Reverse(EventPlace::from(event)));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|last| last.id).filter(|_| has_more);
    let dirs = whole(dirs);
    let events = found.into_iter().map(|event| api_event(event, &dirs));
    Ok(EventPage {
        events: events.collect(),
        next,
    })
}

/// An event of one of these streams.
fn event(store: &Store, id: i64, streams: &[String]) -> Result<StoredEvent, ApiError> {
    let filter = EventFilter {
        id: Some(id),
        ..EventFilter::default()
    };
    let mut found = None;
    let take = |event| {
        found = Some(event);
        false
    };
    store.events(&filter, take).map_err(failed)?;
    let own = found.filter(|event| streams.contains(&event.stream));
    own.ok_or_else(|| ApiError::NotFound(format!("there is no event {id}")))
}

fn api_event(mut event: StoredEvent, dirs: &[PathBuf]) -> ApiEvent {
    let media = media_of(&event, Media::ClipOrRecording, dirs);
    let name = |file: &String| {
        let name = Path::new(file).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    event.clip = event.clip.as_ref().map(name);
    event.recording = event.recording.as_ref().map(name);
    ApiEvent {
        event,
        media_ms: media.map(|(_, at_ms)| at_ms),
    }
}

/// The folders, after symbolic links.
fn whole(dirs: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    dirs.iter()
        .filter_map(|dir| dir.canonicalize().ok())
        .collect()
}

/// A file that an event names, and where in it the event begins: an MP4 file that lies, after all symbolic links,
/// in one of the folders `dirs`.
fn media_of(event: &StoredEvent, media: Media, dirs: &[PathBuf]) -> Option<(PathBuf, f64)> {
    let clip = (&event.clip, event.clip_ms);
    let recording = (&event.recording, event.recording_ms);
    let wanted = match media {
        Media::ClipOrRecording => [clip, recording],
        Media::Recording => [recording, recording],
    };
    wanted.into_iter().find_map(|(file, at_ms)| {
        let file = Path::new(file.as_ref()?).canonicalize().ok()?;
        let is_video = file.extension().is_some_and(|extension| extension == "mp4");
        let is_own = is_video && dirs.iter().any(|dir| file.starts_with(dir));
        let is_file = is_own && file.metadata().is_ok_and(|of| of.is_file());
        is_file.then_some((file, at_ms.unwrap_or(0.0)))
    })
}

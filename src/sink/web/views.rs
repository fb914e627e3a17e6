//! State shared by the pipeline's threads and the web server.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::access::Access;
use super::api::QuerySlots;
use super::counters::Counters;
use super::metrics::Metrics;
use crate::flow::Health;
use crate::records::Record;

/// Records that a slow listener may lag behind.
const BROADCAST_CAPACITY: usize = 512;
/// Recent events sent to a new listener.
const RECENT_EVENTS: usize = 50;
/// Multipart boundary.
pub const BOUNDARY: &str = "picture";

/// Overlay layers of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OverlayLayers {
    /// Boxes and trails.
    pub boxes: bool,
    /// Their labels.
    pub labels: bool,
    /// Zones, lines and what they counted.
    pub zones: bool,
    /// Segmented areas.
    pub masks: bool,
}

impl OverlayLayers {
    /// Parses a comma-separated list; all layers if `None`.
    pub fn parse(list: Option<&str>) -> Self {
        let has = |word| list.is_none_or(|list| list.split(',').any(|w| w.trim() == word));
        Self {
            boxes: has("boxes"),
            labels: has("labels"),
            zones: has("zones"),
            masks: has("masks"),
        }
    }
}

/// A picture; `None` before the first.
pub type Newest = Option<Picture>;

/// A JPEG as it is sent; one reference-counted buffer for all clients.
#[derive(Clone, Debug)]
pub struct Picture {
    part: Bytes,
    head: usize,
}

impl Picture {
    fn new(jpeg: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            jpeg.len()
        );
        let part = [head.as_bytes(), jpeg, b"\r\n"].concat();
        Self {
            part: part.into(),
            head: head.len(),
        }
    }

    /// With what stands around it in a stream of pictures.
    pub(super) fn part(&self) -> Bytes {
        self.part.clone()
    }

    /// The JPEG alone.
    pub(super) fn jpeg(&self) -> Bytes {
        self.part.slice(self.head..self.part.len() - 2)
    }
}

/// Where the events and recordings of streams are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFiles {
    /// The event store.
    pub store: Option<PathBuf>,
    /// The folders of recordings and clips: files elsewhere are not sent, whatever the store says.
    pub media_dirs: BTreeSet<PathBuf>,
}

impl EventFiles {
    /// Adds those of another stream. The first store is the one that is shown.
    fn add(&mut self, files: &Self) {
        self.media_dirs.extend(files.media_dirs.iter().cloned());
        match (&self.store, &files.store) {
            (Some(shown), Some(other)) if shown != other => tracing::warn!(
                "the web page shows the events of {}, and not those of {}: give all streams one store",
                shown.display(),
                other.display()
            ),
            _ => self.store = self.store.take().or_else(|| files.store.clone()),
        }
    }
}

/// State of the web server.
pub struct ServerState {
    pub(super) access: Access,
    pub(super) counters: Arc<Counters>,
    pub(super) health: Health,
    all_views: Mutex<Vec<Arc<StreamViews>>>,
    lines: broadcast::Sender<Arc<str>>,
    events: Mutex<VecDeque<Arc<str>>>,
    client_slots: Arc<Semaphore>,
    event_files: Mutex<EventFiles>,
    #[cfg_attr(not(feature = "store"), allow(dead_code, reason = "no query runs"))]
    pub(super) query_slots: QuerySlots,
}

/// The pictures and metrics of one stream.
pub struct StreamViews {
    stream: String,
    views: Mutex<HashMap<OverlayLayers, watch::Sender<Newest>>>,
    metrics: Metrics,
}

impl ServerState {
    pub(super) fn new(access: Access, health: Health, client_slots: usize) -> Self {
        Self {
            access,
            counters: Arc::default(),
            health,
            all_views: Mutex::default(),
            lines: broadcast::channel(BROADCAST_CAPACITY).0,
            events: Mutex::default(),
            client_slots: Arc::new(Semaphore::new(client_slots)),
            event_files: Mutex::default(),
            query_slots: QuerySlots::default(),
        }
    }

    /// Adds a stream; one of that name is added once.
    pub(super) fn add(&self, stream: &str) -> Arc<StreamViews> {
        if let Some(views) = self.views(Some(stream)) {
            return views;
        }
        let views = Arc::new(StreamViews {
            stream: stream.to_owned(),
            views: Mutex::default(),
            metrics: Metrics::default(),
        });
        lock(&self.all_views).push(Arc::clone(&views));
        views
    }

    /// Adds where the events and recordings of a stream are.
    pub(super) fn add_event_files(&self, files: &EventFiles) {
        lock(&self.event_files).add(files);
    }

    /// Where the events and recordings of all streams are from now on.
    pub(super) fn set_event_files(&self, of_streams: &[EventFiles]) {
        let mut all = EventFiles::default();
        of_streams.iter().for_each(|files| all.add(files));
        *lock(&self.event_files) = all;
    }

    /// Where events and recordings are.
    #[cfg_attr(not(feature = "store"), allow(dead_code, reason = "nobody asks"))]
    pub(super) fn event_files(&self) -> EventFiles {
        lock(&self.event_files).clone()
    }

    /// Forgets all streams but these: who watches another one sees its pictures end.
    pub(super) fn retain(&self, streams: &[&str]) {
        lock(&self.all_views).retain(|views| streams.contains(&&*views.stream));
    }

    /// All streams.
    pub(super) fn all_views(&self) -> Vec<Arc<StreamViews>> {
        lock(&self.all_views).clone()
    }

    /// The stream of that name; the first without one.
    pub(super) fn views(&self, stream: Option<&str>) -> Option<Arc<StreamViews>> {
        let all_views = lock(&self.all_views);
        let mut wanted = all_views
            .iter()
            .filter(|views| stream.is_none_or(|name| views.stream == name));
        wanted.next().cloned()
    }

    /// Sends a record to all listeners.
    pub(super) fn broadcast(&self, record: &Record) {
        let line = serde_json::to_string(record).expect("records are plain data with string keys");
        let line: Arc<str> = line.into();
        if matches!(record, Record::Event(_)) {
            let mut events = lock(&self.events);
            if events.len() == RECENT_EVENTS {
                events.pop_front();
            }
            events.push_back(Arc::clone(&line));
        }
        // An error here means that there are no listeners.
        let _ = self.lines.send(line);
    }

    /// The last events, and all records from now on.
    pub(super) fn listen(&self) -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
        let events = lock(&self.events);
        (events.iter().cloned().collect(), self.lines.subscribe())
    }

    /// Acquires a client slot, if one is free.
    pub(super) fn acquire_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.client_slots).try_acquire_owned().ok()
    }
}

impl StreamViews {
    /// The layer sets that clients are watching.
    pub fn wanted(&self) -> Vec<OverlayLayers> {
        let mut views = lock(&self.views);
        views.retain(|_, view| view.receiver_count() > 0);
        views.keys().copied().collect()
    }

    /// Publishes a JPEG to the clients that watch these layers.
    pub fn publish(&self, show: OverlayLayers, jpeg: &[u8]) {
        if let Some(view) = lock(&self.views).get(&show) {
            view.send_replace(Some(Picture::new(jpeg)));
        }
    }

    /// What is counted and measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// The newest pictures of a kind, from now on.
    pub(super) fn watch(&self, show: OverlayLayers) -> watch::Receiver<Newest> {
        let mut views = lock(&self.views);
        let view = views.entry(show).or_insert_with(|| watch::channel(None).0);
        view.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(client_slots: usize) -> ServerState {
        let access = Access::new(None, &[]).expect("no token");
        ServerState::new(access, Health::default(), client_slots)
    }

    #[test]
    fn only_what_is_watched_is_wanted_and_only_the_newest_is_kept() {
        let views = state(4).add("gate");
        assert_eq!(views.wanted(), []);
        let boxes = OverlayLayers::parse(Some("boxes"));
        let watcher = views.watch(boxes);
        assert_eq!(views.wanted(), [boxes]);
        views.publish(boxes, &[1]);
        views.publish(boxes, &[2, 3]);
        let newest = watcher.borrow().clone().expect("a picture");
        assert_eq!(newest.jpeg().as_ref(), [2, 3]);
        let part =
            b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: 2\r\n\r\n\x02\x03\r\n";
        assert_eq!(newest.part().as_ref(), part);
        drop(watcher);
        assert_eq!(views.wanted(), []);
    }

    #[test]
    fn streams_are_found_by_their_names() {
        let state = state(4);
        assert!(state.views(None).is_none());
        let (gate, yard) = (state.add("gate"), state.add("yard"));
        let is = |found: Option<Arc<StreamViews>>, views: &Arc<StreamViews>| {
            found.is_some_and(|h| Arc::ptr_eq(&h, views))
        };
        assert!(is(state.views(None), &gate) && is(state.views(Some("yard")), &yard));
        assert!(state.views(Some("attic")).is_none());
    }

    #[test]
    fn the_first_store_is_shown_and_all_folders_are_known() {
        let state = state(1);
        let files = |store: Option<&str>, dir: &str| EventFiles {
            store: store.map(PathBuf::from),
            media_dirs: [dir.into()].into(),
        };
        for (store, dir) in [(None, "a"), (Some("one.db"), "b"), (Some("two.db"), "a")] {
            state.add_event_files(&files(store, dir));
        }
        let known = state.event_files();
        assert_eq!(known.store, Some("one.db".into()));
        assert_eq!(known.media_dirs, ["a".into(), "b".into()].into());
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let state = state(2);
        let (one, two) = (state.acquire_slot(), state.acquire_slot());
        assert!(one.is_some() && two.is_some() && state.acquire_slot().is_none());
        drop(one);
        assert!(state.acquire_slot().is_some());
    }

    #[test]
    fn all_is_shown_unless_said_otherwise() {
        assert!(OverlayLayers::parse(None).masks);
        let some = OverlayLayers::parse(Some("zones, labels"));
        assert!(some.zones && some.labels && !some.boxes && !some.masks);
        assert_eq!(OverlayLayers::parse(Some("")), OverlayLayers::default());
    }
}

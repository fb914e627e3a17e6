//! What the pipeline's threads and the server share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::metrics::Metrics;
use crate::records::Record;

/// Records that a listener may be behind.
const BEHIND: usize = 512;
/// Events that a new page is shown.
const EVENTS: usize = 50;
/// What stands between the pictures of a stream.
pub const BOUNDARY: &str = "picture";

/// What is drawn on a picture.
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
    /// From words with commas between them; all of it if there are none.
    pub fn parse(words: Option<&str>) -> Self {
        let has = |word| words.is_none_or(|words| words.split(',').any(|w| w.trim() == word));
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

/// A JPEG as it is sent, once for all who watch: nobody gets a copy of their own.
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

/// What the server knows of all streams.
pub struct ServerState {
    /// Fingerprint of the token.
    token: Option<[u8; 32]>,
    hubs: Mutex<Vec<Arc<StreamViews>>>,
    lines: broadcast::Sender<Arc<str>>,
    events: Mutex<VecDeque<Arc<str>>>,
    places: Arc<Semaphore>,
}

/// What a stream's threads and the server share.
pub struct StreamViews {
    stream: String,
    views: Mutex<HashMap<OverlayLayers, watch::Sender<Newest>>>,
    metrics: Metrics,
}

impl ServerState {
    pub(super) fn new(token: Option<String>, places: usize) -> Self {
        Self {
            token: token.map(|token| fingerprint(&token)),
            hubs: Mutex::default(),
            lines: broadcast::channel(BEHIND).0,
            events: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// A place for one more stream.
    pub(super) fn add(&self, stream: &str) -> Arc<StreamViews> {
        let hub = Arc::new(StreamViews {
            stream: stream.to_owned(),
            views: Mutex::default(),
            metrics: Metrics::default(),
        });
        lock(&self.hubs).push(Arc::clone(&hub));
        hub
    }

    /// All streams.
    pub(super) fn hubs(&self) -> Vec<Arc<StreamViews>> {
        lock(&self.hubs).clone()
    }

    /// The stream of that name; the first without one.
    pub(super) fn hub(&self, stream: Option<&str>) -> Option<Arc<StreamViews>> {
        let hubs = lock(&self.hubs);
        let mut wanted = hubs
            .iter()
            .filter(|hub| stream.is_none_or(|name| hub.stream == name));
        wanted.next().cloned()
    }

    /// Tells a record to whoever listens.
    pub(super) fn say(&self, record: &Record) {
        let line = serde_json::to_string(record).expect("records are plain data with string keys");
        let line: Arc<str> = line.into();
        if matches!(record, Record::Event(_)) {
            let mut events = lock(&self.events);
            if events.len() == EVENTS {
                events.pop_front();
            }
            events.push_back(Arc::clone(&line));
        }
        // Nobody listening is no failure.
        let _ = self.lines.send(line);
    }

    /// The last events, and all records from now on.
    pub(super) fn listen(&self) -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
        let events = lock(&self.events);
        (events.iter().cloned().collect(), self.lines.subscribe())
    }

    /// A place for one more watcher, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Whether a token must be shown.
    pub(super) fn is_locked(&self) -> bool {
        self.token.is_some()
    }

    /// Whether `token` is the right one. Fingerprints are compared, so that the time it takes says
    /// nothing of the token.
    pub(super) fn admits(&self, token: &str) -> bool {
        self.token.is_none_or(|right| fingerprint(token) == right)
    }
}

impl StreamViews {
    /// The kinds of pictures that somebody watches now.
    pub fn wanted(&self) -> Vec<OverlayLayers> {
        let mut views = lock(&self.views);
        views.retain(|_, view| view.receiver_count() > 0);
        views.keys().copied().collect()
    }

    /// Shows a JPEG to whoever watches this kind.
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

fn fingerprint(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_watched_is_wanted_and_only_the_newest_is_kept() {
        let hub = ServerState::new(None, 4).add("gate");
        assert_eq!(hub.wanted(), []);
        let boxes = OverlayLayers::parse(Some("boxes"));
        let watcher = hub.watch(boxes);
        assert_eq!(hub.wanted(), [boxes]);
        hub.publish(boxes, &[1]);
        hub.publish(boxes, &[2, 3]);
        let newest = watcher.borrow().clone().expect("a picture");
        assert_eq!(newest.jpeg().as_ref(), [2, 3]);
        let part =
            b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: 2\r\n\r\n\x02\x03\r\n";
        assert_eq!(newest.part().as_ref(), part);
        drop(watcher);
        assert_eq!(hub.wanted(), []);
    }

    #[test]
    fn streams_are_found_by_their_names() {
        let site = ServerState::new(None, 4);
        assert!(site.hub(None).is_none());
        let (gate, yard) = (site.add("gate"), site.add("yard"));
        let is = |found: Option<Arc<StreamViews>>, hub: &Arc<StreamViews>| {
            found.is_some_and(|h| Arc::ptr_eq(&h, hub))
        };
        assert!(is(site.hub(None), &gate) && is(site.hub(Some("yard")), &yard));
        assert!(site.hub(Some("attic")).is_none());
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let site = ServerState::new(None, 2);
        let (one, two) = (site.place(), site.place());
        assert!(one.is_some() && two.is_some() && site.place().is_none());
        drop(one);
        assert!(site.place().is_some());
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let site = ServerState::new(Some("secret".to_owned()), 2);
        assert!(site.is_locked() && site.admits("secret"));
        assert!(!site.admits("Secret") && !site.admits(""));
        assert!(ServerState::new(None, 1).admits("anything"));
    }

    #[test]
    fn all_is_shown_unless_said_otherwise() {
        assert!(OverlayLayers::parse(None).masks);
        let some = OverlayLayers::parse(Some("zones, labels"));
        assert!(some.zones && some.labels && !some.boxes && !some.masks);
        assert_eq!(OverlayLayers::parse(Some("")), OverlayLayers::default());
    }
}

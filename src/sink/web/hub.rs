//! What the pipeline's threads and the server share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::metrics::Metrics;
use crate::records::Record;

/// Records that a listener may be behind.
const BEHIND: usize = 512;
/// Events that a new page is shown.
const EVENTS: usize = 50;

/// What is drawn on a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Show {
    /// Boxes and trails.
    pub boxes: bool,
    /// Their labels.
    pub labels: bool,
    /// Zones, lines and what they counted.
    pub zones: bool,
    /// Segmented areas.
    pub masks: bool,
}

impl Show {
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

/// A JPEG; `None` before the first.
pub type Newest = Option<Arc<[u8]>>;

/// What the pipeline's threads and the server share.
pub struct Hub {
    stream: String,
    /// Fingerprint of the token.
    token: Option<[u8; 32]>,
    views: Mutex<HashMap<Show, watch::Sender<Newest>>>,
    lines: broadcast::Sender<Arc<str>>,
    events: Mutex<VecDeque<Arc<str>>>,
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl Hub {
    pub(super) fn new(
        stream: &str,
        token: Option<String>,
        places: usize,
        metrics: Metrics,
    ) -> Self {
        Self {
            stream: stream.to_owned(),
            token: token.map(|token| fingerprint(&token)),
            views: Mutex::default(),
            lines: broadcast::channel(BEHIND).0,
            events: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
            metrics,
        }
    }

    /// The kinds of pictures that somebody watches now.
    pub fn wanted(&self) -> Vec<Show> {
        let mut views = lock(&self.views);
        views.retain(|_, view| view.receiver_count() > 0);
        views.keys().copied().collect()
    }

    /// Shows a JPEG to whoever watches this kind.
    pub fn show(&self, show: Show, jpeg: Vec<u8>) {
        if let Some(view) = lock(&self.views).get(&show) {
            view.send_replace(Some(jpeg.into()));
        }
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

    /// What is counted and measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// The newest pictures of a kind, from now on.
    pub(super) fn watch(&self, show: Show) -> watch::Receiver<Newest> {
        let mut views = lock(&self.views);
        let view = views.entry(show).or_insert_with(|| watch::channel(None).0);
        view.subscribe()
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

fn fingerprint(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(token: Option<&str>, places: usize) -> Hub {
        Hub::new("gate", token.map(str::to_owned), places, Metrics::default())
    }

    #[test]
    fn only_what_is_watched_is_wanted_and_only_the_newest_is_kept() {
        let hub = hub(None, 4);
        assert_eq!(hub.wanted(), []);
        let boxes = Show::parse(Some("boxes"));
        let watcher = hub.watch(boxes);
        assert_eq!(hub.wanted(), [boxes]);
        hub.show(boxes, vec![1]);
        hub.show(boxes, vec![2]);
        assert_eq!(watcher.borrow().as_deref(), Some(&[2_u8][..]));
        drop(watcher);
        assert_eq!(hub.wanted(), []);
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let hub = hub(None, 2);
        let (one, two) = (hub.place(), hub.place());
        assert!(one.is_some() && two.is_some() && hub.place().is_none());
        drop(one);
        assert!(hub.place().is_some());
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let hub = hub(Some("secret"), 2);
        assert!(hub.is_locked() && hub.admits("secret"));
        assert!(!hub.admits("Secret") && !hub.admits(""));
        assert!(self::hub(None, 1).admits("anything"));
    }

    #[test]
    fn all_is_shown_unless_said_otherwise() {
        assert!(Show::parse(None).masks);
        let some = Show::parse(Some("zones, labels"));
        assert!(some.zones && some.labels && !some.boxes && !some.masks);
        assert_eq!(Show::parse(Some("")), Show::default());
    }
}

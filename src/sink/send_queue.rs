//! Bounded send queue of a network sink; drops the oldest when full.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A queue between pipeline threads, which never block, and a sender.
#[derive(Debug)]
pub struct SendQueue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    limit: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    dropped: u64,
    closed_at: Option<Instant>,
}

impl<T> SendQueue<T> {
    /// A queue of capacity `limit` (at least one).
    pub fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                dropped: 0,
                closed_at: None,
            }),
            changed: Notify::new(),
            limit: limit.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item; when full, the oldest is dropped and counted.
    pub fn push(&self, item: T) {
        let mut state = self.lock();
        if state.waiting.len() >= self.limit {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(item);
        self.changed.notify_one();
    }

    /// Returns unsent items to the front, oldest first.
    #[cfg(feature = "mqtt")]
    pub fn put_back(&self, items: impl DoubleEndedIterator<Item = T>) {
        let mut state = self.lock();
        for item in items.rev() {
            // Newer items take precedence.
            if state.waiting.len() >= self.limit {
                state.dropped += 1;
            } else {
                state.waiting.push_front(item);
            }
        }
        self.changed.notify_one();
    }

    /// Removes the oldest item.
    pub fn take(&self) -> Option<T> {
        self.lock().waiting.pop_front()
    }

    /// Whether the queue is empty.
    #[cfg(feature = "mqtt")]
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Number of dropped items since the last call.
    pub fn dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Closes the queue.
    pub fn close(&self) {
        self.lock().closed_at.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed_at.is_some()
    }

    /// What is left of `timeout`, counted from the time at which the queue was closed; `None` while it
    /// is open.
    pub fn time_left(&self, timeout: Duration) -> Option<Duration> {
        let closed_at = self.lock().closed_at?;
        Some(timeout.saturating_sub(closed_at.elapsed()))
    }

    /// Waits for a push or close; may return spuriously.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(all(test, feature = "mqtt"))]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_dropped_and_counted() {
        let send_queue = SendQueue::new(3);
        for i in 0..5 {
            send_queue.push(i);
        }
        assert_eq!((send_queue.dropped(), send_queue.dropped()), (2, 0));
        let taken = [send_queue.take(), send_queue.take()].map(|item| item.expect("is there"));
        assert_eq!(taken, [2, 3]);
        send_queue.push(5);
        send_queue.put_back(taken.into_iter());
        let all: Vec<i32> = std::iter::from_fn(|| send_queue.take()).collect();
        assert_eq!((all, send_queue.dropped()), (vec![3, 4, 5], 1));
    }

    #[test]
    fn the_time_left_counts_from_the_first_close() {
        let send_queue = SendQueue::<()>::new(1);
        assert_eq!(send_queue.time_left(Duration::from_secs(600)), None);
        send_queue.close();
        let first = send_queue.time_left(Duration::from_secs(600));
        assert!(first.is_some_and(|left| !left.is_zero()));
        send_queue.close();
        assert!(send_queue.time_left(Duration::from_secs(600)) <= first);
        assert_eq!(send_queue.time_left(Duration::ZERO), Some(Duration::ZERO));
    }
}

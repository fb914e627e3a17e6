//! What waits to be sent to somebody who may be away: bounded, and the oldest gives way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue between the pipeline's threads, which never wait, and one that sends.
#[derive(Debug)]
pub struct Outbox<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    limit: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    dropped: u64,
    is_closed: bool,
}

impl<T> Outbox<T> {
    /// Room for `limit` (at least one).
    pub fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                dropped: 0,
                is_closed: false,
            }),
            changed: Notify::new(),
            limit: limit.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves something to be sent; where there is no room, the oldest is dropped and counted.
    pub fn push(&self, item: T) {
        let mut state = self.lock();
        if state.waiting.len() >= self.limit {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(item);
        self.changed.notify_one();
    }

    /// Puts what could not be sent back to the front, oldest first.
    pub fn put_back(&self, items: impl DoubleEndedIterator<Item = T>) {
        let mut state = self.lock();
        for item in items.rev() {
            // What is newer than they are is worth more.
            if state.waiting.len() >= self.limit {
                state.dropped += 1;
            } else {
                state.waiting.push_front(item);
            }
        }
        self.changed.notify_one();
    }

    /// The oldest.
    pub fn take(&self) -> Option<T> {
        self.lock().waiting.pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// What was dropped since this was last asked.
    pub fn dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Whether nothing more comes.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits until something was left or closed; it may have been before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let outbox = Outbox::new(3);
        for i in 0..5 {
            outbox.push(i);
        }
        assert_eq!((outbox.dropped(), outbox.dropped()), (2, 0));
        let taken = [outbox.take(), outbox.take()].map(|item| item.expect("is there"));
        assert_eq!(taken, [2, 3]);
        outbox.push(5);
        outbox.put_back(taken.into_iter());
        let all: Vec<i32> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!((all, outbox.dropped()), (vec![3, 4, 5], 1));
    }
}

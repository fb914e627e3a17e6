//! Single-value slot between two threads, in which the latest value wins.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Holds the latest value that the writer put, until the reader takes it. Older values are
/// overwritten and counted.
#[derive(Debug)]
pub struct LatestSlot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    latest: Option<T>,
    overwritten: u64,
    /// The error with which the writer ended.
    error: Option<String>,
    reader_closed: bool,
}

/// Result of [`LatestSlot::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The latest value, and the number of values overwritten since the previous one was taken.
    Value(T, u64),
    /// The writer ended with this error.
    WriterFailed(String),
    /// The slot stayed empty until the timeout.
    Timeout,
}

impl<T> Default for LatestSlot<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                latest: None,
                overwritten: 0,
                error: None,
                reader_closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> LatestSlot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a value and overwrites an older one; false once the reader has closed the slot.
    pub fn put(&self, value: T) -> bool {
        let mut state = self.lock();
        if state.latest.replace(value).is_some() {
            state.overwritten += 1;
        }
        self.changed.notify_one();
        !state.reader_closed
    }

    /// Ends writing with an error. A value in the slot can still be taken.
    pub fn fail(&self, error: String) {
        self.lock().error = Some(error);
        self.changed.notify_one();
    }

    /// Whether the writer has ended with an error.
    #[cfg(test)]
    pub fn has_failed(&self) -> bool {
        self.lock().error.is_some()
    }

    /// Ends reading: the next [`put`](Self::put) returns false.
    pub fn close(&self) {
        self.lock().reader_closed = true;
    }

    /// Waits for a value; one that is there comes before the writer's error.
    pub fn take(&self, timeout: Duration) -> Taken<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(value) = state.latest.take() {
                return Taken::Value(value, std::mem::take(&mut state.overwritten));
            }
            if let Some(error) = &state.error {
                return Taken::WriterFailed(error.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Timeout;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_value_wins_and_overwritten_ones_are_counted() {
        let slot = LatestSlot::default();
        for i in 0..5 {
            assert!(slot.put(i));
        }
        slot.fail("unplugged".to_owned());
        assert_eq!(slot.take(Duration::ZERO), Taken::Value(4, 4));
        assert_eq!(
            slot.take(Duration::ZERO),
            Taken::WriterFailed("unplugged".to_owned())
        );
    }

    #[test]
    fn taking_from_an_empty_slot_times_out() {
        let slot = LatestSlot::<u8>::default();
        assert_eq!(slot.take(Duration::from_millis(1)), Taken::Timeout);
        assert!(slot.put(1));
        assert_eq!(slot.take(Duration::ZERO), Taken::Value(1, 0));
        slot.close();
        assert!(!slot.put(2));
    }
}

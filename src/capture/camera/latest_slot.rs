//! Room for one frame between the thread that reads a camera and the one that uses it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Holds the newest letter, and counts those that were never taken.
#[derive(Debug)]
pub struct LatestSlot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    newest: Option<T>,
    overwritten: u64,
    /// The writer's last word.
    fault: Option<String>,
    reader_gone: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail<T> {
    /// The newest letter, and how many older ones it replaced since the last one was taken.
    Letter(T, u64),
    /// The writer gave up, for this reason.
    Fault(String),
    /// Nothing came in time.
    Nothing,
}

impl<T> Default for LatestSlot<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                newest: None,
                overwritten: 0,
                fault: None,
                reader_gone: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> LatestSlot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a letter in place of an older one; false when nobody reads any more.
    pub fn put(&self, letter: T) -> bool {
        let mut state = self.lock();
        if state.newest.replace(letter).is_some() {
            state.overwritten += 1;
        }
        self.changed.notify_one();
        !state.reader_gone
    }

    /// The writer's last word.
    pub fn give_up(&self, why: String) {
        self.lock().fault = Some(why);
        self.changed.notify_one();
    }

    /// Whether the writer has said its last word.
    #[cfg(test)]
    pub fn has_fault(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// The reader's last word.
    pub fn leave(&self) {
        self.lock().reader_gone = true;
    }

    /// Waits for a letter; one that is there is given before a fault.
    pub fn take(&self, timeout: Duration) -> Mail<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(letter) = state.newest.take() {
                return Mail::Letter(letter, std::mem::take(&mut state.overwritten));
            }
            if let Some(why) = &state.fault {
                return Mail::Fault(why.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Mail::Nothing;
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
    fn only_the_newest_is_kept_and_the_others_are_counted() {
        let mailbox = LatestSlot::default();
        for i in 0..5 {
            assert!(mailbox.put(i));
        }
        mailbox.give_up("unplugged".to_owned());
        assert_eq!(mailbox.take(Duration::ZERO), Mail::Letter(4, 4));
        assert_eq!(
            mailbox.take(Duration::ZERO),
            Mail::Fault("unplugged".to_owned())
        );
    }

    #[test]
    fn an_empty_mailbox_does_not_hold_for_ever() {
        let mailbox = LatestSlot::<u8>::default();
        assert_eq!(mailbox.take(Duration::from_millis(1)), Mail::Nothing);
        assert!(mailbox.put(1));
        assert_eq!(mailbox.take(Duration::ZERO), Mail::Letter(1, 0));
        mailbox.leave();
        assert!(!mailbox.put(2));
    }
}

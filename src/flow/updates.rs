//! Settings that a stage takes over with a given message, so that all stages change at the same one.
//!
//! Messages carry the generation of the settings that they are processed with. What a stage needs for a
//! generation is sent to it before the first message of that generation is, so a stage never waits for it.

use std::sync::mpsc;

/// The sending side of [`Updates`].
#[derive(Debug)]
pub struct UpdateSender<T>(mpsc::Sender<(u64, T)>);

/// What is waiting for a stage.
#[derive(Debug)]
pub struct Updates<T> {
    waiting: mpsc::Receiver<(u64, T)>,
    /// Received, and for a later message.
    next: Option<(u64, T)>,
}

/// Updates of one stage.
pub fn updates<T>() -> (UpdateSender<T>, Updates<T>) {
    let (tx, waiting) = mpsc::channel();
    let updates = Updates {
        waiting,
        next: None,
    };
    (UpdateSender(tx), updates)
}

impl<T> UpdateSender<T> {
    /// Sends what the stage takes over with the first message of `generation`. A stage that has ended needs
    /// nothing.
    pub fn send(&self, generation: u64, update: T) {
        let _ = self.0.send((generation, update));
    }
}

impl<T> Updates<T> {
    /// The next update up to `generation`, oldest first.
    pub fn next_up_to(&mut self, generation: u64) -> Option<T> {
        if self.next.is_none() {
            self.next = self.waiting.try_recv().ok();
        }
        let (_, update) = self.next.take_if(|(of, _)| *of <= generation)?;
        Some(update)
    }

    /// The last update up to `generation`; those before it are dropped.
    pub fn last_up_to(&mut self, generation: u64) -> Option<T> {
        std::iter::from_fn(|| self.next_up_to(generation)).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_update_waits_for_its_generation() {
        let (tx, mut updates) = updates();
        assert_eq!(updates.next_up_to(9), None);
        for generation in [1, 2, 4] {
            tx.send(generation, generation * 10);
        }
        assert_eq!(updates.next_up_to(0), None);
        assert_eq!(updates.next_up_to(1), Some(10));
        assert_eq!(updates.next_up_to(1), None);
        assert_eq!(updates.last_up_to(3), Some(20));
        drop(tx);
        assert_eq!(updates.last_up_to(9), Some(40));
        assert_eq!(updates.last_up_to(9), None);
    }
}

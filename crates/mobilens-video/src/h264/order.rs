//! From decoding order to presentation order.

use std::collections::VecDeque;

/// Holds pictures back until none that is shown earlier can follow.
#[derive(Debug)]
pub(crate) struct PresentationQueue<T> {
    /// By presentation time.
    entries: VecDeque<(i64, T)>,
    capacity: usize,
    floor: i64,
}

impl<T> PresentationQueue<T> {
    /// An empty queue. `capacity` is what a stream may hold back by its own rules: beyond it the
    /// earliest picture goes, whatever the times say.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
            floor: i64::MIN,
        }
    }

    /// Takes a picture that is shown at `pts`.
    pub(crate) fn push(&mut self, pts: i64, entry: T) {
        let at = self.entries.partition_point(|&(p, _)| p <= pts);
        self.entries.insert(at, (pts, entry));
    }

    /// No picture that is pushed from here on is shown before `floor`.
    pub(crate) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
    }

    /// The next picture in presentation order, once it is certain.
    pub(crate) fn pop(&mut self) -> Option<(i64, T)> {
        let &(pts, _) = self.entries.front()?;
        (pts <= self.floor || self.entries.len() > self.capacity)
            .then(|| self.entries.pop_front())
            .flatten()
    }

    /// Forgets everything, and takes `capacity` from here on.
    pub(crate) fn reset(&mut self, capacity: usize) {
        *self = Self::new(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_wait_for_earlier_ones_and_no_longer() {
        let mut queue = PresentationQueue::new(16);
        let mut shown = Vec::new();
        // I0 P3 B1 B2 P5 B4, one tick apart; B pictures are shown one tick before they are
        // decoded, so what is decoded at `dts + 1` is not shown before `dts`.
        for (dts, pts) in (0..).zip([0, 3, 1, 2, 5, 4]) {
            queue.push(pts, pts);
            queue.raise_floor(dts);
            while let Some((_, pts)) = queue.pop() {
                shown.push(pts);
            }
        }
        assert_eq!(shown, [0, 1, 2, 3, 4, 5]);
        queue.raise_floor(i64::MAX);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn false_times_do_not_fill_the_queue() {
        let mut queue = PresentationQueue::new(2);
        for pts in [5, 4, 3] {
            queue.push(pts, ());
        }
        assert_eq!(queue.pop(), Some((3, ())));
        assert_eq!(queue.pop(), None);
    }
}

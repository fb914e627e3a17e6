//! Reorder buffer: pictures from decoding order to presentation order.

use std::collections::VecDeque;

/// Delays pictures until no picture with an earlier presentation time can follow.
#[derive(Debug)]
pub(crate) struct PresentationQueue<T> {
    /// Sorted by presentation time.
    entries: VecDeque<(i64, T)>,
    capacity: usize,
    /// No later picture has an earlier presentation time.
    min_pts: i64,
}

impl<T> PresentationQueue<T> {
    /// An empty queue. `capacity` is the size of the decoded picture buffer: beyond it the earliest
    /// picture is output, even when the timestamps are wrong.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
            min_pts: i64::MIN,
        }
    }

    /// Inserts a picture with presentation time `pts`.
    pub(crate) fn push(&mut self, pts: i64, entry: T) {
        let at = self.entries.partition_point(|&(p, _)| p <= pts);
        self.entries.insert(at, (pts, entry));
    }

    /// Declares that every picture pushed from here on has a presentation time of at least `min_pts`.
    pub(crate) fn raise_min_pts(&mut self, min_pts: i64) {
        self.min_pts = self.min_pts.max(min_pts);
    }

    /// The next picture in presentation order, once no earlier one can follow.
    pub(crate) fn pop(&mut self) -> Option<(i64, T)> {
        let &(pts, _) = self.entries.front()?;
        (pts <= self.min_pts || self.entries.len() > self.capacity)
            .then(|| self.entries.pop_front())
            .flatten()
    }

    /// Discards all pictures and sets the capacity.
    pub(crate) fn reset(&mut self, capacity: usize) {
        *self = Self::new(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_frames_are_reordered_without_extra_delay() {
        let mut queue = PresentationQueue::new(16);
        let mut shown = Vec::new();
        // I0 P3 B1 B2 P5 B4, one tick apart; B-frames have a presentation time one tick before
        // their decoding time, so a frame decoded at `dts + 1` has a pts of at least `dts`.
        for (dts, pts) in (0..).zip([0, 3, 1, 2, 5, 4]) {
            queue.push(pts, pts);
            queue.raise_min_pts(dts);
            while let Some((_, pts)) = queue.pop() {
                shown.push(pts);
            }
        }
        assert_eq!(shown, [0, 1, 2, 3, 4, 5]);
        queue.raise_min_pts(i64::MAX);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn capacity_bounds_the_queue_when_timestamps_are_wrong() {
        let mut queue = PresentationQueue::new(2);
        for pts in [5, 4, 3] {
            queue.push(pts, ());
        }
        assert_eq!(queue.pop(), Some((3, ())));
        assert_eq!(queue.pop(), None);
    }
}

//! Going on under other settings: what is tracked and counted lives on where it still makes sense.

use super::{Analyzer, CountedLine, MonitoredZone, zone_events};
use crate::analytics::LineCounter;
use crate::records::{EventRecord, FrameRecord};
use crate::track::Tracker;
use mobilens_image::SizePx;

impl Analyzer {
    /// Goes on from `before`. Tracks keep their ids and zones their objects, unless the labels changed, by which
    /// they are known; a zone and a line keep their counts as long as there is one of their name. No id is given
    /// twice. Gives the events of visits that end with `before`, after the frame of `last`.
    pub fn continue_from(&mut self, mut before: Self, last: &FrameRecord) -> Vec<EventRecord> {
        self.ids_before = before.last_id();
        let is_same = before.labels == self.labels && self.tracker.is_some();
        if is_same {
            self.keypoints = std::mem::take(&mut before.keypoints);
            take_tracks(self.tracker.as_mut(), before.tracker.take());
            for other in &mut self.others {
                let known = before.others.iter_mut().find(|b| b.name == other.name);
                take_tracks(
                    other.tracker.as_mut(),
                    known.and_then(|known| known.tracker.take()),
                );
            }
        }
        let mut events = Vec::new();
        for mut zone in std::mem::take(&mut before.zones) {
            let next = self.zones.iter_mut().find(|next| next.name == zone.name);
            if next.is_none() || !is_same {
                let left = zone.monitor.end_all();
                events.extend(zone_events(&before.labels, &zone, left, last));
            }
            if let Some(next) = next {
                next.continue_from(zone);
            }
        }
        for line in before.lines {
            if let Some(next) = self.lines.iter_mut().find(|next| next.name == line.name) {
                next.continue_from(line, is_same);
            }
        }
        events
    }

    /// The greatest track id that was given.
    fn last_id(&self) -> u64 {
        let others = self.others.iter().map(|other| &other.tracker);
        let trackers = std::iter::once(&self.tracker).chain(others).flatten();
        let last = trackers.map(Tracker::last_id).max();
        last.unwrap_or_default().max(self.ids_before)
    }
}

/// Goes on with the tracks of the tracker before.
fn take_tracks(tracker: Option<&mut Tracker>, before: Option<Tracker>) {
    if let (Some(tracker), Some(before)) = (tracker, before) {
        tracker.continue_from(before);
    }
}

impl MonitoredZone {
    fn continue_from(&mut self, before: Self) {
        self.monitor.continue_from(before.monitor);
    }
}

impl CountedLine {
    /// Objects are on the side of the line where they were only if it has not moved.
    fn continue_from(&mut self, before: Self, is_same: bool) {
        let stays = is_same && (self.from, self.to) == (before.from, before.to);
        self.counter = before.counter.map(|(size, counter)| {
            if stays {
                return (size, counter);
            }
            let mut moved = self.new_counter(size);
            moved.set_counts(counter.counts());
            (size, moved)
        });
    }

    /// A counter for frames of `size`.
    pub(super) fn new_counter(&self, size: SizePx) -> LineCounter {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let at = |[x, y]: [f64; 2]| [x * width, y * height];
        LineCounter::new(at(self.from), at(self.to))
    }
}

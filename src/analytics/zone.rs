//! Zone occupancy: objects that enter, stay in, loiter in and leave a zone.

use std::collections::BTreeMap;

/// Monitors the objects in one zone.
#[derive(Clone, Debug)]
pub struct ZoneMonitor {
    /// Time outside after which an object has left.
    leave_ms: f64,
    /// Time inside after which an object loiters.
    loiter_ms: Option<f64>,
    /// Interval of updates while an object stays.
    update_ms: Option<f64>,
    counts: ZoneCounts,
    objects: BTreeMap<u64, ZoneVisit>,
}

/// Occupancy counts of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneCounts {
    /// Objects inside now.
    pub now: u64,
    /// Objects that have entered.
    pub entered: u64,
    /// Objects that have left.
    pub left: u64,
    /// Most objects inside at once.
    pub peak: u64,
}

/// One object's visit to a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneVisit {
    /// Its track.
    pub track_id: u64,
    /// Its class.
    pub category_id: u32,
    /// Media time of entry.
    pub since_ms: f64,
    /// Media time when it was last inside.
    pub inside_ms: f64,
    /// Whether it loiters.
    pub loiters: bool,
    updated_ms: f64,
    /// Since when it is outside, unless it came back.
    outside_ms: Option<f64>,
}

/// A change of a zone's occupancy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZoneEvent {
    /// An object entered.
    Entered(ZoneVisit),
    /// Periodic update of an object inside.
    Stays(ZoneVisit),
    /// An object has started to loiter.
    Loiters(ZoneVisit),
    /// An object left, or its track ended.
    Left(ZoneVisit),
}

impl ZoneMonitor {
    /// An empty zone.
    pub fn new(leave_ms: f64, loiter_ms: Option<f64>, update_ms: Option<f64>) -> Self {
        Self {
            leave_ms,
            loiter_ms,
            update_ms,
            counts: ZoneCounts::default(),
            objects: BTreeMap::new(),
        }
    }

    /// Processes whether an object is inside. Other events come from [`update`](Self::update).
    pub fn observe(
        &mut self,
        track_id: u64,
        category_id: u32,
        is_inside: bool,
        t_ms: f64,
    ) -> Option<ZoneEvent> {
        if let Some(visit) = self.objects.get_mut(&track_id) {
            if is_inside {
                visit.inside_ms = t_ms;
                visit.outside_ms = None;
            } else {
                visit.outside_ms.get_or_insert(t_ms);
            }
            return None;
        }
        if !is_inside {
            return None;
        }
        let visit = ZoneVisit {
            track_id,
            category_id,
            since_ms: t_ms,
            inside_ms: t_ms,
            loiters: false,
            updated_ms: t_ms,
            outside_ms: None,
        };
        self.objects.insert(track_id, visit);
        self.counts.entered += 1;
        self.counts.now += 1;
        self.counts.peak = self.counts.peak.max(self.counts.now);
        Some(ZoneEvent::Entered(visit))
    }

    /// Events after all objects of a frame were observed. Objects whose track is not alive have left;
    /// objects that were not observed have not.
    pub fn update(&mut self, t_ms: f64, is_alive: impl Fn(u64) -> bool) -> Vec<ZoneEvent> {
        let mut events = Vec::new();
        let (leave_ms, loiter_ms, update_ms) = (self.leave_ms, self.loiter_ms, self.update_ms);
        let counts = &mut self.counts;
        self.objects.retain(|id, visit| {
            let outside = visit.outside_ms.map(|since| t_ms - since);
            if !is_alive(*id) || outside.is_some_and(|ms| ms >= leave_ms) {
                counts.left += 1;
                counts.now -= 1;
                events.push(ZoneEvent::Left(*visit));
                return false;
            }
            let stay_ms = visit.inside_ms - visit.since_ms;
            if !visit.loiters && loiter_ms.is_some_and(|limit| stay_ms >= limit) {
                visit.loiters = true;
                events.push(ZoneEvent::Loiters(*visit));
            }
            if update_ms.is_some_and(|every| t_ms - visit.updated_ms >= every) {
                visit.updated_ms = t_ms;
                events.push(ZoneEvent::Stays(*visit));
            }
            true
        });
        events
    }

    /// Goes on with the objects and counts of `before`, under its own times.
    pub fn continue_from(&mut self, before: Self) {
        self.counts = before.counts;
        self.objects = before.objects;
    }

    /// All objects inside have left: the zone is removed, or they are not tracked any more.
    pub fn end_all(&mut self) -> Vec<ZoneEvent> {
        self.update(0.0, |_| false)
    }

    /// The tracks of the objects that are counted as inside now.
    pub fn tracks(&self) -> impl Iterator<Item = u64> {
        self.objects.keys().copied()
    }

    /// The occupancy counts.
    pub fn counts(&self) -> ZoneCounts {
        self.counts
    }
}

impl ZoneVisit {
    /// Duration of the visit in milliseconds.
    pub fn duration_ms(&self) -> f64 {
        self.inside_ms - self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_starts_updates_and_ends() {
        let mut zone = ZoneMonitor::new(200.0, Some(1000.0), Some(600.0));
        let mut got = Vec::new();
        for frame in 0..60_u32 {
            let t = f64::from(frame) * 100.0;
            // Inside from 500 ms to 2500 ms, with jitter at 1000 ms.
            let is_inside = (5..=25).contains(&frame) && frame != 10;
            let entered = zone.observe(7, 1, is_inside, t);
            for event in entered.into_iter().chain(zone.update(t, |_| true)) {
                got.push(match event {
                    ZoneEvent::Entered(_) => (t, "new", 0.0),
                    ZoneEvent::Stays(p) => (t, "update", p.duration_ms()),
                    ZoneEvent::Loiters(p) => (t, "loiter", p.duration_ms()),
                    ZoneEvent::Left(p) => (t, "end", p.duration_ms()),
                });
            }
        }
        let expected = [
            (500.0, "new", 0.0),
            (1100.0, "update", 600.0),
            (1500.0, "loiter", 1000.0),
            (1700.0, "update", 1200.0),
            (2300.0, "update", 1800.0),
            (2800.0, "end", 2000.0),
        ];
        assert_eq!(got, expected);
        let counts = ZoneCounts {
            now: 0,
            entered: 1,
            left: 1,
            peak: 1,
        };
        assert_eq!(zone.counts(), counts);
    }

    #[test]
    fn an_object_leaves_when_its_track_ends() {
        let mut zone = ZoneMonitor::new(200.0, None, None);
        zone.observe(1, 1, true, 0.0);
        zone.observe(2, 1, true, 0.0);
        assert_eq!(zone.counts().peak, 2);
        assert_eq!(zone.tracks().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(zone.update(10.0, |id| id == 2).len(), 1);
        assert_eq!(zone.tracks().collect::<Vec<_>>(), [2]);
        assert_eq!((zone.counts().now, zone.counts().left), (1, 1));
    }
}

//! Zones that objects enter, stay in and leave.

use std::collections::BTreeMap;

/// One zone and the objects in it.
#[derive(Clone, Debug)]
pub struct ZoneMonitor {
    /// An object that was seen outside for so long has left.
    leave_ms: f64,
    /// An object that stays for so long loiters.
    loiter_ms: Option<f64>,
    /// While it stays, an update comes so often.
    update_ms: Option<f64>,
    counts: ZoneCounts,
    objects: BTreeMap<u64, Presence>,
}

/// How many objects were and are in a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneCounts {
    /// There now.
    pub now: u64,
    /// That entered so far.
    pub entered: u64,
    /// That left so far.
    pub left: u64,
    /// Most at once.
    pub peak: u64,
}

/// An object's stay in a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Presence {
    /// Its track.
    pub track_id: u64,
    /// Its class.
    pub category_id: u32,
    /// When it entered, media time.
    pub since_ms: f64,
    /// When it was last inside.
    pub inside_ms: f64,
    /// Whether it has been there for so long that it loiters.
    pub loiters: bool,
    updated_ms: f64,
    /// When it was first seen outside, unless it came back.
    outside_ms: Option<f64>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZoneChange {
    /// An object came in.
    Entered(Presence),
    /// It is still there.
    Stays(Presence),
    /// It has been there for too long.
    Loiters(Presence),
    /// It is out, or its track is.
    Left(Presence),
}

impl ZoneMonitor {
    /// A zone with nobody in it.
    pub fn new(leave_ms: f64, loiter_ms: Option<f64>, update_ms: Option<f64>) -> Self {
        Self {
            leave_ms,
            loiter_ms,
            update_ms,
            counts: ZoneCounts::default(),
            objects: BTreeMap::new(),
        }
    }

    /// Takes in whether an object is inside. Changes follow from [`update`](Self::update).
    pub fn observe(
        &mut self,
        track_id: u64,
        category_id: u32,
        is_inside: bool,
        t_ms: f64,
    ) -> Option<ZoneChange> {
        if let Some(presence) = self.objects.get_mut(&track_id) {
            if is_inside {
                presence.inside_ms = t_ms;
                presence.outside_ms = None;
            } else {
                presence.outside_ms.get_or_insert(t_ms);
            }
            return None;
        }
        if !is_inside {
            return None;
        }
        let presence = Presence {
            track_id,
            category_id,
            since_ms: t_ms,
            inside_ms: t_ms,
            loiters: false,
            updated_ms: t_ms,
            outside_ms: None,
        };
        self.objects.insert(track_id, presence);
        self.counts.entered += 1;
        self.counts.now += 1;
        self.counts.peak = self.counts.peak.max(self.counts.now);
        Some(ZoneChange::Entered(presence))
    }

    /// What follows once all objects of a frame were taken in: who left, who stays. Objects whose
    /// track `is_alive` does not know any more have left; those that nobody saw have not.
    pub fn update(&mut self, t_ms: f64, is_alive: impl Fn(u64) -> bool) -> Vec<ZoneChange> {
        let mut changes = Vec::new();
        let (leave_ms, loiter_ms, update_ms) = (self.leave_ms, self.loiter_ms, self.update_ms);
        let counts = &mut self.counts;
        self.objects.retain(|id, presence| {
            let outside = presence.outside_ms.map(|since| t_ms - since);
            if !is_alive(*id) || outside.is_some_and(|ms| ms >= leave_ms) {
                counts.left += 1;
                counts.now -= 1;
                changes.push(ZoneChange::Left(*presence));
                return false;
            }
            let stay_ms = presence.inside_ms - presence.since_ms;
            if !presence.loiters && loiter_ms.is_some_and(|limit| stay_ms >= limit) {
                presence.loiters = true;
                changes.push(ZoneChange::Loiters(*presence));
            }
            if update_ms.is_some_and(|every| t_ms - presence.updated_ms >= every) {
                presence.updated_ms = t_ms;
                changes.push(ZoneChange::Stays(*presence));
            }
            true
        });
        changes
    }

    /// How many were and are there.
    pub fn counts(&self) -> ZoneCounts {
        self.counts
    }
}

impl Presence {
    /// How long it stayed.
    pub fn duration_ms(&self) -> f64 {
        self.inside_ms - self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_has_a_beginning_updates_and_an_end() {
        let mut zone = ZoneMonitor::new(200.0, Some(1000.0), Some(600.0));
        let mut told = Vec::new();
        for frame in 0..60_u32 {
            let t = f64::from(frame) * 100.0;
            // Inside from 500 ms to 2500 ms, with a tremble at 1000 ms.
            let is_inside = (5..=25).contains(&frame) && frame != 10;
            let entered = zone.observe(7, 1, is_inside, t);
            for change in entered.into_iter().chain(zone.update(t, |_| true)) {
                told.push(match change {
                    ZoneChange::Entered(_) => (t, "new", 0.0),
                    ZoneChange::Stays(p) => (t, "update", p.duration_ms()),
                    ZoneChange::Loiters(p) => (t, "loiter", p.duration_ms()),
                    ZoneChange::Left(p) => (t, "end", p.duration_ms()),
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
        assert_eq!(told, expected);
        let counts = ZoneCounts {
            now: 0,
            entered: 1,
            left: 1,
            peak: 1,
        };
        assert_eq!(zone.counts(), counts);
    }

    #[test]
    fn a_track_that_is_over_has_left() {
        let mut zone = ZoneMonitor::new(200.0, None, None);
        zone.observe(1, 1, true, 0.0);
        zone.observe(2, 1, true, 0.0);
        assert_eq!(zone.counts().peak, 2);
        assert_eq!(zone.update(10.0, |id| id == 2).len(), 1);
        assert_eq!((zone.counts().now, zone.counts().left), (1, 1));
    }
}

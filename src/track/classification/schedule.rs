//! The order in which tracks are classified.

use std::collections::BTreeMap;

/// Says which tracks are due: each at most once in `every_ms`.
#[derive(Clone, Debug)]
pub struct ClassifySchedule {
    every_ms: f64,
    tracks: BTreeMap<u64, Turn>,
    skipped: u64,
}

/// What is known of one track.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// When it was classified last.
    last_ms: Option<f64>,
    /// Since when it waits to be classified.
    due_ms: Option<f64>,
    is_alive: bool,
}

impl ClassifySchedule {
    /// A schedule without tracks. Each is classified at most once in `every_ms` milliseconds.
    pub fn new(every_ms: f64) -> Self {
        Self {
            every_ms,
            tracks: BTreeMap::new(),
            skipped: 0,
        }
    }

    /// The tracks that are due at `t_ms`: first those that were never classified, then those for which that was
    /// longest ago; of equal ones the lower id. `tracks` are all that live, each with whether it can be
    /// classified in this frame; the others are forgotten.
    pub fn due(&mut self, t_ms: f64, tracks: impl IntoIterator<Item = (u64, bool)>) -> Vec<u64> {
        self.tracks
            .values_mut()
            .for_each(|turn| turn.is_alive = false);
        let mut due = Vec::new();
        for (track_id, is_possible) in tracks {
            let turn = self.tracks.entry(track_id).or_default();
            turn.is_alive = true;
            let is_time = turn
                .last_ms
                .is_none_or(|last| t_ms - last >= self.every_ms || t_ms < last);
            if is_possible && is_time {
                let since = *turn.due_ms.get_or_insert(t_ms);
                // `None` is less than any time.
                due.push((turn.last_ms, since, track_id));
            } else {
                turn.due_ms = None;
            }
        }
        self.forget();
        let order = |time: Option<f64>| time.unwrap_or(f64::NEG_INFINITY);
        due.sort_by(|a, b| {
            let by_last = order(a.0).total_cmp(&order(b.0));
            by_last.then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
        due.into_iter().map(|(_, _, track_id)| track_id).collect()
    }

    /// The track is classified in the frame at `t_ms`.
    pub fn classified(&mut self, track_id: u64, t_ms: f64) {
        let turn = self.tracks.entry(track_id).or_default();
        if let Some(since) = turn.due_ms.take() {
            // Whole intervals in which there was no time for it.
            self.skipped += ((t_ms - since) / self.every_ms.max(1.0)).max(0.0) as u64;
        }
        turn.last_ms = Some(t_ms);
    }

    /// The run is over: what is due is not classified any more.
    pub fn finish(&mut self) {
        self.tracks
            .values_mut()
            .for_each(|turn| turn.is_alive = false);
        self.forget();
    }

    /// How many classifications did not take place for lack of time: intervals of `every_ms` in which a track
    /// was due, and tracks that were due when they ended.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn forget(&mut self) {
        let skipped = &mut self.skipped;
        self.tracks.retain(|_, turn| {
            if !turn.is_alive && turn.due_ms.is_some() {
                *skipped += 1;
            }
            turn.is_alive
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ids: &[u64]) -> Vec<(u64, bool)> {
        ids.iter().map(|id| (*id, true)).collect()
    }

    #[test]
    fn new_tracks_come_first_then_those_that_waited_longest() {
        let mut schedule = ClassifySchedule::new(100.0);
        assert_eq!(schedule.due(0.0, all(&[2, 1, 3])), [1, 2, 3]);
        schedule.classified(2, 0.0);
        schedule.classified(3, 0.0);
        assert_eq!(schedule.due(40.0, all(&[1, 2, 3])), [1]);
        schedule.classified(1, 40.0);
        assert!(schedule.due(80.0, all(&[1, 2, 3])).is_empty());
        assert_eq!(schedule.due(120.0, all(&[1, 2, 3])), [2, 3]);
        // A new one before them; one that was classified later, behind.
        assert_eq!(schedule.due(160.0, all(&[1, 2, 3, 4])), [4, 2, 3, 1]);
        // Of the new ones the one that waits longer is first, whatever its number.
        assert_eq!(schedule.due(200.0, all(&[0, 4])), [4, 0]);
    }

    #[test]
    fn a_track_that_cannot_be_classified_is_not_due() {
        let mut schedule = ClassifySchedule::new(100.0);
        assert!(schedule.due(0.0, [(1, false)]).is_empty());
        assert_eq!(schedule.due(40.0, [(1, true)]), [1]);
        assert!(schedule.due(80.0, [(1, false)]).is_empty());
        assert!(schedule.due(120.0, []).is_empty());
        assert_eq!(schedule.skipped(), 0, "it was not there to be classified");
    }

    #[test]
    fn what_there_was_no_time_for_is_counted_once_an_interval() {
        let mut schedule = ClassifySchedule::new(100.0);
        for t in 0..=25 {
            schedule.due(f64::from(t) * 10.0, all(&[1, 2]));
        }
        assert_eq!(schedule.skipped(), 0, "nothing is known yet");
        // Due since 0, in the third interval.
        schedule.classified(1, 250.0);
        assert_eq!(schedule.skipped(), 2);
        schedule.due(260.0, all(&[1]));
        assert_eq!(schedule.skipped(), 3, "2 ended without");
        schedule.due(350.0, all(&[1]));
        schedule.finish();
        assert_eq!(schedule.skipped(), 4, "1 was due at the end");
    }

    #[test]
    fn each_of_many_tracks_gets_its_turn_where_there_is_time_for_one_a_frame() {
        let mut schedule = ClassifySchedule::new(1000.0);
        let ids: Vec<u64> = (1..=40).collect();
        let mut counts = [0; 41];
        for frame in 0..400 {
            let t = f64::from(frame) * 40.0;
            if let Some(first) = schedule.due(t, all(&ids)).first() {
                schedule.classified(*first, t);
                counts[*first as usize] += 1;
            }
        }
        assert!(counts[1..].iter().all(|count| *count == 10), "{counts:?}");
        // Nine times each waited 1600 ms where 1000 were asked for: no whole interval was left out.
        assert_eq!(
            schedule.skipped(),
            15,
            "1000 ms and more before the first: 15 of the 40"
        );
    }
}

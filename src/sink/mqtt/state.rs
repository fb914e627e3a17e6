//! What a stream shows, in a few words that others can act on.

use serde_json::{Value, json};

use crate::records::{FrameRecord, TrackStateRecord};

/// Labels of COCO, Pascal VOC and Open Images that are vehicles.
const VEHICLES: [&str; 16] = [
    "airplane",
    "aeroplane",
    "bicycle",
    "boat",
    "bus",
    "car",
    "helicopter",
    "land vehicle",
    "motorbike",
    "motorcycle",
    "taxi",
    "train",
    "truck",
    "van",
    "vehicle",
    "watercraft",
];
/// Motion is over when nothing moved for so long.
const REST_MS: f64 = 2000.0;

/// What is seen: labels, with the numbers of their objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen(Vec<(String, Option<u64>)>);

impl Seen {
    /// What a frame shows; `None` where nobody looked.
    pub fn of(record: &FrameRecord) -> Option<Self> {
        if let Some(tracks) = &record.tracks {
            let there = tracks.iter().filter(|t| t.state != TrackStateRecord::Lost);
            return Some(Self(
                there.map(|t| (t.label.clone(), Some(t.track_id))).collect(),
            ));
        }
        if record.inferred == Some(false) {
            return None;
        }
        let mut labels: Vec<_> = record
            .detections
            .iter()
            .map(|detection| (detection.label.clone(), None))
            .collect();
        labels.sort();
        Some(Self(labels))
    }

    fn count(&self, is: impl Fn(&str) -> bool) -> usize {
        self.0.iter().filter(|(label, _)| is(label)).count()
    }
}

/// Counts and motion, as they are now.
#[derive(Clone, Debug, Default)]
pub struct State {
    has_motion: bool,
    persons: usize,
    vehicles: usize,
    /// When something last moved.
    moved_ms: Option<f64>,
    moves: bool,
    is_known: bool,
}

impl State {
    /// Nothing known yet; `has_motion` says whether pictures are compared.
    pub fn new(has_motion: bool) -> Self {
        Self {
            has_motion,
            ..Self::default()
        }
    }

    /// Takes in a frame; whether anything is different now.
    pub fn update(&mut self, record: &FrameRecord) -> bool {
        let before = (self.persons, self.vehicles, self.moves, self.is_known);
        if let Some(seen) = Seen::of(record) {
            self.persons = seen.count(|label| label == "person");
            self.vehicles = seen.count(|label| VEHICLES.contains(&label));
        }
        if !record.still {
            self.moved_ms = Some(record.pts_ms);
        }
        let rests = |moved: f64| record.pts_ms - moved > REST_MS;
        self.moves = self.has_motion && !self.moved_ms.is_none_or(rests);
        self.is_known = true;
        before != (self.persons, self.vehicles, self.moves, true)
    }

    /// As it is told.
    pub fn to_json(&self) -> Value {
        let mut state = json!({ "person": self.persons, "vehicle": self.vehicles });
        if self.has_motion {
            state["motion"] = json!(if self.moves { "ON" } else { "OFF" });
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::DetectionRecord;

    fn frame(pts_ms: f64, labels: &[&str], still: bool) -> FrameRecord {
        let detection = |label: &&str| DetectionRecord {
            label: (*label).to_owned(),
            ..DetectionRecord::default()
        };
        FrameRecord {
            pts_ms,
            still,
            inferred: Some(!still),
            detections: labels.iter().map(detection).collect(),
            ..FrameRecord::default()
        }
    }

    #[test]
    fn only_what_changes_is_told_and_what_nobody_looked_at_stays() {
        let mut state = State::new(true);
        assert!(state.update(&frame(0.0, &["car", "person", "truck"], false)));
        assert_eq!(
            state.to_json(),
            json!({"person": 1, "vehicle": 2, "motion": "ON"})
        );
        assert!(!state.update(&frame(100.0, &["person", "truck", "car"], false)));
        // Nobody looks while nothing moves: they are still there.
        assert!(!state.update(&frame(1000.0, &[], true)));
        assert!(state.update(&frame(2200.0, &[], true)));
        assert_eq!(
            state.to_json(),
            json!({"person": 1, "vehicle": 2, "motion": "OFF"})
        );
        assert!(state.update(&frame(2300.0, &["person"], false)));
        assert_eq!(state.to_json()["vehicle"], 0);
    }
}

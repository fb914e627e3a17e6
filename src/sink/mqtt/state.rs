//! Stream state: counts of persons and vehicles, and motion.

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
/// Time without motion after which motion is off.
const REST_MS: f64 = 2000.0;

/// Labels of the visible objects, with their track ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleObjects(Vec<(String, Option<u64>)>);

impl VisibleObjects {
    /// Visible objects of a frame; `None` without inference.
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

/// Current counts and motion.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    has_motion: bool,
    persons: usize,
    vehicles: usize,
    /// Media time of the last motion.
    moved_ms: Option<f64>,
    moves: bool,
    is_known: bool,
}

impl StreamState {
    /// An unknown state; `has_motion`: whether motion is detected.
    pub fn new(has_motion: bool) -> Self {
        Self {
            has_motion,
            ..Self::default()
        }
    }

    /// Processes a frame; true if the state changed.
    pub fn update(&mut self, record: &FrameRecord) -> bool {
        let before = (self.persons, self.vehicles, self.moves, self.is_known);
        if let Some(seen) = VisibleObjects::of(record) {
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

    /// The published JSON.
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
    fn only_changes_are_published_and_frames_without_inference_keep_the_state() {
        let mut state = StreamState::new(true);
        assert!(state.update(&frame(0.0, &["car", "person", "truck"], false)));
        assert_eq!(
            state.to_json(),
            json!({"person": 1, "vehicle": 2, "motion": "ON"})
        );
        assert!(!state.update(&frame(100.0, &["person", "truck", "car"], false)));
        // No inference while nothing moves: counts stay.
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

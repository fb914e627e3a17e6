//! The records, one to one with the JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analytics::{AreaEvent, AreaKind, AreaRule, Phase};
use crate::flow::StopReason;
use crate::frame::FrameMeta;
use crate::postprocess::{Detection, Labels, Prediction, Segmentation, UNKNOWN};

use super::polygons::polygons_of;
use super::rle::{Rle, rles_of};

/// Number of the records' format; a change that breaks a reader raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// The first line of a stream.
    Run(RunRecord),
    /// A frame that was looked at.
    Frame(FrameRecord),
    /// Something that happened; after the record of its frame.
    Event(EventRecord),
    /// The last line of a stream.
    End(EndRecord),
}

/// What is run on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// Format of the records.
    pub schema: u32,
    /// Program and version.
    pub tool: String,
    /// Name of the stream.
    pub stream: String,
    /// Where the frames come from.
    pub source: SourceRecord,
    /// The network.
    pub model: ModelRecord,
    /// What the category ids mean.
    pub labels: Vec<LabelRecord>,
    /// Fingerprint of the configuration that was in force.
    pub config_sha256: String,
}

/// Where the frames come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// `camera`, `video` or `images`.
    pub kind: String,
    /// File or device, without folders.
    pub uri: String,
    /// Columns of a frame, where all have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Rows of a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Nominal frames a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRecord {
    /// Name on its card.
    pub name: String,
    /// Fingerprint of the ONNX file.
    pub sha256: String,
    /// Width and height of its input.
    pub input: [u32; 2],
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRecord {
    /// Category id.
    pub id: u32,
    /// Name.
    pub name: String,
}

/// What was seen in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrameRecord {
    /// Name of the stream.
    pub stream: String,
    /// Number of the frame, from 0; dropped frames keep theirs.
    pub frame: u64,
    /// Presentation time in milliseconds since the stream began.
    pub pts_ms: f64,
    /// File name of the picture, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Frames dropped between the last record and this one.
    pub dropped_before: u64,
    /// Objects, best score first.
    pub detections: Vec<DetectionRecord>,
    /// What the pixels are, from a network that segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<SegmentationRecord>,
    /// Latencies, only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsRecord>,
    /// What happened with this frame: records of their own.
    #[serde(skip)]
    pub events: Vec<EventRecord>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Name of the stream.
    pub stream: String,
    /// `area_above` or `area_below`.
    pub kind: String,
    /// `new` when it begins, `end` when it is over. One that lasts until the stream ends has no end.
    pub phase: String,
    /// Name of the rule.
    pub name: String,
    /// Number of the frame.
    pub frame: u64,
    /// Its presentation time in milliseconds since the stream began.
    pub pts_ms: f64,
    /// The class.
    pub label: String,
    /// The zone; absent for the whole picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The class's share of the zone, 0 to 1, to six decimals.
    pub share: f64,
}

/// What the pixels of a frame are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentationRecord {
    /// The classes that were seen, by id.
    pub classes: Vec<ClassAreaRecord>,
    /// Share of the frame of which the network was not sure enough, 0 to 1, to six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<f64>,
    /// The largest circle of free ground; absent if it was not looked for or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_ground: Option<SafeGroundRecord>,
}

/// The area of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassAreaRecord {
    /// Label id of the model.
    pub category_id: u32,
    /// Its name.
    pub label: String,
    /// Share of the frame, 0 to 1, to six decimals.
    pub share: f64,
    /// Its pixels, only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rle: Option<Rle>,
    /// Its areas as `[x, y, x, y, ...]` along the edges of pixels, only when asked for. A hole is
    /// reached over a cut that is walked there and back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polygons: Option<Vec<Vec<u32>>>,
}

/// What records say of each class's pixels besides its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AreaDetail {
    /// Run lengths.
    pub rle: bool,
    /// Polygons; not of the background.
    pub polygons: bool,
}

/// A circle of free ground.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SafeGroundRecord {
    /// `[x, y]` in pixels of the original frame.
    pub center: [f64; 2],
    /// Its radius in pixels, to two decimals.
    pub radius_px: f64,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetectionRecord {
    /// Label id of the model.
    pub category_id: u32,
    /// Its name.
    pub label: String,
    /// Confidence, 0 to 1, to four decimals.
    pub score: f64,
    /// `[x, y, width, height]` in pixels of the original frame, to two decimals.
    pub bbox: [f64; 4],
}

/// Latencies of one frame in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimingsRecord {
    /// From capture until its record was made.
    pub end_to_end_ms: f64,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndRecord {
    /// Name of the stream.
    pub stream: String,
    /// `eof`, or why it was stopped before.
    pub reason: String,
    /// What became of the frames.
    pub frames: FrameCounts,
}

/// What became of the frames: captured = emitted + all dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FrameCounts {
    /// Frames that the source gave.
    pub captured: u64,
    /// Frames with a record.
    pub emitted: u64,
    /// Frames without.
    pub dropped: DroppedFrames,
}

/// Frames without a record, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DroppedFrames {
    /// A newer frame came before anyone was ready.
    pub queue: u64,
    /// Too old when somebody was ready.
    pub stale: u64,
    /// Damaged.
    pub decode_error: u64,
    /// Under way when the run failed.
    pub shutdown: u64,
}

impl DroppedFrames {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue + self.stale + self.decode_error + self.shutdown
    }
}

impl FrameRecord {
    /// The record of a frame in which `prediction` was seen.
    pub fn new(
        meta: &FrameMeta,
        dropped_before: u64,
        prediction: &Prediction,
        labels: &Labels,
        detail: AreaDetail,
    ) -> Self {
        let segmentation = prediction.segmentation.as_ref();
        Self {
            stream: meta.stream.to_string(),
            frame: meta.frame,
            pts_ms: rounded(meta.pts.as_ms(), 1000.0),
            name: meta.name.as_deref().map(str::to_owned),
            dropped_before,
            detections: prediction
                .detections
                .iter()
                .map(|d| DetectionRecord::new(d, labels))
                .collect(),
            segmentation: segmentation.map(|s| SegmentationRecord::new(s, labels, detail)),
            timings: None,
            events: Vec::new(),
        }
    }
}

impl EventRecord {
    /// The record of `event`, which `rule` found in a frame.
    pub fn new(meta: &FrameMeta, event: &AreaEvent, rule: &AreaRule, labels: &Labels) -> Self {
        let kind = match rule.kind {
            AreaKind::Above => "area_above",
            AreaKind::Below => "area_below",
        };
        let phase = match event.phase {
            Phase::New => "new",
            Phase::End => "end",
        };
        Self {
            stream: meta.stream.to_string(),
            kind: kind.to_owned(),
            phase: phase.to_owned(),
            name: rule.name.clone(),
            frame: meta.frame,
            pts_ms: rounded(meta.pts.as_ms(), 1000.0),
            label: labels.name(rule.class.into()).to_owned(),
            zone: rule.zone.as_ref().map(|(name, _)| name.clone()),
            share: rounded(event.share, 1e6),
        }
    }
}

impl SegmentationRecord {
    /// The record of `segmentation`.
    pub fn new(segmentation: &Segmentation, labels: &Labels, detail: AreaDetail) -> Self {
        let mask = &*segmentation.mask;
        let shares = mask.shares();
        let mut rles = if detail.rle {
            rles_of(mask)
        } else {
            Vec::new()
        };
        let mut rle_of = |class: u8| {
            let at = rles.iter().position(|(of, _)| *of == class)?;
            Some(rles.swap_remove(at).1)
        };
        let unknown = shares.iter().find(|(class, _)| *class == UNKNOWN);
        let seen = shares.iter().filter(|(class, _)| *class != UNKNOWN);
        Self {
            classes: seen
                .map(|&(class, share)| ClassAreaRecord {
                    category_id: class.into(),
                    label: labels.name(class.into()).to_owned(),
                    share: rounded(share, 1e6),
                    rle: rle_of(class),
                    polygons: (detail.polygons && class > 0).then(|| polygons_of(mask, class)),
                })
                .collect(),
            unknown: unknown.map(|(_, share)| rounded(*share, 1e6)),
            safe_ground: segmentation.safe_ground.map(|circle| SafeGroundRecord {
                center: [circle.x, circle.y].map(f64::from),
                radius_px: rounded(circle.radius_px.into(), 100.0),
            }),
        }
    }
}

impl DetectionRecord {
    /// The record of `detection`.
    pub fn new(detection: &Detection, labels: &Labels) -> Self {
        let rect = detection.rect;
        Self {
            category_id: detection.category_id,
            label: labels.name(detection.category_id).to_owned(),
            score: rounded(detection.score.into(), 10_000.0),
            bbox: [rect.x, rect.y, rect.width, rect.height].map(|v| rounded(v.into(), 100.0)),
        }
    }
}

impl EndRecord {
    /// How `stream` ended; without a reason to stop, its source did.
    pub fn new(stream: &str, reason: Option<StopReason>, frames: FrameCounts) -> Self {
        Self {
            stream: stream.to_owned(),
            reason: reason.map_or("eof", StopReason::as_str).to_owned(),
            frames,
        }
    }
}

/// `value` to the nearest 1 / `parts`.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::frame::{MediaTime, RectPx};

    #[test]
    fn a_frame_record_reads_as_documented() {
        let meta = FrameMeta {
            stream: "gate".into(),
            frame: 42,
            pts: MediaTime {
                ticks: 42 * 512,
                rate_hz: 12_800,
            },
            captured_at: Instant::now(),
            name: None,
        };
        let prediction = Prediction {
            detections: vec![Detection {
                category_id: 1,
                score: 0.913_68,
                rect: RectPx {
                    x: 412.0,
                    y: 133.504,
                    width: 58.0,
                    height: 101.0,
                },
            }],
            segmentation: None,
        };
        let labels = Labels::new(vec![(1, "person".to_owned())]);
        let record = Record::Frame(FrameRecord::new(
            &meta,
            0,
            &prediction,
            &labels,
            AreaDetail::default(),
        ));
        let line = serde_json::to_string(&record).expect("plain data");
        assert_eq!(
            line,
            r#"{"type":"frame","stream":"gate","frame":42,"pts_ms":1680.0,"dropped_before":0,"detections":[{"category_id":1,"label":"person","score":0.9137,"bbox":[412.0,133.5,58.0,101.0]}]}"#
        );
        let back: Record = serde_json::from_str(&line).expect("own record");
        assert_eq!(back, record);
    }
}

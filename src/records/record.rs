//! The records, one to one with the JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::StopReason;
use crate::frame::{GeoPoint, Look, Region, Telemetry};

use super::record_box::RecordBox;
use super::rle::Rle;

/// Number of the records' format; a change that breaks a reader raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all records are frames: a box would be an allocation for each"
)]
pub enum Record {
    /// The first line of a stream.
    Run(RunRecord),
    /// A frame.
    Frame(FrameRecord),
    /// Something that happened; after the record of its frame.
    Event(EventRecord),
    /// The last line of a stream.
    End(EndRecord),
}

/// The source, the model and the configuration of a stream.
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
    /// The network; of several models, that of the first.
    pub model: ModelRecord,
    /// The networks of all models by name, where several run on the stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelRecord>,
    /// What the category ids mean.
    pub labels: Vec<LabelRecord>,
    /// Second networks that classify tracked objects, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classify_tracks: BTreeMap<String, ModelRecord>,
    /// Fingerprint of the configuration that was in force.
    pub config_sha256: String,
    /// Fingerprint of the tracking, zone and line configuration, where objects are tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_sha256: Option<String>,
}

/// Where the frames come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// `camera`, `rtsp`, `video` or `images`.
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
    /// Number format that it ran in, by most of its operations: `f32`, `bf16` or `int8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Instruction set that it ran on, for instance `avx512vnni`, only when timings are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction_set: Option<String>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRecord {
    /// Category id.
    pub id: u32,
    /// Name.
    pub name: String,
    /// The model that it is of, where several run on the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The results of one frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Width and height, where not all frames have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
    /// Frames dropped between the last record and this one.
    pub dropped_before: u64,
    /// Telemetry of the drone that carries the camera, at the frame's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Whether the network ran on this frame; absent where it runs on all of every frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inferred: Option<bool>,
    /// The regions that it ran on, `[x, y, width, height]`; absent if it was the whole frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<RecordBox>>,
    /// The tiles that it did not run on, as nothing moved there, nothing was found, and the whole frame showed
    /// nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<RecordBox>,
    /// The inferences of which its detections are joined, where they are planned frame by frame
    /// (`gating.looks`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<Vec<LookRecord>>,
    /// On what each model ran, by name, where several run on the stream; `inferred`, `regions` and `looks`
    /// are of the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelRunRecord>,
    /// Nothing moved since the network last ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub still: bool,
    /// It shows another scene than the record before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// `[a, b, x, y]`: a place `(u, v)` of the record before is now at
    /// `(a u - b v + x, b u + a v + y)`, where the camera's motion is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<[f64; 4]>,
    /// Objects, best score first.
    pub detections: Vec<DetectionRecord>,
    /// Detections below their threshold, which may only continue a track.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faint: Vec<DetectionRecord>,
    /// The tracked objects, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<TrackRecord>>,
    /// Segmentation, from a network that segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<SegmentationRecord>,
    /// Classes of the whole picture, best score first, from a network that classifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Vec<ClassificationRecord>>,
    /// Latencies, only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsRecord>,
    /// The events of this frame, which are written as records of their own.
    #[serde(skip)]
    pub events: Vec<EventRecord>,
}

/// On what one of several models ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRunRecord {
    /// Whether it ran on this frame.
    pub inferred: bool,
    /// The regions that it ran on, `[x, y, width, height]`; absent if it was the whole frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<RecordBox>>,
}

impl From<&Region> for ModelRunRecord {
    fn from(region: &Region) -> Self {
        Self {
            inferred: *region != Region::None,
            regions: match region {
                Region::Crops(parts) => Some(parts.iter().map(RecordBox::from).collect()),
                Region::Whole | Region::None | Region::Looks(_) => None,
            },
        }
    }
}

/// One inference on a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookRecord {
    /// Width and height of the network's input in pixels.
    pub input: [u32; 2],
    /// The part of the frame that it saw, `[x, y, width, height]`; absent if it was the whole frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RecordBox>,
}

impl From<&Look> for LookRecord {
    fn from(look: &Look) -> Self {
        Self {
            input: [look.input.width, look.input.height],
            region: look.region.as_ref().map(RecordBox::from),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Name of the stream.
    pub stream: String,
    /// `area_above`, `area_below`, `zone`, `loiter`, `line`, `interval`, `source`, `sink` or `reload`.
    pub kind: String,
    /// `new` when it begins, `update` while it lasts, `end` when it is over; a crossing of a line is
    /// an `update` of its counts. One that lasts until the stream ends has no end.
    pub phase: String,
    /// Name of the rule, zone or line.
    pub name: String,
    /// Number of the frame.
    pub frame: u64,
    /// Its presentation time in milliseconds since the stream began.
    pub pts_ms: f64,
    /// The object, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<u64>,
    /// The class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The model that found the object, where several run on the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The zone; absent for the whole picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The class's share of the zone, 0 to 1, to six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Which way a line was crossed: `in` from its left to its right, or `out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// How long it has lasted, in media time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Counts after it: `now`, `entered`, `left`, `peak` of a zone, `in` and `out` of a line, `every`
    /// of an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeMap<String, u64>>,
    /// What second networks say of the object, as in its track.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, AttributeRecord>,
    /// Of a reload: fingerprint of the configuration that is in force from this frame on, as in the `run`
    /// record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<String>,
    /// Of a reload: that of the tracking, zone and line configuration, where objects are tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis_sha256: Option<String>,
    /// Of a reload: the keys of the configuration that changed; a sink by its kind, `sinks.jsonl`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

/// A tracked object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackRecord {
    /// Its number, from 1, never given twice.
    pub track_id: u64,
    /// Label id of the model.
    pub category_id: u32,
    /// Its name.
    pub label: String,
    /// The model that found it, where several run on the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether it was detected in this frame.
    pub state: TrackStateRecord,
    /// `[x, y, width, height]` in pixels, filtered or predicted, to two decimals.
    pub bbox: RecordBox,
    /// What second networks say of it, by their names in `classify_tracks`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, AttributeRecord>,
    /// Keypoints of its last detection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keypoints: Vec<KeypointRecord>,
}

/// What a second network says of a tracked object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributeRecord {
    /// Name of the best class.
    pub label: String,
    /// Its confidence, 0 to 1, to four decimals: a moving average over the track's classifications.
    pub score: f64,
    /// Time since the frame of the newest classification, in media time.
    pub age_ms: f64,
    /// The best classes, best score first, where more than one is asked for (`top`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassificationRecord>,
}

/// Whether a tracked object was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackStateRecord {
    /// It was detected in this frame.
    Seen,
    /// The network did not run on the region where it is.
    Held,
    /// It was not detected where the network ran.
    Lost,
}

/// Segmentation of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentationRecord {
    /// The classes that are present, by id.
    pub classes: Vec<ClassAreaRecord>,
    /// Share of the frame below the confidence floor, 0 to 1, to six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<f64>,
    /// The largest circle of free ground; absent if there is none or it is not configured.
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
    /// joined to the outline by a cut that runs there and back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polygons: Option<Vec<Vec<u32>>>,
}

/// A circle of free ground.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SafeGroundRecord {
    /// `[x, y]` in pixels of the original frame.
    pub center: [f64; 2],
    /// Its radius in pixels, to two decimals.
    pub radius_px: f64,
    /// Position of its centre, for flat ground, where telemetry and field of view are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<GeoPoint>,
}

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetectionRecord {
    /// Label id of the model.
    pub category_id: u32,
    /// Its name.
    pub label: String,
    /// The model that found it, where several run on the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Confidence, 0 to 1, to four decimals.
    pub score: f64,
    /// `[x, y, width, height]` in pixels of the original frame, to two decimals.
    pub bbox: RecordBox,
    /// Keypoints in the network's order, each `[x, y, score]`: pixels of the original frame to two decimals,
    /// confidence or visibility (1 where the network has none) to four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keypoints: Vec<KeypointRecord>,
    /// Its pixels in the frame, from a network that segments instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Rle>,
    /// The track that it belongs to, once that is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<u64>,
    /// The zones that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Its position, for flat ground, where telemetry and field of view are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<GeoPoint>,
}

/// A keypoint: `[x, y, score]`.
pub type KeypointRecord = [f64; 3];

/// A class of the whole picture, or of a tracked object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassificationRecord {
    /// Label id of the model.
    pub category_id: u32,
    /// Its name.
    pub label: String,
    /// Confidence, 0 to 1, to four decimals.
    pub score: f64,
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
    /// `eof`, or why it was stopped before the end of the source.
    pub reason: String,
    /// Counts of frames.
    pub frames: FrameCounts,
}

/// Counts of frames: captured = emitted + all dropped.
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
    /// Replaced by a newer frame in a full queue.
    pub queue: u64,
    /// Older than `max_age_ms` when a worker was free.
    pub stale: u64,
    /// Could not be decoded.
    pub decode_error: u64,
    /// In the pipeline when the run failed.
    pub shutdown: u64,
}

impl DroppedFrames {
    /// The sum of all reasons.
    pub fn total(&self) -> u64 {
        self.queue + self.stale + self.decode_error + self.shutdown
    }
}

impl EventRecord {
    /// Something that happened in the frame of `record`.
    pub fn of(record: &FrameRecord, kind: &str, phase: &str, name: &str) -> Self {
        Self {
            stream: record.stream.clone(),
            kind: kind.to_owned(),
            phase: phase.to_owned(),
            name: name.to_owned(),
            frame: record.frame,
            pts_ms: record.pts_ms,
            ..Self::default()
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

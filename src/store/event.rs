//! An event as the store holds it.

use std::collections::BTreeMap;

use rusqlite::Row;
use schemars::JsonSchema;
use serde::Serialize;

use super::instant::instant_text;
use crate::records::RecordBox;

/// 2000-01-01: times before are positions in a recording.
pub const FIRST_WALL_MS: i64 = 946_684_800_000;

/// What `kind` may be.
pub const EVENT_KINDS: [&str; 7] = [
    "track",
    "zone",
    "loiter",
    "line",
    "area_above",
    "area_below",
    "source",
];

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct StoredEvent {
    /// Its number, never given twice.
    pub id: i64,
    /// Name of the stream.
    pub stream: String,
    /// `track`, `zone`, `loiter`, `line`, `area_above`, `area_below` or `source`.
    pub kind: String,
    /// Name of the area rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The zone or line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Which way a line was crossed, `in` or `out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What second networks said last, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The model that found it, where several run on the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Best score of the object, or share of the area.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// When it began.
    #[serde(rename = "start")]
    pub start_text: String,
    /// When it ended, or until when it has lasted.
    #[serde(rename = "end")]
    pub end_text: String,
    /// When it began, in milliseconds since 1970 or since the recording began.
    pub start_ms: i64,
    /// When it ended, or until when it has lasted.
    pub end_ms: i64,
    /// Whether it is over.
    pub ended: bool,
    /// The object's number in its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<u64>,
    /// The row of the object's track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_event: Option<i64>,
    /// Number of the frame in which it began.
    pub frame: u64,
    /// That frame's presentation time since the stream began.
    pub pts_ms: f64,
    /// Number of the frame that shows the object best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_frame: Option<u64>,
    /// Its box there, in pixels of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bbox: Option<RecordBox>,
    /// Degrees north of the object there, or of the drone that saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// File of its clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<String>,
    /// Where in the clip it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_ms: Option<f64>,
    /// File of the continuous recording that it begins in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// Where in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_ms: Option<f64>,
    /// Whether there is a thumbnail of it.
    pub has_thumbnail: bool,
    /// Whether retention leaves it.
    pub kept: bool,
}

/// A picture of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thumbnail {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The object's box in it; of an area the whole picture.
    pub bbox: RecordBox,
    /// The JPEG file.
    pub jpeg: Vec<u8>,
}

/// The columns that [`StoredEvent::from_row`] reads, of `events e` and `recordings r`.
pub(super) const COLUMNS: &str = "e.id, e.stream, e.kind, e.rule, e.zone, e.direction, e.label, e.attributes, \
    e.model, e.score, e.start_ms, e.end_ms, e.ended, e.track_id, e.track_event, e.frame, e.pts_ms, e.best_frame, \
    e.x, e.y, e.width, e.height, e.latitude, e.longitude, e.clip, e.clip_ms, r.file, e.pts_ms - r.begins_ms, \
    EXISTS (SELECT 1 FROM thumbnails t WHERE t.event = coalesce(e.track_event, e.id)), e.kept";

impl StoredEvent {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let attributes: String = row.get(7)?;
        let (start_ms, end_ms) = (row.get(10)?, row.get(11)?);
        let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let bbox = match (row.get(18)?, row.get(19)?, row.get(20)?, row.get(21)?) {
            (Some(x), Some(y), Some(width), Some(height)) => Some([x, y, width, height]),
            _ => None,
        };
        Ok(Self {
            id: row.get(0)?,
            stream: row.get(1)?,
            kind: row.get(2)?,
            rule: row.get(3)?,
            zone: row.get(4)?,
            direction: row.get(5)?,
            label: row.get(6)?,
            attributes: serde_json::from_str(&attributes).unwrap_or_default(),
            model: row.get(8)?,
            score: row.get(9)?,
            start_text: instant_text(start_ms),
            end_text: instant_text(end_ms),
            start_ms,
            end_ms,
            ended: row.get(12)?,
            track_id: unsigned(row.get(13)?),
            track_event: row.get(14)?,
            frame: unsigned(row.get(15)?).unwrap_or_default(),
            pts_ms: row.get(16)?,
            best_frame: unsigned(row.get(17)?),
            bbox: bbox.map(RecordBox::from),
            latitude: row.get(22)?,
            longitude: row.get(23)?,
            clip: row.get(24)?,
            clip_ms: row.get(25)?,
            recording: row.get(26)?,
            recording_ms: row.get(27)?,
            has_thumbnail: row.get(28)?,
            kept: row.get(29)?,
        })
    }

    /// What a search for text looks in, in lower case.
    pub(super) fn searched_text(&self) -> String {
        let words = [
            Some(&self.stream),
            Some(&self.kind),
            self.rule.as_ref(),
            self.zone.as_ref(),
            self.direction.as_ref(),
            self.label.as_ref(),
            self.model.as_ref(),
        ];
        let words = words.into_iter().flatten().chain(self.attributes.values());
        let words: Vec<&str> = words.map(String::as_str).collect();
        words.join(" ").to_lowercase()
    }
}

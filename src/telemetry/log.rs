//! A drone's own record of its flight, by media time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::srt::{Entry, parse_srt};

/// Bytes of the largest file that is taken for telemetry; hours of flight are a tenth of it.
const MAX_BYTES: u64 = 256 << 20;
/// What follows the last entry by more than this has no telemetry.
const MAX_GAP_MS: f64 = 1500.0;

/// What a drone said of itself at one moment. What it did not say is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Telemetry {
    /// Degrees north, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Metres above the sea, as the drone has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altitude_m: Option<f64>,
    /// Metres above the place of take-off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_m: Option<f64>,
    /// Degrees of the camera above the horizon: -90 looks straight down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_pitch_deg: Option<f64>,
    /// Degrees of the camera about its axis, clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_roll_deg: Option<f64>,
    /// Degrees of the camera clockwise from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_yaw_deg: Option<f64>,
}

/// Why a file is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// It cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// It is something else.
    #[error("{path} holds no telemetry of a drone (positions in DJI's subtitles)")]
    NoTelemetry {
        /// The file.
        path: PathBuf,
    },
}

/// Telemetry over a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryLog {
    /// By time.
    entries: Vec<Entry>,
    /// The number and line of an entry in the middle of which the file ends.
    cut: Option<(u64, usize)>,
    offset_ms: f64,
}

impl TelemetryLog {
    /// Reads the subtitles that DJI's drones write beside their clips. A file that ends in the
    /// middle gives what is whole in it; see [`cut`](Self::cut).
    ///
    /// # Errors
    /// When the file cannot be read or has no position in it.
    pub fn read(path: &Path) -> Result<Self, TelemetryError> {
        let unreadable = |why: String| TelemetryError::Unreadable {
            path: path.to_owned(),
            why,
        };
        // Looked at before it is opened: opening a named pipe waits for a writer.
        let meta = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
        if !meta.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|e| unreadable(e.to_string()))?;
        Self::parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| TelemetryError::NoTelemetry {
            path: path.to_owned(),
        })
    }

    /// Telemetry from a subtitle file's text; `None` if there is no position in it.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut entries, cut) = parse_srt(text);
        entries.retain(|entry| entry.telemetry != Telemetry::default());
        let has_position = entries.iter().any(|e| e.telemetry.latitude.is_some());
        // Drones that lose their clock go back in time; what was written later counts.
        entries.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
        (has_position || entries.iter().any(|e| e.telemetry.height_m.is_some())).then_some(Self {
            entries,
            cut,
            offset_ms: 0.0,
        })
    }

    /// The telemetry of a frame at `t` is what was written at `t + offset_ms`.
    #[must_use]
    pub fn with_offset(mut self, offset_ms: f64) -> Self {
        self.offset_ms = offset_ms;
        self
    }

    /// Number and line of the entry in the middle of which the file ends, if it does.
    pub fn cut(&self) -> Option<(u64, usize)> {
        self.cut
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none; never, once read.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The telemetry at a media time of the clip, between the entries before and after it in a
    /// straight line; nothing long before the first or after the last.
    pub fn at(&self, media_ms: f64) -> Option<Telemetry> {
        let t = media_ms + self.offset_ms;
        let after = self.entries.partition_point(|entry| entry.start_ms <= t);
        let Some(before) = after.checked_sub(1).map(|i| &self.entries[i]) else {
            let first = self.entries.first()?;
            return (first.start_ms - t <= MAX_GAP_MS).then_some(first.telemetry);
        };
        match self.entries.get(after) {
            Some(next) if next.start_ms - before.start_ms <= 2.0 * MAX_GAP_MS => {
                let share = (t - before.start_ms) / (next.start_ms - before.start_ms);
                Some(between(&before.telemetry, &next.telemetry, share))
            }
            _ => (t - before.start_ms <= MAX_GAP_MS).then_some(before.telemetry),
        }
    }
}

/// `share` of the way from `a` to `b`; what only `a` says stays.
fn between(a: &Telemetry, b: &Telemetry, share: f64) -> Telemetry {
    let rounded = |v: f64, parts: f64| (v * parts).round() / parts;
    let line = |a: Option<f64>, b: Option<f64>, parts: f64| match (a, b) {
        (Some(a), Some(b)) => Some(rounded(a + (b - a) * share, parts)),
        (a, _) => a,
    };
    let turn = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => {
            let way = (b - a + 540.0).rem_euclid(360.0) - 180.0;
            let at = (a + way * share + 540.0).rem_euclid(360.0) - 180.0;
            Some(rounded(at, 100.0))
        }
        (a, _) => a,
    };
    // Over the date line a straight line would go round the world.
    let far = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (a - b).abs() > 180.0);
    Telemetry {
        latitude: line(a.latitude, b.latitude, 1e7),
        longitude: if far(a.longitude, b.longitude) {
            a.longitude
        } else {
            line(a.longitude, b.longitude, 1e7)
        },
        altitude_m: line(a.altitude_m, b.altitude_m, 1000.0),
        height_m: line(a.height_m, b.height_m, 1000.0),
        gimbal_pitch_deg: turn(a.gimbal_pitch_deg, b.gimbal_pitch_deg),
        gimbal_roll_deg: turn(a.gimbal_roll_deg, b.gimbal_roll_deg),
        gimbal_yaw_deg: turn(a.gimbal_yaw_deg, b.gimbal_yaw_deg),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> TelemetryLog {
        let text = "1\n00:00:00,000 --> 00:00:01,000\n[latitude: 10.0] [longitude: 20.0] \
                    [rel_alt: 5.000 abs_alt: 100.0] [gb_yaw: 170.0 gb_pitch: -30.0 gb_roll: 0.0]\n\n\
                    2\n00:00:01,000 --> 00:00:02,000\n[latitude: 10.001] [longitude: 20.0] \
                    [rel_alt: 7.000 abs_alt: 102.0] [gb_yaw: -170.0 gb_pitch: -40.0 gb_roll: 0.0]\n\n";
        TelemetryLog::parse(text).expect("two entries")
    }

    #[test]
    fn between_entries_lies_a_straight_line_and_the_short_turn() {
        let half = log().at(500.0).expect("inside");
        assert_eq!(half.latitude, Some(10.0005));
        assert_eq!(half.height_m, Some(6.0));
        assert_eq!(half.altitude_m, Some(101.0));
        assert_eq!(half.gimbal_pitch_deg, Some(-35.0));
        assert_eq!(half.gimbal_yaw_deg.map(f64::abs), Some(180.0));
    }

    #[test]
    fn far_from_all_entries_nothing_is_known() {
        let log = log();
        assert_eq!(log.at(2400.0).and_then(|t| t.height_m), Some(7.0));
        assert_eq!(log.at(2600.0), None);
        assert_eq!(log.at(-2000.0), None);
        let later = log.with_offset(-1000.0);
        assert_eq!(later.at(1000.0).and_then(|t| t.height_m), Some(5.0));
    }
}

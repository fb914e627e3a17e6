//! Telemetry log of a clip: lookup and interpolation by media time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::srt::{SrtEntry, parse_srt};
use crate::frame::Telemetry;

/// Largest file that is read, in bytes; hours of flight take a tenth of it.
const MAX_BYTES: u64 = 256 << 20;
/// Frames farther than this from the nearest entry have no telemetry.
const MAX_GAP_MS: f64 = 1500.0;

/// Why a telemetry file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error message.
        why: String,
    },
    /// The file holds no telemetry.
    #[error("{path} contains no drone telemetry (DJI SRT subtitles with positions)")]
    NoTelemetry {
        /// The file.
        path: PathBuf,
    },
}

/// Telemetry of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryLog {
    /// Sorted by time.
    entries: Vec<SrtEntry>,
    /// Number and line of a truncated last entry.
    truncated: Option<(u64, usize)>,
    offset_ms: f64,
}

impl TelemetryLog {
    /// Reads an SRT file as DJI's drones write it beside a clip. Of a truncated file the complete
    /// entries are used; see [`truncated`](Self::truncated).
    ///
    /// # Errors
    /// When the file cannot be read or contains no position.
    pub fn read(path: &Path) -> Result<Self, TelemetryError> {
        let unreadable = |why: String| TelemetryError::Unreadable {
            path: path.to_owned(),
            why,
        };
        // Checked before it is opened: opening a named pipe blocks until there is a writer.
        let meta = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
        if !meta.is_file() {
            return Err(unreadable("not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|e| unreadable(e.to_string()))?;
        let text = String::from_utf8(bytes).unwrap_or_else(|error| ascii_lossy(error.as_bytes()));
        Self::parse(&text).ok_or_else(|| TelemetryError::NoTelemetry {
            path: path.to_owned(),
        })
    }

    /// Parses the text of an SRT file; `None` if it contains no position or height.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut entries, truncated) = parse_srt(text);
        entries.retain(|entry| entry.telemetry != Telemetry::default());
        let has_position = entries.iter().any(|e| e.telemetry.latitude.is_some());
        // Time codes go backwards where a drone lost its clock; the later entry wins.
        entries.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
        (has_position || entries.iter().any(|e| e.telemetry.height_m.is_some())).then_some(Self {
            entries,
            truncated,
            offset_ms: 0.0,
        })
    }

    /// Shifts the log: a frame at `t` gets the telemetry of `t + offset_ms`.
    #[must_use]
    pub fn with_offset(mut self, offset_ms: f64) -> Self {
        self.offset_ms = offset_ms;
        self
    }

    /// Number and line of the last entry if it is truncated.
    pub fn truncated(&self) -> Option<(u64, usize)> {
        self.truncated
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries; never true after [`read`](Self::read).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The telemetry at a media time of the clip, interpolated linearly between the entries before and
    /// after it; `None` more than 1.5 s from the nearest.
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
                Some(interpolate(&before.telemetry, &next.telemetry, share))
            }
            _ => (t - before.start_ms <= MAX_GAP_MS).then_some(before.telemetry),
        }
    }
}

/// `bytes` as text, with a question mark for each part that is not UTF-8: never longer than they are.
fn ascii_lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// Interpolates linearly from `a` (`share` 0) to `b` (1); a value that `b` lacks is taken from `a`.
fn interpolate(a: &Telemetry, b: &Telemetry, share: f64) -> Telemetry {
    let rounded = |v: f64, parts: f64| (v * parts).round() / parts;
    let linear = |a: Option<f64>, b: Option<f64>, parts: f64| match (a, b) {
        (Some(a), Some(b)) => Some(rounded(a + (b - a) * share, parts)),
        (a, _) => a,
    };
    let angle = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => {
            let way = (b - a + 540.0).rem_euclid(360.0) - 180.0;
            let at = (a + way * share + 540.0).rem_euclid(360.0) - 180.0;
            Some(rounded(at, 100.0))
        }
        (a, _) => a,
    };
    // Across the antimeridian a linear interpolation would go around the globe.
    let is_far = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (a - b).abs() > 180.0);
    Telemetry {
        latitude: linear(a.latitude, b.latitude, 1e7),
        longitude: if is_far(a.longitude, b.longitude) {
            a.longitude
        } else {
            linear(a.longitude, b.longitude, 1e7)
        },
        altitude_m: linear(a.altitude_m, b.altitude_m, 1000.0),
        height_m: linear(a.height_m, b.height_m, 1000.0),
        gimbal_pitch_deg: angle(a.gimbal_pitch_deg, b.gimbal_pitch_deg),
        gimbal_roll_deg: angle(a.gimbal_roll_deg, b.gimbal_roll_deg),
        gimbal_yaw_deg: angle(a.gimbal_yaw_deg, b.gimbal_yaw_deg),
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
    fn between_entries_values_are_linear_and_angles_take_the_short_way() {
        let half = log().at(500.0).expect("inside");
        assert_eq!(half.latitude, Some(10.0005));
        assert_eq!(half.height_m, Some(6.0));
        assert_eq!(half.altitude_m, Some(101.0));
        assert_eq!(half.gimbal_pitch_deg, Some(-35.0));
        assert_eq!(half.gimbal_yaw_deg.map(f64::abs), Some(180.0));
    }

    #[test]
    fn far_from_all_entries_there_is_no_telemetry() {
        let log = log();
        assert_eq!(log.at(2400.0).and_then(|t| t.height_m), Some(7.0));
        assert_eq!(log.at(2600.0), None);
        assert_eq!(log.at(-2000.0), None);
        let later = log.with_offset(-1000.0);
        assert_eq!(later.at(1000.0).and_then(|t| t.height_m), Some(5.0));
    }
}

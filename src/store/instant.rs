//! Times of events as text: local dates and times, ages, positions in a recording.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::FIRST_WALL_MS;

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time: today, yesterday, 2026-03-01, 2026-03-01T18:30, 2026-03-01T18:30:00Z, 90m, 24h or 7d ago, \
     or 0:01:30 in a recording"
)]
pub struct InstantError;

/// The milliseconds of a time of a row: RFC 3339 in UTC, or `h:mm:ss.mmm` of a recording.
pub fn instant_text(ms: i64) -> String {
    if ms < FIRST_WALL_MS {
        let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
        let (s, ms) = (ms / 1000, ms % 1000);
        return format!(
            "{sign}{}:{:02}:{:02}.{ms:03}",
            s / 3600,
            s / 60 % 60,
            s % 60
        );
    }
    match Timestamp::from_millisecond(ms) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => ms.to_string(),
    }
}

/// Reads a time, as seen from `now`. A date is its first moment, or with `is_end` that of the day after it, so
/// that a range includes its last day.
///
/// # Errors
/// When it is none.
pub fn parse_instant(text: &str, now: &Zoned, is_end: bool) -> Result<i64, InstantError> {
    let text = text.trim();
    if text.contains(':') && !text.contains('-') {
        return position(text).ok_or(InstantError);
    }
    if let Some(age) = age(text) {
        let at = now.timestamp().checked_sub(age);
        return at.map(Timestamp::as_millisecond).map_err(|_| InstantError);
    }
    let zone = now.time_zone();
    let day = match text {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        date => date.parse::<Date>().ok().filter(|_| !has_time(date)),
    };
    if let Some(day) = day {
        let day = if is_end { day.tomorrow() } else { Ok(day) };
        return local(day.map_err(|_| InstantError)?.into(), zone);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let time = text.parse::<DateTime>().map_err(|_| InstantError)?;
    local(time, zone)
}

fn has_time(text: &str) -> bool {
    text.contains(['T', 't', ' '])
}

fn local(time: DateTime, zone: &TimeZone) -> Result<i64, InstantError> {
    let zoned = zone.to_zoned(time).map_err(|_| InstantError)?;
    Ok(zoned.timestamp().as_millisecond())
}

/// `90s`, `90m`, `24h`, `7d`.
fn age(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let number = text.strip_suffix(unit)?.parse::<u32>().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    Some(SignedDuration::from_secs(i64::from(number) * seconds))
}

/// `h:mm:ss` or `h:mm:ss.mmm`.
fn position(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else {
        return None;
    };
    let hours = hours.parse::<u32>().ok()?;
    let minutes = minutes.parse::<u32>().ok().filter(|m| *m < 60)?;
    let seconds = seconds.parse::<f64>().ok();
    let seconds = seconds.filter(|s| (0.0..60.0).contains(s))?;
    let ms = (seconds * 1000.0).round() as i64;
    Some(i64::from(hours) * 3_600_000 + i64::from(minutes) * 60_000 + ms)
        .filter(|ms| *ms < FIRST_WALL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Zoned = "2026-03-02T10:00:00+02:00[+02:00]".parse().expect("a time");
        let now = now.with_time_zone(zone);
        let read = |text: &str, is_end: bool| {
            parse_instant(text, &now, is_end)
                .map(instant_text)
                .map_err(|e| e.to_string())
        };
        for (text, expected) in [
            ("today", "2026-03-01T22:00:00.000Z"),
            ("yesterday", "2026-02-28T22:00:00.000Z"),
            ("2026-03-01", "2026-02-28T22:00:00.000Z"),
            ("2026-03-01T18:30", "2026-03-01T16:30:00.000Z"),
            ("2026-03-01 18:30:15", "2026-03-01T16:30:15.000Z"),
            ("2026-03-01T18:30:00Z", "2026-03-01T18:30:00.000Z"),
            ("2026-03-01T18:30:00-05:00", "2026-03-01T23:30:00.000Z"),
            ("90m", "2026-03-02T06:30:00.000Z"),
            ("7d", "2026-02-23T08:00:00.000Z"),
            ("0:01:30", "0:01:30.000"),
            ("12:00:00.25", "12:00:00.250"),
        ] {
            assert_eq!(read(text, false), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(read("yesterday", true), read("today", false));
        assert_eq!(read("2026-02-28", true), read("2026-03-01", false));
        for text in [
            "",
            "soon",
            "18:30",
            "2026-13-01",
            "2026-02-30",
            "-3h",
            "3y",
            "1:60:00",
            "0:0:-1",
            "1:2:3:4",
            "9999999:00:00",
            "99999999999999d",
            "2026-03-01T25:00",
        ] {
            let error = read(text, false).expect_err(text);
            assert!(error.starts_with("expected a time: ") && error.lines().count() == 1);
        }
    }

    #[test]
    fn times_before_2000_are_positions() {
        assert_eq!(instant_text(0), "0:00:00.000");
        assert_eq!(instant_text(FIRST_WALL_MS - 1), "262967:59:59.999");
        assert_eq!(instant_text(FIRST_WALL_MS), "2000-01-01T00:00:00.000Z");
        assert_eq!(instant_text(i64::MAX), i64::MAX.to_string());
        assert_eq!(instant_text(-1), "-0:00:00.001");
    }
}

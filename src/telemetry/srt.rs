//! Parser of DJI's SRT telemetry subtitles: one entry per frame or per second, in a dialect for each
//! generation of drones.
//!
//! | drones | position | height above take-off |
//! |---|---|---|
//! | Mavic 3, Air 2S, Mini 3 | `[latitude: ..] [longitude: ..]` | `[rel_alt: .. abs_alt: ..]` or `[altitude: ..]` |
//! | Mavic 2 | `[latitude : ..] [longtitude : ..]` (so spelled), no time codes | - |
//! | Mavic Mini, Phantom 4 RTK | `GPS (longitude, latitude, satellites)` | `H 85.80m` |
//! | Mavic Pro, Phantom 4 | `GPS(longitude,latitude,satellites)` | `BAROMETER:20.1` |
//! | Matrice 300 | `GPS(latitude,longitude,altitudeM)` | `BAROMETER:0.3M` |
//!
//! `G.PRY (pitch, roll, yaw)` and `[gb_yaw: .. gb_pitch: .. gb_roll: ..]` are the gimbal's angles.

use crate::frame::Telemetry;

/// Most entries that are read: four hours at 60 frames/s.
const MAX_ENTRIES: usize = 1_000_000;
/// Longest text in parentheses, such as `(longitude, latitude, satellites)`, in bytes.
const MAX_TUPLE_BYTES: usize = 200;

/// One subtitle entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SrtEntry {
    /// Media time from which it is valid.
    pub start_ms: f64,
    /// Its values.
    pub telemetry: Telemetry,
}

/// All complete entries, and the number and line of a truncated last one.
pub fn parse_srt(text: &str) -> (Vec<SrtEntry>, Option<(u64, usize)>) {
    let text = text.trim_start_matches('\u{feff}');
    let mut blocks = blocks_of(text).peekable();
    let mut entries: Vec<SrtEntry> = Vec::new();
    let mut fields_before = 0;
    let mut first_clock_ms = None;
    let mut truncated = None;
    let mut is_first = true;
    while let Some(block) = blocks.next()
        && entries.len() < MAX_ENTRIES
    {
        let telemetry = telemetry_of(block.text);
        let fields = field_count(&telemetry);
        let is_last = !is_first && blocks.peek().is_none();
        if is_last && (fields < fields_before || is_truncated(block.text)) {
            truncated = Some((block.number, block.line));
            break;
        }
        (fields_before, is_first) = (fields, false);
        let clock = clock_ms(block.text);
        let start = timecode_ms(block.text).or_else(|| {
            let clock = clock?;
            Some(clock - *first_clock_ms.get_or_insert(clock))
        });
        if let Some(start_ms) = start {
            entries.push(SrtEntry {
                start_ms,
                telemetry,
            });
        }
    }
    (entries, truncated)
}

struct Block<'a> {
    number: u64,
    line: usize,
    text: &'a str,
}

/// The text between one entry number on a line of its own and the next.
fn blocks_of(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut lines = text.split_inclusive('\n').zip(1..);
    let (mut at, mut after_blank) = (0, true);
    // Number and line of the block that has begun, and where its text does.
    let mut begun: Option<(u64, usize, usize)> = None;
    let close = move |begun: Option<(u64, usize, usize)>, end: usize| {
        let (number, line, start) = begun?;
        let text = &text[start..end];
        Some(Block { number, line, text })
    };
    std::iter::from_fn(move || {
        for (line, line_number) in lines.by_ref() {
            let (start, trimmed) = (at, line.trim());
            at += line.len();
            let number = trimmed.parse().ok().filter(|_| after_blank);
            after_blank = trimmed.is_empty();
            if let Some(number) = number {
                let before = begun.replace((number, line_number, at));
                if let Some(block) = close(before, start) {
                    return Some(block);
                }
            }
        }
        close(begun.take(), text.len())
    })
}

/// Whether the text ends where no dialect ends an entry.
fn is_truncated(text: &str) -> bool {
    !text.ends_with('\n') && !text.ends_with(']') && !text.trim_end().ends_with("</font>")
}

fn field_count(t: &Telemetry) -> usize {
    [
        t.latitude,
        t.longitude,
        t.altitude_m,
        t.height_m,
        t.gimbal_pitch_deg,
        t.gimbal_roll_deg,
        t.gimbal_yaw_deg,
    ]
    .iter()
    .flatten()
    .count()
}

fn telemetry_of(text: &str) -> Telemetry {
    let mut t = Telemetry::default();
    let (latitude, longitude) = match tuple(text, "GPS") {
        // The only dialect with latitude first; its third value is the altitude in metres.
        Some(gps) if gps.len() == 3 && gps[2].ends_with('M') => {
            t.altitude_m = number(gps[2]).filter(|altitude| *altitude != 0.0);
            (number(gps[0]), number(gps[1]))
        }
        Some(gps) if gps.len() >= 2 => (number(gps[1]), number(gps[0])),
        _ => (
            value(text, "latitude"),
            value(text, "longitude").or_else(|| value(text, "longtitude")),
        ),
    };
    // Without a GNSS fix the drone writes zeros.
    if let (Some(latitude), Some(longitude)) = (latitude, longitude)
        && latitude.abs() <= 90.0
        && longitude.abs() <= 180.0
        && (latitude, longitude) != (0.0, 0.0)
    {
        (t.latitude, t.longitude) = (Some(latitude), Some(longitude));
    }
    t.altitude_m = t
        .altitude_m
        .or_else(|| value(text, "abs_alt"))
        .or_else(|| value(text, "altitude"));
    t.height_m = value(text, "rel_alt")
        .or_else(|| value(text, "BAROMETER"))
        .or_else(|| value(text, "H"));
    match tuple(text, "G.PRY") {
        Some(angles) if angles.len() == 3 => {
            t.gimbal_pitch_deg = number(angles[0]);
            t.gimbal_roll_deg = number(angles[1]);
            t.gimbal_yaw_deg = number(angles[2]);
        }
        _ => {
            t.gimbal_pitch_deg = value(text, "gb_pitch");
            t.gimbal_roll_deg = value(text, "gb_roll");
            t.gimbal_yaw_deg = value(text, "gb_yaw");
        }
    }
    t
}

/// The text after each occurrence of `key` as a whole word.
fn after<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(key).filter_map(move |(at, _)| {
        let begins_here = !text[..at].ends_with(|c: char| c.is_alphanumeric() || "._".contains(c));
        begins_here.then(|| &text[at + key.len()..])
    })
}

/// The number after `key`, separated by blanks or a colon, if it is not the end of the text (it could be
/// truncated there).
fn value(text: &str, key: &str) -> Option<f64> {
    after(text, key).find_map(|rest| {
        let digits = rest.trim_start_matches([' ', ':']);
        let is_apart = digits.len() < rest.len();
        let is_whole = leading(digits).len() < digits.len();
        number(digits).filter(|_| is_apart && is_whole)
    })
}

/// The comma-separated values in the parentheses after `key`.
fn tuple<'a>(text: &'a str, key: &'a str) -> Option<Vec<&'a str>> {
    after(text, key).find_map(|rest| {
        let inside = rest.trim_start().strip_prefix('(')?;
        // Not beyond a tuple's length: a text of `GPS(` alone would be searched again from each.
        let end = inside
            .bytes()
            .take(MAX_TUPLE_BYTES)
            .position(|b| b == b')')?;
        Some(inside[..end].split(',').map(str::trim).collect())
    })
}

fn leading(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c));
    &text[..end.unwrap_or(text.len())]
}

fn number(text: &str) -> Option<f64> {
    leading(text).parse().ok().filter(|n: &f64| n.is_finite())
}

/// The start time in `00:01:02,345 --> ...`.
fn timecode_ms(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("-->"))?;
    let (start, _) = line.split_once("-->")?;
    hours_ms(start.trim())
}

/// The drone's clock in `2017.08.05 14:11:51,393,525`, in milliseconds of its month.
fn clock_ms(text: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let date = words.find(|word| {
            let is_digit = |i: usize| word.as_bytes().get(i).is_some_and(u8::is_ascii_digit);
            word.len() == 10 && is_digit(0) && is_digit(9) && !is_digit(4) && !is_digit(7)
        })?;
        let day: f64 = date.get(8..)?.parse().ok()?;
        // Milliseconds and microseconds; the first entry repeats both.
        let clock = words.next()?;
        let clock: Vec<&str> = clock.split(',').take(2).collect();
        Some(day * 86_400_000.0 + hours_ms(&clock.join(","))?)
    })
}

/// `14:11:51,393` in milliseconds.
fn hours_ms(text: &str) -> Option<f64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = |text: &str| text.trim().parse::<u32>().ok().map(f64::from);
    let seconds: f64 = seconds.replace(',', ".").parse().ok()?;
    Some(whole(hours)? * 3_600_000.0 + whole(minutes)? * 60_000.0 + (seconds * 1000.0).round())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(text: &str) -> SrtEntry {
        let (entries, truncated) = parse_srt(text);
        assert_eq!((entries.len(), truncated), (1, None), "{text}");
        entries[0]
    }

    #[test]
    fn each_dialect_is_read() {
        let entry = only(
            "7\n00:01:02,345 --> 00:01:02,378\n<font size=\"28\">FrameCnt: 7, DiffTime: 33ms\n\
             2021-12-25 12:27:52.373\n[iso: 220] [focal_len: 24.00] [latitude: 3.41531] \
             [longitude: -3.37440] [rel_alt: -2.400 abs_alt: 0.401] </font>\n\n",
        );
        assert_eq!(entry.start_ms, 62_345.0);
        let t = entry.telemetry;
        assert_eq!((t.latitude, t.longitude), (Some(3.41531), Some(-3.3744)));
        assert_eq!((t.height_m, t.altitude_m), (Some(-2.4), Some(0.401)));

        let t = only(
            "1\n00:00:00,000 --> 00:00:01,000\nF/5.6, GPS (-58.851745, -34.237922, 15), \
             HOME (-58.847509, -34.232707, -57.98m), D 698.70m, H 85.80m, H.S 0.00m/s, \
             F.PRY (2.7°, -7.0°, 110.1°), G.PRY (-24.4°, 0.0°, 110.4°)\n\n",
        )
        .telemetry;
        assert_eq!(
            (t.latitude, t.longitude),
            (Some(-34.237922), Some(-58.851745))
        );
        assert_eq!(t.height_m, Some(85.8));
        assert_eq!(
            (t.gimbal_pitch_deg, t.gimbal_yaw_deg),
            (Some(-24.4), Some(110.4))
        );

        let t =
            only("1\n00:00:01,000 --> 00:00:02,000\nGPS(36.6146,-6.1120,3.0M) BAROMETER:0.3M\n")
                .telemetry;
        assert_eq!((t.latitude, t.longitude), (Some(36.6146), Some(-6.112)));
        assert_eq!((t.height_m, t.altitude_m), (Some(0.3), Some(3.0)));

        let t = only(
            "1\n00:00:01,000 --> 00:00:02,000\nHOME(-58.4563,-34.7386) 2017.07.03 10:15:03\n\
             GPS(-58.4563,-34.7383,19) BAROMETER:20.1\nISO:100 Shutter:400\n",
        )
        .telemetry;
        assert_eq!((t.latitude, t.longitude), (Some(-34.7383), Some(-58.4563)));
        assert_eq!(t.height_m, Some(20.1));
    }

    #[test]
    fn without_time_codes_the_clock_is_used() {
        let (entries, _) = parse_srt(
            "1\n2017.08.05 14:11:51,393,525,393,525\n[latitude : -20.2533] [longtitude : 149.0251]\n\n\
             2\n2017.08.05 14:11:52,893,525\n[latitude : -20.2534] [longtitude : 149.0251]\n",
        );
        let starts: Vec<f64> = entries.iter().map(|e| e.start_ms).collect();
        assert_eq!(starts, [0.0, 1500.0]);
        assert_eq!(entries[1].telemetry.longitude, Some(149.0251));
    }

    #[test]
    fn a_truncated_entry_is_left_out_and_reported() {
        let whole = "1\n00:00:00,000 --> 00:00:01,000\nGPS(-58.4,-34.7,19) BAROMETER:20.1\n\n\
                     2\n00:00:01,000 --> 00:00:02,000\nGPS(-58.4,-34.7,19) BAROMETER:21.7\n\n";
        let second = whole.find("\n2\n").expect("there") + 2;
        for end in second + 1..whole.len() - 1 {
            let (entries, truncated) = parse_srt(&whole[..end]);
            assert_eq!(
                (entries.len(), truncated),
                (1, Some((2, 5))),
                "{:?}",
                &whole[..end]
            );
        }
        assert_eq!(parse_srt(whole).1, None);
    }

    #[test]
    fn time_and_memory_grow_with_the_text_only() {
        // Each of these took the square of its length.
        for open in ["GPS(", "G.PRY (", "GPS(G.PRY (H "] {
            let text = format!("1\n00:00:00,000 --> 00:00:01,000\n{}", open.repeat(1 << 15));
            assert_eq!(only(&text).telemetry, Telemetry::default());
        }
        let (entries, truncated) = parse_srt(&"1\n\n".repeat(1 << 15));
        assert_eq!((entries.len(), truncated), (0, None));
    }

    #[test]
    fn a_tuple_ends_soon_or_is_none() {
        let entry = |blanks: usize| {
            let blanks = " ".repeat(blanks);
            format!("1\n00:00:00,000 --> 00:00:01,000\nGPS(2.5,{blanks}1.5,9) H 3.0m\n\n")
        };
        assert_eq!(only(&entry(100)).telemetry.latitude, Some(1.5));
        let far = only(&entry(300)).telemetry;
        assert_eq!((far.latitude, far.height_m), (None, Some(3.0)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "([0-9:, \\->\n\\[\\]()GPSH.latiude°M]|\\PC){0,300}") {
            parse_srt(&text);
        }
    }
}

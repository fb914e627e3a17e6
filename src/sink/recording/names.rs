//! Names of recordings: the stream, the time, and what else there is to say, so that two streams never
//! share a name and each finds its own.

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Longest part of a name in bytes; file systems allow 255 for all.
const MAX_PART: usize = 100;

/// A file's name: the stream, the time (UTC), and what else there is to say.
pub fn file_name(stream: &str, more: &str) -> String {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let time = time.to_string().replace('.', "");
    let more = match more {
        "" => String::new(),
        more => format!("_{}", part(more)),
    };
    format!("{}_{time}{more}.mp4", part(stream))
}

/// Whether `path` is the name of a file of `stream`.
pub fn is_of_stream(path: &Path, stream: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let rest = name.strip_prefix(&part(stream));
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix('_')) else {
        return false;
    };
    let Some(more) = after_time(rest) else {
        return false;
    };
    // What looks like a second time is the first of a stream whose name begins with ours.
    let is_longer = more.strip_prefix('_').and_then(after_time).is_some();
    !is_longer && more.ends_with(".mp4") && (more.starts_with('.') || more.starts_with('_'))
}

/// What follows a time like `20261124T213300000Z`.
fn after_time(text: &str) -> Option<&str> {
    let (time, rest) = text.split_at_checked("20261124T213300000Z".len())?;
    let digits = time.chars().filter(char::is_ascii_digit).count();
    let is_time = digits == 17 && time.as_bytes()[8] == b'T' && time.ends_with('Z');
    is_time.then_some(rest)
}

/// A text as a part of a file name: letters and digits of any script, `-`, `_` and `.` stay, any other
/// character is percent-encoded, so that two texts have two parts. Of a long one, its beginning and
/// its fingerprint.
fn part(text: &str) -> String {
    let mut part = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || "-_.".contains(c) {
            part.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(part, "%{byte:02X}");
        }
    }
    if part.len() > MAX_PART {
        let mut end = MAX_PART - 20;
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        part.truncate(end);
        part.push('~');
        for byte in &Sha256::digest(text.as_bytes())[..8] {
            let _ = write!(part, "{byte:02x}");
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_stream_and_time() {
        let name = file_name("gate-1", "zone-crossing-12");
        assert!(
            name.starts_with("gate-1_2") && name.ends_with("_zone-crossing-12.mp4"),
            "{name}"
        );
        assert!(is_of_stream(Path::new(&name), "gate-1"));
        for other in ["gate", "gate_1", "gate-1_", ""] {
            assert!(!is_of_stream(Path::new(&name), other), "{other}");
        }
        for other in [
            "gate_.mp4",
            "gate_holiday.mp4",
            "gate_20261124T213300000Z.txt",
            "gate_20261124T213300000Zmore.mp4",
            "ü",
        ] {
            assert!(!is_of_stream(Path::new(other), "gate"), "{other}");
        }
    }

    #[test]
    fn names_of_streams_do_not_collapse() {
        let long = "前".repeat(60);
        let streams = [
            "前门",
            "后门",
            "--",
            "gate/1",
            "gate 1",
            "gate%2F1",
            "gate-1",
            "Gate-1",
            "gate",
            "gate_20261124T213300000Z",
            &(long.clone() + "1"),
            &(long + "2"),
        ];
        for of in streams {
            for more in ["", "zone-前门-12", "loiter-20261124T213300000Z-3"] {
                let name = file_name(of, more);
                assert!(name.len() <= 255 && !name.contains('/'), "{name}");
                let found: Vec<_> = streams
                    .iter()
                    .filter(|stream| is_of_stream(Path::new(&name), stream))
                    .collect();
                assert_eq!(found, [&of], "{name}");
            }
        }
        assert!(file_name("前门", "").starts_with("前门_2"));
    }
}

//! Files that a browser plays: whole, or the part that it asks for (RFC 9110, section 14).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::ApiError;

/// What is read at a time.
const PIECE_BYTES: u64 = 128 << 10;

/// Which bytes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From the first to the last, both included.
    Bytes(u64, u64),
    /// None that are there.
    Unsatisfiable,
}

/// The part of a file of `length` bytes that `headers` ask for. What is not understood, several parts and
/// conditions are answered with the whole file, as a server may.
fn part_of(headers: &HeaderMap, length: u64) -> Part {
    let range = headers.get(header::RANGE);
    let range = range.filter(|_| !headers.contains_key(header::IF_RANGE));
    let range = range.and_then(|value| value.to_str().ok());
    let Some(range) = range.and_then(|range| range.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Part::Whole;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (first, last) = (first.trim(), last.trim());
    if !digits(first) || !digits(last) {
        return Part::Whole;
    }
    // Numbers beyond 64 bits are beyond each file.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    match (first, last) {
        ("", "") => Part::Whole,
        ("", suffix) => match number(suffix).min(length) {
            0 => Part::Unsatisfiable,
            suffix => Part::Bytes(length - suffix, length - 1),
        },
        (first, _) if number(first) >= length => Part::Unsatisfiable,
        (first, "") => Part::Bytes(number(first), length - 1),
        (first, last) if number(last) < number(first) => Part::Whole,
        (first, last) => Part::Bytes(number(first), number(last).min(length - 1)),
    }
}

/// The answer to a request for `file`; `slot` is held until it is sent.
pub fn answer(file: File, headers: &HeaderMap, slot: OwnedSemaphorePermit) -> Response {
    let length = match file.metadata() {
        Ok(metadata) => metadata.len(),
        Err(_) => return ApiError::Unavailable.into_response(),
    };
    let (status, first, count) = match part_of(headers, length) {
        Part::Whole => (StatusCode::OK, 0, length),
        Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last + 1 - first),
        Part::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            let why = format!("the file has {length} bytes\n");
            return (StatusCode::RANGE_NOT_SATISFIABLE, range, why).into_response();
        }
    };
    let kind = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
    ];
    let mut response = (status, kind, body(file, first, count, slot)).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + count - 1;
        let range = format!("bytes {first}-{last}/{length}");
        if let Ok(range) = range.parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    response
}

/// `count` bytes from `first` on, read piece by piece as the client takes them.
fn body(file: File, first: u64, count: u64, slot: OwnedSemaphorePermit) -> Body {
    let pieces = stream::unfold((Some(file), first, count, slot), |state| async move {
        let (file, at, left, slot) = state;
        let mut file = file.filter(|_| left > 0)?;
        let size = left.min(PIECE_BYTES);
        let read = spawn_blocking(move || {
            file.seek(SeekFrom::Start(at))?;
            let mut piece = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact(&mut piece)?;
            Ok((file, Bytes::from(piece)))
        });
        let read: io::Result<_> = read.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        Some(match read {
            Ok((file, piece)) => (Ok(piece), (Some(file), at + size, left - size, slot)),
            // The length was promised: the connection ends, and the client knows.
            Err(error) => (Err(error), (None, at, 0, slot)),
        })
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, length: u64) -> Part {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().expect("a value"))]);
        part_of(&headers, length)
    }

    #[test]
    fn parts_are_cut_to_the_file() {
        assert_eq!(part_of(&HeaderMap::new(), 100), Part::Whole);
        for (range, expected) in [
            ("bytes=0-", Part::Bytes(0, 99)),
            ("bytes=0-0", Part::Bytes(0, 0)),
            ("bytes=10-19", Part::Bytes(10, 19)),
            ("bytes=90-500", Part::Bytes(90, 99)),
            ("bytes=-10", Part::Bytes(90, 99)),
            ("bytes=-500", Part::Bytes(0, 99)),
            ("bytes=99-99999999999999999999999", Part::Bytes(99, 99)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            // Not understood.
            ("bytes=20-10", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(range, 100), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(part("bytes=-1", 0), Part::Unsatisfiable);
        let mut headers =
            HeaderMap::from_iter([(header::RANGE, "bytes=0-1".parse().expect("a value"))]);
        headers.insert(header::IF_RANGE, "\"x\"".parse().expect("a value"));
        assert_eq!(part_of(&headers, 100), Part::Whole);
    }
}

//! The parameters of a request for events.

use axum::extract::Query;
use axum::http::Uri;
use jiff::Zoned;
use serde::Deserialize;

use super::{ApiError, shown};
use crate::store::{EVENT_KINDS, EventFilter, parse_instant};

/// Events in one answer that asks for no other number.
const DEFAULT_LIMIT: u64 = 50;
/// Most events in one answer.
const MAX_LIMIT: u64 = 500;
/// Longest text to search for, in bytes: each word is a condition.
const MAX_TEXT_BYTES: usize = 200;

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// What must apply.
    pub filter: EventFilter,
    /// The event after which the answer begins.
    pub before: Option<i64>,
}

/// As the address has it; what is empty is not given.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    stream: String,
    label: String,
    zone: String,
    kind: String,
    since: String,
    until: String,
    text: String,
    limit: String,
    before: String,
}

impl EventQuery {
    /// Reads the part of an address after its `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut read = Self::read(query, MAX_LIMIT)?;
        read.filter.limit.get_or_insert(DEFAULT_LIMIT);
        Ok(read)
    }

    /// Like [`parse`](Self::parse), with any limit or none.
    pub fn parse_unlimited(query: Option<&str>) -> Result<Self, ApiError> {
        Self::read(query, i64::MAX as u64)
    }

    fn read(query: Option<&str>, max_limit: u64) -> Result<Self, ApiError> {
        let given = parameters(query)?;
        let text = |value: String| Some(value).filter(|value| !value.is_empty());
        let now = Zoned::now();
        let time = |name: &str, value: &str, is_end: bool| {
            if value.is_empty() {
                return Ok(None);
            }
            let parsed = parse_instant(value, &now, is_end);
            parsed
                .map(Some)
                .map_err(|error| ApiError::Bad(format!("{name} `{}`: {error}", shown(value))))
        };
        if !given.kind.is_empty() && !EVENT_KINDS.contains(&&*given.kind) {
            let (kinds, kind) = (EVENT_KINDS.join(", "), shown(&given.kind));
            let why = format!("kind `{kind}`: expected one of {kinds}");
            return Err(ApiError::Bad(why));
        }
        if given.text.len() > MAX_TEXT_BYTES {
            let why = format!("text: expected at most {MAX_TEXT_BYTES} bytes");
            return Err(ApiError::Bad(why));
        }
        Ok(Self {
            filter: EventFilter {
                since_ms: time("since", &given.since, false)?,
                until_ms: time("until", &given.until, true)?,
                limit: number("limit", &given.limit, max_limit)?,
                stream: text(given.stream),
                kind: text(given.kind),
                label: text(given.label),
                zone: text(given.zone),
                text: text(given.text),
                ..EventFilter::default()
            },
            before: number("before", &given.before, i64::MAX as u64)?.map(u64::cast_signed),
        })
    }
}

fn parameters(query: Option<&str>) -> Result<Parameters, ApiError> {
    let bad = |why: &str| ApiError::Bad(format!("parameters: {}", shown_whole(why)));
    let uri = format!("/?{}", query.unwrap_or_default());
    let uri: Uri = uri
        .parse()
        .map_err(|_| bad("they are no part of an address"))?;
    let read = Query::<Parameters>::try_from_uri(&uri);
    let Query(parameters) = read.map_err(|rejection| {
        use std::error::Error;
        let inner = rejection.source().map(ToString::to_string);
        bad(&inner.unwrap_or_else(|| rejection.to_string()))
    })?;
    Ok(parameters)
}

/// One line.
fn shown_whole(why: &str) -> String {
    let plain = why.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect()
}

fn number(name: &str, value: &str, max: u64) -> Result<Option<u64>, ApiError> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = value.parse().ok().filter(|n| (1..=max).contains(n));
    let why = || ApiError::Bad(format!("{name} `{}`: expected 1 to {max}", shown(value)));
    number.map(Some).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> EventQuery {
        EventQuery::parse(Some(query)).expect("good parameters")
    }

    fn refused(query: &str) -> String {
        match EventQuery::parse(Some(query)) {
            Err(ApiError::Bad(why)) => why,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn what_is_empty_is_not_given() {
        let nothing = EventQuery {
            filter: EventFilter {
                limit: Some(DEFAULT_LIMIT),
                ..EventFilter::default()
            },
            before: None,
        };
        assert_eq!(EventQuery::parse(None).expect("good"), nothing);
        assert_eq!(read("label=&zone=&limit=&since="), nothing);
        let all = read(
            "stream=a%26b&label=T%C3%BCr+2&zone=z&kind=line&since=0:00:01&until=2026-03-01T00:00:00Z\
             &text=%22red+car&limit=500&before=17",
        );
        let filter = all.filter;
        assert_eq!(all.before, Some(17));
        assert_eq!(filter.stream.as_deref(), Some("a&b"));
        assert_eq!(filter.label.as_deref(), Some("Tür 2"));
        assert_eq!(filter.text.as_deref(), Some("\"red car"));
        assert_eq!(filter.limit, Some(500));
        assert_eq!(
            (filter.since_ms, filter.until_ms),
            (Some(1000), Some(1_772_323_200_000))
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (query, words) in [
            ("lable=car", "unknown field `lable`"),
            ("label=a&label=b", "duplicate field `label`"),
            ("limit=0", "limit `0`: expected 1 to 500"),
            ("limit=501", "expected 1 to 500"),
            ("limit=ten", "limit `ten`"),
            ("before=-1", "before `-1`: expected 1 to "),
            ("before=99999999999999999999", "before `"),
            ("kind=cat", "kind `cat`: expected one of track, zone"),
            ("since=soon%0A", "since `soon `: expected a time: "),
            ("until=2026-02-30", "until `2026-02-30`"),
        ] {
            let why = refused(query);
            assert!(why.contains(words) && why.lines().count() == 1, "{why}");
        }
        assert!(refused(&format!("text={}", "a+".repeat(101))).starts_with("text: "));
        let long = refused(&format!("kind={}", "x".repeat(5000)));
        assert!(long.len() < 300, "{long}");
        let all = EventQuery::parse_unlimited(Some("limit=1000000")).expect("good");
        assert_eq!(all.filter.limit, Some(1_000_000));
    }
}

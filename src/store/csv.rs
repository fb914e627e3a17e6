//! Events as CSV (RFC 4180).

use super::StoredEvent;

const COLUMNS: [&str; 26] = [
    "id",
    "stream",
    "kind",
    "rule",
    "zone",
    "direction",
    "label",
    "attributes",
    "model",
    "score",
    "start",
    "end",
    "duration_ms",
    "ended",
    "track_id",
    "track_event",
    "frame",
    "best_frame",
    "x",
    "y",
    "width",
    "height",
    "latitude",
    "longitude",
    "clip",
    "recording",
];

/// The names of the columns.
pub fn head() -> String {
    COLUMNS.join(",")
}

/// One event.
pub fn line(event: &StoredEvent) -> String {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let attributes = event
        .attributes
        .iter()
        .map(|(name, label)| format!("{name}={label}"));
    let at = |file: &Option<String>, ms: Option<f64>| match (file, ms) {
        (Some(file), Some(ms)) => format!("{file}#{:.3}", ms / 1000.0),
        _ => String::new(),
    };
    let bbox = event.bbox.map(<[f64; 4]>::from);
    let side = |at: usize| shown(bbox.map(|bbox| bbox[at]));
    let fields: [String; 26] = [
        event.id.to_string(),
        event.stream.clone(),
        event.kind.clone(),
        shown(event.rule.as_ref()),
        shown(event.zone.as_ref()),
        shown(event.direction.as_ref()),
        shown(event.label.as_ref()),
        attributes.collect::<Vec<_>>().join(";"),
        shown(event.model.as_ref()),
        shown(event.score),
        event.start_text.clone(),
        event.end_text.clone(),
        (event.end_ms - event.start_ms).to_string(),
        event.ended.to_string(),
        shown(event.track_id),
        shown(event.track_event),
        event.frame.to_string(),
        shown(event.best_frame),
        side(0),
        side(1),
        side(2),
        side(3),
        shown(event.latitude),
        shown(event.longitude),
        at(&event.clip, event.clip_ms),
        at(&event.recording, event.recording_ms),
    ];
    fields.map(|field| quoted(&field)).join(",")
}

/// A field; one with commas, quotes or line ends in quotes.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_stay_one_field() {
        let event = StoredEvent {
            stream: "gate, \"north\"".to_owned(),
            kind: "zone".to_owned(),
            zone: Some("two\nlines".to_owned()),
            clip: Some("a.mp4".to_owned()),
            clip_ms: Some(5000.0),
            ..StoredEvent::default()
        };
        let line = line(&event);
        assert!(
            line.starts_with("0,\"gate, \"\"north\"\"\",zone,,\"two\nlines\",,"),
            "{line}"
        );
        assert!(line.ends_with(",a.mp4#5.000,"), "{line}");
        assert_eq!(head().split(',').count(), COLUMNS.len());
    }
}

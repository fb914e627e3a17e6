//! The description of the API in OpenAPI 3.1: its paths by hand, its events from their type.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::archive::ApiEvent;

const PATHS: &str = include_str!("openapi.json");

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(PATHS).expect("a test reads it");
    // As it is written: fields that may be missing are not required.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let mut event = settings.into_generator().into_root_schema_for::<ApiEvent>();
    event.remove("$schema");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["schemas"]["Event"] = event.into();
    format!("{document:#}\n")
});

pub async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], &**DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::records::RecordBox;
    use crate::store::{EVENT_KINDS, StoredEvent};

    fn document() -> Value {
        serde_json::from_str(&DOCUMENT).expect("JSON")
    }

    fn keys(object: &Value) -> BTreeSet<String> {
        let object = object.as_object().expect("an object");
        object.keys().cloned().collect()
    }

    #[test]
    fn it_has_the_paths_that_are_served() {
        let served = super::super::routes().map(|(path, _)| path.to_owned());
        assert_eq!(keys(&document()["paths"]), served.into());
    }

    #[test]
    fn it_has_the_fields_of_events() {
        let text = || Some("x".to_owned());
        let full = ApiEvent {
            event: StoredEvent {
                rule: text(),
                zone: text(),
                direction: text(),
                label: text(),
                attributes: [("a".to_owned(), "b".to_owned())].into(),
                model: text(),
                score: Some(0.5),
                track_id: Some(1),
                track_event: Some(1),
                best_frame: Some(1),
                bbox: Some(RecordBox::default()),
                latitude: Some(1.0),
                longitude: Some(1.0),
                clip: text(),
                clip_ms: Some(1.0),
                recording: text(),
                recording_ms: Some(1.0),
                ..StoredEvent::default()
            },
            media_ms: Some(1.0),
        };
        let sparse = ApiEvent {
            event: StoredEvent::default(),
            media_ms: None,
        };
        let document = document();
        let schema = &document["components"]["schemas"]["Event"];
        let json = |event| serde_json::to_value(event).expect("JSON");
        assert_eq!(keys(&schema["properties"]), keys(&json(&full)));
        let required = schema["required"].as_array().expect("a list").iter();
        let required: BTreeSet<String> = required
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        assert_eq!(required, keys(&json(&sparse)));
        let parameters = document["components"]["parameters"]["kind"]["schema"]["enum"].clone();
        assert_eq!(parameters, serde_json::json!(EVENT_KINDS));
    }
}

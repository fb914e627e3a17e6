//! What differs between two configurations of a stream, and what of that cannot change while it runs.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::config::{LoadedPipeline, SinkConfig};
use crate::pipeline::build::sink_keys;
use crate::pipeline::stages::sink_edges::SinkKey;

/// Keys that a stream reads when it starts, and what lies below them.
const FIXED: [&str; 9] = [
    "source",
    "fallback",
    "telemetry",
    "telemetry.srt",
    "telemetry.offset_ms",
    "classify_tracks",
    "inference.workers",
    "inference.max_age_ms",
    "sandbox",
];

/// What differs between two configurations of a stream.
#[derive(Debug, Default)]
pub struct Changes {
    /// The keys that differ, to their second level; a sink by its kind.
    pub keys: Vec<String>,
    /// Those that cannot change while the stream runs.
    pub fixed: Vec<String>,
    /// Sinks that are new.
    pub added: BTreeSet<SinkKey>,
    /// Sinks that are gone.
    pub removed: BTreeSet<SinkKey>,
    /// Whether the networks must be loaded and their results be decoded in another way.
    pub inference: bool,
    /// Whether it is decided in another way where the network runs.
    pub gating: bool,
}

/// Compares the configuration of a stream with the one `before`.
pub fn changes(before: &LoadedPipeline, next: &LoadedPipeline) -> Changes {
    let mut changes = Changes::default();
    let (old, new) = (&before.config, &next.config);
    let is_kept = |key: &String| !key.starts_with("sinks") && key != "stream" && key != "watch";
    let [a, b] = [old, new].map(|c| serde_json::to_value(c).unwrap_or_default());
    let mut keys: BTreeSet<String> = differing(&a, &b).into_iter().filter(is_kept).collect();
    let is_model_new = before.card != next.card || before.model_sha256 != next.model_sha256;
    if is_model_new {
        keys.retain(|key| !key.starts_with("model."));
        keys.insert("model".to_owned());
    }
    let are_others_new = before.model_name != next.model_name || before.others != next.others;
    if are_others_new {
        keys.insert("models".to_owned());
    }
    if before.track_cards != next.track_cards {
        keys.insert("classify_tracks".to_owned());
    }
    let (sinks_before, sinks) = (sink_keys(before), sink_keys(next));
    for (key, sink) in &sinks {
        if !sinks_before.contains_key(key) {
            changes.added.insert(SinkKey::clone(key));
            keys.insert(format!("sinks.{}", kind_of(sink)));
        }
    }
    for (key, sink) in &sinks_before {
        if !sinks.contains_key(key) {
            changes.removed.insert(SinkKey::clone(key));
            keys.insert(format!("sinks.{}", kind_of(sink)));
        }
    }
    let window = |config: &LoadedPipeline| {
        let sinks = config.config.sinks.iter();
        sinks.filter_map(|sink| sink.window.clone()).next()
    };
    if window(before) != window(next) {
        keys.insert("sinks.window".to_owned());
        changes.fixed.push("sinks.window".to_owned());
    }
    let is_fixed = |key: &&String| {
        let top = key.split('.').next().unwrap_or_default();
        FIXED.contains(&key.as_str()) || top != "telemetry" && FIXED.contains(&top)
    };
    changes.fixed.extend(keys.iter().filter(is_fixed).cloned());
    let uses_zones = !new.models.is_empty() || new.segment.safe_ground.is_some();
    changes.gating = is_model_new || old.gating != new.gating || old.track != new.track;
    changes.inference = changes.gating
        || are_others_new
        || old.model != new.model
        || old.models != new.models
        || old.detect != new.detect
        || old.segment != new.segment
        || old.classify != new.classify
        || old.inference != new.inference
        || uses_zones && old.zones != new.zones;
    changes.keys = keys.into_iter().collect();
    changes
}

/// The keys at which two mappings differ, to the second level.
fn differing(a: &Value, b: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return keys;
    };
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        match (a.get(name), b.get(name)) {
            (a, b) if a == b => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let inner: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                let inner = inner.into_iter().filter(|key| a.get(*key) != b.get(*key));
                keys.extend(inner.map(|key| format!("{name}.{key}")));
            }
            _ => keys.push(name.clone()),
        }
    }
    keys
}

/// The key of a sink in the YAML.
fn kind_of(sink: &SinkConfig) -> String {
    let value = serde_json::to_value(sink).unwrap_or_default();
    let set = value.as_object().and_then(|map| {
        let mut set = map.iter().filter(|(_, value)| !value.is_null());
        set.next().map(|(key, _)| key.clone())
    });
    set.unwrap_or_default()
}

/// Sinks that would be opened on a file or an address which one that goes still has, in two lists of streams.
pub fn output_conflicts(before: &[&LoadedPipeline], next: &[LoadedPipeline]) -> Vec<String> {
    let mut conflicts = BTreeSet::new();
    let keys = |streams: &mut dyn Iterator<Item = &LoadedPipeline>| -> BTreeSet<SinkKey> {
        streams
            .flat_map(|stream| sink_keys(stream).into_keys())
            .collect()
    };
    let known = keys(&mut before.iter().copied());
    let stays = keys(&mut next.iter());
    let mut taken = BTreeSet::new();
    for stream in before {
        let going = sink_keys(stream)
            .into_iter()
            .filter(|(key, _)| !stays.contains(key));
        taken.extend(going.filter_map(|(_, sink)| place_of(sink)));
    }
    for stream in next {
        for (_, sink) in sink_keys(stream)
            .into_iter()
            .filter(|(key, _)| !known.contains(key))
        {
            if let Some(place) = place_of(sink).filter(|place| taken.contains(place)) {
                conflicts.insert(format!("sinks.{} at {place}", kind_of(sink)));
            }
        }
    }
    conflicts.into_iter().collect()
}

/// The file or address that only one can have.
fn place_of(sink: &SinkConfig) -> Option<String> {
    let file = |path: &Path| path.display().to_string();
    let jsonl = sink.jsonl.as_ref().map(|sink| file(&sink.path));
    let coco = sink.coco.as_ref().map(|sink| file(&sink.path));
    let mot = sink.mot.as_ref().map(|sink| file(&sink.path));
    let web = sink.web.as_ref().map(|sink| sink.bind.clone());
    jsonl.or(coco).or(mot).or(web)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_named_to_their_second_level() {
        let before = json!({
            "detect": {"score_threshold": 0.4, "classes": {"car": {}}},
            "zones": {"gate": {"polygon": [[0, 0]]}}, "track": null, "overlay": {"alpha": 0.5},
        });
        let next = json!({
            "detect": {"score_threshold": 0.5, "classes": {"car": {}}},
            "zones": {"yard": {"polygon": [[0, 0]]}}, "track": {}, "overlay": {"alpha": 0.5},
        });
        let expected = [
            "detect.score_threshold",
            "track",
            "zones.gate",
            "zones.yard",
        ];
        assert_eq!(differing(&before, &next), expected);
        assert!(differing(&next, &next).is_empty());
    }
}

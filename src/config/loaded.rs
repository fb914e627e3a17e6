//! A pipeline that is loaded and valid, and its fingerprints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::loaded_model::LoadedModel;
use super::schema::{
    CardConfig, ClassifyConfig, ClassifyTracksConfig, DetectConfig, GatingConfig, InferenceConfig,
    ModelConfig, OverlayConfig, PipelineConfig, PrecisionConfig, ReconnectConfig, SegmentConfig,
    SourceConfig,
};
use super::track_cards::TrackCard;

/// A pipeline and its model card, both valid. Paths are joined to the directories of their files.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedPipeline {
    /// Name of the stream.
    pub stream: String,
    /// The pipeline, under the command line's arguments.
    pub config: PipelineConfig,
    /// The model's card.
    pub card: CardConfig,
    /// SHA-256 of the ONNX file.
    pub model_sha256: String,
    /// The model's name, where several run on the stream.
    pub model_name: Option<String>,
    /// The models that run after it, in their order.
    pub others: Vec<LoadedModel>,
    /// The cards of `classify_tracks`, by the names there.
    pub track_cards: BTreeMap<String, TrackCard>,
    /// Which of the sinks all streams of the file share.
    pub shared: Vec<bool>,
    /// The values that the YAML gives, without defaults.
    pub(super) given: Value,
}

impl LoadedPipeline {
    /// A pipeline of nothing but a model, for its evaluation: every class from `score_threshold` on.
    /// It has no source.
    pub fn of_card(card: CardConfig, model_sha256: String, score_threshold: f32) -> Self {
        Self {
            stream: card.name.clone(),
            config: PipelineConfig {
                stream: None,
                source: SourceConfig::default(),
                fallback: None,
                telemetry: None,
                model: ModelConfig::default(),
                models: BTreeMap::new(),
                detect: DetectConfig {
                    score_threshold,
                    ..DetectConfig::default()
                },
                segment: SegmentConfig::default(),
                classify: ClassifyConfig::default(),
                track: None,
                classify_tracks: BTreeMap::new(),
                zones: BTreeMap::new(),
                lines: BTreeMap::new(),
                gating: GatingConfig::default(),
                inference: InferenceConfig::default(),
                overlay: OverlayConfig::default(),
                sandbox: true,
                watch: false,
                sinks: Vec::new(),
            },
            card,
            model_sha256,
            model_name: None,
            others: Vec::new(),
            track_cards: BTreeMap::new(),
            shared: Vec::new(),
            given: Value::Null,
        }
    }

    /// Leaves out all sinks, for programs that bring their own.
    pub fn clear_sinks(&mut self) {
        self.config.sinks.clear();
        self.shared.clear();
    }

    /// SHA-256 of everything that bears on the results: source, model, precision and settings. Resources
    /// and sinks are left out, so that runs compare.
    pub fn sha256(&self) -> String {
        let mut source = self.config.source.clone();
        for path in [
            source.video.as_mut().map(|v| &mut v.path),
            source.images.as_mut().map(|i| &mut i.path),
        ]
        .into_iter()
        .flatten()
        {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
        if let Some(rtsp) = &mut source.rtsp {
            // Not even the hash of a password is published.
            rtsp.url = rtsp.url.rsplit('@').next().unwrap_or_default().to_owned();
        }
        for reconnect in [
            source.camera.as_mut().map(|camera| &mut camera.reconnect),
            source.rtsp.as_mut().map(|rtsp| &mut rtsp.reconnect),
        ]
        .into_iter()
        .flatten()
        {
            // The default when this hash was defined.
            if *reconnect == ReconnectConfig::Auto {
                *reconnect = ReconnectConfig::Lost;
            }
        }
        let mut telemetry = self.config.telemetry.clone();
        if let Some(telemetry) = &mut telemetry {
            telemetry.srt = None;
        }
        let mut hashed = json!({
            "source": source,
            "telemetry": telemetry,
            "detect": self.config.detect,
            "segment": self.config.segment,
            "gating": self.config.gating,
            "zones": self.config.zones,
            "card": self.card.name,
            "input": [self.card.input.width_px, self.card.input.height_px],
            "model_sha256": self.model_sha256,
        });
        leave_out_defaults(&mut hashed, &self.given);
        // The block's name when this hash was defined.
        let gating = hashed["gating"].take();
        if let Some(hashed) = hashed.as_object_mut() {
            hashed.remove("gating");
            hashed.insert("attention".to_owned(), gating);
            let precision = self.config.inference.precision;
            // The hash was defined before there was a choice.
            if precision != PrecisionConfig::default() {
                hashed.insert("precision".to_owned(), json!(precision));
            }
            let classify = &self.config.classify;
            if *classify != ClassifyConfig::default() {
                hashed.insert("classify".to_owned(), json!(classify));
            }
            if !self.config.classify_tracks.is_empty() {
                hashed.insert(
                    "classify_tracks".to_owned(),
                    self.hashed_track_classifiers(),
                );
            }
            if let Some(fit) = self.config.model.fit {
                hashed.insert("fit".to_owned(), json!(fit));
            }
            if let Some(name) = &self.model_name {
                let others = self.others.iter().map(LoadedModel::hashed);
                let models: Vec<Value> = std::iter::once(json!(name)).chain(others).collect();
                hashed.insert("models".to_owned(), models.into());
            }
        }
        hex_sha256(hashed.to_string().as_bytes())
    }

    /// The settings of second networks, with what their cards are instead of where.
    fn hashed_track_classifiers(&self) -> Value {
        let of_entry = |(name, entry): (&String, &ClassifyTracksConfig)| {
            let mut hashed = json!(entry);
            let card = self.track_cards.get(name);
            hashed["model"] = json!(card.map(|of| [&of.card.name, &of.sha256]));
            (name.clone(), hashed)
        };
        self.config.classify_tracks.iter().map(of_entry).collect()
    }

    /// SHA-256 of the settings of analysis, if objects are tracked.
    pub fn analysis_sha256(&self) -> Option<String> {
        let config = &self.config;
        let track = config.track.as_ref()?;
        let mut hashed = json!({
            "detect": config.detect, "track": track, "zones": config.zones, "lines": config.lines,
        });
        leave_out_defaults(&mut hashed, &self.given);
        if let Some(track) = hashed["track"].as_object_mut() {
            // The hash was defined before there were these.
            let given = |key: &str| self.given.pointer(&format!("/track/{key}")).is_some();
            track.retain(|key, _| !LATER_TRACK_KEYS.contains(&key.as_str()) || given(key));
        }
        if let Some(hashed) = hashed.as_object_mut()
            && !self.others.is_empty()
        {
            let others = self.others.iter().map(LoadedModel::hashed_for_analysis);
            hashed.insert("models".to_owned(), others.collect());
        }
        Some(hex_sha256(hashed.to_string().as_bytes()))
    }
}

/// SHA-256 in hexadecimal digits.
pub fn hex_sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys of `track` that are hashed only where they are given.
const LATER_TRACK_KEYS: [&str; 5] = [
    "score_high",
    "start_score",
    "nms_iou",
    "cross_class_iou",
    "confirm_ms",
];

/// Keys that are hashed as null unless they are given, whatever their default; `*` is any key or
/// index. Records name these hashes, so what is hashed must stay as it was first defined.
const NULL_UNLESS_GIVEN: [&str; 29] = [
    "source.camera.width_px",
    "source.camera.height_px",
    "source.camera.fps",
    "source.camera.stall_ms",
    "source.rtsp.stall_ms",
    "source.images.fps",
    "telemetry.offset_ms",
    "detect.score_threshold",
    "segment.safe_ground.margin_px",
    "segment.safe_ground.avoid_unknown",
    "segment.rules.*.area_above.for_ms",
    "segment.rules.*.area_above.hysteresis",
    "segment.rules.*.area_below.for_ms",
    "segment.rules.*.area_below.hysteresis",
    "gating.motion_gate.share",
    "gating.motion_gate.force_ms",
    "gating.motion_gate.after_ms",
    "gating.regions.max",
    "gating.regions.whole_ms",
    "gating.tiles.columns",
    "gating.tiles.rows",
    "gating.tiles.overlap",
    "gating.tiles.whole",
    "zones.*.leave_ms",
    "lines.*.hysteresis",
    "track.score_low",
    "track.match_iou",
    "track.confirm_frames",
    "track.memory_ms",
];

fn leave_out_defaults(hashed: &mut Value, given: &Value) {
    for key in NULL_UNLESS_GIVEN {
        let path: Vec<&str> = key.split('.').collect();
        null_unless_given(hashed, Some(given), &path);
    }
}

fn null_unless_given(value: &mut Value, given: Option<&Value>, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else {
        if given.is_none() {
            *value = Value::Null;
        }
        return;
    };
    match value {
        Value::Object(map) if *first == "*" => {
            for (key, value) in map {
                null_unless_given(value, given.and_then(|given| given.get(key)), rest);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                null_unless_given(item, given.and_then(|given| given.get(i)), rest);
            }
        }
        Value::Object(map) => {
            if let Some(value) = map.get_mut(*first) {
                null_unless_given(value, given.and_then(|given| given.get(first)), rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_hashed_as_null() {
        let mut hashed = json!({
            "detect": {"score_threshold": 0.4, "nms_iou": null},
            "zones": {"a": {"leave_ms": 500}, "b": {"leave_ms": 500}},
            "segment": {"rules": [{"area_above": {"for_ms": 1000, "hysteresis": 0.1}}]},
        });
        let given = json!({
            "zones": {"a": {"leave_ms": 500}, "b": {}},
            "segment": {"rules": [{"area_above": {"for_ms": 1000}}]},
        });
        leave_out_defaults(&mut hashed, &given);
        let expected = json!({
            "detect": {"score_threshold": null, "nms_iou": null},
            "zones": {"a": {"leave_ms": 500}, "b": {"leave_ms": null}},
            "segment": {"rules": [{"area_above": {"for_ms": 1000, "hysteresis": null}}]},
        });
        assert_eq!(hashed, expected);
    }
}

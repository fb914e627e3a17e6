//! The pipeline of a classifier: what needs boxes, masks or the pixels of an object has no effect.

use serde_json::Value;

use super::validator::Validator;
use crate::config::document::{PathSegment, key_path};
use crate::config::schema::{ClassifyConfig, DetectConfig, SegmentConfig};

impl Validator<'_> {
    /// Whether the settings are for the classifier `name`.
    pub(super) fn validate_classifier(&mut self, name: &str) {
        let config = self.config;
        // The default that is written out is as much a setting as another value.
        let threshold = self.given.pointer("/detect/score_threshold");
        let detects = config.detect != DetectConfig::default()
            || threshold.is_some_and(|value| *value != Value::Null);
        let segments = config.segment != SegmentConfig::default();
        for (key, is_given) in [("detect", detects), ("segment", segments)] {
            if is_given {
                let message = format!(
                    "{name} is a classification model, without boxes and masks; use `classify`"
                );
                self.error_at_key(&key_path![key], message);
            }
        }
        let message = format!("{name} is a classification model, without boxes");
        let gating = &config.gating;
        let keys: [(&[PathSegment], bool); 8] = [
            (&key_path!["track"], config.track.is_some()),
            (&key_path!["zones"], !config.zones.is_empty()),
            (&key_path!["lines"], !config.lines.is_empty()),
            (&key_path!["gating", "regions"], gating.regions.is_some()),
            (&key_path!["gating", "tiles"], gating.tiles.is_some()),
            (&key_path!["gating", "scales"], !gating.scales.is_empty()),
            (&key_path!["gating", "looks"], gating.looks.is_some()),
            (&key_path!["gating", "plan"], gating.plan.is_some()),
        ];
        for (path, is_given) in keys {
            if is_given {
                self.error_at_key(path, &message);
            }
        }
        for (i, sink) in config.sinks.iter().enumerate() {
            let kinds = [
                ("coco", sink.coco.is_some(), "boxes and masks"),
                ("mot", sink.mot.is_some(), "boxes"),
                ("masks", sink.masks.is_some(), "masks"),
            ];
            for (kind, is_given, what) in kinds {
                if is_given {
                    let message = format!("{name} is a classification model, without {what}");
                    self.error_at_sink(i, &key_path![kind], message);
                }
            }
        }
    }

    /// Whether `classify` is left out, for the model `name` of another kind.
    pub(super) fn validate_no_classifier(&mut self, name: &str, kind: &str, key: &str) {
        if self.config.classify != ClassifyConfig::default() {
            let message = format!("{name} is a {kind} model; use `{key}`");
            self.error_at_key(&key_path!["classify"], message);
        }
    }
}

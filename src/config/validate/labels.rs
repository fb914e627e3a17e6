//! The pipeline against its model: the head's kind and the labels.

use std::collections::HashSet;

use serde_json::Value;

use super::json_schema::did_you_mean;
use super::validator::Validator;
use super::zones::area_rules;
use crate::config::document::{PathSegment, key_path};
use crate::config::input_size::SsdInputSizes;
use crate::config::schema::{
    CardConfig, DetectConfig, FitConfig, SegmentConfig, SegmentValuesConfig,
};

impl Validator<'_> {
    /// Whether the settings are for the model's kind of head.
    pub fn validate_head(&mut self, card: &CardConfig) {
        let config = self.config;
        let name = &card.name;
        if card.head.classify.is_some() {
            return self.validate_classifier(name);
        }
        if card.head.segments() {
            self.validate_segment(card);
            self.validate_no_classifier(name, "segmentation", "segment");
            // The default that is written out is as much a setting as another value.
            let threshold = self.given.pointer("/detect/score_threshold");
            if config.detect != DetectConfig::default()
                || threshold.is_some_and(|value| *value != Value::Null)
            {
                let message =
                    format!("{name} is a segmentation model, without boxes; use `segment`");
                self.error_at_key(&key_path!["detect"], message);
            }
            let message = format!("{name} is a segmentation model, without boxes");
            if config.track.is_some() {
                self.error_at_key(&key_path!["track"], &message);
            }
            if config.gating.regions.is_some() {
                self.error_at_key(&key_path!["gating", "regions"], &message);
            }
            if config.gating.tiles.is_some() {
                self.error_at_key(&key_path!["gating", "tiles"], &message);
            }
            if !config.gating.scales.is_empty() {
                self.error_at_key(&key_path!["gating", "scales"], &message);
            }
            if config.gating.looks.is_some() {
                self.error_at_key(&key_path!["gating", "looks"], &message);
            }
            if config.gating.plan.is_some() {
                self.error_at_key(&key_path!["gating", "plan"], &message);
            }
            return;
        }
        self.validate_no_classifier(name, "detection", "detect");
        self.validate_input_sizes(card);
        if config.segment != SegmentConfig::default() {
            let message = format!("{name} is a detection model, without masks; use `detect`");
            self.error_at_key(&key_path!["segment"], message);
        }
        for (i, sink) in config.sinks.iter().enumerate() {
            if sink.masks.is_some() {
                let message = format!("{name} is a detection model, without masks");
                self.error_at_sink(i, &key_path!["masks"], message);
            }
        }
    }

    /// What a segmentation output must hold for the settings of `segment`.
    fn validate_segment(&mut self, card: &CardConfig) {
        let Some(head) = &card.head.segment else {
            return;
        };
        let (name, config) = (&card.name, self.config);
        let is_logits = head.values == SegmentValuesConfig::Logits;
        let is_even = card.labels.len() != 2 || head.threshold == 0.5;
        if config.segment.confidence_floor.is_some() && !(is_logits && is_even) {
            let message = format!("needs logits and a threshold of 0.5; {name} has others");
            self.error_at_key(&key_path!["segment", "confidence_floor"], message);
        }
        if config.segment.smoothing.is_some() && head.values == SegmentValuesConfig::ClassIds {
            let message = format!("needs logits or probabilities; {name} has class ids");
            self.error_at_key(&key_path!["segment", "smoothing"], message);
        }
    }

    /// Input sizes of a detector, which only an SSD chooses freely.
    fn validate_input_sizes(&mut self, card: &CardConfig) {
        let config = self.config;
        let name = &card.name;
        if card.head.sizable_anchors().is_none() {
            let other = if card.head.ssd.is_some() {
                "other anchors than `anchors`"
            } else {
                "another head"
            };
            let message = format!("is for SSD models; {name} has {other}");
            let gating = &config.gating;
            let given = [
                ("scales", !gating.scales.is_empty()),
                ("looks", gating.looks.is_some()),
                ("plan", gating.plan.is_some()),
            ];
            for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
                self.error_at_key(&key_path!["gating", *key], &message);
            }
            if config.model.fit == Some(FitConfig::Rectangle) {
                self.error_at_value(&key_path!["model", "fit"], &message);
            }
            return;
        }
        let sizes = SsdInputSizes::of(card);
        for (i, px) in config.gating.scales.iter().enumerate() {
            if let Err(message) = sizes.check(*px) {
                self.error_at_value(&key_path!["gating", "scales", i], message);
            }
        }
        let model = &config.model;
        let sized = model.input_px.is_some() || model.width_px.is_some();
        if !config.gating.scales.is_empty() && sized {
            let message = "expected one of model's input size and scales; got both";
            self.error_at_key(&key_path!["gating", "scales"], message);
        }
        if config.gating.looks.is_some() && sized {
            let message = "expected one of model's input size and looks; got both";
            self.error_at_key(&key_path!["gating", "looks"], message);
        }
        if model.fit == Some(FitConfig::Rectangle) && model.width_px.is_some() {
            let message =
                "`rectangle` chooses width and height itself; give `input_px`, or neither";
            self.error_at_value(&key_path!["model", "fit"], message);
        }
    }

    /// Whether the model has the labels that the pipeline names.
    pub fn validate_labels(&mut self, card: &CardConfig) {
        let config = self.config;
        let known: Vec<&str> = card.labels.iter().map(|l| l.name.as_str()).collect();
        let names: HashSet<&str> = known.iter().copied().collect();
        let unknown = |label: &String| {
            (!names.contains(label.as_str())).then(|| {
                let hint = did_you_mean(label, &known);
                format!("the model {} has no label {label:?}{hint}", card.name)
            })
        };
        let mut values: Vec<(Vec<PathSegment>, &String)> = Vec::new();
        let avoided = config.segment.safe_ground.iter().flat_map(|s| &s.avoid);
        for (i, label) in avoided.enumerate() {
            values.push((
                key_path!["segment", "safe_ground", "avoid", i].into(),
                label,
            ));
        }
        for (i, kind, rule) in area_rules(config) {
            values.push((
                key_path!["segment", "rules", i, kind, "class"].into(),
                &rule.class,
            ));
        }
        let zones = config.zones.iter();
        let zones = zones.map(|(name, zone)| ("zones", name, &zone.classes));
        let lines = config.lines.iter();
        let lines = lines.map(|(name, line)| ("lines", name, &line.classes));
        for (block, name, labels) in zones.chain(lines) {
            for (i, label) in labels.iter().enumerate() {
                values.push((key_path![block, name, "classes", i].into(), label));
            }
        }
        for (path, label) in values {
            if self.is_full() {
                return;
            }
            if let Some(message) = unknown(label) {
                self.error_at_value(&path, message);
            }
        }
        let classes = config.detect.classes.keys();
        let classes = classes.map(|label| ("detect", "classes", label));
        let colours = config.overlay.colours.keys();
        let colours = colours.map(|label| ("overlay", "colours", label));
        for (block, key, label) in classes.chain(colours) {
            if self.is_full() {
                return;
            }
            if let Some(message) = unknown(label) {
                self.error_at_key(&key_path![block, key, label], message);
            }
        }
    }
}

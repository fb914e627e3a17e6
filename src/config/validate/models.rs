//! Several models on one stream: what each runs on, and which kinds of models there may be.

use super::json_schema::did_you_mean;
use super::validator::Validator;
use crate::config::document::key_path;
use crate::config::loaded_model::LoadedModel;
use crate::config::schema::{CardConfig, DetectConfig, FitConfig, InsideConfig, NamedModelConfig};

impl Validator<'_> {
    /// The models `names`: the first has the card `card`, the `others` follow.
    pub fn validate_models(&mut self, names: &[String], card: &CardConfig, others: &[LoadedModel]) {
        let config = self.config;
        let cards: Vec<&CardConfig> = std::iter::once(card)
            .chain(others.iter().map(|other| &other.card))
            .collect();
        for (i, (name, card)) in names.iter().zip(&cards).enumerate() {
            if self.is_full() {
                return;
            }
            if !is_name(name) {
                let message = "expected a name of letters, digits, \"_\" and \"-\"";
                self.error_at_key(&key_path!["models", name], message);
            }
            if !card.head.detects() {
                let message = format!(
                    "`models` takes detection models; {} finds no boxes: run it alone, with `model`",
                    card.name
                );
                self.error_at_value(&key_path!["models", name, "model"], message);
            }
            let Some(model) = config.models.get(name) else {
                continue;
            };
            if i == 0 {
                self.validate_first_model(name, model);
                continue;
            }
            self.validate_rhythm(name, model);
            self.validate_own_labels(name, &model.detect, card);
            if card.head.ssd.is_none() && model.model.fit == Some(FitConfig::Rectangle) {
                let message = format!("is for SSD models; {} has another head", card.name);
                self.error_at_value(&key_path!["models", name, "model", "fit"], message);
            }
            if let Some(inside) = &model.inside {
                self.validate_inside(name, inside, &names[..i], names, &cards);
            }
            self.validate_zone(name, model);
        }
    }

    /// What the gating decides for the first model.
    fn validate_first_model(&mut self, name: &str, model: &NamedModelConfig) {
        let given = [
            ("every", model.every.is_some()),
            ("every_ms", model.every_ms.is_some()),
            ("inside", model.inside.is_some()),
            ("zone", model.zone.is_some()),
        ];
        for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
            let message =
                "not for the first model, which `gating` controls; put another model before it";
            self.error_at_key(&key_path!["models", name, *key], message);
        }
    }

    fn validate_rhythm(&mut self, name: &str, model: &NamedModelConfig) {
        if model.every.is_some() && model.every_ms.is_some() {
            let message = "expected one of every and every_ms; got both";
            self.error_at_key(&key_path!["models", name, "every_ms"], message);
        }
    }

    fn validate_own_labels(&mut self, name: &str, detect: &DetectConfig, card: &CardConfig) {
        for label in detect.classes.keys() {
            if let Some(message) = unknown_label(card, label) {
                self.error_at_key(
                    &key_path!["models", name, "detect", "classes", label],
                    message,
                );
            }
        }
    }

    /// `inside` of the model `name`, before which stand the models `before` of `names`.
    fn validate_inside(
        &mut self,
        name: &str,
        inside: &InsideConfig,
        before: &[String],
        names: &[String],
        cards: &[&CardConfig],
    ) {
        let place = key_path!["models", name, "inside", "model"];
        let wanted = &inside.model;
        let Some(at) = before.iter().position(|name| name == wanted) else {
            let message = if wanted == name {
                "expected another model; a model cannot run inside its own detections".to_owned()
            } else if names.contains(wanted) {
                format!(
                    "the model {wanted:?} must stand before {name:?}: its detections come first"
                )
            } else {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let hint = did_you_mean(wanted, &known);
                format!("the stream runs no model {wanted:?}{hint}")
            };
            return self.error_at_value(&place, message);
        };
        let detect = self.config.models.get(wanted).map(|model| &model.detect);
        for (i, label) in inside.classes.iter().enumerate() {
            let is_wanted = detect.is_none_or(|detect| detect.is_wanted(label));
            let message = unknown_label(cards[at], label).or_else(|| {
                (!is_wanted)
                    .then(|| format!("`models.{wanted}.detect.classes` leaves {label:?} out"))
            });
            if let Some(message) = message {
                self.error_at_value(&key_path!["models", name, "inside", "classes", i], message);
            }
        }
    }

    fn validate_zone(&mut self, name: &str, model: &NamedModelConfig) {
        let Some(zone) = &model.zone else {
            return;
        };
        if model.inside.is_some() {
            let message = "expected one of inside and zone; got both";
            self.error_at_key(&key_path!["models", name, "zone"], message);
        }
        let known: Vec<&str> = self.config.zones.keys().map(String::as_str).collect();
        if !known.contains(&zone.as_str()) {
            let hint = did_you_mean(zone, &known);
            let message = format!("no zone has the name {zone:?}{hint}");
            self.error_at_value(&key_path!["models", name, "zone"], message);
        }
    }
}

/// What is wrong with a label that the model of `card` does not have.
fn unknown_label(card: &CardConfig, label: &str) -> Option<String> {
    let known: Vec<&str> = card.labels.iter().map(|l| l.name.as_str()).collect();
    (!known.contains(&label)).then(|| {
        let hint = did_you_mean(label, &known);
        format!("the model {} has no label {label:?}{hint}", card.name)
    })
}

/// Whether records, metrics and `--set` can hold the name as it is.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    !name.is_empty() && name.chars().all(is_plain)
}

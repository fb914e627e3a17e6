//! Second networks: whether there are tracks, and those that are named.

use std::collections::HashSet;

use super::json_schema::did_you_mean;
use super::validator::Validator;
use crate::config::document::key_path;
use crate::config::schema::CardConfig;

impl Validator<'_> {
    /// Whether objects are tracked, where tracks are classified.
    pub fn validate_classify_tracks(&mut self) {
        let config = self.config;
        if config.track.is_none() && !config.classify_tracks.is_empty() {
            let message = "classifying tracks needs tracking: add `track: {}`";
            self.error_at_key(&key_path!["classify_tracks"], message);
        }
    }

    /// Whether the first model, with this card, has the labels of the tracks that are classified, and finds
    /// them.
    pub fn validate_classified_labels(&mut self, card: &CardConfig) {
        let config = self.config;
        let known: Vec<&str> = card.labels.iter().map(|l| l.name.as_str()).collect();
        let names: HashSet<&str> = known.iter().copied().collect();
        let wanted = &config.detect.classes;
        for (name, entry) in &config.classify_tracks {
            for (i, label) in entry.classes.iter().enumerate() {
                if self.is_full() {
                    return;
                }
                let message = if !names.contains(label.as_str()) {
                    let hint = did_you_mean(label, &known);
                    format!("the model {} has no label {label:?}{hint}", card.name)
                } else if !wanted.is_empty() && !wanted.contains_key(label) {
                    format!("{label:?} is not detected: it is not in `detect.classes`")
                } else {
                    continue;
                };
                let path = key_path!["classify_tracks", name, "classes", i];
                self.error_at_value(&path, message);
            }
        }
    }
}

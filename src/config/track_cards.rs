//! The cards of the second networks, which classify tracks.

use std::collections::BTreeMap;

use super::diagnostic::{ConfigError, Diagnostic};
use super::document::{Document, key_path};
use super::load_card::load_card;
use super::schema::{CardConfig, PipelineConfig};

/// The card of a second network.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackCard {
    /// The card.
    pub card: CardConfig,
    /// SHA-256 of its ONNX file.
    pub sha256: String,
}

/// Budget of a card that has none.
const BUDGET_MS_PER_S: u32 = 200;

impl TrackCard {
    /// Milliseconds that the network may take in each second of a live stream.
    pub fn budget_ms_per_s(&self) -> u32 {
        let head = self.card.head.classify.as_ref();
        head.and_then(|head| head.budget_ms_per_s)
            .unwrap_or(BUDGET_MS_PER_S)
    }
}

/// Loads the cards that `classify_tracks` names, by the names there.
///
/// # Errors
/// All errors of the cards.
pub(super) fn load_track_cards(
    document: &Document<'_>,
    config: &PipelineConfig,
) -> Result<BTreeMap<String, TrackCard>, Vec<Diagnostic>> {
    let (mut cards, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, entry) in &config.classify_tracks {
        let path = key_path!["classify_tracks", name, "model"];
        match load_card(&entry.model) {
            Ok((card, sha256)) if card.head.classify.is_some() => {
                cards.insert(name.clone(), TrackCard { card, sha256 });
            }
            Ok((card, _)) => {
                let message = format!(
                    "{} is no classification model: tracks are classified by one with a `classify` head",
                    card.name
                );
                errors.push(document.error_at_value(&path, message));
            }
            Err(ConfigError(of_card)) if !entry.model.is_file() => {
                let reason = of_card.first().map(|e| e.message.clone());
                let shown = entry.model.display();
                let message = format!("{shown}: {}", reason.unwrap_or_default());
                errors.push(document.error_at_value(&path, message));
            }
            // One card may be named twice.
            Err(ConfigError(of_card)) => {
                for error in of_card {
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(cards)
    } else {
        Err(errors)
    }
}

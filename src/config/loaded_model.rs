//! The models of a stream beside its first one, and the labels of all.

use serde_json::{Value, json};

use super::loaded::LoadedPipeline;
use super::schema::{CardConfig, GatingConfig, NamedModelConfig};
use crate::postprocess::Labels;

/// A model that runs after the first one of its stream, and its card.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedModel {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub config: NamedModelConfig,
    /// Its card.
    pub card: CardConfig,
    /// SHA-256 of its ONNX file.
    pub model_sha256: String,
}

impl LoadedModel {
    /// A pipeline of this model alone, on the whole of every frame, with the other settings of `pipeline`.
    pub fn alone(&self, pipeline: &LoadedPipeline) -> LoadedPipeline {
        let mut alone = pipeline.clone();
        alone.config.model = self.config.model.clone();
        alone.config.detect = self.config.detect.clone();
        alone.config.models.clear();
        alone.config.gating = GatingConfig::default();
        alone.card = self.card.clone();
        alone.model_sha256.clone_from(&self.model_sha256);
        (alone.model_name, alone.others) = (None, Vec::new());
        alone
    }

    /// What bears on the analysis of its results, for which no ONNX file is read.
    pub(super) fn hashed_for_analysis(&self) -> Value {
        let Self { name, config, .. } = self;
        json!({ "name": name, "detect": config.detect, "inside": config.inside })
    }

    /// What bears on its results.
    pub(super) fn hashed(&self) -> Value {
        json!({
            "name": self.name,
            "detect": self.config.detect,
            "every": self.config.every,
            "every_ms": self.config.every_ms,
            "inside": self.config.inside,
            "zone": self.config.zone,
            "fit": self.config.model.fit,
            "card": self.card.name,
            "input": [self.card.input.width_px, self.card.input.height_px],
            "model_sha256": self.model_sha256,
        })
    }
}

impl LoadedPipeline {
    /// The labels of all models of the stream. The ids of the first are its card's; those of each further
    /// one follow the greatest before it.
    pub fn labels(&self) -> Labels {
        let Some(first) = &self.model_name else {
            return self.card.labels();
        };
        let own = self.card.labels();
        let mut labels: Vec<(u32, String)> = own.iter().map(owned).collect();
        let mut models = vec![(0, first.clone())];
        for (other, first_id) in self.others.iter().zip(self.first_ids()) {
            let of_other = other.card.labels();
            let shifted = of_other
                .iter()
                .map(|(id, name)| owned((first_id + id, name)));
            labels.extend(shifted);
            models.push((first_id, other.name.clone()));
        }
        Labels::of_models(labels, models)
    }

    /// What is added to the label ids of each further model, so that those of all models differ.
    pub fn first_ids(&self) -> Vec<u32> {
        let after = |card: &CardConfig| card.labels.iter().map(|label| label.id + 1).max();
        let mut next = after(&self.card).unwrap_or(0);
        let others = self.others.iter();
        others
            .map(|other| {
                let first = next;
                next += after(&other.card).unwrap_or(0);
                first
            })
            .collect()
    }
}

fn owned((id, name): (u32, &str)) -> (u32, String) {
    (id, name.to_owned())
}

//! Second networks: each is loaded once, however many streams name it, and set up for each stream.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{
    CardConfig, ClassifyConfig, LoadedPipeline, PrecisionConfig, ResizeConfig, TrackCard,
};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::classify::{ClassifierModel, NetworkCropClassifier};
use crate::pipeline::stages::classify_tracks::{TrackClassifier, TrackClassifierParams};
use crate::records::ModelRecord;
use crate::track::classification::CropRegion;
use mobilens_nn::{KernelChoice, LoadOptions, Network, NnError};

use super::classifier::classifier_of_card;

/// Threads inside one inference of a second network: its budget counts the time of one.
const THREADS: usize = 1;

/// The second networks of several streams, each held against its card.
#[derive(Debug, Default)]
pub struct TrackModels {
    /// By stream, in their order, then by name.
    streams: Vec<Vec<(String, Arc<ClassifierModel>)>>,
    networks: Vec<(String, Network)>,
}

impl TrackModels {
    /// Loads the networks that the `classify_tracks` of the streams name, to run on `kernels`.
    ///
    /// # Errors
    /// When one cannot be loaded or does not do what its card says.
    pub fn load(configs: &[LoadedPipeline], kernels: KernelChoice) -> Result<Self, ModelError> {
        let mut loaded: HashMap<(PathBuf, PrecisionConfig), Network> = HashMap::new();
        let mut networks = Vec::new();
        let mut streams = Vec::new();
        for pipeline in configs {
            let mut models = Vec::new();
            for (name, TrackCard { card, .. }) in &pipeline.track_cards {
                let Some(entry) = pipeline.config.classify_tracks.get(name) else {
                    continue;
                };
                let key = (card.file.clone(), entry.precision);
                let network = match loaded.get(&key) {
                    Some(network) => network.clone(),
                    None => {
                        let network = load_network(card, entry.precision, kernels)?;
                        networks.push((card.name.clone(), network.clone()));
                        loaded.insert(key, network.clone());
                        network
                    }
                };
                let settings = ClassifyConfig {
                    top: Some(entry.top),
                    score_threshold: entry.score_threshold,
                };
                let model = classifier_of_card(card, &settings, network)?;
                models.push((name.clone(), Arc::new(model)));
            }
            streams.push(models);
        }
        Ok(Self { streams, networks })
    }

    /// The networks by the names of their cards, each once.
    pub fn networks(&self) -> &[(String, Network)] {
        &self.networks
    }

    /// The second networks of the stream at `place` in the list that was loaded, which is `pipeline`.
    ///
    /// # Errors
    /// When a network cannot be prepared.
    pub fn classifiers(
        &self,
        place: usize,
        pipeline: &LoadedPipeline,
    ) -> Result<Vec<TrackClassifier>, NnError> {
        let mut classifiers = Vec::new();
        for (name, model) in self.streams.get(place).into_iter().flatten() {
            let entry = pipeline.config.classify_tracks.get(name);
            let Some((entry, of)) = entry.zip(pipeline.track_cards.get(name)) else {
                continue;
            };
            let budget = entry.budget_ms_per_s.unwrap_or(of.budget_ms_per_s());
            classifiers.push(TrackClassifier {
                name: name.clone(),
                labels: Arc::new(of.card.labels()),
                params: TrackClassifierParams {
                    classes: entry.classes.clone(),
                    every_ms: entry.every_ms as f64,
                    min_px: entry.min_px.into(),
                    region: CropRegion {
                        expand: entry.expand,
                        middle: middle_of(&of.card),
                    },
                    smoothing: entry.smoothing,
                    budget_ms_per_s: budget.into(),
                    classify: model.classify.clone(),
                },
                network: Box::new(NetworkCropClassifier::new(model, THREADS)?),
            });
        }
        Ok(classifiers)
    }
}

/// What the network sees of a picture, if that is the middle alone: the aspect ratio, and the share of the shorter
/// side.
fn middle_of(card: &CardConfig) -> Option<(f32, f32)> {
    let input = &card.input;
    let (width, height) = (input.width_px as f32, input.height_px as f32);
    let shorter = input.center_crop_shorter_px() as f32;
    let share = width.max(height) / shorter;
    (input.resize == ResizeConfig::CenterCrop).then_some((width / height, share))
}

fn load_network(
    card: &CardConfig,
    precision: PrecisionConfig,
    kernels: KernelChoice,
) -> Result<Network, NnError> {
    let (width, height) = card.input.trained_size_px();
    let options = LoadOptions {
        kernels,
        precision: precision.into(),
        shape: Some(vec![1, 3, height as usize, width as usize]),
        ..LoadOptions::default()
    };
    Network::load(&card.file, &options)
}

/// The second networks as the run's record names them.
pub fn track_model_records(
    pipeline: &LoadedPipeline,
) -> impl Iterator<Item = (String, ModelRecord)> {
    let cards = pipeline.track_cards.iter();
    cards.map(|(name, TrackCard { card, sha256 })| {
        let model = ModelRecord {
            name: card.name.clone(),
            sha256: sha256.clone(),
            input: [card.input.width_px, card.input.height_px],
            precision: None,
            instruction_set: None,
        };
        (name.clone(), model)
    })
}

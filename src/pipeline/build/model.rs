//! A network of any kind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{CardConfig, LoadedPipeline, PrecisionConfig};
use crate::gating::Feedback;
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::classify::{Classifier, ClassifierModel};
use crate::pipeline::stages::detect::{Detector, DetectorModel};
use crate::pipeline::stages::infer::{InferenceLatency, InferenceWorker};
use crate::pipeline::stages::segment::{Segmenter, SegmenterModel};
use mobilens_image::SizePx;
use mobilens_nn::{FeatureMaps, KernelChoice, LoadOptions, Network, NnError, Precision};

use super::classifier::classifier_model;
use super::detector::{classes_to_keep, detector_model};
use super::segmenter::segmenter_model;

/// A network of any kind, held against its card.
#[derive(Clone, Debug)]
pub enum Model {
    /// Finds boxes.
    Detector(Arc<DetectorModel>),
    /// Gives each pixel a class.
    Segmenter(Arc<SegmenterModel>),
    /// Gives the picture its classes.
    Classifier(Arc<ClassifierModel>),
}

impl Model {
    /// Loads the network that `pipeline` names, and checks it against its card.
    ///
    /// # Errors
    /// When it cannot be loaded or does not do what the card says.
    pub fn load(pipeline: &LoadedPipeline) -> Result<Self, ModelError> {
        let mut models =
            Self::load_shared(std::slice::from_ref(pipeline), KernelChoice::default())?;
        Ok(models.remove(0))
    }

    /// Loads the one network of several streams, to run on `kernels`; returns a model for each of them.
    ///
    /// # Errors
    /// When it cannot be loaded or does not do what the card says.
    pub fn load_shared(
        configs: &[LoadedPipeline],
        kernels: KernelChoice,
    ) -> Result<Vec<Self>, ModelError> {
        let Some(LoadedPipeline { card, .. }) = configs.first() else {
            return Ok(Vec::new());
        };
        if let Some(head) = &card.head.classify {
            let network = Networks::new(configs, kernels).of_card(card)?;
            let models = configs.iter().map(|pipeline| {
                let model = classifier_model(pipeline, head, network.clone())?;
                Ok(Self::Classifier(Arc::new(model)))
            });
            return models.collect();
        }
        match (card.head.detects(), card.head.segments()) {
            (true, _) => {
                let networks = Arc::new(Networks::new(configs, kernels));
                let models = configs.iter().map(|pipeline| {
                    let model = detector_model(pipeline, &networks)?;
                    Ok(Self::Detector(Arc::new(model)))
                });
                models.collect()
            }
            (false, true) => {
                let network = Networks::new(configs, kernels).of_card(card)?;
                let models = configs.iter().map(|pipeline| {
                    let model = segmenter_model(pipeline, network.clone())?;
                    Ok(Self::Segmenter(Arc::new(model)))
                });
                models.collect()
            }
            (false, false) => Err(ModelError::Card {
                card: card.name.clone(),
                why: "it has no head".to_owned(),
            }),
        }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        match self {
            Self::Detector(model) => &model.first.network,
            Self::Segmenter(model) => &model.network,
            Self::Classifier(model) => &model.network,
        }
    }

    /// An inference worker that uses `threads` threads inside one inference and reports the duration of
    /// each inference to `feedback`.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn worker(
        &self,
        threads: usize,
        latency: &InferenceLatency,
        feedback: &Arc<Feedback>,
    ) -> Result<Box<dyn InferenceWorker>, ModelError> {
        Ok(match self {
            Self::Detector(model) => Box::new(Detector::new(model, threads, latency, feedback)?),
            Self::Segmenter(model) => Box::new(Segmenter::new(model, threads, latency)?),
            Self::Classifier(model) => Box::new(Classifier::new(model, threads, latency)?),
        })
    }
}

/// The network of streams that share it, with the classes that any of them wants, at each input size that is
/// asked for.
#[derive(Debug)]
pub struct Networks {
    file: PathBuf,
    /// Those of the file's own input size.
    options: LoadOptions,
    /// The file's own input size, where another is an option of loading.
    own_size: Option<SizePx>,
    loaded: Mutex<HashMap<(SizePx, Option<usize>), Network>>,
}

impl Networks {
    fn new(configs: &[LoadedPipeline], kernels: KernelChoice) -> Self {
        let card = &configs[0].card;
        let all = configs
            .iter()
            .any(|pipeline| pipeline.config.detect.classes.is_empty());
        let wanted = |name: &str| {
            let mut configs = configs
                .iter()
                .map(|pipeline| &pipeline.config.detect.classes);
            configs.any(|classes| classes.contains_key(name))
        };
        let keep = if all {
            None
        } else {
            classes_to_keep(card, &wanted)
        };
        let (width, height) = card.input.trained_size_px();
        Self {
            file: card.file.clone(),
            options: LoadOptions {
                kernels,
                precision: configs[0].config.inference.precision.into(),
                keep,
                shape: Some(vec![1, 3, height as usize, width as usize]),
                ..LoadOptions::default()
            },
            own_size: card
                .head
                .deeplab
                .is_none()
                .then_some(SizePx { width, height }),
            loaded: Mutex::default(),
        }
    }

    /// The network at the input size of its card.
    fn of_card(&self, card: &CardConfig) -> Result<Network, NnError> {
        let size = SizePx {
            width: card.input.width_px,
            height: card.input.height_px,
        };
        self.at(size, None)
    }

    /// The network at an input size, and with the first feature maps alone where some are given; loaded once.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn at(&self, size: SizePx, maps: Option<FeatureMaps>) -> Result<Network, NnError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.entry((size, maps.as_ref().map(|maps| maps.count))) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let input = (size.height as usize, size.width as usize);
                let options = LoadOptions {
                    input: (self.own_size != Some(size)).then_some(input),
                    feature_maps: maps,
                    ..self.options.clone()
                };
                Ok(entry.insert(Network::load(&self.file, &options)?).clone())
            }
        }
    }
}

impl From<PrecisionConfig> for Precision {
    fn from(precision: PrecisionConfig) -> Self {
        match precision {
            PrecisionConfig::Model => Self::Model,
            PrecisionConfig::F32 => Self::F32,
            PrecisionConfig::Bf16 => Self::Bf16,
            PrecisionConfig::Int8 => Self::Int8,
            PrecisionConfig::Fast => Self::Fast,
        }
    }
}

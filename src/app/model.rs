//! A network of either kind.

use std::sync::Arc;

use crate::attention::Feedback;
use crate::config::PipelineConfig;
use crate::nn::NnError;

use super::detector::{Detector, DetectorModel};
use super::fit::ModelError;
use super::inference::ChainLatency;
use super::pipeline::Chain;
use super::segmenter::{Segmenter, SegmenterModel};

/// A network of either kind, held against its card.
#[derive(Clone, Debug)]
pub enum Model {
    /// Finds boxes.
    Detector(Arc<DetectorModel>),
    /// Gives each pixel a class.
    Segmenter(Arc<SegmenterModel>),
}

impl Model {
    /// Loads the network that `config` names, and checks it against its card.
    ///
    /// # Errors
    /// When it cannot be loaded or does not do what the card says.
    pub fn load(config: &PipelineConfig) -> Result<Self, ModelError> {
        let head = &config.card.head;
        match (&head.ssd, &head.deeplab) {
            (Some(ssd), _) => Ok(Self::Detector(Arc::new(DetectorModel::load(config, ssd)?))),
            (None, Some(deeplab)) => {
                let model = SegmenterModel::load(config, deeplab)?;
                Ok(Self::Segmenter(Arc::new(model)))
            }
            (None, None) => Err(ModelError::Card {
                card: config.card.name.clone(),
                why: "it has no head".to_owned(),
            }),
        }
    }

    /// A worker's chain that uses `threads` threads inside one inference and tells `feedback` how
    /// long a look takes.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn chain(
        &self,
        threads: usize,
        latency: &ChainLatency,
        feedback: &Arc<Feedback>,
    ) -> Result<Box<dyn Chain>, NnError> {
        Ok(match self {
            Self::Detector(model) => Box::new(Detector::new(model, threads, latency, feedback)?),
            Self::Segmenter(model) => Box::new(Segmenter::new(model, threads, latency)?),
        })
    }
}

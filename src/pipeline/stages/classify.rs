//! Classification: runs the network over the frame and picks the best classes of the whole picture;
//! or over a part of it where a tracked object is.

use std::sync::Arc;

use crate::flow::Latency;
use crate::frame::{InferencePlan, Packet, Region};
use crate::postprocess::{ClassifyDecoder, ClassifyParams, Prediction};
use mobilens_image::{Image, PreprocessParams};
use mobilens_nn::{Network, NnError};

use super::classify_tracks::CropClassifier;
use super::infer::{Inference, InferenceLatency, InferenceWorker};

/// A classification network and its parameters, shared by the workers.
#[derive(Debug)]
pub struct ClassifierModel {
    /// The network.
    pub network: Network,
    /// From image to input tensor.
    pub preprocess: PreprocessParams,
    /// From the output's values to classes.
    pub classify: ClassifyParams,
    /// Which output holds the values.
    pub output: usize,
}

/// Runs a classification network in one worker; owns all its buffers.
pub struct Classifier {
    output: usize,
    inference: Inference,
    decoder: ClassifyDecoder,
    postprocess: Latency,
}

impl Classifier {
    /// Runs `model` with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be prepared.
    pub fn new(
        model: &Arc<ClassifierModel>,
        threads: usize,
        latency: &InferenceLatency,
    ) -> Result<Self, NnError> {
        Ok(Self {
            output: model.output,
            inference: Inference::new(&model.network, &model.preprocess, threads, latency)?,
            decoder: ClassifyDecoder::new(model.classify.clone()),
            postprocess: latency.postprocess.clone(),
        })
    }
}

impl InferenceWorker for Classifier {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let plan = packet.payload.clone();
        if plan.region == Region::None {
            return Ok(packet.with(Prediction {
                plan,
                ..Prediction::default()
            }));
        }
        self.inference.run(&packet.image)?;
        let values = self.inference.output(self.output);
        let classes = self.postprocess.time(|| self.decoder.decode(values));
        Ok(packet.with(Prediction {
            plan,
            classification: Some(classes),
            ..Prediction::default()
        }))
    }
}

/// A classification network for parts of frames.
pub struct NetworkCropClassifier {
    output: usize,
    inference: Inference,
    classify: ClassifyParams,
}

impl NetworkCropClassifier {
    /// Runs `model` with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be prepared.
    pub fn new(model: &ClassifierModel, threads: usize) -> Result<Self, NnError> {
        // Its time is measured as a whole.
        let latency = InferenceLatency::default();
        Ok(Self {
            output: model.output,
            inference: Inference::new(&model.network, &model.preprocess, threads, &latency)?,
            classify: model.classify.clone(),
        })
    }
}

impl CropClassifier for NetworkCropClassifier {
    fn scores(&mut self, crop: &Image) -> Result<Vec<f32>, String> {
        self.inference.run(crop)?;
        Ok(self.classify.scores(self.inference.output(self.output)))
    }
}

//! Inference: a worker takes a frame through preprocessing, the network and postprocessing.

use crate::flow::Latency;
use crate::frame::{InferencePlan, Packet};
use crate::postprocess::Prediction;
use mobilens_image::{Image, ImageFromModel, PreprocessParams, Preprocessor, TensorLayout};
use mobilens_nn::{InputLayout, Network, NnError, Session};

/// What an inference worker does with a frame.
pub trait InferenceWorker: Send {
    /// Looks at one frame.
    ///
    /// # Errors
    /// When no more frames can be looked at; the run ends.
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String>;
}

/// Latencies of a chain's stages, shared by all workers.
#[derive(Clone, Debug)]
pub struct InferenceLatency {
    /// Picture to tensor.
    pub preprocess: Latency,
    /// Tensor to raw heads.
    pub infer: Latency,
    /// Raw heads to results.
    pub postprocess: Latency,
}

impl InferenceLatency {
    /// The stages as a frame passes them.
    pub fn in_order(self) -> [Latency; 3] {
        [self.preprocess, self.infer, self.postprocess]
    }
}

impl Default for InferenceLatency {
    fn default() -> Self {
        Self {
            preprocess: Latency::new("preprocess"),
            infer: Latency::new("infer"),
            postprocess: Latency::new("postprocess"),
        }
    }
}

/// One worker's way through preprocessing and the network.
pub struct Inference {
    preprocessor: Preprocessor,
    session: Session,
    latency: InferenceLatency,
}

impl Inference {
    /// Over `network`, with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn new(
        network: &Network,
        preprocess: &PreprocessParams,
        threads: usize,
        latency: &InferenceLatency,
    ) -> Result<Self, NnError> {
        Ok(Self {
            preprocessor: Preprocessor::new(preprocess),
            session: network.session(threads)?,
            latency: latency.clone(),
        })
    }

    /// Has the network look at `image`; gives the way back from its space to the picture's.
    ///
    /// # Errors
    /// When the network cannot run.
    pub fn run(&mut self, image: &Image) -> Result<ImageFromModel, String> {
        let layout = match self.session.input_layout() {
            InputLayout::Nchw => TensorLayout::Nchw,
            InputLayout::Nhwc => TensorLayout::Nhwc,
        };
        let input = self.session.input_mut();
        let preprocess = &self.latency.preprocess;
        let image_from_model = preprocess.time(|| self.preprocessor.run(image, layout, input));
        let looked = self.latency.infer.time(|| self.session.run());
        looked.map_err(|e| e.to_string())?;
        Ok(image_from_model)
    }

    /// What the network last looked at.
    pub fn input(&mut self) -> &[f32] {
        self.session.input_mut()
    }

    /// One of the outputs of the last run.
    pub fn output(&self, index: usize) -> &[f32] {
        self.session.output(index)
    }
}

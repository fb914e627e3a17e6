//! What every chain begins with: from a picture to the network's outputs.

use crate::flow::Latency;
use crate::frame::{Image, ImageFromModel};
use crate::nn::{Network, NnError, Session};
use crate::preprocess::{PreprocessSpec, Preprocessor};

/// Latencies of a chain's stages, shared by all workers.
#[derive(Clone, Debug)]
pub struct ChainLatency {
    /// Picture to tensor.
    pub preprocess: Latency,
    /// Tensor to raw heads.
    pub infer: Latency,
    /// Raw heads to results.
    pub postprocess: Latency,
}

impl ChainLatency {
    /// The stages as a frame passes them.
    pub fn in_order(self) -> [Latency; 3] {
        [self.preprocess, self.infer, self.postprocess]
    }
}

impl Default for ChainLatency {
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
    latency: ChainLatency,
}

impl Inference {
    /// Over `network`, with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn new(
        network: &Network,
        preprocess: &PreprocessSpec,
        threads: usize,
        latency: &ChainLatency,
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
        let layout = self.session.input_layout();
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

//! The chain that an inference worker runs: preprocess, infer, postprocess.

use std::sync::Arc;

use crate::flow::Latency;
use crate::frame::Packet;
use crate::nn::{NnError, Session};
use crate::postprocess::{Prediction, SsdDecoder};
use crate::preprocess::Preprocessor;

use super::model::DetectorModel;
use super::pipeline::Chain;

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

/// One worker's chain; owns all its scratch memory.
pub struct Detector {
    model: Arc<DetectorModel>,
    preprocessor: Preprocessor,
    session: Session,
    decoder: SsdDecoder,
    latency: ChainLatency,
}

impl Detector {
    /// A chain over `model` that uses `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn new(
        model: &Arc<DetectorModel>,
        threads: usize,
        latency: &ChainLatency,
    ) -> Result<Self, NnError> {
        Ok(Self {
            preprocessor: Preprocessor::new(&model.preprocess),
            session: model.network.session(threads)?,
            decoder: SsdDecoder::new(model.ssd.clone()),
            model: Arc::clone(model),
            latency: latency.clone(),
        })
    }
}

impl Chain for Detector {
    fn run(&mut self, packet: Packet<()>) -> Result<Packet<Prediction>, String> {
        let layout = self.session.input_layout();
        let image_from_model = self.latency.preprocess.time(|| {
            self.preprocessor
                .run(&packet.image, layout, self.session.input_mut())
        });
        self.latency
            .infer
            .time(|| self.session.run())
            .map_err(|e| e.to_string())?;
        let detections = self.latency.postprocess.time(|| {
            self.decoder.decode(
                self.session.output(self.model.boxes_output),
                self.session.output(self.model.scores_output),
                &image_from_model,
                packet.image.size(),
            )
        });
        Ok(packet.with(Prediction {
            detections,
            segmentation: None,
        }))
    }
}

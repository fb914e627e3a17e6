//! Inference: a worker takes a frame through preprocessing, the network and postprocessing.

use std::sync::Arc;
use std::time::Instant;

use crate::flow::Latency;
use crate::frame::{FrameMeta, InferencePlan, MediaTime, Packet};
use crate::postprocess::Prediction;
use mobilens_image::{Image, ImageFromModel, PreprocessParams, Preprocessor, TensorLayout};
use mobilens_nn::{InputLayout, Network, NnError, Session};

/// Takes frames through preprocessing, the network and postprocessing, on one thread.
pub trait InferenceWorker: Send {
    /// Processes one frame as its plan says.
    ///
    /// # Errors
    /// When the network cannot run; the run ends.
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String>;

    /// Runs on one image, outside of a stream.
    ///
    /// # Errors
    /// When the network cannot run.
    fn predict(&mut self, image: Image) -> Result<Prediction, String> {
        let meta = FrameMeta {
            stream: "image".into(),
            frame: 0,
            pts: MediaTime::ZERO,
            captured_at: Instant::now(),
            name: None,
            telemetry: None,
        };
        let packet = Packet {
            meta,
            image: Arc::new(image),
            payload: InferencePlan::default(),
        };
        self.run(packet).map(|packet| packet.payload)
    }
}

/// Latencies of a worker's steps, shared by all workers.
#[derive(Clone, Debug)]
pub struct InferenceLatency {
    /// From image to input tensor.
    pub preprocess: Latency,
    /// From input tensor to the network's outputs.
    pub infer: Latency,
    /// From the network's outputs to results.
    pub postprocess: Latency,
    /// All of this, for all inferences on one frame, where they are planned frame by frame.
    pub looks: Option<Latency>,
}

impl InferenceLatency {
    /// The steps in their order.
    pub fn in_order(self) -> Vec<Latency> {
        let mut steps = vec![self.preprocess, self.infer, self.postprocess];
        steps.extend(self.looks);
        steps
    }
}

impl Default for InferenceLatency {
    fn default() -> Self {
        Self {
            preprocess: Latency::new("preprocess"),
            infer: Latency::new("infer"),
            postprocess: Latency::new("postprocess"),
            looks: None,
        }
    }
}

/// Preprocessing and the network of one worker.
pub struct Inference {
    preprocessor: Preprocessor,
    session: Session,
    latency: InferenceLatency,
}

impl Inference {
    /// Over `network`, with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be prepared.
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

    /// Reports the latencies of later runs elsewhere.
    pub fn report_to(&mut self, latency: &InferenceLatency) {
        self.latency = latency.clone();
    }

    /// Runs the network on `image`; returns the transform from model space to the image's pixels.
    ///
    /// # Errors
    /// When the network cannot run.
    pub fn run(&mut self, image: &Image) -> Result<ImageFromModel, String> {
        let layout = match self.session.input_layout() {
            InputLayout::Nchw => TensorLayout::Nchw,
            InputLayout::Nhwc => TensorLayout::Nhwc,
        };
        let image_from_model = self.latency.preprocess.time(|| {
            if let Some((rounding, codes)) = self.session.input_codes_mut() {
                let code = |value| rounding.code(value);
                return self.preprocessor.run_as(image, layout, code, codes);
            }
            let input = self.session.input_mut();
            self.preprocessor.run(image, layout, input)
        });
        let result = self.latency.infer.time(|| self.session.run());
        result.map_err(|e| e.to_string())?;
        Ok(image_from_model)
    }

    /// The values of the last run's input tensor.
    pub fn input_values(&self) -> impl ExactSizeIterator<Item = f32> {
        self.session.input_values()
    }

    /// One of the outputs of the last run.
    pub fn output(&self, index: usize) -> &[f32] {
        self.session.output(index)
    }
}

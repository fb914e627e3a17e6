//! Segmentation: runs the network over the frame and decodes a class for each pixel.

use std::sync::Arc;

use crate::flow::Latency;
use crate::frame::{InferencePlan, Packet, Region};
use crate::postprocess::{
    LogitSmoother, Prediction, SafeGroundFinder, SegmentDecoder, SegmentParams, Segmentation,
};
use mobilens_image::{Polygon, PreprocessParams};
use mobilens_nn::{Network, NnError};

use super::infer::{Inference, InferenceLatency, InferenceWorker};

/// A segmentation network and its parameters, shared by the workers.
#[derive(Debug)]
pub struct SegmenterModel {
    /// The network.
    pub network: Network,
    /// From image to input tensor.
    pub preprocess: PreprocessParams,
    /// From the output to a mask.
    pub head: SegmentParams,
    /// Which output the head reads.
    pub output: usize,
    /// Weight of the past in an average over frames, and grey levels in a unit of the input.
    pub smoothing: Option<(f32, f32)>,
    /// How free ground is found.
    pub safe_ground: Option<SafeGroundParams>,
}

/// What free ground is.
#[derive(Clone, Debug)]
pub struct SafeGroundParams {
    /// Classes to keep away from.
    pub avoided: Vec<u8>,
    /// By how many pixels.
    pub margin_px: f32,
    /// Where to stay.
    pub zone: Option<Polygon>,
}

/// Runs a segmentation network in one worker; owns all its buffers.
pub struct Segmenter {
    model: Arc<SegmenterModel>,
    inference: Inference,
    decoder: SegmentDecoder,
    smoother: Option<LogitSmoother>,
    finder: Option<SafeGroundFinder>,
    postprocess: Latency,
}

impl Segmenter {
    /// Runs `model` with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be prepared.
    pub fn new(
        model: &Arc<SegmenterModel>,
        threads: usize,
        latency: &InferenceLatency,
    ) -> Result<Self, NnError> {
        let safe_ground = model.safe_ground.clone();
        Ok(Self {
            inference: Inference::new(&model.network, &model.preprocess, threads, latency)?,
            decoder: SegmentDecoder::new(model.head.clone()),
            smoother: model
                .smoothing
                .map(|(past, levels)| LogitSmoother::new(past, levels)),
            finder: safe_ground
                .map(|ground| SafeGroundFinder::new(ground.avoided, ground.margin_px, ground.zone)),
            model: Arc::clone(model),
            postprocess: latency.postprocess.clone(),
        })
    }
}

impl InferenceWorker for Segmenter {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let plan = packet.payload.clone();
        if plan.region == Region::None {
            return Ok(packet.with(Prediction {
                plan,
                ..Prediction::default()
            }));
        }
        let image_from_model = self.inference.run(&packet.image)?;
        if let Some(smoother) = &mut self.smoother {
            smoother.observe(self.inference.input_values());
        }
        let segmentation = self.postprocess.time(|| {
            let logits = self.inference.output(self.model.output);
            let logits = match &mut self.smoother {
                Some(smoother) => smoother.average(logits),
                None => logits,
            };
            let size = packet.image.size();
            let mask = self.decoder.decode(logits, &image_from_model, size);
            Segmentation {
                safe_ground: self.finder.as_mut().and_then(|finder| finder.find(&mask)),
                mask: Arc::new(mask),
            }
        });
        Ok(packet.with(Prediction {
            plan,
            detections: Vec::new(),
            segmentation: Some(segmentation),
            classification: None,
        }))
    }
}

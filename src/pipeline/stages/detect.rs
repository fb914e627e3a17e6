//! Detection: runs the network over the planned regions and decodes its boxes.

use std::sync::Arc;
use std::time::Instant;

use crate::flow::Latency;
use crate::frame::{InferencePlan, Packet, Region};
use crate::gating::{CropDetections, Feedback, merge_boxes};
use crate::postprocess::{Detection, Prediction, SsdDecoder, SsdParams};
use mobilens_image::{Image, PreprocessParams, RectPx, SizePx};
use mobilens_nn::{Network, NnError};

use super::infer::{Inference, InferenceLatency, InferenceWorker};

/// A detection network and its parameters, shared by the workers.
#[derive(Debug)]
pub struct DetectorModel {
    /// The network.
    pub network: Network,
    /// From image to input tensor.
    pub preprocess: PreprocessParams,
    /// From outputs to detections.
    pub ssd: SsdParams,
    /// Which output holds the box encodings.
    pub boxes_output: usize,
    /// Which output holds the class logits.
    pub scores_output: usize,
}

/// Runs a detection network in one worker; owns all its buffers.
pub struct Detector {
    model: Arc<DetectorModel>,
    inference: Inference,
    decoder: SsdDecoder,
    postprocess: Latency,
    feedback: Arc<Feedback>,
}

impl Detector {
    /// Runs `model` with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be prepared.
    pub fn new(
        model: &Arc<DetectorModel>,
        threads: usize,
        latency: &InferenceLatency,
        feedback: &Arc<Feedback>,
    ) -> Result<Self, NnError> {
        Ok(Self {
            feedback: Arc::clone(feedback),
            inference: Inference::new(&model.network, &model.preprocess, threads, latency)?,
            decoder: SsdDecoder::new(model.ssd.clone()),
            model: Arc::clone(model),
            postprocess: latency.postprocess.clone(),
        })
    }
}

impl Detector {
    fn infer(&mut self, image: &Image) -> Result<Vec<Detection>, String> {
        let began = Instant::now();
        let image_from_model = self.inference.run(image)?;
        let detections = self.postprocess.time(|| {
            self.decoder.decode(
                self.inference.output(self.model.boxes_output),
                self.inference.output(self.model.scores_output),
                &image_from_model,
                image.size(),
            )
        });
        self.feedback.inferred(began.elapsed());
        Ok(detections)
    }

    /// Runs the network on a region; detections are in pixels of the whole frame.
    fn infer_region(&mut self, image: &Image, part: &RectPx) -> Result<CropDetections, String> {
        let [x, y, width, height] = [part.x, part.y, part.width, part.height].map(|v| v as u32);
        let size = SizePx { width, height };
        let detections = if size == image.size() {
            self.infer(image)?
        } else {
            let mut detections = self.infer(&image.crop(x, y, size))?;
            for detection in &mut detections {
                detection.rect.x += part.x;
                detection.rect.y += part.y;
            }
            detections
        };
        Ok(CropDetections {
            crop: *part,
            detections,
        })
    }
}

impl InferenceWorker for Detector {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let image = Arc::clone(&packet.image);
        let detections = match &packet.payload.region {
            Region::None => Vec::new(),
            Region::Whole => self.infer(&image)?,
            Region::Crops(crops) => {
                let parts = crops.iter().map(|crop| self.infer_region(&image, crop));
                let parts: Vec<CropDetections> = parts.collect::<Result<_, _>>()?;
                let params = &self.model.ssd;
                merge_boxes(&parts, image.size(), params.nms_iou, params.max_detections)
            }
        };
        let plan = packet.payload.clone();
        Ok(packet.with(Prediction {
            plan,
            detections,
            segmentation: None,
        }))
    }
}

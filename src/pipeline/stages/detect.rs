//! Detection: runs the network over the planned regions, at one or several input sizes, and decodes its
//! boxes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::flow::Latency;
use crate::frame::{InferencePlan, Packet, Region};
use crate::gating::{CropDetections, Feedback, InputSizes, merge_boxes};
use crate::postprocess::{Detection, Prediction, SsdDecoder, SsdParams, join_scales};
use mobilens_image::{Image, PreprocessParams, RectPx, SizePx};
use mobilens_nn::{Network, NnError};

use super::infer::{Inference, InferenceLatency, InferenceWorker};

/// A detection network at one input size, and its parameters.
#[derive(Debug)]
pub struct ScaleModel {
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

/// Makes the network for an input size, which is that of scale number so and so.
pub type ScaleLoader = dyn Fn(SizePx, usize) -> Result<Arc<ScaleModel>, String> + Send + Sync;

/// A detection network at all its input sizes, shared by the workers.
pub struct DetectorModel {
    /// At the smallest size for the whole picture, or for a square one.
    pub first: Arc<ScaleModel>,
    /// Which sizes there are.
    pub sizes: InputSizes,
    /// Gives the others; the same model for the same size.
    pub load: Box<ScaleLoader>,
}

impl fmt::Debug for DetectorModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, sizes, .. } = self;
        let mut shown = f.debug_struct("DetectorModel");
        shown.field("first", first).field("sizes", sizes);
        shown.finish_non_exhaustive()
    }
}

/// What one worker needs at one input size.
struct Scale {
    model: Arc<ScaleModel>,
    inference: Inference,
    decoder: SsdDecoder,
}

impl Scale {
    fn new(
        model: Arc<ScaleModel>,
        threads: usize,
        latency: &InferenceLatency,
    ) -> Result<Self, NnError> {
        let inference = Inference::new(&model.network, &model.preprocess, threads, latency)?;
        let decoder = SsdDecoder::new(model.ssd.clone());
        Ok(Self {
            model,
            inference,
            decoder,
        })
    }

    fn run(&mut self, image: &Image, postprocess: &Latency) -> Result<Vec<Detection>, String> {
        let image_from_model = self.inference.run(image)?;
        let boxes = self.inference.output(self.model.boxes_output);
        let scores = self.inference.output(self.model.scores_output);
        let size = image.size();
        let decoder = &mut self.decoder;
        Ok(postprocess.time(|| decoder.decode(boxes, scores, &image_from_model, size)))
    }
}

/// Runs a detection network in one worker; owns all its buffers.
pub struct Detector {
    model: Arc<DetectorModel>,
    scales: HashMap<SizePx, Scale>,
    threads: usize,
    latency: InferenceLatency,
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
        let mut scales = HashMap::new();
        if !model.sizes.rectangle {
            let first = Scale::new(Arc::clone(&model.first), threads, latency)?;
            scales.extend(model.sizes.scales.first().map(|size| (*size, first)));
        }
        Ok(Self {
            model: Arc::clone(model),
            scales,
            threads,
            latency: latency.clone(),
            feedback: Arc::clone(feedback),
        })
    }

    /// One inference at the size `input`, which is that of scale number `scale`.
    fn infer(
        &mut self,
        image: &Image,
        input: SizePx,
        scale: usize,
    ) -> Result<Vec<Detection>, String> {
        let began = Instant::now();
        let runner = match self.scales.entry(input) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let model = (self.model.load)(input, scale)?;
                let runner = Scale::new(model, self.threads, &self.latency);
                entry.insert(runner.map_err(|e| e.to_string())?)
            }
        };
        let detections = runner.run(image, &self.latency.postprocess)?;
        self.feedback.inferred(began.elapsed());
        Ok(detections)
    }

    /// The whole picture, at every input size for it.
    fn infer_whole(&mut self, image: &Image) -> Result<Vec<Detection>, String> {
        let inputs: Vec<SizePx> = self.model.sizes.of_whole(image.size()).collect();
        let mut of_scales = Vec::with_capacity(inputs.len());
        for (scale, input) in inputs.into_iter().enumerate() {
            of_scales.push(self.infer(image, input, scale)?);
        }
        if of_scales.len() == 1 {
            return Ok(of_scales.pop().unwrap_or_default());
        }
        let params = &self.model.first.ssd;
        let joined = || join_scales(of_scales, params.nms_iou, params.max_detections);
        Ok(self.latency.postprocess.time(joined))
    }

    /// Runs the network on a region; detections are in pixels of the whole frame.
    fn infer_region(&mut self, image: &Image, part: &RectPx) -> Result<CropDetections, String> {
        let [x, y, width, height] = [part.x, part.y, part.width, part.height].map(|v| v as u32);
        let size = SizePx { width, height };
        let detections = if size == image.size() {
            self.infer_whole(image)?
        } else {
            let input = self.model.sizes.of_part(size);
            let mut detections = self.infer(&image.crop(x, y, size), input, 0)?;
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
            Region::Whole => self.infer_whole(&image)?,
            Region::Crops(crops) => {
                let parts = crops.iter().map(|crop| self.infer_region(&image, crop));
                let parts: Vec<CropDetections> = parts.collect::<Result<_, _>>()?;
                let params = &self.model.first.ssd;
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

//! Detection: runs the network over the planned regions, at one or several input sizes, and decodes its
//! boxes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::Latency;
use crate::frame::{InferencePlan, Look, Packet, Region};
use crate::gating::{Feedback, InputSizes};
use crate::pipeline::options::ModelError;
use crate::postprocess::{
    CropDetections, Detection, HeadDecoder, HeadParams, JoinParams, Prediction, join_scales,
    join_tiles,
};
use mobilens_image::{Image, ImageError, PixelFormat, PreprocessParams, RectPx, SizePx, YuvColour};
use mobilens_nn::{Network, NnError};

use super::infer::{Inference, InferenceLatency, InferenceWorker};

/// Score from which a detection in the whole frame has the network run on the tiles there.
const QUIET_SCORE: f32 = 0.1;

/// A detection network at one input size, and its parameters.
#[derive(Debug)]
pub struct ScaleModel {
    /// The network.
    pub network: Network,
    /// From image to input tensor.
    pub preprocess: PreprocessParams,
    /// From outputs to detections.
    pub head: HeadParams,
    /// Which of the network's outputs the head reads, in its order.
    pub outputs: Vec<usize>,
}

/// Size of the picture on which input sizes are measured before the first frame.
const CALIBRATION_SIZE: SizePx = SizePx {
    width: 1280,
    height: 720,
};
/// Inferences of which the fastest counts; the first ones warm memory and caches up.
const CALIBRATION_RUNS: usize = 4;

/// Makes the network for an input size, which is that of scale number so and so.
pub type ScaleLoader = dyn Fn(SizePx, usize) -> Result<Arc<ScaleModel>, String> + Send + Sync;

/// A detection network at all its input sizes, shared by the workers.
pub struct DetectorModel {
    /// Name of the card.
    pub name: String,
    /// At the smallest size for the whole picture, or for a square one.
    pub first: Arc<ScaleModel>,
    /// Which sizes there are.
    pub sizes: InputSizes,
    /// How detections of parts of a picture are joined.
    pub join: JoinParams,
    /// Gives the others; the same model for the same size.
    pub load: Box<ScaleLoader>,
    /// Whether sizes are chosen frame by frame; a frame without a plan gets the first alone.
    pub is_planned: bool,
    /// Whether all sizes are measured before the first frame, up to this time in milliseconds.
    pub calibrate_ms: Option<f64>,
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
    decoder: HeadDecoder,
}

impl Scale {
    fn new(
        model: Arc<ScaleModel>,
        threads: usize,
        latency: &InferenceLatency,
    ) -> Result<Self, NnError> {
        let inference = Inference::new(&model.network, &model.preprocess, threads, latency)?;
        let decoder = HeadDecoder::new(model.head.clone());
        Ok(Self {
            model,
            inference,
            decoder,
        })
    }

    fn run(&mut self, image: &Image, postprocess: &Latency) -> Result<Vec<Detection>, String> {
        let image_from_model = self.inference.run(image)?;
        let outputs = self.model.outputs.iter();
        let outputs: Vec<&[f32]> = outputs.map(|i| self.inference.output(*i)).collect();
        let size = image.size();
        let decoder = &mut self.decoder;
        Ok(postprocess.time(|| decoder.decode(&outputs, &image_from_model, size)))
    }
}

/// Runs a detection network in one worker; owns all its buffers.
pub struct Detector {
    model: Arc<DetectorModel>,
    scales: HashMap<SizePx, Scale>,
    threads: usize,
    latency: InferenceLatency,
    feedback: Arc<Feedback>,
    /// The inputs for all of a picture, by its size.
    inputs: HashMap<SizePx, Vec<SizePx>>,
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
    ) -> Result<Self, ModelError> {
        let mut scales = HashMap::new();
        if !model.sizes.rectangle {
            let first = Scale::new(Arc::clone(&model.first), threads, latency)?;
            scales.extend(model.sizes.scales.first().map(|scale| (scale.px, first)));
        }
        let mut detector = Self {
            model: Arc::clone(model),
            scales,
            threads,
            // Not those of the run's frames, until it is calibrated.
            latency: InferenceLatency::default(),
            inputs: HashMap::new(),
            feedback: Arc::clone(feedback),
        };
        if let Some(budget_ms) = model.calibrate_ms {
            let calibrated = detector.calibrate(budget_ms);
            calibrated.map_err(|why| ModelError::Card {
                card: model.name.clone(),
                why,
            })?;
        }
        detector.latency = latency.clone();
        for scale in detector.scales.values_mut() {
            scale.inference.report_to(latency);
        }
        Ok(detector)
    }

    /// Measures the input sizes, smallest first, until one takes all of the budget by itself, and makes them
    /// ready to run.
    fn calibrate(&mut self, budget_ms: f64) -> Result<(), String> {
        let image = grey(CALIBRATION_SIZE).map_err(|e| e.to_string())?;
        for (scale, input) in self.inputs(image.size()).into_iter().enumerate() {
            let mut least = Duration::MAX;
            for _ in 0..CALIBRATION_RUNS {
                let began = Instant::now();
                self.infer(&image, input, scale)?;
                least = least.min(began.elapsed());
            }
            self.feedback.with_costs(|costs| {
                if !costs.knows(input) {
                    costs.calibrate(input, least);
                }
            });
            if least.as_secs_f64() * 1000.0 > budget_ms {
                break;
            }
        }
        Ok(())
    }

    /// The inputs for all of a picture, one for each scale.
    fn inputs(&mut self, size: SizePx) -> Vec<SizePx> {
        let of_whole = || self.model.sizes.of_whole(size).collect();
        self.inputs.entry(size).or_insert_with(of_whole).clone()
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
        let mut inputs = self.inputs(image.size());
        if self.model.is_planned {
            inputs.truncate(1);
        }
        let mut of_scales = Vec::with_capacity(inputs.len());
        for (scale, input) in inputs.into_iter().enumerate() {
            of_scales.push(self.infer(image, input, scale)?);
        }
        Ok(self.join(of_scales))
    }

    /// Joins what was found in one picture at several input sizes.
    fn join(&self, mut of_scales: Vec<Vec<Detection>>) -> Vec<Detection> {
        if of_scales.len() == 1 {
            return of_scales.pop().unwrap_or_default();
        }
        let head = &self.model.first.head;
        let joined = || join_scales(of_scales, head.nms_iou(), head.max_detections());
        self.latency.postprocess.time(joined)
    }

    /// Runs the network on a region; detections are in pixels of the whole frame.
    fn infer_region(&mut self, image: &Image, part: &RectPx) -> Result<CropDetections, String> {
        let [width, height] = [part.width, part.height].map(|v| v as u32);
        let size = SizePx { width, height };
        let detections = if size == image.size() {
            self.infer_whole(image)?
        } else {
            let input = self.model.sizes.of_part(size);
            self.infer_crop(image, part, input)?
        };
        Ok(CropDetections {
            crop: *part,
            detections,
        })
    }

    /// One inference on a part of the frame, in whole pixels, at the size `input`.
    fn infer_crop(
        &mut self,
        image: &Image,
        part: &RectPx,
        input: SizePx,
    ) -> Result<Vec<Detection>, String> {
        let [x, y, width, height] = [part.x, part.y, part.width, part.height].map(|v| v as u32);
        let mut detections = self.infer(&image.crop(x, y, SizePx { width, height }), input, 0)?;
        for detection in &mut detections {
            detection.shift(part.x, part.y);
        }
        Ok(detections)
    }

    /// Runs the network on crops, and on those of the `quiet` tiles where the first crop, the whole frame, shows
    /// something; the other ones are returned.
    fn infer_crops(
        &mut self,
        image: &Image,
        crops: &[RectPx],
        quiet: &[RectPx],
    ) -> Result<(Vec<CropDetections>, Vec<RectPx>), String> {
        let mut parts = Vec::with_capacity(crops.len());
        for crop in crops {
            parts.push(self.infer_region(image, crop)?);
        }
        let whole = parts.first().map_or(&[][..], |part| &part.detections);
        let shows = |tile: &RectPx| {
            let is_here = |d: &Detection| d.score >= QUIET_SCORE && d.rect.iou(tile) > 0.0;
            whole.iter().any(is_here)
        };
        let (seen, quiet): (Vec<RectPx>, Vec<RectPx>) = quiet.iter().copied().partition(shows);
        for tile in &seen {
            parts.push(self.infer_region(image, tile)?);
        }
        Ok((parts, quiet))
    }

    /// Joins what parts of a picture show.
    fn join_parts(&self, parts: &[CropDetections], size: SizePx) -> Vec<Detection> {
        let joined = || join_tiles(parts, size, &self.model.join);
        self.latency.postprocess.time(joined)
    }

    /// The whole frame and parts of it, each at the size that the plan gives it.
    fn infer_looks(&mut self, image: &Image, looks: &[Look]) -> Result<Vec<Detection>, String> {
        let began = Instant::now();
        let size = image.size();
        let (mut of_scales, mut parts) = (Vec::new(), Vec::new());
        for look in looks {
            match look.region {
                None => {
                    let scale = self.inputs(size).iter().position(|px| *px == look.input);
                    of_scales.push(self.infer(image, look.input, scale.unwrap_or(0))?);
                }
                Some(crop) => parts.push(CropDetections {
                    crop,
                    detections: self.infer_crop(image, &crop, look.input)?,
                }),
            }
        }
        let mut detections = self.join(of_scales);
        if !parts.is_empty() {
            let whole = CropDetections {
                crop: RectPx {
                    x: 0.0,
                    y: 0.0,
                    width: size.width as f32,
                    height: size.height as f32,
                },
                detections,
            };
            parts.insert(0, whole);
            detections = self.join_parts(&parts, size);
        }
        let took = began.elapsed();
        if let Some(latency) = &self.latency.looks {
            latency.record(took);
        }
        self.feedback.with_costs(|costs| costs.frame(looks, took));
        Ok(detections)
    }
}

/// A grey picture.
fn grey(size: SizePx) -> Result<Image, ImageError> {
    let format = PixelFormat::I420;
    Image::new(
        size,
        format,
        YuvColour::DEFAULT,
        vec![128; format.bytes(size)],
    )
}

impl InferenceWorker for Detector {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let image = Arc::clone(&packet.image);
        let mut plan = packet.payload.clone();
        let detections = match &packet.payload.region {
            Region::None => Vec::new(),
            Region::Whole => self.infer_whole(&image)?,
            Region::Looks(looks) => self.infer_looks(&image, looks)?,
            Region::Crops(crops) => {
                let (parts, quiet) = self.infer_crops(&image, crops, &packet.payload.quiet)?;
                plan.region = Region::Crops(parts.iter().map(|part| part.crop).collect());
                plan.quiet = quiet;
                self.join_parts(&parts, image.size())
            }
        };
        Ok(packet.with(Prediction {
            plan,
            detections,
            ..Prediction::default()
        }))
    }
}

//! Segmentation: the model with its head, and the chain that an inference worker runs.

use std::sync::Arc;

use crate::config::{CardSpec, DeeplabHeadSpec, PipelineConfig};
use crate::flow::Latency;
use crate::frame::{Look, LookAt, Packet, Polygon};
use crate::nn::{Network, NnError};
use crate::postprocess::{
    DeepLabDecoder, DeepLabSpec, Prediction, SafeGroundFinder, Segmentation, Smoother, UNKNOWN,
};
use crate::preprocess::PreprocessSpec;

use super::fit::{ModelError, preprocess_spec};
use super::inference::{ChainLatency, Inference};
use super::pipeline::Chain;
use super::rules::polygon;

/// A segmentation network ready to be used by workers.
#[derive(Debug)]
pub struct SegmenterModel {
    /// The network.
    pub network: Network,
    /// From picture to input.
    pub preprocess: PreprocessSpec,
    /// From logits to a mask.
    pub deeplab: DeepLabSpec,
    /// Which output holds the logits.
    pub logits_output: usize,
    /// Weight of the past in an average over frames, and grey levels in a unit of the input.
    pub smoothing: Option<(f32, f32)>,
    /// How to look for free ground.
    pub safe_ground: Option<SafeGround>,
}

/// What free ground is.
#[derive(Clone, Debug)]
pub struct SafeGround {
    /// Classes to keep away from.
    pub avoided: Vec<u8>,
    /// By how many pixels.
    pub margin_px: f32,
    /// Where to stay.
    pub zone: Option<Polygon>,
}

impl SegmenterModel {
    /// Holds the network that `config` names against its card.
    ///
    /// # Errors
    /// When it does not do what the card says.
    pub fn new(
        config: &PipelineConfig,
        head: &DeeplabHeadSpec,
        network: Network,
    ) -> Result<Self, ModelError> {
        let card = &config.card;
        let fault = |why: String| ModelError::Card {
            card: card.name.clone(),
            why,
        };
        let (width, height) = (card.input.width_px, card.input.height_px);
        let outputs = network.outputs();
        let Some(logits_output) = outputs.iter().position(|o| o.name == head.logits) else {
            let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
            let (wanted, known) = (&head.logits, known.join(", "));
            return Err(fault(format!(
                "the network has no output \"{wanted}\"; it has {known}"
            )));
        };
        let shape = &outputs[logits_output].shape;
        let &[1, classes, rows, columns] = shape.as_slice() else {
            return Err(fault(format!(
                "the logits' shape is {shape:?}; expected [1, classes, rows, columns]"
            )));
        };
        let grid = |pixels: u32| pixels.div_ceil(head.output_stride) as usize;
        if (rows, columns) != (grid(height), grid(width)) {
            return Err(fault(format!(
                "with output stride {} and {width}x{height} pixels the logits should be {}x{}; the \
                 network's are {columns}x{rows}",
                head.output_stride,
                grid(width),
                grid(height)
            )));
        }
        let labels = card.labels.len();
        if classes != labels || !(1..=255).contains(&classes) {
            return Err(fault(format!(
                "the card has {labels} labels, the network {classes} classes (255 at most)"
            )));
        }
        if let Some(label) = card.labels.iter().find(|l| l.id as usize >= classes) {
            return Err(fault(format!(
                "the label {} (\"{}\") has no channel; the logits have {classes}",
                label.id, label.name
            )));
        }
        Ok(Self {
            preprocess: preprocess_spec(card),
            deeplab: DeepLabSpec {
                classes,
                grid: (columns, rows),
                input: (width, height),
                align_corners: head.align_corners,
                half_pixel: card.input.half_pixel,
                confidence_floor: config.spec.segment.confidence_floor,
            },
            logits_output,
            smoothing: config.spec.segment.smoothing.map(|past| {
                let std = card.input.std;
                (past, std.iter().sum::<f32>() / std.len() as f32)
            }),
            safe_ground: safe_ground(config, card),
            network,
        })
    }
}

/// What the pipeline calls free ground.
fn safe_ground(config: &PipelineConfig, card: &CardSpec) -> Option<SafeGround> {
    let spec = config.spec.segment.safe_ground.as_ref()?;
    let labels = card.labels.iter();
    let avoided = labels.filter(|label| spec.avoid.contains(&label.name));
    let mut avoided: Vec<u8> = avoided.filter_map(|l| u8::try_from(l.id).ok()).collect();
    if spec.avoid_unknown.unwrap_or(true) {
        avoided.push(UNKNOWN);
    }
    Some(SafeGround {
        avoided,
        margin_px: spec.margin_px.unwrap_or(0.0),
        zone: spec.zone.as_ref().and_then(|zone| polygon(config, zone)),
    })
}

/// One worker's chain; owns all its scratch memory.
pub struct Segmenter {
    model: Arc<SegmenterModel>,
    inference: Inference,
    decoder: DeepLabDecoder,
    smoother: Option<Smoother>,
    finder: Option<SafeGroundFinder>,
    postprocess: Latency,
}

impl Segmenter {
    /// A chain over `model` that uses `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn new(
        model: &Arc<SegmenterModel>,
        threads: usize,
        latency: &ChainLatency,
    ) -> Result<Self, NnError> {
        let safe_ground = model.safe_ground.clone();
        Ok(Self {
            inference: Inference::new(&model.network, &model.preprocess, threads, latency)?,
            decoder: DeepLabDecoder::new(model.deeplab.clone()),
            smoother: model
                .smoothing
                .map(|(past, levels)| Smoother::new(past, levels)),
            finder: safe_ground
                .map(|ground| SafeGroundFinder::new(ground.avoided, ground.margin_px, ground.zone)),
            model: Arc::clone(model),
            postprocess: latency.postprocess.clone(),
        })
    }
}

impl Chain for Segmenter {
    fn run(&mut self, packet: Packet<Look>) -> Result<Packet<Prediction>, String> {
        let look = packet.payload.clone();
        if look.at == LookAt::Nothing {
            return Ok(packet.with(Prediction {
                look,
                ..Prediction::default()
            }));
        }
        let image_from_model = self.inference.run(&packet.image)?;
        if let Some(smoother) = &mut self.smoother {
            smoother.look(self.inference.input());
        }
        let segmentation = self.postprocess.time(|| {
            let logits = self.inference.output(self.model.logits_output);
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
            look,
            detections: Vec::new(),
            segmentation: Some(segmentation),
        }))
    }
}

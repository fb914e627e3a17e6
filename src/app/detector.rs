//! Detection: the model with its head, and the chain that an inference worker runs.

use std::sync::Arc;
use std::time::Instant;

use crate::attention::{Feedback, SeenPart, merge_boxes};
use crate::config::{
    ActivationSpec, CardSpec, DetectSpec, PipelineConfig, PipelineSpec, SsdHeadSpec,
};
use crate::flow::Latency;
use crate::frame::{Image, Look, LookAt, Packet, RectPx, SizePx};
use crate::nn::{KeptClasses, Network, NnError, PrunedClasses};
use crate::postprocess::{
    Activation, AnchorSpec, BoxCoding, Detection, Prediction, SsdDecoder, SsdSpec, WantedClass,
};
use crate::preprocess::PreprocessSpec;

use super::fit::{ModelError, preprocess_spec};
use super::inference::{ChainLatency, Inference};
use super::pipeline::Chain;
use super::rules::{SCORE_LOW, SCORE_THRESHOLD};

/// A detector ready to be used by workers.
#[derive(Debug)]
pub struct DetectorModel {
    /// The network.
    pub network: Network,
    /// From picture to input.
    pub preprocess: PreprocessSpec,
    /// From outputs to detections.
    pub ssd: SsdSpec,
    /// Which output holds the box encodings.
    pub boxes_output: usize,
    /// Which output holds the class logits.
    pub scores_output: usize,
}

impl DetectorModel {
    /// Holds the network that `config` names against its card.
    ///
    /// # Errors
    /// When it does not do what the card says.
    pub fn new(
        config: &PipelineConfig,
        head: &SsdHeadSpec,
        network: Network,
    ) -> Result<Self, ModelError> {
        let card = &config.card;
        let fault = |why: String| ModelError::Card {
            card: card.name.clone(),
            why,
        };
        let (w, h) = (card.input.width_px as usize, card.input.height_px as usize);
        let expected = [1, 3, h, w];
        if network.input().shape != expected {
            return Err(fault(format!(
                "the card says that the input is {expected:?}, the network's is {:?}",
                network.input().shape
            )));
        }
        let output = |name: &str| {
            network
                .outputs()
                .iter()
                .position(|o| o.name == name)
                .ok_or_else(|| {
                    let known: Vec<&str> =
                        network.outputs().iter().map(|o| o.name.as_str()).collect();
                    fault(format!(
                        "the network has no output \"{name}\"; it has {}",
                        known.join(", ")
                    ))
                })
        };
        let (boxes_output, scores_output) = (output(&head.boxes)?, output(&head.scores)?);
        let scores = &network.outputs()[scores_output].shape;
        let &[1, rows, channels] = scores.as_slice() else {
            return Err(fault(format!(
                "the scores' shape is {scores:?}; expected [1, anchors, channels]"
            )));
        };
        let pruned = network.pruned_classes();
        let floor = score_floor(&config.spec);
        let ssd = ssd_spec(card, head, &config.spec.detect, floor, channels, pruned);
        let anchors = SsdDecoder::new(ssd.clone()).anchor_count();
        if anchors != rows {
            return Err(fault(format!(
                "the card's anchors are {anchors}, the network scores {rows}"
            )));
        }
        let boxes = &network.outputs()[boxes_output].shape;
        if *boxes != [1, anchors, 4] {
            return Err(fault(format!(
                "the boxes' shape is {boxes:?}; expected [1, {anchors}, 4]"
            )));
        }
        let of = pruned.map_or(channels, |pruned| pruned.of);
        if let Some(label) = card.labels.iter().find(|l| l.id as usize >= of) {
            return Err(fault(format!(
                "the label {} (\"{}\") has no channel; the scores have {of}",
                label.id, label.name
            )));
        }
        Ok(Self {
            network,
            preprocess: preprocess_spec(card),
            ssd,
            boxes_output,
            scores_output,
        })
    }
}

/// The scores that are worth computing when only some of the card's labels are wanted; `None`
/// where all are, or where each score depends on all of them.
pub fn classes_to_keep(card: &CardSpec, is_wanted: &dyn Fn(&str) -> bool) -> Option<KeptClasses> {
    let head = card.head.ssd.as_ref()?;
    if head.activation != ActivationSpec::Sigmoid {
        return None;
    }
    let wanted = card.labels.iter().filter(|label| is_wanted(&label.name));
    let mut classes: Vec<usize> = wanted.map(|label| label.id as usize).collect();
    classes.sort_unstable();
    classes.dedup();
    (!classes.is_empty()).then(|| KeptClasses {
        output: head.scores.clone(),
        classes,
    })
}

/// Tracking wants to know of detections that are too faint by themselves.
fn score_floor(spec: &PipelineSpec) -> f32 {
    let track = spec.track.as_ref();
    track.map_or(f32::INFINITY, |track| {
        track.score_low.unwrap_or(SCORE_LOW) as f32
    })
}

/// What to look for, and how to find it in the heads.
fn ssd_spec(
    card: &CardSpec,
    head: &SsdHeadSpec,
    detect: &DetectSpec,
    floor: f32,
    channels: usize,
    pruned: Option<&PrunedClasses>,
) -> SsdSpec {
    let threshold = detect.score_threshold.unwrap_or(SCORE_THRESHOLD);
    let classes = card
        .labels
        .iter()
        .filter(|label| !(head.background && label.id == 0))
        .filter_map(|label| {
            let class = detect.classes.get(&label.name);
            if class.is_none() && !detect.classes.is_empty() {
                return None;
            }
            let class_id = label.id as usize;
            let channel = match pruned {
                Some(pruned) => pruned.classes.binary_search(&class_id).ok()?,
                None => class_id,
            };
            Some(WantedClass {
                channel,
                category_id: label.id,
                score_threshold: class
                    .and_then(|c| c.score_threshold)
                    .unwrap_or(threshold)
                    .min(floor),
            })
        })
        .collect();
    SsdSpec {
        anchors: AnchorSpec {
            feature_maps: head.anchors.feature_maps.clone(),
            scales: head.anchors.scales.clone(),
            aspect_ratios: head.anchors.aspect_ratios.clone(),
            interpolated_scale_aspect_ratio: head.anchors.interpolated_scale_aspect_ratio,
            reduce_boxes_in_lowest_layer: head.anchors.reduce_boxes_in_lowest_layer,
        },
        box_coding: BoxCoding {
            y: head.box_coding.y,
            x: head.box_coding.x,
            h: head.box_coding.h,
            w: head.box_coding.w,
        },
        activation: match head.activation {
            ActivationSpec::Sigmoid => Activation::Sigmoid,
            ActivationSpec::Softmax => Activation::Softmax,
        },
        channels,
        classes,
        nms_iou: detect.nms_iou.unwrap_or(head.nms_iou),
        max_detections: detect.max_detections.unwrap_or(head.max_detections) as usize,
    }
}

/// One worker's chain; owns all its scratch memory.
pub struct Detector {
    model: Arc<DetectorModel>,
    inference: Inference,
    decoder: SsdDecoder,
    postprocess: Latency,
    feedback: Arc<Feedback>,
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
    fn look(&mut self, image: &Image) -> Result<Vec<Detection>, String> {
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
        self.feedback.looked(began.elapsed());
        Ok(detections)
    }

    /// Looks at a part; what is seen is in pixels of the whole.
    fn look_at_part(&mut self, image: &Image, part: &RectPx) -> Result<SeenPart, String> {
        let [x, y, width, height] = [part.x, part.y, part.width, part.height].map(|v| v as u32);
        let part_size = SizePx { width, height };
        let detections = if part_size == image.size() {
            self.look(image)?
        } else {
            let mut seen = self.look(&image.crop(x, y, part_size))?;
            for detection in &mut seen {
                detection.rect.x += part.x;
                detection.rect.y += part.y;
            }
            seen
        };
        Ok(SeenPart {
            part: *part,
            detections,
        })
    }
}

impl Chain for Detector {
    fn run(&mut self, packet: Packet<Look>) -> Result<Packet<Prediction>, String> {
        let image = Arc::clone(&packet.image);
        let detections = match &packet.payload.at {
            LookAt::Nothing => Vec::new(),
            LookAt::Whole => self.look(&image)?,
            LookAt::Parts(parts) => {
                let parts = parts.iter().map(|part| self.look_at_part(&image, part));
                let parts: Vec<SeenPart> = parts.collect::<Result<_, _>>()?;
                let spec = &self.model.ssd;
                merge_boxes(&parts, image.size(), spec.nms_iou, spec.max_detections)
            }
        };
        let look = packet.payload.clone();
        Ok(packet.with(Prediction {
            look,
            detections,
            segmentation: None,
        }))
    }
}

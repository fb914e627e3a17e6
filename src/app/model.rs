//! A card, its network, and what the pipeline wants of them, held against each other.

use std::sync::Arc;

use crate::config::{
    ActivationSpec, CardSpec, ChannelOrder, DetectSpec, LetterboxAnchor as AnchorSetting,
    PipelineConfig, ResizeSpec, SsdHeadSpec,
};
use crate::nn::{KeptClasses, LoadOptions, Network, NnError, PrunedClasses};
use crate::postprocess::{Activation, AnchorSpec, BoxCoding, SsdDecoder, SsdSpec, WantedClass};
use crate::preprocess::{LetterboxAnchor, PreprocessSpec, Resize};

use super::detector::{ChainLatency, Detector};
use super::pipeline::Chain;
use super::segmenter::{Segmenter, SegmenterModel};

/// Score below which detections are dropped, where the pipeline does not say.
const SCORE_THRESHOLD: f32 = 0.4;

/// Grey around a letterboxed picture, where the card does not say.
const PAD_VALUE: f32 = 127.5;

/// Why a model cannot serve a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The network cannot be loaded.
    #[error(transparent)]
    Network(#[from] NnError),
    /// Card and network contradict each other, or the pipeline cannot use the head.
    #[error("{card}: {why}")]
    Card {
        /// Name of the card.
        card: String,
        /// What is wrong.
        why: String,
    },
}

/// A network of either kind, held against its card.
#[derive(Clone, Debug)]
pub enum Model {
    /// Finds boxes.
    Detector(Arc<DetectorModel>),
    /// Gives each pixel a class.
    Segmenter(Arc<SegmenterModel>),
}

impl Model {
    /// Loads the network that `config` names, and checks it against its card.
    ///
    /// # Errors
    /// When it cannot be loaded or does not do what the card says.
    pub fn load(config: &PipelineConfig) -> Result<Self, ModelError> {
        let head = &config.card.head;
        match (&head.ssd, &head.deeplab) {
            (Some(ssd), _) => Ok(Self::Detector(Arc::new(DetectorModel::load(config, ssd)?))),
            (None, Some(deeplab)) => {
                let model = SegmenterModel::load(config, deeplab)?;
                Ok(Self::Segmenter(Arc::new(model)))
            }
            (None, None) => Err(ModelError::Card {
                card: config.card.name.clone(),
                why: "it has no head".to_owned(),
            }),
        }
    }

    /// A worker's chain that uses `threads` threads inside one inference.
    ///
    /// # Errors
    /// When the network cannot be made ready to run.
    pub fn chain(&self, threads: usize, latency: &ChainLatency) -> Result<Box<dyn Chain>, NnError> {
        Ok(match self {
            Self::Detector(model) => Box::new(Detector::new(model, threads, latency)?),
            Self::Segmenter(model) => Box::new(Segmenter::new(model, threads, latency)?),
        })
    }
}

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
    /// Loads the network that `config` names, and checks it against its card.
    ///
    /// # Errors
    /// When it cannot be loaded or does not do what the card says.
    pub fn load(config: &PipelineConfig, head: &SsdHeadSpec) -> Result<Self, ModelError> {
        let card = &config.card;
        let fault = |why: String| ModelError::Card {
            card: card.name.clone(),
            why,
        };
        let wanted = &config.spec.detect.classes;
        let options = LoadOptions {
            keep: classes_to_keep(card, &|name| wanted.contains_key(name)),
            ..LoadOptions::default()
        };
        let network = Network::load(&card.file, &options)?;
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
        let ssd = ssd_spec(card, head, &config.spec.detect, channels, pruned);
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

/// What the network wants to be fed.
pub(super) fn preprocess_spec(card: &CardSpec) -> PreprocessSpec {
    let input = &card.input;
    PreprocessSpec {
        width_px: input.width_px,
        height_px: input.height_px,
        bgr: input.colour == ChannelOrder::Bgr,
        mean: input.mean,
        std: input.std,
        resize: match input.resize {
            ResizeSpec::Stretch => Resize::Stretch,
            ResizeSpec::Letterbox => Resize::Letterbox {
                pad_value: input.pad_value.unwrap_or(PAD_VALUE),
                anchor: match input.anchor.unwrap_or_default() {
                    AnchorSetting::TopLeft => LetterboxAnchor::TopLeft,
                    AnchorSetting::Center => LetterboxAnchor::Center,
                },
            },
        },
        half_pixel: input.half_pixel,
    }
}

/// What to look for, and how to find it in the heads.
fn ssd_spec(
    card: &CardSpec,
    head: &SsdHeadSpec,
    detect: &DetectSpec,
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
                score_threshold: class.and_then(|c| c.score_threshold).unwrap_or(threshold),
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

//! Detectors: holds a network against its card, and sets up the decoding of its head.

use crate::config::{
    ActivationConfig, CardConfig, DetectConfig, LoadedPipeline, PipelineConfig, SsdHeadConfig,
};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::detect::DetectorModel;
use crate::postprocess::{AnchorParams, BoxCoding, ScoreActivation, SsdParams, WantedClass};
use mobilens_nn::{KeptClasses, Network, PrunedClasses};

use super::preprocess::preprocess_params;

/// Holds the network that `pipeline` names against its card.
///
/// # Errors
/// When it does not do what the card says.
pub fn detector_model(
    pipeline: &LoadedPipeline,
    head: &SsdHeadConfig,
    network: Network,
) -> Result<DetectorModel, ModelError> {
    let card = &pipeline.card;
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
                let known: Vec<&str> = network.outputs().iter().map(|o| o.name.as_str()).collect();
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
    let floor = score_floor(&pipeline.config);
    let ssd = ssd_params(card, head, &pipeline.config.detect, floor, channels, pruned);
    let anchors = ssd.anchors.count();
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
    Ok(DetectorModel {
        network,
        preprocess: preprocess_params(card),
        ssd,
        boxes_output,
        scores_output,
    })
}

/// The scores that are worth computing when only some of the card's labels are wanted; `None`
/// where all are, or where each score depends on all of them.
pub fn classes_to_keep(card: &CardConfig, is_wanted: &dyn Fn(&str) -> bool) -> Option<KeptClasses> {
    let head = card.head.ssd.as_ref()?;
    if head.activation != ActivationConfig::Sigmoid {
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

/// Tracking also uses detections below the score threshold.
fn score_floor(config: &PipelineConfig) -> f32 {
    let track = config.track.as_ref();
    track.map_or(f32::INFINITY, |track| track.score_low as f32)
}

/// The decoder's settings. It discards early what no later stage uses; the score threshold itself is
/// applied by the analyzer.
fn ssd_params(
    card: &CardConfig,
    head: &SsdHeadConfig,
    detect: &DetectConfig,
    floor: f32,
    channels: usize,
    pruned: Option<&PrunedClasses>,
) -> SsdParams {
    let classes = card
        .labels
        .iter()
        .filter(|label| !(head.background && label.id == 0))
        .filter_map(|label| {
            if !detect.is_wanted(&label.name) {
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
                score_threshold: detect.score_threshold_of(&label.name).min(floor),
            })
        })
        .collect();
    SsdParams {
        anchors: AnchorParams {
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
            ActivationConfig::Sigmoid => ScoreActivation::Sigmoid,
            ActivationConfig::Softmax => ScoreActivation::Softmax,
        },
        channels,
        classes,
        nms_iou: detect.nms_iou.unwrap_or(head.nms_iou),
        max_detections: detect.max_detections.unwrap_or(head.max_detections) as usize,
    }
}

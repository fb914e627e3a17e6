//! Segmenters: holds a network against its card, and sets up the decoding of its logits.

use crate::config::{CardConfig, DeeplabHeadConfig, LoadedPipeline};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::segment::{SafeGroundParams, SegmenterModel};
use crate::postprocess::{DeepLabParams, UNKNOWN};
use mobilens_nn::Network;

use super::preprocess::preprocess_params;
use super::zones::polygon;

/// Holds the network that `pipeline` names against its card.
///
/// # Errors
/// When it does not do what the card says.
pub fn segmenter_model(
    pipeline: &LoadedPipeline,
    head: &DeeplabHeadConfig,
    network: Network,
) -> Result<SegmenterModel, ModelError> {
    let card = &pipeline.card;
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
    Ok(SegmenterModel {
        preprocess: preprocess_params(card),
        deeplab: DeepLabParams {
            classes,
            grid: (columns, rows),
            input: (width, height),
            align_corners: head.align_corners,
            half_pixel: card.input.half_pixel,
            confidence_floor: pipeline.config.segment.confidence_floor,
        },
        logits_output,
        smoothing: pipeline.config.segment.smoothing.map(|past| {
            let std = card.input.std;
            (past, std.iter().sum::<f32>() / std.len() as f32)
        }),
        safe_ground: safe_ground(pipeline, card),
        network,
    })
}

/// What the pipeline calls free ground.
fn safe_ground(pipeline: &LoadedPipeline, card: &CardConfig) -> Option<SafeGroundParams> {
    let config = pipeline.config.segment.safe_ground.as_ref()?;
    let labels = card.labels.iter();
    let avoided = labels.filter(|label| config.avoid.contains(&label.name));
    let mut avoided: Vec<u8> = avoided.filter_map(|l| u8::try_from(l.id).ok()).collect();
    if config.avoid_unknown {
        avoided.push(UNKNOWN);
    }
    Some(SafeGroundParams {
        avoided,
        margin_px: config.margin_px,
        zone: config
            .zone
            .as_ref()
            .and_then(|zone| polygon(pipeline, zone)),
    })
}

//! Segmenters: holds a network against its card, and sets up the decoding of its output.

use crate::config::{
    CardConfig, ChannelLayoutConfig, DeeplabHeadConfig, LoadedPipeline, SegmentHeadConfig,
    SegmentValuesConfig,
};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::segment::{SafeGroundParams, SegmenterModel};
use crate::postprocess::{DeepLabParams, RowLayout, SegmentParams, SegmentValues, UNKNOWN};
use mobilens_nn::Network;

use super::detector::{fault, output_index};
use super::preprocess::preprocess_params;
use super::zones::polygon;

/// Holds the network that `pipeline` names against its card.
///
/// # Errors
/// When it does not do what the card says.
pub fn segmenter_model(
    pipeline: &LoadedPipeline,
    network: Network,
) -> Result<SegmenterModel, ModelError> {
    let card = &pipeline.card;
    let (head, output) = match (&card.head.deeplab, &card.head.segment) {
        (Some(deeplab), _) => deeplab_params(pipeline, deeplab, &network)?,
        (None, Some(segment)) => segment_params(pipeline, segment, &network)?,
        (None, None) => return Err(fault(card, "it has no segmentation head".to_owned())),
    };
    Ok(SegmenterModel {
        preprocess: preprocess_params(card),
        head,
        output,
        smoothing: pipeline.config.segment.smoothing.map(|past| {
            let std = card.input.std;
            (past, std.iter().sum::<f32>() / std.len() as f32)
        }),
        safe_ground: safe_ground(pipeline, card),
        network,
    })
}

/// DeepLab's logits, and which output they are.
fn deeplab_params(
    pipeline: &LoadedPipeline,
    head: &DeeplabHeadConfig,
    network: &Network,
) -> Result<(SegmentParams, usize), ModelError> {
    let card = &pipeline.card;
    let (width, height) = (card.input.width_px, card.input.height_px);
    let output = output_index(card, network, &head.logits)?;
    let shape = &network.outputs()[output].shape;
    let &[1, classes, rows, columns] = shape.as_slice() else {
        let why = format!("the logits' shape is {shape:?}; expected [1, classes, rows, columns]");
        return Err(fault(card, why));
    };
    let grid = |pixels: u32| pixels.div_ceil(head.output_stride) as usize;
    if (rows, columns) != (grid(height), grid(width)) {
        let why = format!(
            "with output stride {} and {width}x{height} pixels the logits should be {}x{}; the \
             network's are {columns}x{rows}",
            head.output_stride,
            grid(width),
            grid(height)
        );
        return Err(fault(card, why));
    }
    let params = SegmentParams {
        values: SegmentValues::Classes(checked_classes(card, classes)?),
        layout: RowLayout::ChannelsFirst,
        grid: grid_params(pipeline, (columns, rows), head.align_corners),
    };
    Ok((params, output))
}

/// Any other output, and which one it is.
fn segment_params(
    pipeline: &LoadedPipeline,
    head: &SegmentHeadConfig,
    network: &Network,
) -> Result<(SegmentParams, usize), ModelError> {
    let card = &pipeline.card;
    let output = output_index(card, network, &head.output)?;
    let shape = &network.outputs()[output].shape;
    let layout = match head.layout {
        ChannelLayoutConfig::ChannelsFirst => RowLayout::ChannelsFirst,
        ChannelLayoutConfig::ChannelsLast => RowLayout::RowsFirst,
    };
    let has_ids = head.values == SegmentValuesConfig::ClassIds;
    let size = SegmentValues::size_of(shape, layout, has_ids);
    let (channels, rows, columns) = size.map_err(|why| fault(card, why))?;
    let values = match (head.values, channels) {
        (SegmentValuesConfig::ClassIds, _) => {
            if let Some(label) = card.labels.iter().find(|label| label.id > 254) {
                let why = format!("the label id {} is above 254", label.id);
                return Err(fault(card, why));
            }
            SegmentValues::Ids
        }
        (SegmentValuesConfig::Logits, 1) => {
            checked_classes(card, 2)?;
            let share = head.threshold;
            SegmentValues::Binary {
                threshold: (share / (1.0 - share)).ln(),
            }
        }
        (SegmentValuesConfig::Probabilities, 1) => {
            checked_classes(card, 2)?;
            SegmentValues::Binary {
                threshold: head.threshold,
            }
        }
        (_, classes) => SegmentValues::Classes(checked_classes(card, classes)?),
    };
    let params = SegmentParams {
        values,
        layout,
        grid: grid_params(pipeline, (columns, rows), head.align_corners),
    };
    Ok((params, output))
}

/// How an output of so many columns and rows lies on the input.
fn grid_params(
    pipeline: &LoadedPipeline,
    grid: (usize, usize),
    align_corners: bool,
) -> DeepLabParams {
    let input = &pipeline.card.input;
    DeepLabParams {
        classes: 0,
        grid,
        input: (input.width_px, input.height_px),
        align_corners,
        half_pixel: input.half_pixel,
        confidence_floor: pipeline.config.segment.confidence_floor,
    }
}

/// The number of classes, each of which must have a label.
fn checked_classes(card: &CardConfig, classes: usize) -> Result<usize, ModelError> {
    let labels = card.labels.len();
    if classes != labels || !(1..=255).contains(&classes) {
        let why =
            format!("the card has {labels} labels, the network {classes} classes (255 at most)");
        return Err(fault(card, why));
    }
    if let Some(label) = card.labels.iter().find(|l| l.id as usize >= classes) {
        let why = format!(
            "the label {} (\"{}\") has no channel; the logits have {classes}",
            label.id, label.name
        );
        return Err(fault(card, why));
    }
    Ok(classes)
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

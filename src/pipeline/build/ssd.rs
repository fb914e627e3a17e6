//! SSD heads: anchors at an input size, and the decoding of what the network finds there.

use crate::config::{CardConfig, DetectConfig, SsdHeadConfig};
use crate::gating::feature_maps_beside;
use crate::pipeline::options::ModelError;
use crate::postprocess::{AnchorParams, BoxCoding, FeatureMap, HeadParams, SsdParams};
use mobilens_image::SizePx;
use mobilens_nn::{FeatureMaps, Network};

use super::detector::{fault, output_index, wanted_classes};
use super::heads::activation;

/// The anchors of an SSD at one input size.
pub struct SsdLayout<'a> {
    card: &'a CardConfig,
    head: &'a SsdHeadConfig,
    anchors: AnchorParams,
}

impl<'a> SsdLayout<'a> {
    /// Those at `size`. `beside` is the next smaller scale, and this one.
    ///
    /// # Errors
    /// When the network has no other input size.
    pub fn new(
        card: &'a CardConfig,
        head: &'a SsdHeadConfig,
        size: SizePx,
        beside: Option<(SizePx, SizePx)>,
    ) -> Result<Self, ModelError> {
        let anchors = anchors_at(card, head, size, beside).ok_or_else(|| {
            let (width, height) = card.input.trained_size_px();
            fault(
                card,
                format!(
                    "its feature maps are not those of a network that halves an input of {width}x{height} again and \
                     again, so it has no other input size"
                ),
            )
        })?;
        Ok(Self {
            card,
            head,
            anchors,
        })
    }

    /// The feature maps that are worth computing, if not all are.
    pub fn maps(&self) -> Option<FeatureMaps> {
        let count = self.anchors.feature_maps.len();
        (count < self.head.anchors.feature_maps.len()).then(|| FeatureMaps {
            outputs: vec![self.head.boxes.clone(), self.head.scores.clone()],
            count,
        })
    }

    /// The decoder's settings, and which of the network's outputs it reads. It discards early what no later
    /// stage uses; the score threshold itself is applied by the analyzer.
    ///
    /// # Errors
    /// When the network's outputs are not those of the card.
    pub fn head_params(
        self,
        detect: &DetectConfig,
        floor: f32,
        network: &Network,
    ) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let Self {
            card,
            head,
            anchors,
        } = self;
        let boxes_output = output_index(card, network, &head.boxes)?;
        let scores_output = output_index(card, network, &head.scores)?;
        let scores = &network.outputs()[scores_output].shape;
        let &[1, rows, channels] = scores.as_slice() else {
            let why = format!("the scores' shape is {scores:?}; expected [1, anchors, channels]");
            return Err(fault(card, why));
        };
        let count = anchors.count();
        if count != rows {
            let why = format!("the card's anchors are {count}, the network scores {rows}");
            return Err(fault(card, why));
        }
        let boxes = &network.outputs()[boxes_output].shape;
        if *boxes != [1, count, 4] {
            let why = format!("the boxes' shape is {boxes:?}; expected [1, {count}, 4]");
            return Err(fault(card, why));
        }
        let pruned = network.pruned_classes();
        let of = pruned.map_or(channels, |pruned| pruned.of);
        let params = SsdParams {
            anchors,
            box_coding: BoxCoding {
                y: head.box_coding.y,
                x: head.box_coding.x,
                h: head.box_coding.h,
                w: head.box_coding.w,
            },
            activation: activation(head.activation),
            channels,
            classes: wanted_classes(card, detect, floor, head.background, of, pruned)?,
            nms_iou: detect.nms_iou.unwrap_or(head.nms_iou),
            max_detections: detect.max_detections.unwrap_or(head.max_detections) as usize,
        };
        Ok((HeadParams::Ssd(params), vec![boxes_output, scores_output]))
    }
}

/// The anchors at an input size; of the feature maps those that are worth computing beside the smaller scale.
fn anchors_at(
    card: &CardConfig,
    head: &SsdHeadConfig,
    size: SizePx,
    beside: Option<(SizePx, SizePx)>,
) -> Option<AnchorParams> {
    let layout = &head.anchors;
    let trained = AnchorParams {
        feature_maps: layout
            .feature_maps
            .iter()
            .map(|side| FeatureMap::square(*side))
            .collect(),
        scales: layout.scales.clone(),
        trained_share: (1.0, 1.0),
        aspect_ratios: layout.aspect_ratios.clone(),
        interpolated_scale_aspect_ratio: layout.interpolated_scale_aspect_ratio,
        reduce_boxes_in_lowest_layer: layout.reduce_boxes_in_lowest_layer,
    };
    let (width, height) = card.input.trained_size_px();
    let count = beside.map(|(smaller, here)| {
        let side = |size: SizePx| size.width.max(size.height);
        feature_maps_beside(&layout.scales, side(here), side(smaller))
    });
    if (size.width, size.height) == (width, height) && count.is_none() {
        return Some(trained);
    }
    let most = count.unwrap_or(layout.feature_maps.len());
    trained.at_size((height, width), (size.height, size.width), most)
}

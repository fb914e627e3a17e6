//! SSD heads: anchors at an input size, and the decoding of what the network finds there.

use std::path::Path;

use crate::config::{
    AnchorCodingConfig, AnchorListConfig, AnchorsConfig, BoxOrderConfig, CardConfig, DetectConfig,
    SsdHeadConfig, SsdNmsConfig, SsdSizeCodingConfig,
};
use crate::gating::feature_maps_beside;
use crate::pipeline::options::ModelError;
use crate::postprocess::{
    AnchorCoding, AnchorParams, BoxCoding, DefaultBoxes, FeatureMap, HeadParams, MultiscaleAnchors,
    SsdAnchors, SsdBoxes, SsdNms, SsdParams, fixed_anchors,
};
use mobilens_image::SizePx;
use mobilens_nn::{FeatureMaps, Network, initializer_values};

use super::detector::{fault, output_index, wanted_classes};
use super::heads::activation;

/// The anchors of an SSD at one input size.
pub struct SsdLayout<'a> {
    card: &'a CardConfig,
    head: &'a SsdHeadConfig,
    /// Those of `anchors`; others are made when their number is known.
    generated: Option<AnchorParams>,
    size: SizePx,
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
        let generated = head.anchors.as_ref().map(|layout| {
            anchors_at(card, layout, size, beside).ok_or_else(|| {
                let (width, height) = card.input.trained_size_px();
                fault(
                    card,
                    format!(
                        "its feature maps are not those of a network that halves an input of {width}x{height} again and \
                         again, so it has no other input size"
                    ),
                )
            })
        });
        Ok(Self {
            card,
            head,
            generated: generated.transpose()?,
            size,
        })
    }

    /// The feature maps that are worth computing, if not all are.
    pub fn maps(&self) -> Option<FeatureMaps> {
        let count = self.generated.as_ref()?.feature_maps.len();
        let all = self.head.anchors.as_ref()?.feature_maps.len();
        (count < all).then(|| FeatureMaps {
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
        let (card, head) = (self.card, self.head);
        let mut outputs = vec![
            output_index(card, network, &head.boxes)?,
            output_index(card, network, &head.scores)?,
        ];
        for map in &head.further_maps {
            outputs.push(output_index(card, network, &map.boxes)?);
            outputs.push(output_index(card, network, &map.scores)?);
        }
        let shape = |output: usize| &network.outputs()[output].shape;
        let (mut rows, mut channels) = (0, None);
        let values = 4 + 2 * head.keypoints as usize;
        for [boxes, scores] in outputs.as_chunks::<2>().0 {
            let (boxes, scores) = (shape(*boxes), shape(*scores));
            let &[1, of_map, of_scores] = scores.as_slice() else {
                let why =
                    format!("the scores' shape is {scores:?}; expected [1, anchors, channels]");
                return Err(fault(card, why));
            };
            if *channels.get_or_insert(of_scores) != of_scores {
                let why =
                    format!("the scores' shapes are of {channels:?} and {of_scores} channels");
                return Err(fault(card, why));
            }
            if *boxes != [1, of_map, values] {
                let why =
                    format!("the boxes' shape is {boxes:?}; expected [1, {of_map}, {values}]");
                return Err(fault(card, why));
            }
            rows += of_map;
        }
        let channels = channels.unwrap_or(0);
        let anchors = self.anchors(network, rows, &mut outputs)?;
        let pruned = network.pruned_classes();
        let of = pruned.map_or(channels, |pruned| pruned.of);
        let params = SsdParams {
            anchors,
            boxes: SsdBoxes {
                coding: BoxCoding {
                    y: head.box_coding.y,
                    x: head.box_coding.x,
                    h: head.box_coding.h,
                    w: head.box_coding.w,
                },
                x_first: head.box_order == BoxOrderConfig::Xywh,
                linear_sizes: head.size_coding == SsdSizeCodingConfig::Linear,
                max_log_size: head.max_log_size,
                clip: head.clip_to_input,
                keypoints: head.keypoints as usize,
            },
            activation: activation(head.activation),
            channels,
            first_label: usize::from(head.background),
            maps: 1 + head.further_maps.len(),
            classes: wanted_classes(card, detect, floor, head.background, of, pruned)?,
            nms: match head.nms {
                SsdNmsConfig::ClassWise => SsdNms::ClassWise,
                SsdNmsConfig::ClassAgnostic => SsdNms::ClassAgnostic,
                SsdNmsConfig::Weighted => SsdNms::Weighted,
            },
            nms_iou: detect.nms_iou.unwrap_or(head.nms_iou),
            candidates_per_class: head.candidates_per_class.map(|most| most as usize),
            max_detections: detect.max_detections.unwrap_or(head.max_detections) as usize,
        };
        Ok((HeadParams::Ssd(params), outputs))
    }

    /// The anchors of a network that scores `rows` of them; adds an output that holds them to `outputs`.
    fn anchors(
        self,
        network: &Network,
        rows: usize,
        outputs: &mut Vec<usize>,
    ) -> Result<SsdAnchors, ModelError> {
        let (card, head) = (self.card, self.head);
        let wrong_count = |count: usize| {
            let more = if count > rows { "at least " } else { "" };
            let why = format!("the card's anchors are {more}{count}, the network scores {rows}");
            fault(card, why)
        };
        if let Some(generated) = self.generated {
            return match generated.count() {
                count if count == rows => Ok(SsdAnchors::Generated(generated)),
                count => {
                    let why = format!("the card's anchors are {count}, the network scores {rows}");
                    Err(fault(card, why))
                }
            };
        }
        let list = if let Some(config) = &head.multiscale_anchors {
            let layout = MultiscaleAnchors {
                min_level: config.min_level,
                max_level: config.max_level,
                anchor_scale: config.anchor_scale,
                scales_per_octave: config.scales_per_octave,
                aspect_ratios: config.aspect_ratios.clone(),
            };
            layout.anchors(self.size, rows)
        } else if let Some(config) = &head.default_boxes {
            let layout = DefaultBoxes {
                feature_maps: config.feature_maps.clone(),
                min_ratio: config.min_ratio,
                max_ratio: config.max_ratio,
                aspect_ratios: config.aspect_ratios.clone(),
            };
            layout.anchors(rows)
        } else if let Some(config) = &head.fixed_anchors {
            fixed_anchors(self.size, &config.strides, &config.per_cell, rows)
        } else if let Some(config) = &head.anchor_list {
            let coding = match config.coding {
                AnchorCodingConfig::Corners => AnchorCoding::Corners,
                AnchorCodingConfig::Centers => AnchorCoding::Centers,
            };
            if let Some(name) = &config.output {
                let output = output_index(card, network, name)?;
                outputs.push(output);
                let shape = &network.outputs()[output].shape;
                return if *shape == [rows, 4] || *shape == [1, rows, 4] {
                    Ok(SsdAnchors::Output(coding))
                } else {
                    let why = format!("the anchors' shape is {shape:?}; expected [{rows}, 4]");
                    Err(fault(card, why))
                };
            }
            coding.anchors(&listed(card, config)?).collect()
        } else {
            return Err(fault(card, "it has no anchors".to_owned()));
        };
        if list.len() == rows {
            Ok(SsdAnchors::List(list.into()))
        } else {
            Err(wrong_count(list.len()))
        }
    }
}

/// The numbers of a list of anchors.
fn listed(card: &CardConfig, config: &AnchorListConfig) -> Result<Vec<f32>, ModelError> {
    let values = if let Some(name) = &config.initializer {
        let values = initializer_values(&card.file, name)?;
        values.ok_or_else(|| {
            let file = card.file.display();
            fault(
                card,
                format!("{file} has no float constant \"{name}\" with anchors"),
            )
        })?
    } else {
        let file = config.file.as_deref().unwrap_or(Path::new(""));
        let shown = file.display();
        let text = std::fs::read_to_string(file);
        let text =
            text.map_err(|e| fault(card, format!("cannot read the anchors {shown}: {e}")))?;
        let mut values = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let words = line.split(|c: char| c == ',' || c.is_whitespace());
            let words = words.filter(|word| !word.is_empty());
            let of_line: Option<Vec<f32>> = words.map(|word| word.parse().ok()).collect();
            match of_line {
                Some(of_line) if of_line.is_empty() => {}
                Some(of_line) if of_line.len() == 4 => values.extend(of_line),
                _ => {
                    let why = format!("{shown}:{}: expected four numbers", i + 1);
                    return Err(fault(card, why));
                }
            }
        }
        values
    };
    if values.len().is_multiple_of(4) && values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    let why = "its anchors are no finite numbers, four for each anchor".to_owned();
    Err(fault(card, why))
}

/// The anchors at an input size; of the feature maps those that are worth computing beside the smaller scale.
fn anchors_at(
    card: &CardConfig,
    layout: &AnchorsConfig,
    size: SizePx,
    beside: Option<(SizePx, SizePx)>,
) -> Option<AnchorParams> {
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

//! Detection heads other than SSD: from the card and the shapes of the network's outputs to a decoder's settings.

use crate::config::{
    ActivationConfig, AnchorMapLayoutConfig, AnchorUnitConfig, BoxUnitConfig, CardConfig,
    CenternetCodingConfig, CenternetHeadConfig, DetectConfig, DetrHeadConfig, GflHeadConfig,
    RetinafaceHeadConfig, RowLayoutConfig, SizeCodingConfig, YoloFormatConfig, YoloHeadConfig,
};
use crate::pipeline::options::ModelError;
use crate::postprocess::{
    AnchorMapLayout, AnchorUnit, BoxUnit, CenterNetCoding, CenterNetParams, DetrParams, GflOutputs,
    GflParams, HeadParams, RetinaFaceParams, RowLayout, ScoreActivation, SizeCoding, WantedClass,
    YoloAnchorMap, YoloFormat, YoloParams, YoloTask, detr_class_channels,
};
use mobilens_image::SizePx;
use mobilens_nn::Network;

use super::detector::{fault, output_index, wanted_classes};

/// What a head's settings are made of.
pub struct HeadSource<'a> {
    /// The card.
    pub card: &'a CardConfig,
    /// The pipeline's thresholds and classes.
    pub detect: &'a DetectConfig,
    /// The score below which no later stage uses a detection.
    pub floor: f32,
    /// The network.
    pub network: &'a Network,
}

impl HeadSource<'_> {
    /// The settings of the card's head, and which of the network's outputs it reads.
    ///
    /// # Errors
    /// When the network's outputs are not those of the card, or the card has no such head.
    pub fn head_params(&self) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let head = &self.card.head;
        if let Some(yolo) = &head.yolo {
            self.yolo(yolo)
        } else if let Some(gfl) = &head.gfl {
            self.gfl(gfl)
        } else if let Some(centernet) = &head.centernet {
            self.centernet(centernet)
        } else if let Some(retinaface) = &head.retinaface {
            self.retinaface(retinaface)
        } else if let Some(detr) = &head.detr {
            self.detr(detr)
        } else {
            let why = "it has no detection head".to_owned();
            Err(fault(self.card, why))
        }
    }

    fn yolo(&self, head: &YoloHeadConfig) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let mut outputs = self.outputs(&head.outputs)?;
        let format = self.yolo_format(&head.format)?;
        let input = self.input();
        let shapes = self.shapes(&outputs);
        let task = match (&head.prototypes, head.kpt_shape) {
            (Some(name), _) => {
                let prototypes = output_index(self.card, self.network, name)?;
                outputs.push(prototypes);
                YoloTask::with_prototypes(self.shapes(&[prototypes])[0])
                    .map_err(|why| fault(self.card, why))?
            }
            (None, Some([count, values])) => YoloTask::Pose {
                count: count as usize,
                values: values as usize,
            },
            (None, None) => YoloTask::Detect,
        };
        let class_channels = format.class_channels_of(&shapes, input, task);
        let class_channels = class_channels.map_err(|why| fault(self.card, why))?;
        // Without class channels the objectness is the only class's score, or the output names the class.
        let classes = match format {
            YoloFormat::EndToEnd { .. } => self.classes(usize::MAX)?,
            _ => self.classes(class_channels.max(1))?,
        };
        let params = YoloParams {
            input,
            format,
            task,
            class_channels,
            classes,
            multi_label: head.multi_label,
            nms_iou: self.detect.nms_iou.or(head.nms_iou).unwrap_or(1.0),
            max_detections: self.max_detections(head.max_detections),
        };
        Ok((HeadParams::Yolo(params), outputs))
    }

    fn yolo_format(&self, format: &YoloFormatConfig) -> Result<YoloFormat, ModelError> {
        Ok(if let Some(anchors) = &format.anchor_maps {
            let maps = anchors.maps.iter().map(|map| YoloAnchorMap {
                stride: map.stride,
                anchors: map.anchors.iter().map(|[w, h]| (*w, *h)).collect(),
            });
            YoloFormat::AnchorMaps {
                maps: maps.collect(),
                anchor_unit: match anchors.anchor_unit {
                    AnchorUnitConfig::Pixels => AnchorUnit::Pixels,
                    AnchorUnitConfig::Cells => AnchorUnit::Cells,
                },
                size_coding: match anchors.size_coding {
                    SizeCodingConfig::Exp => SizeCoding::Exp,
                    SizeCodingConfig::SquaredSigmoid => SizeCoding::SquaredSigmoid,
                },
                scale_xy: anchors.scale_xy,
                activation: activation(anchors.activation),
                layout: match anchors.layout {
                    AnchorMapLayoutConfig::ChannelsFirst => AnchorMapLayout::ChannelsFirst,
                    AnchorMapLayoutConfig::ChannelsLast => AnchorMapLayout::ChannelsLast,
                    AnchorMapLayoutConfig::AnchorsFirst => AnchorMapLayout::AnchorsFirst,
                },
            }
        } else if let Some(rows) = &format.rows {
            YoloFormat::Rows {
                objectness: rows.objectness,
                layout: row_layout(rows.layout),
                box_unit: box_unit(rows.box_unit),
                activation: activation(rows.activation),
            }
        } else if let Some(maps) = &format.distribution_maps {
            YoloFormat::DistributionMaps {
                strides: maps.strides.clone(),
                bins: maps.bins as usize,
                split: maps.split,
                activation: activation(maps.activation),
            }
        } else if let Some(rows) = &format.grid_rows {
            YoloFormat::GridRows {
                strides: rows.strides.clone(),
                activation: activation(rows.activation),
            }
        } else if let Some(end_to_end) = &format.end_to_end {
            YoloFormat::EndToEnd {
                box_unit: box_unit(end_to_end.box_unit),
            }
        } else {
            let why = "its YOLO head has no format".to_owned();
            return Err(fault(self.card, why));
        })
    }

    fn gfl(&self, head: &GflHeadConfig) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let outputs = self.outputs(&head.outputs)?;
        let mut params = GflParams {
            input: self.input(),
            strides: head.strides.clone(),
            bins: head.bins as usize,
            cell_offset: head.cell_offset,
            outputs: if head.joined {
                GflOutputs::Joined
            } else {
                GflOutputs::Split
            },
            layout: row_layout(head.layout),
            activation: activation(head.activation),
            class_channels: 0,
            clip_to_input: head.clip_to_input,
            classes: Vec::new(),
            nms_iou: self.detect.nms_iou.unwrap_or(head.nms_iou),
            max_detections: self.max_detections(head.max_detections),
        };
        let class_channels = params.class_channels_of(&self.shapes(&outputs));
        params.class_channels = class_channels.map_err(|why| fault(self.card, why))?;
        params.classes = self.classes(params.class_channels)?;
        Ok((HeadParams::Gfl(params), outputs))
    }

    fn centernet(
        &self,
        head: &CenternetHeadConfig,
    ) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let maps = [&head.heatmap, &head.size, &head.offset];
        let outputs = self.outputs(maps.into_iter().chain(&head.landmarks))?;
        let input = self.input();
        let mut params = CenterNetParams {
            input,
            stride: head.stride,
            coding: match head.coding {
                CenternetCodingConfig::Centernet => CenterNetCoding::CenterNet,
                CenternetCodingConfig::Centerface => CenterNetCoding::CenterFace,
            },
            activation: activation(head.activation),
            classes: Vec::new(),
            nms_iou: self.detect.nms_iou.or(head.nms_iou),
            max_detections: self.max_detections(head.max_detections),
        };
        let class_channels = params.class_channels_of(&self.shapes(&outputs));
        params.classes = self.classes(class_channels.map_err(|why| fault(self.card, why))?)?;
        Ok((HeadParams::CenterNet(params), outputs))
    }

    fn retinaface(
        &self,
        head: &RetinafaceHeadConfig,
    ) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let outputs = [&head.boxes, &head.scores].into_iter();
        let outputs = self.outputs(outputs.chain(&head.landmarks))?;
        let [centre, size] = head.variances;
        let mut params = RetinaFaceParams {
            input: self.input(),
            strides: head.strides.clone(),
            prior_sizes_px: head.prior_sizes_px.clone(),
            variances: (centre, size),
            activation: activation(head.activation),
            class_channels: 0,
            classes: Vec::new(),
            nms_iou: self.detect.nms_iou.unwrap_or(head.nms_iou),
            max_detections: self.max_detections(head.max_detections),
        };
        let class_channels = params.class_channels_of(&self.shapes(&outputs));
        params.class_channels = class_channels.map_err(|why| fault(self.card, why))?;
        params.classes = self.classes(params.class_channels)?;
        Ok((HeadParams::RetinaFace(params), outputs))
    }

    fn detr(&self, head: &DetrHeadConfig) -> Result<(HeadParams, Vec<usize>), ModelError> {
        let outputs = self.outputs([&head.logits, &head.boxes])?;
        let class_channels = detr_class_channels(&self.shapes(&outputs));
        let class_channels = class_channels.map_err(|why| fault(self.card, why))?;
        let params = DetrParams {
            activation: activation(head.activation),
            class_channels,
            classes: self.classes(class_channels)?,
            max_detections: self.max_detections(head.max_detections),
        };
        Ok((HeadParams::Detr(params), outputs))
    }

    fn outputs<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Result<Vec<usize>, ModelError> {
        let names = names.into_iter();
        names
            .map(|name| output_index(self.card, self.network, name))
            .collect()
    }

    fn shapes(&self, outputs: &[usize]) -> Vec<&[usize]> {
        let all = self.network.outputs();
        outputs.iter().map(|i| &all[*i].shape[..]).collect()
    }

    fn input(&self) -> SizePx {
        let input = &self.card.input;
        SizePx {
            width: input.width_px,
            height: input.height_px,
        }
    }

    fn classes(&self, channels: usize) -> Result<Vec<WantedClass>, ModelError> {
        let background = self.card.head.has_background();
        wanted_classes(
            self.card,
            self.detect,
            self.floor,
            background,
            channels,
            None,
        )
    }

    fn max_detections(&self, of_card: u32) -> usize {
        self.detect.max_detections.unwrap_or(of_card) as usize
    }
}

/// The activation in the decoders' terms.
pub fn activation(config: ActivationConfig) -> ScoreActivation {
    match config {
        ActivationConfig::None => ScoreActivation::None,
        ActivationConfig::Sigmoid => ScoreActivation::Sigmoid,
        ActivationConfig::Softmax => ScoreActivation::Softmax,
    }
}

fn row_layout(config: RowLayoutConfig) -> RowLayout {
    match config {
        RowLayoutConfig::RowsFirst => RowLayout::RowsFirst,
        RowLayoutConfig::ChannelsFirst => RowLayout::ChannelsFirst,
    }
}

fn box_unit(config: BoxUnitConfig) -> BoxUnit {
    match config {
        BoxUnitConfig::Pixels => BoxUnit::Pixels,
        BoxUnitConfig::Normalized => BoxUnit::Normalized,
    }
}

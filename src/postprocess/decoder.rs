//! The decoder of a detector's head, of whichever kind.

use super::centernet::{CenterNetDecoder, CenterNetParams};
use super::detection::Detection;
use super::detr::{DetrDecoder, DetrParams};
use super::gfl::{GflDecoder, GflParams};
use super::retinaface::{RetinaFaceDecoder, RetinaFaceParams};
use super::ssd::{SsdDecoder, SsdParams};
use super::yolo::{YoloDecoder, YoloParams};
use mobilens_image::{ImageFromModel, SizePx};

/// IoU threshold for joining the detections of several inferences, where the head needs no NMS.
const JOIN_IOU: f32 = 0.6;

/// Parameters of a detector's head.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadParams {
    /// SSD; outputs: boxes, scores, of each map; anchors where they are an output.
    Ssd(SsdParams),
    /// YOLO; outputs as its format says.
    Yolo(YoloParams),
    /// NanoDet, PicoDet; outputs as [`GflParams::outputs`] says.
    Gfl(GflParams),
    /// CenterNet, CenterFace; outputs: heat map, size, offset.
    CenterNet(CenterNetParams),
    /// RetinaFace; outputs: boxes, scores.
    RetinaFace(RetinaFaceParams),
    /// DETR; outputs: logits, boxes.
    Detr(DetrParams),
}

impl HeadParams {
    /// IoU threshold of NMS.
    pub fn nms_iou(&self) -> f32 {
        match self {
            Self::Ssd(params) => params.nms_iou,
            Self::Yolo(params) => params.nms_iou.min(JOIN_IOU),
            Self::Gfl(params) => params.nms_iou,
            Self::CenterNet(params) => params.nms_iou.unwrap_or(JOIN_IOU),
            Self::RetinaFace(params) => params.nms_iou,
            Self::Detr(_) => JOIN_IOU,
        }
    }

    /// Most detections per frame.
    pub fn max_detections(&self) -> usize {
        match self {
            Self::Ssd(params) => params.max_detections,
            Self::Yolo(params) => params.max_detections,
            Self::Gfl(params) => params.max_detections,
            Self::CenterNet(params) => params.max_detections,
            Self::RetinaFace(params) => params.max_detections,
            Self::Detr(params) => params.max_detections,
        }
    }
}

/// Decodes the raw outputs of a detector. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub enum HeadDecoder {
    /// SSD.
    Ssd(SsdDecoder),
    /// YOLO.
    Yolo(YoloDecoder),
    /// NanoDet, PicoDet.
    Gfl(GflDecoder),
    /// CenterNet, CenterFace.
    CenterNet(CenterNetDecoder),
    /// RetinaFace.
    RetinaFace(RetinaFaceDecoder),
    /// DETR.
    Detr(DetrDecoder),
}

impl HeadDecoder {
    /// The decoder for a head.
    pub fn new(params: HeadParams) -> Self {
        match params {
            HeadParams::Ssd(params) => Self::Ssd(SsdDecoder::new(params)),
            HeadParams::Yolo(params) => Self::Yolo(YoloDecoder::new(params)),
            HeadParams::Gfl(params) => Self::Gfl(GflDecoder::new(params)),
            HeadParams::CenterNet(params) => Self::CenterNet(CenterNetDecoder::new(params)),
            HeadParams::RetinaFace(params) => Self::RetinaFace(RetinaFaceDecoder::new(params)),
            HeadParams::Detr(params) => Self::Detr(DetrDecoder::new(params)),
        }
    }

    /// Decodes one frame. `outputs` are in the order of the head's [`HeadParams`]; the result is in pixels of a
    /// frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        match self {
            Self::Ssd(decoder) => decoder.decode(outputs, image_from_model, size),
            Self::Yolo(decoder) => decoder.decode(outputs, image_from_model, size),
            Self::Gfl(decoder) => decoder.decode(outputs, image_from_model, size),
            Self::CenterNet(decoder) => decoder.decode(outputs, image_from_model, size),
            Self::RetinaFace(decoder) => decoder.decode(outputs, image_from_model, size),
            Self::Detr(decoder) => decoder.decode(outputs, image_from_model, size),
        }
    }
}

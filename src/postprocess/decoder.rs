//! The decoder of a detector's head, of whichever kind.

use super::detection::Detection;
use super::ssd::{SsdDecoder, SsdParams};
use mobilens_image::{ImageFromModel, SizePx};

/// Parameters of a detector's head.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadParams {
    /// SSD; outputs: boxes, scores.
    Ssd(SsdParams),
}

impl HeadParams {
    /// IoU threshold of NMS.
    pub fn nms_iou(&self) -> f32 {
        match self {
            Self::Ssd(params) => params.nms_iou,
        }
    }

    /// Most detections per frame.
    pub fn max_detections(&self) -> usize {
        match self {
            Self::Ssd(params) => params.max_detections,
        }
    }
}

/// Decodes the raw outputs of a detector. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub enum HeadDecoder {
    /// SSD.
    Ssd(SsdDecoder),
}

impl HeadDecoder {
    /// The decoder for a head.
    pub fn new(params: HeadParams) -> Self {
        match params {
            HeadParams::Ssd(params) => Self::Ssd(SsdDecoder::new(params)),
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
        match (self, outputs) {
            (Self::Ssd(decoder), [boxes, scores, ..]) => {
                decoder.decode(boxes, scores, image_from_model, size)
            }
            (Self::Ssd(_), _) => Vec::new(),
        }
    }
}

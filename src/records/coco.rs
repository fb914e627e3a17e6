//! The COCO results format (cocodataset.org, "Results Format"): one JSON array for a whole run,
//! as pycocotools' `loadRes` reads it.

use serde::{Deserialize, Serialize};

use super::{FrameRecord, RecordBox, Rle};

/// One detection, or the mask of one class, in COCO's results format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// Id of the picture, from its file name.
    pub image_id: u64,
    /// COCO category.
    pub category_id: u32,
    /// `[x, y, width, height]` in pixels, of a detection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bbox: Option<RecordBox>,
    /// The mask of a class or of a detection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Rle>,
    /// `x, y, score` of each keypoint of a detection, in pixels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keypoints: Vec<f64>,
    /// Confidence, 0 to 1.
    pub score: f64,
}

/// Why a frame cannot be written as COCO results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CocoError {
    /// The name does not end in digits.
    #[error("COCO results need pictures named after their image id; \"{name}\" has no number")]
    NoImageId {
        /// File name.
        name: String,
    },
}

impl CocoResult {
    /// The results of one frame. Frames of a video take their number as `image_id`.
    ///
    /// # Errors
    /// When a picture's name holds no id.
    pub fn from_frame(record: &FrameRecord) -> Result<Vec<Self>, CocoError> {
        let image_id = match &record.name {
            None => record.frame,
            Some(name) => image_id_from_name(name)
                .ok_or_else(|| CocoError::NoImageId { name: name.clone() })?,
        };
        let boxes = record.detections.iter().map(|d| Self {
            image_id,
            category_id: d.category_id,
            bbox: Some(d.bbox),
            segmentation: d.segmentation.clone(),
            keypoints: d.keypoints.concat(),
            score: d.score,
        });
        let areas = record.segmentation.iter().flat_map(|s| &s.classes);
        let areas = areas.filter(|area| area.rle.is_some()).map(|area| Self {
            image_id,
            category_id: area.category_id,
            bbox: None,
            segmentation: area.rle.clone(),
            keypoints: Vec::new(),
            score: 1.0,
        });
        Ok(boxes.chain(areas).collect())
    }
}

/// The id in a COCO file name: its last run of digits (`COCO_val2014_000000000042.jpg`: 42).
pub fn image_id_from_name(name: &str) -> Option<u64> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.rsplit(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_years_names() {
        assert_eq!(image_id_from_name("000000000785.jpg"), Some(785));
        assert_eq!(
            image_id_from_name("COCO_val2014_000000000042.jpg"),
            Some(42)
        );
        assert_eq!(image_id_from_name("street.jpg"), None);
        assert_eq!(image_id_from_name("99999999999999999999999.jpg"), None);
    }
}

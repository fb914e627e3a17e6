//! Predictions: detections, segmentation, classification, labels.

use std::sync::Arc;

use crate::frame::InferencePlan;
use mobilens_image::RectPx;

use super::class_mask::ClassMask;
use super::classify::Classification;
use super::instance_mask::InstanceMask;
use super::safe_ground::SafeGround;

/// A detected object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detection {
    /// The model's label id (COCO ids for COCO models).
    pub category_id: u32,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Its box in pixels of the original frame, clipped to the frame.
    pub rect: RectPx,
    /// Its keypoints, in the network's order; empty where the network has none, or a value is not finite.
    pub keypoints: Vec<Keypoint>,
    /// Its pixels, from a network that segments instances.
    pub mask: Option<Arc<InstanceMask>>,
}

/// A keypoint of an object: a landmark of a face, a joint of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// Column in pixels of the original frame, not clipped.
    pub x: f32,
    /// Row.
    pub y: f32,
    /// Confidence or visibility, 0 to 1; 1 where the network has none.
    pub score: f32,
}

impl Detection {
    /// Moves it by so many columns and rows, whole ones where it has a mask: from pixels of a crop to
    /// those of the frame.
    pub fn shift(&mut self, dx: f32, dy: f32) {
        self.rect.x += dx;
        self.rect.y += dy;
        for point in &mut self.keypoints {
            point.x += dx;
            point.y += dy;
        }
        if let Some(mask) = &mut self.mask {
            *mask = Arc::new(mask.shifted(dx as u32, dy as u32));
        }
    }

    /// Sets its keypoints, unless a value is not finite.
    pub(super) fn set_keypoints(&mut self, points: Vec<Keypoint>) {
        let is_finite = |p: &Keypoint| p.x.is_finite() && p.y.is_finite() && p.score.is_finite();
        if points.iter().all(is_finite) {
            self.keypoints = points;
        }
    }
}

/// The network's prediction for one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The regions that inference ran on.
    pub plan: InferencePlan,
    /// Detections, best score first.
    pub detections: Vec<Detection>,
    /// The segmentation, from a segmentation network.
    pub segmentation: Option<Segmentation>,
    /// The classes of the whole picture, best score first, from a classification network.
    pub classification: Option<Vec<Classification>>,
}

/// Semantic segmentation of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// The label id of each pixel.
    pub mask: Arc<ClassMask>,
    /// The largest free circle, if requested and there is one.
    pub safe_ground: Option<SafeGround>,
}

/// Names of the model's label ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Sorted by id.
    entries: Vec<(u32, String)>,
}

impl Labels {
    /// Takes `(id, name)` pairs in any order.
    pub fn new(mut entries: Vec<(u32, String)>) -> Self {
        entries.sort_by_key(|(id, _)| *id);
        Self { entries }
    }

    /// The name of `id`, or `unlabelled`.
    pub fn name(&self, id: u32) -> &str {
        self.entries
            .binary_search_by_key(&id, |(id, _)| *id)
            .map_or("unlabelled", |i| self.entries[i].1.as_str())
    }

    /// The id of `name`.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.entries
            .iter()
            .find(|(_, n)| n == name)
            .map(|(id, _)| *id)
    }

    /// All labels, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.entries.iter().map(|(id, name)| (*id, name.as_str()))
    }
}

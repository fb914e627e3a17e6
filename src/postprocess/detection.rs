//! What a network saw.

use std::sync::Arc;

use crate::frame::InferencePlan;
use mobilens_image::RectPx;

use super::mask::ClassMask;
use super::safe_ground::SafeGround;

/// One object found in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The model's label id (COCO ids for COCO models).
    pub category_id: u32,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Where it is, in pixels of the original frame, inside the frame.
    pub rect: RectPx,
}

/// What the network said of one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// What of the frame it looked at.
    pub plan: InferencePlan,
    /// Objects, best score first.
    pub detections: Vec<Detection>,
    /// What each pixel is, from a network that segments.
    pub segmentation: Option<Segmentation>,
}

/// What each pixel of a frame is.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// The classes, by label id.
    pub mask: Arc<ClassMask>,
    /// The largest circle of free ground, if it was looked for and there is one.
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

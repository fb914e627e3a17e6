//! What of a frame is looked at.

use mobilens_image::{RectPx, Similarity};

/// What of a frame is looked at, and what is known of it before.
#[derive(Clone, Debug, PartialEq)]
pub struct InferencePlan {
    /// Where the network looks.
    pub region: Region,
    /// Which scene it shows, counted from 0. A number, and not whether there is a cut before it: the
    /// frame after a cut may be dropped on its way.
    pub scene: u64,
    /// Nothing moved since the network last looked.
    pub is_still: bool,
    /// Takes places of the scene's first frame to this one, where the camera's motion is followed.
    pub camera: Option<Similarity>,
    /// InferenceInterval how many frames somebody looks, where that is steered.
    pub every: Option<u32>,
}

/// Where the network looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Region {
    /// Nowhere.
    None,
    /// At the whole frame.
    #[default]
    Whole,
    /// At parts of it, in pixels; the whole frame may be one of them.
    Crops(Vec<RectPx>),
}

impl Default for InferencePlan {
    /// At the whole frame, of which nothing is known.
    fn default() -> Self {
        Self {
            region: Region::Whole,
            scene: 0,
            is_still: false,
            camera: None,
            every: None,
        }
    }
}

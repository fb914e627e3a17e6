//! Inference plan of a frame: on which regions the network runs.

use super::meta::MediaTime;
use mobilens_image::{RectPx, Similarity, SizePx};

/// On which regions of a frame the network runs, and what gating knows of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct InferencePlan {
    /// Regions to run the network on.
    pub region: Region,
    /// Tiles, in pixels, that the network runs on only if the whole frame, one of the crops of `region`, shows
    /// something there. In a prediction: those that it did not run on.
    pub quiet: Vec<RectPx>,
    /// Number of the scene, from 0. Not a flag for a cut before this frame: the first frame after a
    /// cut may be dropped later.
    pub scene: u64,
    /// Nothing moved since the last frame that the network ran on.
    pub is_still: bool,
    /// Transform from the scene's first frame to this one, if camera motion is estimated.
    pub camera: Option<Similarity>,
    /// Current inference interval in frames, if it is regulated by latency.
    pub every: Option<u32>,
    /// Presentation time of the frame that was captured before this one.
    pub previous_pts: Option<MediaTime>,
}

/// The part of a frame that the network runs on.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Region {
    /// No inference.
    None,
    /// The whole frame.
    #[default]
    Whole,
    /// Crops of the frame, in pixels; the whole frame may be one of them.
    Crops(Vec<RectPx>),
    /// The whole frame or parts of it, each at an input size of its own.
    Looks(Vec<Look>),
}

/// One inference on a frame, or on a part of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Width and height of the network's input.
    pub input: SizePx,
    /// The part of the frame, in pixels; all of it if `None`.
    pub region: Option<RectPx>,
}

impl Default for InferencePlan {
    /// Inference on the whole frame, without gating.
    fn default() -> Self {
        Self {
            region: Region::Whole,
            quiet: Vec::new(),
            scene: 0,
            is_still: false,
            camera: None,
            every: None,
            previous_pts: None,
        }
    }
}

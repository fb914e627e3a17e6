//! What the tracker is given: its parameters, and each frame.

use mobilens_image::{RectPx, Similarity, SizePx};

/// Tracker parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackerParams {
    /// Least score of a detection that may continue a track (`track_low_thresh` in ByteTrack).
    pub score_low: f64,
    /// Least score of a detection of the first association (`track_high_thresh` in ByteTrack).
    pub score_high: f64,
    /// Score that a detection of a track must reach before the track is confirmed
    /// (`new_track_thresh` in ByteTrack).
    pub start_score: f64,
    /// Least IoU (of enlarged boxes) of a match.
    pub match_iou: f64,
    /// IoU above which, of two detections of a class, the one with the lower score is left out.
    pub nms_iou: f64,
    /// IoU above which detections of different classes are one object.
    pub cross_class_iou: f64,
    /// Matches until a track is confirmed and gets its id.
    pub confirm_frames: u32,
    /// Age, in milliseconds, at which a track is confirmed without a detection from `start_score`.
    pub confirm_ms: f64,
    /// How long a lost track is kept, in milliseconds (`track_buffer` in ByteTrack).
    pub memory_ms: f64,
}

/// A frame's data besides its detections.
#[derive(Clone, Copy, Debug)]
pub struct FrameContext<'a> {
    /// Media time in milliseconds.
    pub t_ms: f64,
    /// Size of the picture; without it, tracks neither begin nor end at its edge.
    pub size: Option<SizePx>,
    /// A scene cut: all tracks end.
    pub is_cut: bool,
    /// Transform from the last frame to this one, if camera motion is estimated.
    pub camera: Option<&'a Similarity>,
    /// Regions that inference ran on: `None` for the whole frame, empty for no inference.
    pub inferred: Option<&'a [RectPx]>,
    /// Nothing moved since the last inference (the motion gate is closed).
    pub is_still: bool,
}

impl FrameContext<'_> {
    /// Whether inference ran at the centre of the box.
    pub(super) fn was_inferred(&self, rect: &RectPx) -> bool {
        let Some(inferred) = self.inferred else {
            return true;
        };
        let (x, y) = (rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
        inferred.iter().any(|region| {
            let inside_x = region.x <= x && x < region.x + region.width;
            let inside_y = region.y <= y && y < region.y + region.height;
            inside_x && inside_y
        })
    }
}

/// One detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Its class.
    pub category_id: u32,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Its box.
    pub rect: RectPx,
    /// Below the detector's threshold: may continue a track but not start one.
    pub is_faint: bool,
}

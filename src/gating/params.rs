//! Gating parameters.

use std::collections::HashMap;

use super::looks::LookParams;
use crate::frame::Region;

/// What an earlier run did with a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedPlan {
    /// Where the network ran.
    pub region: Region,
    /// Whether nothing had moved.
    pub is_still: bool,
}

/// What gating does; everything off by default, so that inference runs on every whole frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatingParams {
    /// Skip inference while nothing changes.
    pub gate: Option<MotionGate>,
    /// Run inference on every n-th frame only.
    pub every: Option<InferenceInterval>,
    /// Run inference on regions of interest.
    pub regions: Option<RegionParams>,
    /// Run inference on tiles of the frame.
    pub tiles: Option<TileParams>,
    /// Run inference at several input sizes and on parts of the frame, within a time budget.
    pub looks: Option<LookParams>,
    /// Repeat the plans of an earlier run, by the frame's number; what is not in it is inferred as a whole.
    pub recorded: Option<HashMap<u64, RecordedPlan>>,
    /// Estimate the camera's motion.
    pub camera: bool,
}

/// Motion gate: skips inference while nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionGate {
    /// Share of the picture (0 to 1) that must have changed since the last inference.
    pub share: f64,
    /// Longest time without inference, in milliseconds.
    pub force_ms: f64,
    /// How long the gate stays open after a change, in milliseconds.
    pub after_ms: f64,
}

/// Interval between two inferences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InferenceInterval {
    /// Every n-th frame.
    Frames(u32),
    /// Regulated so that records are younger than the target.
    Latency {
        /// Age of a record when it is made, in milliseconds.
        target_ms: f64,
        /// Greatest interval, in frames.
        max_interval: u32,
    },
}

/// Regions of interest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionParams {
    /// Regions around tracks instead of around changes.
    pub on_tracks: bool,
    /// Most regions per frame.
    pub max_regions: usize,
    /// Least side of a region in pixels: the model's input side, so that the network sees the
    /// picture at its own resolution.
    pub side_px: f32,
    /// Longest time between two inferences on the whole frame, in milliseconds.
    pub whole_ms: f64,
}

/// Tiles: a grid of overlapping crops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileParams {
    /// Columns of the grid.
    pub columns: u32,
    /// Rows of the grid.
    pub rows: u32,
    /// Share of a tile's side that overlaps its neighbour.
    pub overlap: f32,
    /// Tiles per frame, round-robin; all if `None`.
    pub at_once: Option<usize>,
    /// Time per frame in milliseconds: as many tiles, round-robin, as fit in it.
    pub budget_ms: Option<f64>,
    /// Run inference on the whole frame as well.
    pub whole: bool,
    /// With `whole`: leave out tiles in which nothing moves, nothing was found, and the whole frame shows
    /// nothing.
    pub skip_quiet: bool,
    /// Longest time that a tile is left out, in milliseconds.
    pub force_ms: f64,
}

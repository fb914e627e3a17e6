//! What is wanted of the attention.

/// What of each frame is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatingParams {
    /// Do not look while nothing changes.
    pub gate: Option<MotionGate>,
    /// Look at some frames only.
    pub every: Option<InferenceInterval>,
    /// Look closely where something is.
    pub regions: Option<RegionParams>,
    /// Look closely at all of it, tile by tile.
    pub tiles: Option<TileParams>,
    /// Follow the camera.
    pub camera: bool,
}

/// Do not look while nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionGate {
    /// Share of the picture that must have changed since the last look.
    pub share: f64,
    /// Look at least so often.
    pub force_ms: f64,
    /// Go on looking at every frame for so long after a change.
    pub after_ms: f64,
}

/// Look at some frames only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InferenceInterval {
    /// One of so many.
    Frames(u32),
    /// As many as keep records younger than the target; one of `most` at least.
    Latency {
        /// Age of a record when it is made.
        target_ms: f64,
        /// Greatest interval.
        most: u32,
    },
}

/// Look closely where something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionParams {
    /// Where tracks are, instead of where something changed.
    pub on_tracks: bool,
    /// Most regions of a frame.
    pub most: usize,
    /// Side of a region, if what is in it is not larger: the model's input, so that it sees the
    /// picture's own pixels.
    pub side_px: f32,
    /// Look at the whole frame at least so often.
    pub whole_ms: f64,
}

/// Look closely at all of it, tile by tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileParams {
    /// TileParams side by side.
    pub columns: u32,
    /// TileParams on top of each other.
    pub rows: u32,
    /// Share of a tile's side that its neighbour sees too.
    pub overlap: f32,
    /// TileParams of a frame, in turns; all if `None`.
    pub at_once: Option<usize>,
    /// As many tiles, in turns, as take so long.
    pub budget_ms: Option<f64>,
    /// Look at the whole frame too.
    pub whole: bool,
}

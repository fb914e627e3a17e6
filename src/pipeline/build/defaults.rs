//! Defaults that several builders share.

/// Score below which detections are dropped, where the pipeline does not say.
pub const SCORE_THRESHOLD: f32 = 0.4;
/// Detections below have no part in tracking either.
pub const SCORE_LOW: f64 = 0.1;

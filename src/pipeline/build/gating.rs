//! Gating: which frames and regions the network runs on, from the configuration.

use crate::capture::SourceInfo;
use crate::config::{GatingConfig, LoadedPipeline, RegionTrigger};
use crate::gating::{
    Gating, GatingParams, InferenceInterval, MotionGate, RegionParams, TileParams,
};
use crate::pipeline::options::RunError;

use super::looks::{look_params, recorded_plans};

/// Whether the network may look at less than all of every frame.
pub fn is_gated(pipeline: &LoadedPipeline) -> bool {
    pipeline.config.gating != GatingConfig::default()
}

/// Whether pictures are compared, so that it is known when something moves.
#[cfg(feature = "mqtt")]
pub fn compares_pictures(pipeline: &LoadedPipeline) -> bool {
    let gating = &pipeline.config.gating;
    let regions = gating.regions.as_ref();
    gating.motion_gate.is_some() || regions.is_some_and(|r| r.on == RegionTrigger::Motion)
}

/// What decides where to look, if there is something to decide, or cuts and the camera's motion are
/// needed further on.
///
/// # Errors
/// When the plan of an earlier run cannot be read.
pub fn gating(
    pipeline: &LoadedPipeline,
    info: &SourceInfo,
    drops: bool,
) -> Result<Option<Gating>, RunError> {
    let config = &pipeline.config.gating;
    if !is_gated(pipeline) && pipeline.config.track.is_none() {
        return Ok(None);
    }
    let gate = config.motion_gate.as_ref().map(|gate| MotionGate {
        share: gate.share,
        force_ms: gate.force_ms as f64,
        after_ms: gate.after_ms as f64,
    });
    let every = config.interval.as_ref().and_then(|interval| {
        let governed = interval
            .latency_ms
            .map(|target_ms| InferenceInterval::Latency {
                target_ms,
                max_interval: 30,
            });
        interval.every.map(InferenceInterval::Frames).or(governed)
    });
    let input = &pipeline.card.input;
    let regions = config.regions.as_ref().map(|regions| RegionParams {
        on_tracks: regions.on == RegionTrigger::Tracks,
        max_regions: regions.max as usize,
        side_px: input.width_px.max(input.height_px) as f32,
        whole_ms: regions.whole_ms as f64,
    });
    let tiles = config.tiles.as_ref().map(|tiles| TileParams {
        columns: tiles.columns,
        rows: tiles.rows,
        overlap: tiles.overlap,
        at_once: tiles.at_once.map(|n| n as usize),
        budget_ms: tiles.budget_ms,
        whole: tiles.whole,
        skip_quiet: tiles.skip_quiet.unwrap_or(tiles.whole),
        force_ms: tiles.force_ms as f64,
    });
    let camera = pipeline
        .config
        .track
        .as_ref()
        .is_some_and(|track| track.camera_motion);
    let params = GatingParams {
        gate,
        every,
        regions,
        tiles,
        looks: look_params(pipeline, info),
        recorded: recorded_plans(pipeline)?,
        camera,
    };
    Ok(Some(Gating::new(params, drops)))
}

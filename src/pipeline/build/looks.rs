//! Looks: their parameters from the configuration, and the plan of an earlier run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::capture::SourceInfo;
use crate::config::LoadedPipeline;
use crate::frame::{Look, Region};
use crate::gating::{LookParams, RecordedPlan};
use crate::pipeline::options::RunError;
use crate::records::{FrameRecord, LookRecord, Record};
use mobilens_image::SizePx;

use super::detector::input_sizes;

/// Budget in milliseconds where the source has no frame rate.
const PICTURE_BUDGET_MS: f64 = 1000.0;
/// Share of the budget that the looks are planned for; the rest is for what else happens to a frame.
const PLANNED_SHARE: f64 = 0.9;

/// How looks are planned, if they are.
pub fn look_params(pipeline: &LoadedPipeline, info: &SourceInfo) -> Option<LookParams> {
    let config = &pipeline.config;
    config.gating.looks?;
    let is_video = info.kind != "images";
    let of_source = info.fps.filter(|fps| is_video && *fps > 0.0);
    let of_source = of_source.map_or(PICTURE_BUDGET_MS, |fps| 1000.0 / fps);
    Some(LookParams {
        budget_ms: config.gating.budget_ms.unwrap_or(of_source) * PLANNED_SHARE,
        sizes: input_sizes(pipeline),
        is_tracked: config.track.is_some(),
        is_video,
    })
}

/// What an earlier run did with each frame, if it is to be repeated.
///
/// # Errors
/// When the file cannot be read, holds anything but records, or no frame of this stream.
pub fn recorded_plans(
    pipeline: &LoadedPipeline,
) -> Result<Option<HashMap<u64, RecordedPlan>>, RunError> {
    let Some(path) = &pipeline.config.gating.plan else {
        return Ok(None);
    };
    let fault = |why: String| RunError::Plan {
        path: path.clone(),
        why,
    };
    let plans = read_plans(path, &pipeline.stream).map_err(fault)?;
    if plans.is_empty() {
        let stream = &pipeline.stream;
        return Err(fault(format!(
            "it has no frame of the stream \"{stream}\" with `looks`: expected the JSON lines of a run with \
             `gating.looks: auto`"
        )));
    }
    Ok(Some(plans))
}

fn read_plans(path: &Path, stream: &str) -> Result<HashMap<u64, RecordedPlan>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut plans = HashMap::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let at = |why: String| format!("line {}: {why}", i + 1);
        let line = line.map_err(|e| at(e.to_string()))?;
        let record: Record = serde_json::from_str(&line).map_err(|e| at(e.to_string()))?;
        if let Record::Frame(frame) = record
            && frame.stream == stream
            && let Some(region) = region_of(&frame)
        {
            let is_still = frame.still;
            plans.insert(frame.frame, RecordedPlan { region, is_still });
        }
    }
    Ok(plans)
}

fn region_of(frame: &FrameRecord) -> Option<Region> {
    match (&frame.looks, frame.inferred) {
        (Some(looks), _) => Some(Region::Looks(looks.iter().map(look).collect())),
        (None, Some(false)) => Some(Region::None),
        (None, _) => None,
    }
}

fn look(record: &LookRecord) -> Look {
    let [width, height] = record.input;
    Look {
        input: SizePx { width, height },
        region: record.region.map(Into::into),
    }
}

//! Opens the source that a pipeline names, or its fallback.

use std::path::Path;

use super::feed::Pace;
use crate::capture::{
    CameraRequest, CameraSource, CaptureError, DEFAULT_IMAGES_FPS, ImagesSource, Source,
    VideoSource,
};
use crate::config::{CameraSpec, PaceSpec, PipelineSpec, SourceSpec};
use crate::telemetry::TelemetryLog;

/// A source and how it is to be read.
pub struct OpenSource {
    /// The source.
    pub source: Box<dyn Source>,
    /// When its frames are due.
    pub pace: Pace,
    /// Whether what nobody is ready for is dropped.
    pub drops: bool,
    /// Whether to begin again at its end.
    pub looping: bool,
    /// What a drone wrote beside the clip.
    pub telemetry: Option<TelemetryLog>,
}

/// Opens the pipeline's source; a camera that is not there is replaced by the fallback, which
/// plays once, if there is no window to watch it in.
///
/// # Errors
/// When neither can be opened.
pub fn open_source(spec: &PipelineSpec, has_window: bool) -> Result<OpenSource, CaptureError> {
    match (open(&spec.source), &spec.fallback) {
        (Err(error @ CaptureError::Device { .. }), Some(fallback)) => {
            let mut replay = open(fallback)?;
            replay.looping &= has_window;
            let clip = &replay.source.info().uri;
            tracing::warn!("{error}; replaying {clip} instead");
            Ok(replay)
        }
        (opened, _) => Ok(OpenSource {
            telemetry: telemetry(spec)?,
            ..opened?
        }),
    }
}

fn open(spec: &SourceSpec) -> Result<OpenSource, CaptureError> {
    if let Some(camera) = &spec.camera {
        return Ok(OpenSource {
            source: Box::new(CameraSource::open(&camera_request(camera))?),
            pace: Pace::Fast,
            drops: true,
            looping: false,
            telemetry: None,
        });
    }
    let (source, pace, looping): (Box<dyn Source>, _, _) = match (&spec.video, &spec.images) {
        (Some(video), _) => (
            Box::new(VideoSource::open(&video.path)?),
            video.pace,
            video.looping,
        ),
        (None, Some(images)) => {
            let fps = images.fps.unwrap_or(DEFAULT_IMAGES_FPS);
            (
                Box::new(ImagesSource::open(&images.path, fps)?),
                images.pace,
                images.looping,
            )
        }
        (None, None) => unreachable!("the schema wants exactly one source"),
    };
    Ok(OpenSource {
        source,
        pace: match pace {
            PaceSpec::Fast => Pace::Fast,
            PaceSpec::Realtime | PaceSpec::Live => Pace::Realtime,
        },
        drops: pace == PaceSpec::Live,
        looping,
        telemetry: None,
    })
}

/// The telemetry that the pipeline names, or that lies beside its clip.
fn telemetry(spec: &PipelineSpec) -> Result<Option<TelemetryLog>, CaptureError> {
    let telemetry = spec.telemetry.as_ref();
    let named = telemetry.and_then(|telemetry| telemetry.srt.as_deref());
    let Some(video) = &spec.source.video else {
        return Ok(None);
    };
    let beside = || {
        let names = ["srt", "SRT"].map(|ending| video.path.with_extension(ending));
        names.into_iter().find(|path| path.is_file())
    };
    let Some(path) = named.map(Path::to_owned).or_else(beside) else {
        return Ok(None);
    };
    match TelemetryLog::read(&path) {
        Ok(log) => {
            if let Some((entry, line)) = log.cut() {
                let (path, whole) = (path.display(), log.len());
                tracing::warn!(
                    "{path} ends in the middle of entry {entry} (line {line}); the {whole} before are used"
                );
            }
            let offset = telemetry.and_then(|telemetry| telemetry.offset_ms);
            Ok(Some(log.with_offset(offset.unwrap_or(0) as f64)))
        }
        Err(error) if named.is_some() => Err(CaptureError::Telemetry(error)),
        Err(error) => {
            tracing::warn!("{error}; going on without");
            Ok(None)
        }
    }
}

fn camera_request(spec: &CameraSpec) -> CameraRequest {
    let default = CameraRequest::default();
    CameraRequest {
        device: match (&spec.device, spec.index) {
            (Some(device), _) => device.clone(),
            (None, index) => format!("/dev/video{}", index.unwrap_or(0)),
        },
        width_px: spec.width_px.unwrap_or(default.width_px),
        height_px: spec.height_px.unwrap_or(default.height_px),
        fps: spec.fps.unwrap_or(default.fps),
        stall: spec
            .stall_ms
            .map_or(default.stall, std::time::Duration::from_millis),
    }
}

//! Opens the source that a pipeline names, or its fallback.

use super::feed::Pace;
use crate::capture::{
    CameraRequest, CameraSource, CaptureError, DEFAULT_IMAGES_FPS, ImagesSource, Source,
    VideoSource,
};
use crate::config::{CameraSpec, PaceSpec, PipelineSpec, SourceSpec};

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
        (opened, _) => opened,
    }
}

fn open(spec: &SourceSpec) -> Result<OpenSource, CaptureError> {
    if let Some(camera) = &spec.camera {
        return Ok(OpenSource {
            source: Box::new(CameraSource::open(&camera_request(camera))?),
            pace: Pace::Fast,
            drops: true,
            looping: false,
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
    })
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

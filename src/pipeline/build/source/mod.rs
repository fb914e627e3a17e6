//! Opens the source that a pipeline names, or its fallback.

#[cfg(feature = "camera")]
mod camera;
#[cfg(not(feature = "camera"))]
#[path = "no_camera.rs"]
mod camera;
#[cfg(feature = "rtsp")]
mod rtsp;
#[cfg(not(feature = "rtsp"))]
#[path = "no_rtsp.rs"]
mod rtsp;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mobilens_video::y4m::Y4M_MAGIC;

use crate::capture::{
    AviSource, CaptureError, FfmpegInput, FfmpegSource, ImagesSource, Source, VideoSource,
    Y4mSource, is_mjpeg_avi,
};
#[cfg(any(feature = "camera", feature = "rtsp"))]
use crate::capture::{Opener, Reconnecting};
#[cfg(any(feature = "camera", feature = "rtsp"))]
use crate::config::ReconnectConfig;
use crate::config::{
    DecoderConfig, PaceConfig, PipelineConfig, SourceConfig, VideoConfig, expand_env, is_url,
};
use crate::pipeline::stages::capture::{OpenSource, Pace};
use crate::telemetry::TelemetryLog;

/// Opens the pipeline's source; a camera that is not there is replaced by the fallback, which
/// plays once, if nobody watches.
///
/// # Errors
/// When neither can be opened.
pub fn open_source(spec: &PipelineConfig, is_watched: bool) -> Result<OpenSource, CaptureError> {
    match (open(&spec.source), &spec.fallback) {
        (Err(error @ CaptureError::Device { .. }), Some(fallback)) => {
            let mut replay = open(fallback)?;
            replay.looping &= is_watched;
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

fn open(spec: &SourceConfig) -> Result<OpenSource, CaptureError> {
    let live = |source| OpenSource {
        source,
        pace: Pace::Fast,
        drops: true,
        looping: false,
        telemetry: None,
    };
    if let Some(camera) = &spec.camera {
        return Ok(live(camera::open(camera)?));
    }
    if let Some(rtsp) = &spec.rtsp {
        return Ok(live(rtsp::open(rtsp)?));
    }
    let (source, pace, looping): (Box<dyn Source>, _, _) = match (&spec.video, &spec.images) {
        (Some(video), _) => (open_video(video)?, video.pace, video.looping),
        (None, Some(images)) => (
            Box::new(ImagesSource::open(&images.path, images.fps)?),
            images.pace,
            images.looping,
        ),
        (None, None) => unreachable!("the schema wants exactly one source"),
    };
    Ok(OpenSource {
        source,
        pace: match pace {
            PaceConfig::Fast => Pace::Fast,
            PaceConfig::Realtime | PaceConfig::Live => Pace::Realtime,
        },
        drops: pace == PaceConfig::Live,
        looping,
        telemetry: None,
    })
}

/// Opens a camera, which is reconnected as the configuration says.
#[cfg(any(feature = "camera", feature = "rtsp"))]
fn connect(
    reconnect: ReconnectConfig,
    kind: &'static str,
    name: &str,
    open: Opener,
) -> Result<Box<dyn Source>, CaptureError> {
    Ok(match reconnect {
        ReconnectConfig::Never => open()?,
        ReconnectConfig::Lost => Box::new(Reconnecting::new(open()?, open)),
        ReconnectConfig::Always => Box::new(Reconnecting::waiting(kind, name, open)),
    })
}

/// The telemetry that the pipeline names, or that lies beside its clip.
fn telemetry(spec: &PipelineConfig) -> Result<Option<TelemetryLog>, CaptureError> {
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
            if let Some((entry, line)) = log.truncated() {
                let (path, whole) = (path.display(), log.len());
                tracing::warn!(
                    "{path} ends in the middle of entry {entry} (line {line}); the {whole} before are used"
                );
            }
            let offset = telemetry.map(|telemetry| telemetry.offset_ms as f64);
            Ok(Some(log.with_offset(offset.unwrap_or_default())))
        }
        Err(error) if named.is_some() => Err(CaptureError::Telemetry(error)),
        Err(error) => {
            tracing::warn!("{error}; going on without");
            Ok(None)
        }
    }
}

/// Opens a clip with what can decode it.
fn open_video(video: &VideoConfig) -> Result<Box<dyn Source>, CaptureError> {
    let path = &video.path;
    let fault = |path: &Path, why| CaptureError::Malformed {
        path: path.to_owned(),
        why,
    };
    if is_url(path) {
        let url =
            expand_env(&path.to_string_lossy()).map_err(|why| fault(Path::new("URL"), why))?;
        let input = FfmpegInput::file(Path::new(&url), &video.ffmpeg_args);
        let input = input.map_err(|why| fault(Path::new("URL"), why))?;
        return Ok(Box::new(FfmpegSource::open(input)?));
    }
    let ffmpeg = || -> Result<Box<dyn Source>, CaptureError> {
        let input = FfmpegInput::file(path, &video.ffmpeg_args);
        Ok(Box::new(FfmpegSource::open(
            input.map_err(|why| fault(path, why))?,
        )?))
    };
    if path == Path::new("-") || begins_with(path, Y4M_MAGIC) {
        return Ok(Box::new(Y4mSource::open(path)?));
    }
    if video.decoder != DecoderConfig::Ffmpeg && is_mjpeg_avi(path) {
        return Ok(Box::new(AviSource::open(path)?));
    }
    match video.decoder {
        DecoderConfig::Ffmpeg => ffmpeg(),
        DecoderConfig::Builtin => Ok(Box::new(VideoSource::open(path)?)),
        DecoderConfig::Auto => match VideoSource::open(path) {
            Ok(source) => Ok(Box::new(source)),
            Err(error @ CaptureError::Malformed { .. }) if FfmpegSource::is_installed() => {
                // What neither can read is best explained by the built-in one.
                let opened = ffmpeg().map_err(|_| error)?;
                tracing::info!("{} is decoded by ffmpeg", path.display());
                Ok(opened)
            }
            Err(error) => Err(error),
        },
    }
}

fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut start = vec![0; magic.len()];
    // A pipe must not be read twice.
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    is_file
        && File::open(path)
            .and_then(|mut f| f.read_exact(&mut start))
            .is_ok()
        && start == magic
}

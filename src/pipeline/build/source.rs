//! Opens the source that a pipeline names, or its fallback.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mobilens_video::y4m::Y4M_MAGIC;

use crate::capture::{
    AviSource, CameraReopener, CameraRequest, CaptureError, FfmpegInput, FfmpegSource,
    ImagesSource, Opener, Reconnecting, RtspRequest, RtspSource, Source, VideoSource, Y4mSource,
    is_mjpeg_avi,
};
use crate::config::{
    CameraConfig, DecoderConfig, PaceConfig, PipelineConfig, ReconnectConfig, RtspConfig,
    RtspTransport, SourceConfig, VideoConfig, expand_env, is_url,
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
        let seat = Arc::new(CameraReopener::new(camera_request(camera)));
        let name = seat.name().to_owned();
        let open: Opener = Arc::new(move || Ok(Box::new(seat.open()?)));
        return Ok(live(connect(camera.reconnect, "camera", &name, open)?));
    }
    if let Some(rtsp) = &spec.rtsp {
        let request = rtsp_request(rtsp).map_err(|why| CaptureError::Device {
            device: "rtsp".to_owned(),
            why,
        })?;
        let (name, spec) = (request.name(), rtsp.clone());
        let open: Opener = Arc::new(move || open_rtsp(&request, &spec));
        return Ok(live(connect(rtsp.reconnect, "rtsp", &name, open)?));
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

/// Opens a camera, and sees to it that it is waited for as it should be.
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

/// Opens a network camera with what can decode it.
fn open_rtsp(request: &RtspRequest, spec: &RtspConfig) -> Result<Box<dyn Source>, CaptureError> {
    let ffmpeg = || -> Result<Box<dyn Source>, CaptureError> {
        let input = FfmpegInput::rtsp(request, &spec.ffmpeg_args);
        Ok(Box::new(FfmpegSource::open(input)?))
    };
    let builtin = match spec.decoder {
        DecoderConfig::Ffmpeg => return ffmpeg(),
        DecoderConfig::Builtin | DecoderConfig::Auto => RtspSource::open(request),
    };
    match builtin {
        Ok(source) => Ok(Box::new(source)),
        Err(error @ CaptureError::Unsupported { .. })
            if spec.decoder == DecoderConfig::Auto && FfmpegSource::is_installed() =>
        {
            tracing::info!("{error}: it is decoded by ffmpeg");
            ffmpeg()
        }
        Err(error) => Err(error),
    }
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
            if let Some((entry, line)) = log.cut() {
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

fn rtsp_request(spec: &RtspConfig) -> Result<RtspRequest, String> {
    let url = expand_env(&spec.url)?;
    let stall = Duration::from_millis(spec.stall_ms);
    RtspRequest::new(&url, spec.transport == RtspTransport::Udp, stall)
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

fn camera_request(spec: &CameraConfig) -> CameraRequest {
    CameraRequest {
        device: spec.device_path(),
        width_px: spec.width_px,
        height_px: spec.height_px,
        fps: spec.fps,
        stall: Duration::from_millis(spec.stall_ms),
    }
}

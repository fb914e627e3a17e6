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
    AviSource, CaptureError, FfmpegInput, FfmpegSource, ImagesSource, OpenThread, Source,
    VideoSource, Y4mSource, is_mjpeg_avi,
};
#[cfg(any(feature = "camera", feature = "rtsp"))]
use crate::capture::{Opener, ReconnectPolicy, Reconnecting};
#[cfg(any(feature = "camera", feature = "rtsp"))]
use crate::config::ReconnectConfig;
use crate::config::{
    DecoderConfig, PaceConfig, PipelineConfig, SourceConfig, VideoConfig, expand_env, is_url,
};
use crate::flow::StopSignal;
use crate::pipeline::stages::capture::{OpenSource, Pace};
use crate::telemetry::TelemetryLog;

/// How a source is opened.
pub struct OpenOptions<'a> {
    /// Whether somebody watches a window or a page.
    pub is_watched: bool,
    /// Whether a live source that is absent is waited for, unless the pipeline says otherwise.
    #[cfg_attr(
        not(any(feature = "camera", feature = "rtsp")),
        allow(dead_code, reason = "this build has no live source")
    )]
    pub waits: bool,
    /// Opens it.
    pub thread: &'a OpenThread,
    /// Called again and again meanwhile.
    pub idle: &'a mut dyn FnMut(),
}

/// Opens the pipeline's source; a camera that is not there is replaced by the fallback, which
/// plays once, if nobody watches.
///
/// # Errors
/// When neither can be opened; [`CaptureError::Interrupted`] when the stop signal is given before.
pub fn open_source(
    config: &PipelineConfig,
    options: &mut OpenOptions<'_>,
) -> Result<OpenSource, CaptureError> {
    let Some(fallback) = &config.fallback else {
        return open(&config.source, Some(config), options);
    };
    options.waits = false;
    match open(&config.source, Some(config), options) {
        Err(error @ (CaptureError::Device { .. } | CaptureError::Rejected { .. })) => {
            let mut replay = open(fallback, None, options)?;
            replay.looping &= options.is_watched;
            let clip = &replay.source.info().uri;
            tracing::warn!("{error}; replaying {clip} instead");
            Ok(replay)
        }
        opened => opened,
    }
}

/// Opens `config`; a file with the telemetry of the pipeline `flight`.
fn open(
    config: &SourceConfig,
    flight: Option<&PipelineConfig>,
    options: &mut OpenOptions<'_>,
) -> Result<OpenSource, CaptureError> {
    let live = |source| OpenSource {
        source,
        pace: Pace::Fast,
        drops: true,
        looping: false,
        telemetry: None,
    };
    if let Some(camera) = &config.camera {
        return Ok(live(camera::open(camera, options)?));
    }
    if let Some(rtsp) = &config.rtsp {
        return Ok(live(rtsp::open(rtsp, options)?));
    }
    let (config, flight) = (config.clone(), flight.cloned());
    let attempt = options.thread.open(move |stop| {
        let source = open_file(&config, stop)?;
        let telemetry = flight.as_ref().map(telemetry).transpose()?.flatten();
        Ok(OpenSource {
            telemetry,
            ..source
        })
    });
    attempt.wait(options.idle)
}

/// Opens a clip or pictures, without regard to their pace.
///
/// # Errors
/// When they cannot be opened, or the source is a camera.
pub fn open_recording(
    config: &SourceConfig,
    stop: &StopSignal,
) -> Result<Box<dyn Source>, CaptureError> {
    match (&config.video, &config.images) {
        (Some(video), _) => open_video(video, stop),
        (None, Some(images)) => Ok(Box::new(ImagesSource::open(&images.path, images.fps)?)),
        (None, None) => Err(CaptureError::Malformed {
            path: "source".into(),
            why: "expected a video or images".to_owned(),
        }),
    }
}

/// Opens a clip or pictures as the configuration says.
fn open_file(config: &SourceConfig, stop: &StopSignal) -> Result<OpenSource, CaptureError> {
    let video = config.video.as_ref().map(|v| (v.pace, v.looping));
    let images = config.images.as_ref().map(|i| (i.pace, i.looping));
    let (pace, looping) = video.or(images).unwrap_or_default();
    Ok(OpenSource {
        source: open_recording(config, stop)?,
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
    name: (&'static str, &str),
    open: Opener,
    options: &mut OpenOptions<'_>,
) -> Result<Box<dyn Source>, CaptureError> {
    let policy = match reconnect {
        ReconnectConfig::Never => ReconnectPolicy::Never,
        ReconnectConfig::Auto if options.waits => ReconnectPolicy::Absent,
        ReconnectConfig::Auto | ReconnectConfig::Lost => ReconnectPolicy::Lost,
        ReconnectConfig::Always => {
            return Ok(Box::new(Reconnecting::waiting(name, open, options.thread)));
        }
    };
    let (thread, idle) = (options.thread, &mut *options.idle);
    let source = Reconnecting::connect(name, open, policy, thread, idle)?;
    Ok(Box::new(source))
}

/// The telemetry that the pipeline names, or that lies beside its clip.
fn telemetry(config: &PipelineConfig) -> Result<Option<TelemetryLog>, CaptureError> {
    let telemetry = config.telemetry.as_ref();
    let named = telemetry.and_then(|telemetry| telemetry.srt.as_deref());
    let Some(video) = &config.source.video else {
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
fn open_video(video: &VideoConfig, stop: &StopSignal) -> Result<Box<dyn Source>, CaptureError> {
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
        return Ok(Box::new(FfmpegSource::open(input, stop)?));
    }
    let ffmpeg = || -> Result<Box<dyn Source>, CaptureError> {
        let input = FfmpegInput::file(path, &video.ffmpeg_args);
        Ok(Box::new(FfmpegSource::open(
            input.map_err(|why| fault(path, why))?,
            stop,
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

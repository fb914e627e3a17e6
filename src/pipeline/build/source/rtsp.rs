//! Network cameras, from the configuration.

use std::sync::Arc;
use std::time::Duration;

use super::{OpenOptions, connect};
use crate::capture::{
    CaptureError, FfmpegInput, FfmpegSource, Opener, RtspRequest, RtspSource, Source,
};
use crate::config::{DecoderConfig, RtspConfig, RtspTransport, expand_env};
use crate::flow::StopSignal;

/// Connects to a network camera.
///
/// # Errors
/// When it cannot be reached, and is not waited for.
pub fn open(
    config: &RtspConfig,
    options: &mut OpenOptions<'_>,
) -> Result<Box<dyn Source>, CaptureError> {
    let request = rtsp_request(config).map_err(|why| CaptureError::Rejected {
        device: "rtsp".to_owned(),
        why,
    })?;
    let (name, owned) = (request.name(), config.clone());
    let open: Opener = Arc::new(move |stop| open_rtsp(&request, &owned, stop));
    connect(config.reconnect, ("rtsp", &name), open, options)
}

/// Opens a network camera with what can decode it.
fn open_rtsp(
    request: &RtspRequest,
    config: &RtspConfig,
    stop: &StopSignal,
) -> Result<Box<dyn Source>, CaptureError> {
    let ffmpeg = || -> Result<Box<dyn Source>, CaptureError> {
        let input = FfmpegInput::rtsp(request, &config.ffmpeg_args);
        Ok(Box::new(FfmpegSource::open(input, stop)?))
    };
    let builtin = match config.decoder {
        DecoderConfig::Ffmpeg if !FfmpegSource::is_installed() => {
            return Err(CaptureError::Rejected {
                device: request.name(),
                why: "it needs ffmpeg, which is not installed".to_owned(),
            });
        }
        DecoderConfig::Ffmpeg => return ffmpeg(),
        DecoderConfig::Builtin | DecoderConfig::Auto => RtspSource::open(request, stop),
    };
    match builtin {
        Ok(source) => Ok(Box::new(source)),
        Err(error @ CaptureError::Unsupported { .. })
            if config.decoder == DecoderConfig::Auto && FfmpegSource::is_installed() =>
        {
            tracing::info!("{error}: it is decoded by ffmpeg");
            ffmpeg()
        }
        Err(error) => Err(error),
    }
}

fn rtsp_request(config: &RtspConfig) -> Result<RtspRequest, String> {
    let url = expand_env(&config.url)?;
    let stall = Duration::from_millis(config.stall_ms);
    RtspRequest::new(&url, config.transport == RtspTransport::Udp, stall)
}

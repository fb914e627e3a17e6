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
    let (name, spec) = (request.name(), config.clone());
    let open: Opener = Arc::new(move |stop| open_rtsp(&request, &spec, stop));
    connect(config.reconnect, ("rtsp", &name), open, options)
}

/// Opens a network camera with what can decode it.
fn open_rtsp(
    request: &RtspRequest,
    spec: &RtspConfig,
    stop: &StopSignal,
) -> Result<Box<dyn Source>, CaptureError> {
    let ffmpeg = || -> Result<Box<dyn Source>, CaptureError> {
        let input = FfmpegInput::rtsp(request, &spec.ffmpeg_args);
        Ok(Box::new(FfmpegSource::open(input, stop)?))
    };
    let builtin = match spec.decoder {
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
            if spec.decoder == DecoderConfig::Auto && FfmpegSource::is_installed() =>
        {
            tracing::info!("{error}: it is decoded by ffmpeg");
            ffmpeg()
        }
        Err(error) => Err(error),
    }
}

fn rtsp_request(spec: &RtspConfig) -> Result<RtspRequest, String> {
    let url = expand_env(&spec.url)?;
    let stall = Duration::from_millis(spec.stall_ms);
    RtspRequest::new(&url, spec.transport == RtspTransport::Udp, stall)
}

//! V4L2 on Linux, for what nokhwa lacks: lists all formats, sizes and frame rates of a device, and sets
//! its mode.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use v4l::capability::Flags;
use v4l::context::Node;
use v4l::format::{Colorspace, FourCC, Quantization};
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, Fraction};

use super::info::{CameraIdentity, CameraInfo, CameraMode};
use super::modes::{
    AdvertisedMode, COMMON_SIZES, CaptureMode, FrameRate, FrameRates, no_usable_mode, ranked_modes,
};
use super::os_error::explain_os_error;
use super::request::CameraRequest;
use mobilens_image::{YuvColour, YuvMatrix, YuvRange};

/// The format that was negotiated with a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegotiatedFormat {
    /// Pixel format, size and frame rate.
    pub mode: CaptureMode,
    /// Bytes from one row to the next (`bytesperline`) in the raw formats.
    pub stride_bytes: usize,
    /// Colour matrix and range of its YUV samples.
    pub colour: YuvColour,
}

/// Opens V4L2 device `index` and sets the best of its modes.
///
/// nokhwa rejects a camera whose current mode it cannot express (a fractional frame rate, an unknown
/// pixel format), which another program may have set; and it does not notice when a new size changes
/// the frame rate. So the mode is set and read back here, before nokhwa opens the device.
///
/// # Errors
/// In one line: what is wrong, and what to do.
pub fn negotiate(index: u32, request: &CameraRequest) -> Result<NegotiatedFormat, String> {
    let explained = |e: io::Error| explain_os_error(&e.to_string());
    let device = Device::new(index as usize).map_err(explained)?;
    let caps = device.query_caps().map_err(explained)?.capabilities;
    if !caps.contains(Flags::VIDEO_CAPTURE) {
        return Err(if caps.contains(Flags::VIDEO_CAPTURE_MPLANE) {
            "its driver has only the multi-planar API, which is not supported; use another camera"
        } else {
            "not a video capture device; `mobilens devices` lists the cameras"
        }
        .to_owned());
    }
    let advertised_modes =
        advertised_modes(&device, (request.width_px, request.height_px)).map_err(explained)?;
    let ranked_modes = ranked_modes(&advertised_modes, request);
    if ranked_modes.is_empty() {
        return Err(no_usable_mode(&advertised_modes));
    }
    let mut last_error = None;
    for mode in ranked_modes {
        match set_mode(&device, mode) {
            Ok(Some(negotiated)) => return Ok(negotiated),
            Ok(None) => {}
            // Busy or unplugged: no other mode would work.
            Err(error) if matches!(error.raw_os_error(), Some(16 | 19)) => {
                return Err(explained(error));
            }
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.map_or_else(
        || "it rejects the modes that it advertises; plug it in again".to_owned(),
        explained,
    ))
}

/// Sets `mode`; `None` if the device changed it.
fn set_mode(device: &Device, mode: CaptureMode) -> io::Result<Option<NegotiatedFormat>> {
    let code = mode.format.fourcc().as_bytes();
    let fourcc = FourCC::new(&[code[0], code[1], code[2], code[3]]);
    device.set_format(&Format::new(mode.width, mode.height, fourcc))?;
    device.set_params(&Parameters::with_fps(mode.fps))?;
    let format = device.format()?;
    let Fraction {
        numerator,
        denominator,
    } = device.params()?.interval;
    let same = (format.width, format.height, format.fourcc) == (mode.width, mode.height, fourcc)
        && numerator == 1
        && denominator > 0;
    Ok(same.then(|| NegotiatedFormat {
        mode: CaptureMode {
            fps: denominator,
            ..mode
        },
        stride_bytes: format.stride as usize,
        colour: colour(&format),
    }))
}

/// Colour matrix and range by the driver (linux/videodev2.h, `V4L2_MAP_QUANTIZATION_DEFAULT`).
fn colour(format: &Format) -> YuvColour {
    let range = match (format.quantization, format.colorspace) {
        (Quantization::FullRange, _) | (Quantization::Default, Colorspace::JPEG) => YuvRange::Full,
        _ => YuvRange::Limited,
    };
    let matrix = match format.colorspace {
        Colorspace::Rec709 => YuvMatrix::Bt709,
        _ => YuvMatrix::Bt601,
    };
    YuvColour { matrix, range }
}

/// All modes that `device` advertises; of a range of sizes, the requested, the common and the largest.
fn advertised_modes(device: &Device, requested: (u32, u32)) -> io::Result<Vec<AdvertisedMode>> {
    let mut all = Vec::new();
    for format in device.enum_formats()? {
        let mut sizes = Vec::new();
        for listed in device.enum_framesizes(format.fourcc).unwrap_or_default() {
            match listed.size {
                FrameSizeEnum::Discrete(s) => sizes.push((s.width, s.height)),
                FrameSizeEnum::Stepwise(s) => sizes.extend(
                    std::iter::once(requested)
                        .chain(COMMON_SIZES)
                        .chain([(s.max_width, s.max_height)])
                        .filter(|&(width, height)| {
                            is_in_range(width, s.min_width, s.max_width, s.step_width)
                                && is_in_range(height, s.min_height, s.max_height, s.step_height)
                        }),
                ),
            }
        }
        for (at, &(width, height)) in sizes.iter().enumerate() {
            if sizes[..at].contains(&(width, height)) {
                continue;
            }
            let rates = device
                .enum_frameintervals(format.fourcc, width, height)
                .unwrap_or_default()
                .into_iter()
                .map(|listed| match listed.interval {
                    FrameIntervalEnum::Discrete(interval) => {
                        FrameRates::Discrete(frame_rate(interval))
                    }
                    FrameIntervalEnum::Stepwise(i) => {
                        FrameRates::Range(frame_rate(i.max), frame_rate(i.min))
                    }
                })
                .collect();
            all.push(AdvertisedMode {
                fourcc: fourcc_name(format.fourcc),
                width,
                height,
                rates,
            });
        }
    }
    Ok(all)
}

/// Name of a FourCC; its highest bit marks big-endian samples.
fn fourcc_name(fourcc: FourCC) -> String {
    let [a, b, c, d] = fourcc.repr;
    let letters = String::from_utf8_lossy(&[a, b, c, d & 0x7f]).into_owned();
    if d & 0x80 == 0 {
        letters
    } else {
        letters + "-BE"
    }
}

/// Whether `value` is in a stepwise range.
fn is_in_range(value: u32, min: u32, max: u32, step: u32) -> bool {
    (min..=max).contains(&value) && (value - min).is_multiple_of(step.max(1))
}

/// Frame rate of a frame interval in seconds.
fn frame_rate(interval: Fraction) -> FrameRate {
    FrameRate {
        frames: interval.denominator,
        seconds: interval.numerator,
    }
}

/// All cameras, by number, without device nodes that do not capture video (metadata, outputs).
pub fn list_cameras() -> Vec<CameraInfo> {
    let mut device_nodes: Vec<(u32, Node)> = v4l::context::enum_devices()
        .into_iter()
        .filter_map(|node| {
            let name = node.path().file_name()?.to_str()?;
            Some((name.strip_prefix("video")?.parse().ok()?, node))
        })
        .collect();
    device_nodes.sort_by_key(|(index, _)| *index);
    device_nodes
        .iter()
        // v4l panics on a name that is not UTF-8, or an unknown colour space.
        .filter_map(|(_, node)| catch_unwind(AssertUnwindSafe(|| camera_info(node))).ok()?)
        .collect()
}

/// Identity of the camera at a device path.
pub fn identity_of(path: &str) -> Option<CameraIdentity> {
    // v4l panics on a name that is not UTF-8.
    let caps = catch_unwind(|| Device::with_path(path).ok()?.query_caps().ok()).ok()??;
    caps.capabilities
        .contains(Flags::VIDEO_CAPTURE)
        .then_some(CameraIdentity {
            card: caps.card,
            bus: caps.bus,
        })
}

/// The paths of all V4L2 device nodes.
pub fn device_nodes() -> Vec<String> {
    v4l::context::enum_devices()
        .iter()
        .map(|node| node.path().display().to_string())
        .collect()
}

fn camera_info(node: &Node) -> Option<CameraInfo> {
    let path = node.path().display().to_string();
    let device = match Device::with_path(node.path()) {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let name = node.name().unwrap_or_default();
            return Some(CameraInfo {
                device: path,
                name: format!("{} ({})", name.trim(), explain_os_error(&error.to_string())),
                modes: Vec::new(),
            });
        }
        Err(_) => return None,
    };
    let caps = device.query_caps().ok()?;
    if !caps.capabilities.contains(Flags::VIDEO_CAPTURE) {
        return None;
    }
    let modes: Vec<CameraMode> = advertised_modes(&device, (1920, 1080))
        .unwrap_or_default()
        .iter()
        .flat_map(|mode| {
            mode.rates.iter().map(|rates| CameraMode {
                fourcc: mode.fourcc.clone(),
                width: mode.width,
                height: mode.height,
                fps: match rates {
                    FrameRates::Discrete(rate) | FrameRates::Range(_, rate) => rate.fps(),
                },
            })
        })
        .collect();
    (!modes.is_empty()).then_some(CameraInfo {
        device: path,
        name: caps.card,
        modes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourcc_names_of_big_endian_formats() {
        assert_eq!(fourcc_name(FourCC::new(b"YUYV")), "YUYV");
        assert_eq!(fourcc_name(FourCC::new(b"Y16\xa0")), "Y16 -BE");
    }

    #[test]
    fn stepwise_ranges() {
        assert!(is_in_range(640, 32, 3280, 2));
        assert!(!is_in_range(641, 32, 3280, 2));
        assert!(!is_in_range(3282, 32, 3280, 2));
        assert!(is_in_range(33, 32, 48, 0));
    }

    #[test]
    fn colour_follows_the_driver() {
        let mut format = Format::new(640, 480, FourCC::new(b"YUYV"));
        assert_eq!(colour(&format), YuvColour::DEFAULT);
        format.colorspace = Colorspace::JPEG;
        assert_eq!(colour(&format).range, YuvRange::Full);
        format.quantization = Quantization::LimitedRange;
        assert_eq!(colour(&format).range, YuvRange::Limited);
        format.colorspace = Colorspace::Rec709;
        assert_eq!(colour(&format).matrix, YuvMatrix::Bt709);
    }
}

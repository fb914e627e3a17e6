//! What nokhwa does not do on Linux: tell all that a device offers, and put it into a mode.

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

use super::device::explain;
use super::list::{CameraInfo, CameraMode};
use super::modes::{
    AdvertisedMode, CaptureMode, Rate, Rates, USUAL_SIZES, choices, nothing_usable,
};
use super::reopen::Identity;
use super::request::CameraRequest;
use mobilens_image::{YuvColour, YuvMatrix, YuvRange};

/// What a device was set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settled {
    /// Pixel format, size and rate.
    pub choice: CaptureMode,
    /// Bytes from one row to the next in the raw formats.
    pub row_bytes: usize,
    /// How its YUV is to be read.
    pub colour: YuvColour,
}

/// Puts device `index` into the best of its modes.
///
/// nokhwa refuses a camera whose present mode it cannot express (a fractional rate, a format that
/// it does not know), also where another program left it so; and it does not notice when a new
/// size changes the rate. So the mode is set here, read back, and nokhwa finds it as it is.
///
/// # Errors
/// In one line: what is wrong, and what to do.
pub fn settle(index: u32, request: &CameraRequest) -> Result<Settled, String> {
    let said = |e: io::Error| explain(&e.to_string());
    let device = Device::new(index as usize).map_err(said)?;
    let caps = device.query_caps().map_err(said)?.capabilities;
    if !caps.contains(Flags::VIDEO_CAPTURE) {
        return Err(if caps.contains(Flags::VIDEO_CAPTURE_MPLANE) {
            "its driver gives each plane its own buffer, which is not read; take another camera"
        } else {
            "it gives no pictures; `mobilens devices` lists the cameras"
        }
        .to_owned());
    }
    let offers = offers(&device, (request.width_px, request.height_px)).map_err(said)?;
    let choices = choices(&offers, request);
    if choices.is_empty() {
        return Err(nothing_usable(&offers));
    }
    let mut refused = None;
    for choice in choices {
        match set(&device, choice) {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            // Busy or gone: so it is for each other mode.
            Err(error) if matches!(error.raw_os_error(), Some(16 | 19)) => return Err(said(error)),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(
        || "it does not take the modes that it lists; plug it in again".to_owned(),
        said,
    ))
}

/// Sets `choice`; `None` when the device made something else of it.
fn set(device: &Device, choice: CaptureMode) -> io::Result<Option<Settled>> {
    let code = choice.format.fourcc().as_bytes();
    let fourcc = FourCC::new(&[code[0], code[1], code[2], code[3]]);
    device.set_format(&Format::new(choice.width, choice.height, fourcc))?;
    device.set_params(&Parameters::with_fps(choice.fps))?;
    let format = device.format()?;
    let Fraction {
        numerator,
        denominator,
    } = device.params()?.interval;
    let same = (format.width, format.height, format.fourcc)
        == (choice.width, choice.height, fourcc)
        && numerator == 1
        && denominator > 0;
    Ok(same.then(|| Settled {
        choice: CaptureMode {
            fps: denominator,
            ..choice
        },
        row_bytes: format.stride as usize,
        colour: colour(&format),
    }))
}

/// The driver's word on colours (linux/videodev2.h, `V4L2_MAP_QUANTIZATION_DEFAULT`).
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

/// All that `device` offers; of ranges of sizes, the wanted, the usual and the largest.
fn offers(device: &Device, wanted: (u32, u32)) -> io::Result<Vec<AdvertisedMode>> {
    let mut all = Vec::new();
    for format in device.enum_formats()? {
        let mut sizes = Vec::new();
        for listed in device.enum_framesizes(format.fourcc).unwrap_or_default() {
            match listed.size {
                FrameSizeEnum::Discrete(s) => sizes.push((s.width, s.height)),
                FrameSizeEnum::Stepwise(s) => sizes.extend(
                    std::iter::once(wanted)
                        .chain(USUAL_SIZES)
                        .chain([(s.max_width, s.max_height)])
                        .filter(|&(width, height)| {
                            on_grid(width, s.min_width, s.max_width, s.step_width)
                                && on_grid(height, s.min_height, s.max_height, s.step_height)
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
                    FrameIntervalEnum::Discrete(interval) => Rates::One(rate(interval)),
                    FrameIntervalEnum::Stepwise(i) => Rates::Between(rate(i.max), rate(i.min)),
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

/// The letters of a fourcc; its highest bit means that samples have their high byte first.
fn fourcc_name(fourcc: FourCC) -> String {
    let [a, b, c, d] = fourcc.repr;
    let letters = String::from_utf8_lossy(&[a, b, c, d & 0x7f]).into_owned();
    if d & 0x80 == 0 {
        letters
    } else {
        letters + "-BE"
    }
}

fn on_grid(value: u32, min: u32, max: u32, step: u32) -> bool {
    (min..=max).contains(&value) && (value - min).is_multiple_of(step.max(1))
}

/// The rate at which a frame takes `interval` seconds.
fn rate(interval: Fraction) -> Rate {
    Rate {
        frames: interval.denominator,
        seconds: interval.numerator,
    }
}

/// All cameras, by number. Nodes that give no pictures (metadata, outputs) are left out.
pub fn list_cameras() -> Vec<CameraInfo> {
    let mut nodes: Vec<(u32, Node)> = v4l::context::enum_devices()
        .into_iter()
        .filter_map(|node| {
            let name = node.path().file_name()?.to_str()?;
            Some((name.strip_prefix("video")?.parse().ok()?, node))
        })
        .collect();
    nodes.sort_by_key(|(index, _)| *index);
    nodes
        .iter()
        // v4l unwinds over a name that is not UTF-8, or a colour space that it does not know.
        .filter_map(|(_, node)| catch_unwind(AssertUnwindSafe(|| camera_at(node))).ok()?)
        .collect()
}

/// What tells the camera at a device's path from others.
pub fn identity_of(path: &str) -> Option<Identity> {
    // v4l unwinds over a name that is not UTF-8.
    let caps = catch_unwind(|| Device::with_path(path).ok()?.query_caps().ok()).ok()??;
    caps.capabilities
        .contains(Flags::VIDEO_CAPTURE)
        .then_some(Identity {
            card: caps.card,
            bus: caps.bus,
        })
}

/// The paths of all devices, whatever they are.
pub fn nodes() -> Vec<String> {
    v4l::context::enum_devices()
        .iter()
        .map(|node| node.path().display().to_string())
        .collect()
}

fn camera_at(node: &Node) -> Option<CameraInfo> {
    let path = node.path().display().to_string();
    let device = match Device::with_path(node.path()) {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let name = node.name().unwrap_or_default();
            return Some(CameraInfo {
                device: path,
                name: format!("{} ({})", name.trim(), explain(&error.to_string())),
                modes: Vec::new(),
            });
        }
        Err(_) => return None,
    };
    let caps = device.query_caps().ok()?;
    if !caps.capabilities.contains(Flags::VIDEO_CAPTURE) {
        return None;
    }
    let modes: Vec<CameraMode> = offers(&device, (1920, 1080))
        .unwrap_or_default()
        .iter()
        .flat_map(|offer| {
            offer.rates.iter().map(|rates| CameraMode {
                fourcc: offer.fourcc.clone(),
                width: offer.width,
                height: offer.height,
                fps: match rates {
                    Rates::One(rate) | Rates::Between(_, rate) => rate.fps(),
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
    fn big_endian_formats_have_a_name_too() {
        assert_eq!(fourcc_name(FourCC::new(b"YUYV")), "YUYV");
        assert_eq!(fourcc_name(FourCC::new(b"Y16\xa0")), "Y16 -BE");
    }

    #[test]
    fn sizes_lie_on_the_grid_of_their_range() {
        assert!(on_grid(640, 32, 3280, 2));
        assert!(!on_grid(641, 32, 3280, 2));
        assert!(!on_grid(3282, 32, 3280, 2));
        assert!(on_grid(33, 32, 48, 0));
    }

    #[test]
    fn colours_are_the_drivers_word() {
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

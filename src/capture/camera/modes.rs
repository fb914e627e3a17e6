//! Ranks the modes that a camera advertises for a requested size and frame rate.
//!
//! Only advertised modes are set: a rejected request can leave a driver in a mode that blocks every
//! program. Of those, nokhwa can express only integer frame rates. (On other systems than Linux, nokhwa
//! selects the mode itself, from sizes that are tried one by one.)

#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::cmp::Reverse;

use super::request::CameraRequest;

/// Sizes to try after the requested one.
pub const COMMON_SIZES: [(u32, u32); 4] = [(640, 480), (640, 360), (1280, 720), (320, 240)];

/// Supported pixel formats of cameras, the cheapest to decode first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RawFormat {
    /// YUYV: packed 4:2:2.
    Yuyv,
    /// Motion JPEG: one JPEG per frame.
    Mjpeg,
    /// NV12: semi-planar 4:2:0.
    Nv12,
}

impl RawFormat {
    /// All supported formats.
    pub const ALL: [Self; 3] = [Self::Yuyv, Self::Mjpeg, Self::Nv12];

    /// FourCC of the format.
    pub fn fourcc(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Mjpeg => "MJPG",
            Self::Nv12 => "NV12",
        }
    }
}

/// Frame rate as a fraction, as V4L2 reports it (the inverse of its frame interval).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// Numerator: frames.
    pub frames: u32,
    /// Denominator: seconds.
    pub seconds: u32,
}

impl FrameRate {
    /// Frames per second.
    pub fn fps(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds.max(1))
    }

    /// Frames per second, if that is an integer.
    fn as_integer(self) -> Option<u32> {
        let seconds = self.seconds.max(1);
        (self.frames >= seconds && self.frames.is_multiple_of(seconds))
            .then_some(self.frames / seconds)
    }
}

/// A frame rate, or range of frame rates, that a device advertises for a format and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRates {
    /// One rate.
    Discrete(FrameRate),
    /// All rates from the lowest to the highest.
    Range(FrameRate, FrameRate),
}

impl FrameRates {
    /// The integer rate nearest to `requested`.
    fn nearest(self, requested: u32) -> Option<u32> {
        match self {
            Self::Discrete(rate) => rate.as_integer(),
            Self::Range(lowest, highest) => {
                let (lowest, highest) = (lowest.fps().ceil() as u32, highest.fps() as u32);
                let nearest = requested.clamp(lowest.max(1), highest.max(lowest).max(1));
                (lowest..=highest).contains(&nearest).then_some(nearest)
            }
        }
    }
}

/// A mode that a device advertises: pixel format, size and frame rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedMode {
    /// Pixel format (FourCC).
    pub fourcc: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frame rates; empty where the driver does not list them.
    pub rates: Vec<FrameRates>,
}

/// A mode to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureMode {
    /// Pixel format.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
}

/// The modes to try, best first: the requested size, then common sizes, then the nearest of the others;
/// at each size the formats that reach the requested frame rate before those that do not, then the
/// cheapest to decode.
pub fn ranked_modes(advertised: &[AdvertisedMode], request: &CameraRequest) -> Vec<CaptureMode> {
    let requested = (request.width_px, request.height_px);
    let mut all: Vec<CaptureMode> = advertised
        .iter()
        .filter_map(|mode| {
            let format = RawFormat::ALL
                .into_iter()
                .find(|f| f.fourcc() == mode.fourcc)?;
            if format == RawFormat::Yuyv && !mode.width.is_multiple_of(2) {
                return None;
            }
            let fps = if mode.rates.is_empty() {
                request.fps
            } else {
                mode.rates
                    .iter()
                    .filter_map(|rates| rates.nearest(request.fps))
                    .min_by_key(|fps| (fps.abs_diff(request.fps), Reverse(*fps)))?
            };
            Some(CaptureMode {
                format,
                width: mode.width,
                height: mode.height,
                fps,
            })
        })
        .collect();
    all.sort_by_key(|mode| {
        let size = (mode.width, mode.height);
        let rank = std::iter::once(requested)
            .chain(COMMON_SIZES)
            .position(|s| s == size)
            .unwrap_or(usize::MAX);
        let distance =
            u64::from(size.0.abs_diff(requested.0)) + u64::from(size.1.abs_diff(requested.1));
        let reached = mode.fps.min(request.fps);
        (rank, distance, Reverse(reached), mode.format)
    });
    all
}

/// The error when none of `advertised` is usable: why, and what to do.
pub fn no_usable_mode(advertised: &[AdvertisedMode]) -> String {
    let is_supported =
        |mode: &&AdvertisedMode| RawFormat::ALL.iter().any(|f| f.fourcc() == mode.fourcc);
    if let Some(mode) = advertised.iter().find(is_supported) {
        let (width, height) = (mode.width, mode.height);
        return format!(
            "it has only fractional frame rates (as at {width}x{height}), which are not supported; \
             use another camera"
        );
    }
    let mut others: Vec<&str> = advertised.iter().map(|o| o.fourcc.as_str()).collect();
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        return "it has no capture formats; `mobilens devices` lists the cameras".to_owned();
    }
    let others = others.join(", ");
    format!("it gives {others}, but only YUYV, MJPEG and NV12 are supported; use another camera")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(frames: u32, seconds: u32) -> FrameRates {
        FrameRates::Discrete(FrameRate { frames, seconds })
    }

    fn mode(fourcc: &str, width: u32, height: u32, rates: &[FrameRates]) -> AdvertisedMode {
        AdvertisedMode {
            fourcc: fourcc.to_owned(),
            width,
            height,
            rates: rates.to_vec(),
        }
    }

    fn best(
        advertised: &[AdvertisedMode],
        width_px: u32,
        height_px: u32,
    ) -> Option<(RawFormat, u32, u32, u32)> {
        let request = CameraRequest {
            width_px,
            height_px,
            ..CameraRequest::any()
        };
        ranked_modes(advertised, &request)
            .first()
            .map(|c| (c.format, c.width, c.height, c.fps))
    }

    #[test]
    fn the_requested_size_ranks_before_common_ones_and_those_before_others() {
        let advertised = [
            mode("YUYV", 1600, 900, &[rate(30, 1)]),
            mode("YUYV", 640, 480, &[rate(30, 1)]),
            mode("YUYV", 1280, 720, &[rate(30, 1)]),
        ];
        let yuyv = RawFormat::Yuyv;
        assert_eq!(best(&advertised, 1600, 900), Some((yuyv, 1600, 900, 30)));
        assert_eq!(best(&advertised, 1920, 1080), Some((yuyv, 640, 480, 30)));
        assert_eq!(
            best(&advertised[..1], 640, 480),
            Some((yuyv, 1600, 900, 30))
        );
    }

    #[test]
    fn jpeg_at_the_requested_rate_ranks_before_raw_at_a_lower_rate() {
        let advertised = [
            mode("YUYV", 1280, 720, &[rate(10, 1), rate(5, 1)]),
            mode("MJPG", 1280, 720, &[rate(60, 1), rate(30, 1)]),
        ];
        assert_eq!(
            best(&advertised, 1280, 720),
            Some((RawFormat::Mjpeg, 1280, 720, 30))
        );
    }

    #[test]
    fn raw_ranks_before_jpeg_at_the_same_rate() {
        let rates = [rate(30, 1)];
        let advertised = [
            mode("MJPG", 640, 480, &rates),
            mode("NV12", 640, 480, &rates),
            mode("YUYV", 640, 480, &rates),
        ];
        assert_eq!(
            best(&advertised, 640, 480),
            Some((RawFormat::Yuyv, 640, 480, 30))
        );
    }

    #[test]
    fn fractional_rates_are_ignored() {
        let advertised = [
            mode("YUYV", 640, 480, &[rate(25, 2), rate(30_000, 1001)]),
            mode("YUYV", 320, 240, &[rate(25, 2), rate(15, 1)]),
        ];
        assert_eq!(
            best(&advertised, 640, 480),
            Some((RawFormat::Yuyv, 320, 240, 15))
        );
        assert_eq!(best(&advertised[..1], 640, 480), None);
        assert!(no_usable_mode(&advertised[..1]).contains("as at 640x480"));
    }

    #[test]
    fn ranges_of_rates_are_clamped_to_integers() {
        let between = |l: (u32, u32), h: (u32, u32)| {
            let [l, h] = [l, h].map(|(frames, seconds)| FrameRate { frames, seconds });
            FrameRates::Range(l, h)
        };
        assert_eq!(between((1, 1), (90, 1)).nearest(30), Some(30));
        assert_eq!(between((1, 1), (25, 2)).nearest(30), Some(12));
        assert_eq!(between((60, 1), (120, 1)).nearest(30), Some(60));
        assert_eq!(between((0, 1), (1, 2)).nearest(30), None);
        assert_eq!(between((25, 2), (51, 4)).nearest(30), None);
    }

    #[test]
    fn without_listed_rates_the_requested_one_is_tried() {
        assert_eq!(
            best(&[mode("NV12", 640, 480, &[])], 640, 480),
            Some((RawFormat::Nv12, 640, 480, 30))
        );
    }

    #[test]
    fn unsupported_formats_are_named() {
        let advertised = [
            mode("H264", 640, 480, &[rate(30, 1)]),
            mode("GREY", 640, 480, &[rate(30, 1)]),
            mode("H264", 320, 240, &[rate(30, 1)]),
        ];
        assert_eq!(best(&advertised, 640, 480), None);
        assert!(no_usable_mode(&advertised).starts_with("it gives GREY, H264, but only"));
        assert!(no_usable_mode(&[]).contains("no capture formats"));
    }
}

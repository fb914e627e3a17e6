//! What a camera offers, and what is best asked of it.
//!
//! Only modes that the device lists are asked for: a refused request can leave a driver in a mode
//! that locks everybody out. Of those, nokhwa can express the ones with a whole number of frames a
//! second. (Elsewhere than on Linux, nokhwa itself chooses, from sizes asked for one by one.)

#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::cmp::Reverse;

use super::request::CameraRequest;

/// Sizes to ask for after the wanted one.
pub const USUAL_SIZES: [(u32, u32); 4] = [(640, 480), (640, 360), (1280, 720), (320, 240)];

/// How a camera's bytes are to be read; the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RawFormat {
    /// Packed 4:2:2.
    Yuyv,
    /// One JPEG a frame.
    Mjpeg,
    /// Planar 4:2:0.
    Nv12,
}

impl RawFormat {
    /// All that are read.
    pub const ALL: [Self; 3] = [Self::Yuyv, Self::Mjpeg, Self::Nv12];

    /// The four letters that name it.
    pub fn fourcc(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Mjpeg => "MJPG",
            Self::Nv12 => "NV12",
        }
    }
}

/// Frames a second as a device gives them: so many frames in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames.
    pub frames: u32,
    /// Seconds that they take.
    pub seconds: u32,
}

impl Rate {
    /// Frames a second.
    pub fn fps(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds.max(1))
    }

    /// Frames a second, where that is a whole number.
    fn whole(self) -> Option<u32> {
        let seconds = self.seconds.max(1);
        (self.frames >= seconds && self.frames.is_multiple_of(seconds))
            .then_some(self.frames / seconds)
    }
}

/// The rates that a device offers at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// Just this one.
    One(Rate),
    /// All from the lowest to the highest.
    Between(Rate, Rate),
}

impl Rates {
    /// The whole rate that is nearest to `wanted`.
    fn nearest(self, wanted: u32) -> Option<u32> {
        match self {
            Self::One(rate) => rate.whole(),
            Self::Between(lowest, highest) => {
                let (lowest, highest) = (lowest.fps().ceil() as u32, highest.fps() as u32);
                let nearest = wanted.clamp(lowest.max(1), highest.max(lowest).max(1));
                (lowest..=highest).contains(&nearest).then_some(nearest)
            }
        }
    }
}

/// One pixel format at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedMode {
    /// Four letters that name the pixel format.
    pub fourcc: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Its rates; empty where the driver does not tell.
    pub rates: Vec<Rates>,
}

/// What to ask of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureMode {
    /// Pixel format.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
}

/// What to ask for, best first: the wanted size, then usual ones, then the nearest of the others;
/// at each size the formats that reach the wanted rate before those that do not, and the cheapest
/// to read first among equals.
pub fn choices(offers: &[AdvertisedMode], request: &CameraRequest) -> Vec<CaptureMode> {
    let wanted = (request.width_px, request.height_px);
    let mut all: Vec<CaptureMode> = offers
        .iter()
        .filter_map(|offer| {
            let format = RawFormat::ALL
                .into_iter()
                .find(|f| f.fourcc() == offer.fourcc)?;
            if format == RawFormat::Yuyv && !offer.width.is_multiple_of(2) {
                return None;
            }
            let fps = if offer.rates.is_empty() {
                request.fps
            } else {
                offer
                    .rates
                    .iter()
                    .filter_map(|rates| rates.nearest(request.fps))
                    .min_by_key(|fps| (fps.abs_diff(request.fps), Reverse(*fps)))?
            };
            Some(CaptureMode {
                format,
                width: offer.width,
                height: offer.height,
                fps,
            })
        })
        .collect();
    all.sort_by_key(|choice| {
        let size = (choice.width, choice.height);
        let rank = std::iter::once(wanted)
            .chain(USUAL_SIZES)
            .position(|s| s == size)
            .unwrap_or(usize::MAX);
        let off = u64::from(size.0.abs_diff(wanted.0)) + u64::from(size.1.abs_diff(wanted.1));
        let reached = choice.fps.min(request.fps);
        (rank, off, Reverse(reached), choice.format)
    });
    all
}

/// Why none of `offers` can be asked for, and what to do.
pub fn nothing_usable(offers: &[AdvertisedMode]) -> String {
    let readable =
        |offer: &&AdvertisedMode| RawFormat::ALL.iter().any(|f| f.fourcc() == offer.fourcc);
    if let Some(offer) = offers.iter().find(readable) {
        let (width, height) = (offer.width, offer.height);
        return format!(
            "its rates are all fractions of a frame a second (as at {width}x{height}), which \
             cannot be set; take another camera"
        );
    }
    let mut others: Vec<&str> = offers.iter().map(|o| o.fourcc.as_str()).collect();
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        return "it offers no pictures; `mobilens devices` lists the cameras".to_owned();
    }
    let others = others.join(", ");
    format!("it gives {others}, but only YUYV, MJPEG and NV12 are read; take another camera")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(frames: u32, seconds: u32) -> Rates {
        Rates::One(Rate { frames, seconds })
    }

    fn offer(fourcc: &str, width: u32, height: u32, rates: &[Rates]) -> AdvertisedMode {
        AdvertisedMode {
            fourcc: fourcc.to_owned(),
            width,
            height,
            rates: rates.to_vec(),
        }
    }

    fn best(
        offers: &[AdvertisedMode],
        width_px: u32,
        height_px: u32,
    ) -> Option<(RawFormat, u32, u32, u32)> {
        let request = CameraRequest {
            width_px,
            height_px,
            ..CameraRequest::default()
        };
        choices(offers, &request)
            .first()
            .map(|c| (c.format, c.width, c.height, c.fps))
    }

    #[test]
    fn the_wanted_size_goes_before_usual_ones_and_those_before_others() {
        let offers = [
            offer("YUYV", 1600, 900, &[rate(30, 1)]),
            offer("YUYV", 640, 480, &[rate(30, 1)]),
            offer("YUYV", 1280, 720, &[rate(30, 1)]),
        ];
        let yuyv = RawFormat::Yuyv;
        assert_eq!(best(&offers, 1600, 900), Some((yuyv, 1600, 900, 30)));
        assert_eq!(best(&offers, 1920, 1080), Some((yuyv, 640, 480, 30)));
        assert_eq!(best(&offers[..1], 640, 480), Some((yuyv, 1600, 900, 30)));
    }

    #[test]
    fn jpeg_at_full_rate_goes_before_raw_at_a_crawl() {
        let offers = [
            offer("YUYV", 1280, 720, &[rate(10, 1), rate(5, 1)]),
            offer("MJPG", 1280, 720, &[rate(60, 1), rate(30, 1)]),
        ];
        assert_eq!(
            best(&offers, 1280, 720),
            Some((RawFormat::Mjpeg, 1280, 720, 30))
        );
    }

    #[test]
    fn raw_goes_before_jpeg_at_the_same_rate() {
        let rates = [rate(30, 1)];
        let offers = [
            offer("MJPG", 640, 480, &rates),
            offer("NV12", 640, 480, &rates),
            offer("YUYV", 640, 480, &rates),
        ];
        assert_eq!(
            best(&offers, 640, 480),
            Some((RawFormat::Yuyv, 640, 480, 30))
        );
    }

    #[test]
    fn fractional_rates_are_passed_over() {
        let offers = [
            offer("YUYV", 640, 480, &[rate(25, 2), rate(30_000, 1001)]),
            offer("YUYV", 320, 240, &[rate(25, 2), rate(15, 1)]),
        ];
        assert_eq!(
            best(&offers, 640, 480),
            Some((RawFormat::Yuyv, 320, 240, 15))
        );
        assert_eq!(best(&offers[..1], 640, 480), None);
        assert!(nothing_usable(&offers[..1]).contains("as at 640x480"));
    }

    #[test]
    fn ranges_of_rates_are_clamped_to_whole_ones() {
        let between = |l: (u32, u32), h: (u32, u32)| {
            let [l, h] = [l, h].map(|(frames, seconds)| Rate { frames, seconds });
            Rates::Between(l, h)
        };
        assert_eq!(between((1, 1), (90, 1)).nearest(30), Some(30));
        assert_eq!(between((1, 1), (25, 2)).nearest(30), Some(12));
        assert_eq!(between((60, 1), (120, 1)).nearest(30), Some(60));
        assert_eq!(between((0, 1), (1, 2)).nearest(30), None);
        assert_eq!(between((25, 2), (51, 4)).nearest(30), None);
    }

    #[test]
    fn a_driver_that_tells_no_rates_is_asked_for_the_wanted_one() {
        assert_eq!(
            best(&[offer("NV12", 640, 480, &[])], 640, 480),
            Some((RawFormat::Nv12, 640, 480, 30))
        );
    }

    #[test]
    fn unreadable_formats_are_named() {
        let offers = [
            offer("H264", 640, 480, &[rate(30, 1)]),
            offer("GREY", 640, 480, &[rate(30, 1)]),
            offer("H264", 320, 240, &[rate(30, 1)]),
        ];
        assert_eq!(best(&offers, 640, 480), None);
        assert!(nothing_usable(&offers).starts_with("it gives GREY, H264, but only"));
        assert!(nothing_usable(&[]).contains("no pictures"));
    }
}

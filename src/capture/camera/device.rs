//! One camera through nokhwa: choosing a format that is safe to ask for, and reading raw frames.
//!
//! nokhwa's `Closest` is the only request that is checked against the device's list before the
//! device is touched, and it wants a size that is in the list; so usual sizes are asked for one by
//! one, the wanted one first.

use std::time::{Duration, Instant, SystemTime};

use nokhwa::Camera;
use nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};

use super::list::{modes_of, put_into_readable_mode};
use super::request::CameraRequest;

/// A driver's time of capture that is older is not believed.
const OLDEST: Duration = Duration::from_secs(10);

/// Sizes to ask for after the wanted one.
const USUAL_SIZES: [(u32, u32); 4] = [(640, 480), (640, 360), (1280, 720), (320, 240)];

/// Formats that are read, the cheapest first.
const FORMATS: [FrameFormat; 3] = [FrameFormat::YUYV, FrameFormat::MJPEG, FrameFormat::NV12];

/// What a device gives, undecoded.
pub struct RawFrame {
    /// How the bytes are to be read.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The whole mapped buffer, which may be longer than the picture.
    pub bytes: Vec<u8>,
    /// When it was taken, as far as the driver tells, else when it arrived.
    pub taken_at: Instant,
}

/// A raw frame's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawFormat {
    /// Packed 4:2:2.
    Yuyv,
    /// Planar 4:2:0.
    Nv12,
    /// One JPEG a frame.
    Mjpeg,
}

/// What a device is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenMode {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: f64,
}

/// A camera that was opened.
pub trait Device {
    /// Waits for the next frame, possibly for ever.
    ///
    /// # Errors
    /// In one line, when the device is lost.
    fn frame(&mut self) -> Result<RawFrame, String>;
}

/// Opens `request`'s device.
///
/// # Errors
/// In one line: what is wrong, and what to do.
pub fn open(request: &CameraRequest) -> Result<(OpenMode, Box<dyn Device>), String> {
    let index = index_of(&request.device)?;
    put_into_readable_mode(index).map_err(|e| explain(&e))?;
    let mut refused = None;
    for format in candidates(request, index) {
        let wanted = RequestedFormat::with_formats(RequestedFormatType::Closest(format), &FORMATS);
        match Camera::new(CameraIndex::Index(index), wanted) {
            Ok(mut camera) => {
                camera.open_stream().map_err(|e| explain(&e.to_string()))?;
                let set = camera.camera_format();
                let mode = OpenMode {
                    width: set.width(),
                    height: set.height(),
                    fps: set.frame_rate().into(),
                };
                return Ok((mode, Box::new(NokhwaDevice(camera))));
            }
            // nokhwa's word for "not in the device's list"; it spells it so.
            Err(error) if error.to_string().contains("Fufill") => {}
            Err(error) => refused = Some(error.to_string()),
        }
    }
    Err(refused.map_or_else(
        || {
            "it has no mode in YUYV, MJPEG or NV12 of a usual size; \
             `mobilens devices` lists its modes: set width_px and height_px to one of them"
                .to_owned()
        },
        |error| explain(&error),
    ))
}

/// What to ask for, best first: the wanted size before the usual ones, and at each size the formats
/// that reach the wanted rate before those that do not.
fn candidates(request: &CameraRequest, index: u32) -> Vec<CameraFormat> {
    let modes = modes_of(index).unwrap_or_default();
    let mut sizes = vec![(request.width_px, request.height_px)];
    sizes.extend(USUAL_SIZES);
    let mut all = Vec::new();
    for (width, height) in sizes {
        let rate = |format: FrameFormat| {
            let fourcc = fourcc(format);
            modes
                .iter()
                .filter(|m| (m.width, m.height) == (width, height) && m.fourcc == fourcc)
                .map(|m| m.fps.min(request.fps.into()))
                .fold(0.0, f64::max)
        };
        let mut formats = FORMATS;
        // Stable: among equals the cheapest stays first.
        formats.sort_by(|a, b| rate(*b).total_cmp(&rate(*a)));
        all.extend(
            formats.map(|format| {
                CameraFormat::new(Resolution::new(width, height), format, request.fps)
            }),
        );
    }
    all
}

fn fourcc(format: FrameFormat) -> &'static str {
    match format {
        FrameFormat::MJPEG => "MJPG",
        FrameFormat::NV12 => "NV12",
        _ => "YUYV",
    }
}

struct NokhwaDevice(Camera);

impl Device for NokhwaDevice {
    fn frame(&mut self) -> Result<RawFrame, String> {
        let buffer = match self.0.frame() {
            // A signal on this thread leaves the stream in a state that only a restart ends.
            Err(error) if os_error(&error.to_string()) == Some(libc_eintr()) => self
                .0
                .stop_stream()
                .and_then(|()| self.0.open_stream())
                .and_then(|()| self.0.frame()),
            other => other,
        }
        .map_err(|e| explain(&e.to_string()))?;
        let format = match buffer.source_frame_format() {
            FrameFormat::YUYV => RawFormat::Yuyv,
            FrameFormat::NV12 => RawFormat::Nv12,
            FrameFormat::MJPEG => RawFormat::Mjpeg,
            other => return Err(format!("it switched to {other}, which is not read")),
        };
        Ok(RawFrame {
            format,
            width: buffer.resolution().width(),
            height: buffer.resolution().height(),
            bytes: buffer.buffer().to_vec(),
            taken_at: taken_at(buffer.capture_timestamp(), Instant::now()),
        })
    }
}

/// When a frame was taken, on the clock that nobody sets. nokhwa tells it by the wall clock, which
/// jumps (a board without a battery starts in 1970 and hears the time later), so only the frame's
/// age of this moment is taken from there.
fn taken_at(wall: Option<Duration>, arrived: Instant) -> Instant {
    let age = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.ok()?.checked_sub(wall?).filter(|age| *age < OLDEST)
    };
    age()
        .and_then(|age| arrived.checked_sub(age))
        .unwrap_or(arrived)
}

const fn libc_eintr() -> i32 {
    4
}

/// nokhwa's errors carry only text; the system's number in it tells them apart.
fn os_error(text: &str) -> Option<i32> {
    let (_, after) = text.split_once("os error ")?;
    after
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// What happened, and what to do, for a person.
fn explain(text: &str) -> String {
    match os_error(text) {
        Some(2 | 6) => "there is no such device; `mobilens devices` lists what there is".to_owned(),
        Some(13) => "no permission to open it; is this user in the group \"video\"?".to_owned(),
        Some(16) => "another program is using it; close that one first".to_owned(),
        Some(19) => "it was unplugged".to_owned(),
        Some(5) => "its stream broke (input/output error); plug it in again".to_owned(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The number of a device: of its node, also through a link such as those in `/dev/v4l/by-id`.
fn index_of(device: &str) -> Result<u32, String> {
    let missing = || "there is no such device; `mobilens devices` lists what there is".to_owned();
    if let Ok(index) = device.parse() {
        return Ok(index);
    }
    let node = if cfg!(target_os = "linux") {
        std::fs::canonicalize(device).map_err(|_| missing())?
    } else {
        device.into()
    };
    let name = node.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("video")
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "it is not a camera's device; those are called /dev/videoN".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_explained() {
        let busy = "Could not open device stream: Device or resource busy (os error 16)";
        assert!(explain(busy).contains("another program"));
        assert_eq!(explain("No such device (os error 19)"), "it was unplugged");
        assert_eq!(explain("something\n  else"), "something else");
    }

    #[test]
    fn a_missing_device_is_said_to_be_missing() {
        let error = index_of("/dev/video-nowhere").expect_err("is not there");
        assert!(error.starts_with("there is no such device"));
    }

    #[test]
    fn the_age_of_a_frame_is_believed_only_while_it_makes_sense() {
        let arrived = Instant::now() + Duration::from_secs(60);
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let age = |wall| arrived - taken_at(wall, arrived);
        assert_eq!(age(None), Duration::ZERO);
        assert_eq!(age(Some(wall + Duration::from_secs(60))), Duration::ZERO);
        assert_eq!(age(Some(Duration::from_secs(60))), Duration::ZERO);
        let two = age(Some(wall - Duration::from_secs(2)));
        assert!((2000..2500).contains(&two.as_millis()), "{two:?}");
    }
}

//! Opens a camera with nokhwa and reads raw frames.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nokhwa::Camera;
use nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};

use super::modes::RawFormat;
use super::os_error::{explain_os_error, os_error};
use super::request::CameraRequest;
use mobilens_image::YuvColour;

/// A driver's capture timestamp that is older than this is ignored.
const MAX_FRAME_AGE: Duration = Duration::from_secs(10);

/// A raw frame, as the device delivers it.
pub struct RawFrame {
    /// Pixel format.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next (V4L2 `bytesperline`) in the raw formats; 0 without padding.
    pub stride_bytes: usize,
    /// Colour matrix and range of its YUV samples.
    pub colour: YuvColour,
    /// The whole mapped buffer, which may be longer than the frame.
    pub bytes: Vec<u8>,
    /// Capture time by the driver's timestamp, else time of arrival.
    pub captured_at: Instant,
}

/// The mode in which a device was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegotiatedMode {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second.
    pub fps: f64,
}

/// An open camera.
pub trait Device {
    /// Waits for the next frame; may block for ever.
    ///
    /// # Errors
    /// In one line, when the device fails or was unplugged.
    fn frame(&mut self) -> Result<RawFrame, String>;
}

/// Opens the device of `request` in the best of its modes, and starts its stream.
///
/// # Errors
/// In one line: what is wrong, and what to do.
pub fn open(request: &CameraRequest) -> Result<(NegotiatedMode, Box<dyn Device>), String> {
    let index = device_index(&request.device)?;
    let mut device = open_negotiated(index, request)?;
    let camera = &mut device.camera;
    camera
        .open_stream()
        .map_err(|e| explain_os_error(&e.to_string()))?;
    let format = camera.camera_format();
    let mode = NegotiatedMode {
        width: format.width(),
        height: format.height(),
        fps: format.frame_rate().into(),
    };
    Ok((mode, Box::new(device)))
}

/// Opens a V4L2 device: the mode is selected from the advertised ones and set before nokhwa opens the
/// device, so that `Exact` finds it already set and changes nothing.
#[cfg(target_os = "linux")]
fn open_negotiated(index: u32, request: &CameraRequest) -> Result<NokhwaDevice, String> {
    let negotiated = super::v4l2::negotiate(index, request)?;
    let mode = negotiated.mode;
    let format = match mode.format {
        RawFormat::Yuyv => FrameFormat::YUYV,
        RawFormat::Mjpeg => FrameFormat::MJPEG,
        RawFormat::Nv12 => FrameFormat::NV12,
    };
    let size = Resolution::new(mode.width, mode.height);
    let exact = RequestedFormatType::Exact(CameraFormat::new(size, format, mode.fps));
    let wanted = RequestedFormat::with_formats(exact, &FORMATS);
    let camera = Camera::new(CameraIndex::Index(index), wanted)
        .map_err(|e| explain_os_error(&e.to_string()))?;
    Ok(NokhwaDevice {
        camera,
        stride_bytes: negotiated.stride_bytes,
        colour: negotiated.colour,
    })
}

/// Opens a device on other systems. `Closest` is the only request that nokhwa checks against the
/// advertised modes before it changes the device, and it needs a size that is advertised; so sizes
/// are tried one by one.
#[cfg(not(target_os = "linux"))]
fn open_negotiated(index: u32, request: &CameraRequest) -> Result<NokhwaDevice, String> {
    let mut refused = None;
    let wanted = (request.width_px, request.height_px);
    for (width, height) in std::iter::once(wanted).chain(super::modes::COMMON_SIZES) {
        for format in FORMATS {
            let size = Resolution::new(width, height);
            let closest = CameraFormat::new(size, format, request.fps);
            let wanted =
                RequestedFormat::with_formats(RequestedFormatType::Closest(closest), &FORMATS);
            match Camera::new(CameraIndex::Index(index), wanted) {
                Ok(camera) => {
                    return Ok(NokhwaDevice {
                        camera,
                        stride_bytes: 0,
                        colour: YuvColour::DEFAULT,
                    });
                }
                // nokhwa's message for "not advertised" (its spelling).
                Err(error) if error.to_string().contains("Fufill") => {}
                Err(error) => refused = Some(error.to_string()),
            }
        }
    }
    Err(refused.map_or_else(
        || {
            "it has no mode in YUYV, MJPEG or NV12 with a common size; set width_px and height_px to \
             a size that it supports"
                .to_owned()
        },
        |error| explain_os_error(&error),
    ))
}

/// Supported pixel formats, the cheapest to decode first.
const FORMATS: [FrameFormat; 3] = [FrameFormat::YUYV, FrameFormat::MJPEG, FrameFormat::NV12];

struct NokhwaDevice {
    camera: Camera,
    stride_bytes: usize,
    colour: YuvColour,
}

impl Device for NokhwaDevice {
    fn frame(&mut self) -> Result<RawFrame, String> {
        let camera = &mut self.camera;
        let buffer = match camera.frame() {
            // After an interrupted system call (signal) the stream must be restarted.
            Err(error) if os_error(&error.to_string()) == Some(EINTR) => camera
                .stop_stream()
                .and_then(|()| camera.open_stream())
                .and_then(|()| camera.frame()),
            other => other,
        }
        .map_err(|e| explain_os_error(&e.to_string()))?;
        let format = match buffer.source_frame_format() {
            FrameFormat::YUYV => RawFormat::Yuyv,
            FrameFormat::NV12 => RawFormat::Nv12,
            FrameFormat::MJPEG => RawFormat::Mjpeg,
            other => {
                return Err(format!(
                    "it switched to the unsupported pixel format {other}"
                ));
            }
        };
        let size = buffer.resolution();
        let captured_at = captured_at(buffer.capture_timestamp(), Instant::now());
        let bytes = buffer.buffer_bytes();
        // The last owner converts the bytes into a vector without a copy.
        drop(buffer);
        Ok(RawFrame {
            format,
            width: size.width(),
            height: size.height(),
            stride_bytes: self.stride_bytes,
            colour: self.colour,
            bytes: bytes.into(),
            captured_at,
        })
    }
}

/// Capture time of a frame on the monotonic clock. nokhwa returns it on the wall clock, which jumps
/// (a board without a battery starts in 1970 and is set by NTP later), so only the frame's age is
/// derived from it.
fn captured_at(wall: Option<Duration>, arrived: Instant) -> Instant {
    let age = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.ok()?
            .checked_sub(wall?)
            .filter(|age| *age < MAX_FRAME_AGE)
    };
    age()
        .and_then(|age| arrived.checked_sub(age))
        .unwrap_or(arrived)
}

/// `errno` of an interrupted system call.
const EINTR: i32 = 4;

/// The number of a device node, also through a symbolic link such as those in `/dev/v4l/by-id`.
fn device_index(device: &str) -> Result<u32, String> {
    let missing = || "there is no such device; `mobilens devices` lists the cameras".to_owned();
    if let Ok(index) = device.parse() {
        return Ok(index);
    }
    let node = if cfg!(target_os = "linux") {
        std::fs::canonicalize(device).map_err(|_| missing())?
    } else {
        device.into()
    };
    // nokhwa opens /dev/videoN by its number: the node must be in /dev.
    let in_dev = !cfg!(target_os = "linux") || node.parent() == Some(Path::new("/dev"));
    let name = node.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("video")
        .filter(|_| in_dev)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "not a camera device node; expected /dev/videoN".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_an_error() {
        let error = device_index("/dev/video-nowhere").expect_err("is not there");
        assert!(error.starts_with("there is no such device"));
    }

    #[test]
    fn only_nodes_in_dev_are_devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("video3");
        std::fs::write(&file, "no device").expect("room");
        let error = device_index(&file.to_string_lossy()).expect_err("is a file");
        assert!(error.contains("not a camera device"), "{error}");
        assert_eq!(device_index("3"), Ok(3));
    }

    #[test]
    fn implausible_capture_timestamps_are_ignored() {
        let arrived = Instant::now() + Duration::from_secs(60);
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let age = |wall| arrived - captured_at(wall, arrived);
        assert_eq!(age(None), Duration::ZERO);
        assert_eq!(age(Some(wall + Duration::from_secs(60))), Duration::ZERO);
        assert_eq!(age(Some(Duration::from_secs(60))), Duration::ZERO);
        let two = age(Some(wall - Duration::from_secs(2)));
        assert!((2000..2500).contains(&two.as_millis()), "{two:?}");
    }
}

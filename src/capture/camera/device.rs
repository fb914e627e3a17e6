//! One camera through nokhwa: opening it, reading raw frames, and saying what is wrong with it.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nokhwa::Camera;
use nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};

use super::modes::RawFormat;
use super::request::CameraRequest;
use mobilens_image::YuvColour;

/// A driver's time of capture that is older is not believed.
const OLDEST: Duration = Duration::from_secs(10);

/// What a device gives, undecoded.
pub struct RawFrame {
    /// How the bytes are to be read.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next in the raw formats; 0 where rows are tight.
    pub row_bytes: usize,
    /// How its YUV is to be read.
    pub colour: YuvColour,
    /// The whole mapped buffer, which may be longer than the picture.
    pub bytes: Vec<u8>,
    /// When it was taken, as far as the driver tells, else when it arrived.
    pub taken_at: Instant,
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
    let mut device = open_in_a_mode(index, request)?;
    let camera = &mut device.camera;
    camera.open_stream().map_err(|e| explain(&e.to_string()))?;
    let set = camera.camera_format();
    let mode = OpenMode {
        width: set.width(),
        height: set.height(),
        fps: set.frame_rate().into(),
    };
    Ok((mode, Box::new(device)))
}

/// The mode is chosen from the device's own list and set before nokhwa sees it: `Exact` then finds
/// the device as asked for, and touches nothing.
#[cfg(target_os = "linux")]
fn open_in_a_mode(index: u32, request: &CameraRequest) -> Result<NokhwaDevice, String> {
    let settled = super::v4l2::settle(index, request)?;
    let choice = settled.choice;
    let format = match choice.format {
        RawFormat::Yuyv => FrameFormat::YUYV,
        RawFormat::Mjpeg => FrameFormat::MJPEG,
        RawFormat::Nv12 => FrameFormat::NV12,
    };
    let size = Resolution::new(choice.width, choice.height);
    let exact = RequestedFormatType::Exact(CameraFormat::new(size, format, choice.fps));
    let wanted = RequestedFormat::with_formats(exact, &FORMATS);
    let camera =
        Camera::new(CameraIndex::Index(index), wanted).map_err(|e| explain(&e.to_string()))?;
    Ok(NokhwaDevice {
        camera,
        row_bytes: settled.row_bytes,
        colour: settled.colour,
    })
}

/// `Closest` is the only request that nokhwa checks against the device's list before it touches the
/// device, and it wants a size that is in the list; so sizes are asked for one by one.
#[cfg(not(target_os = "linux"))]
fn open_in_a_mode(index: u32, request: &CameraRequest) -> Result<NokhwaDevice, String> {
    let mut refused = None;
    let wanted = (request.width_px, request.height_px);
    for (width, height) in std::iter::once(wanted).chain(super::modes::USUAL_SIZES) {
        for format in FORMATS {
            let size = Resolution::new(width, height);
            let closest = CameraFormat::new(size, format, request.fps);
            let wanted =
                RequestedFormat::with_formats(RequestedFormatType::Closest(closest), &FORMATS);
            match Camera::new(CameraIndex::Index(index), wanted) {
                Ok(camera) => {
                    return Ok(NokhwaDevice {
                        camera,
                        row_bytes: 0,
                        colour: YuvColour::DEFAULT,
                    });
                }
                // nokhwa's word for "not in the device's list"; it spells it so.
                Err(error) if error.to_string().contains("Fufill") => {}
                Err(error) => refused = Some(error.to_string()),
            }
        }
    }
    Err(refused.map_or_else(
        || {
            "it has no mode in YUYV, MJPEG or NV12 of a usual size; set width_px and height_px to \
             one that it has"
                .to_owned()
        },
        |error| explain(&error),
    ))
}

/// Formats that are read, the cheapest first.
const FORMATS: [FrameFormat; 3] = [FrameFormat::YUYV, FrameFormat::MJPEG, FrameFormat::NV12];

struct NokhwaDevice {
    camera: Camera,
    row_bytes: usize,
    colour: YuvColour,
}

impl Device for NokhwaDevice {
    fn frame(&mut self) -> Result<RawFrame, String> {
        let camera = &mut self.camera;
        let buffer = match camera.frame() {
            // A signal on this thread leaves the stream in a state that only a restart ends.
            Err(error) if os_error(&error.to_string()) == Some(EINTR) => camera
                .stop_stream()
                .and_then(|()| camera.open_stream())
                .and_then(|()| camera.frame()),
            other => other,
        }
        .map_err(|e| explain(&e.to_string()))?;
        let format = match buffer.source_frame_format() {
            FrameFormat::YUYV => RawFormat::Yuyv,
            FrameFormat::NV12 => RawFormat::Nv12,
            FrameFormat::MJPEG => RawFormat::Mjpeg,
            other => return Err(format!("it switched to {other}, which is not read")),
        };
        let size = buffer.resolution();
        let taken_at = taken_at(buffer.capture_timestamp(), Instant::now());
        let bytes = buffer.buffer_bytes();
        // The last owner of the bytes turns them into a vector without a copy.
        drop(buffer);
        Ok(RawFrame {
            format,
            width: size.width(),
            height: size.height(),
            row_bytes: self.row_bytes,
            colour: self.colour,
            bytes: bytes.into(),
            taken_at,
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

/// Interrupted system call.
const EINTR: i32 = 4;

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
pub fn explain(text: &str) -> String {
    match os_error(text) {
        Some(2 | 6) => "there is no such device; `mobilens devices` lists what there is".to_owned(),
        Some(13) => "no permission to open it; is this user in the group \"video\"?".to_owned(),
        Some(16) => "another program is using it; close that one first".to_owned(),
        Some(19) => "it was unplugged; plug it in and start again".to_owned(),
        Some(28) => "its USB bus has no room for its pictures; ask for a smaller size or a lower \
                     rate, or plug it in elsewhere"
            .to_owned(),
        Some(error @ (5 | 32 | 71 | 110)) => {
            format!("its stream broke (system error {error}); plug it in again")
        }
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
    // A number says nothing of the folder that the node is in.
    let in_dev = !cfg!(target_os = "linux") || node.parent() == Some(Path::new("/dev"));
    let name = node.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("video")
        .filter(|_| in_dev)
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
        assert!(explain("No such device (os error 19)").starts_with("it was unplugged"));
        assert!(explain("x: No space left on device (os error 28)").contains("USB bus"));
        assert!(explain("Input/output error (os error 5)").contains("system error 5"));
        assert_eq!(explain("something\n  else"), "something else");
    }

    #[test]
    fn a_missing_device_is_said_to_be_missing() {
        let error = index_of("/dev/video-nowhere").expect_err("is not there");
        assert!(error.starts_with("there is no such device"));
    }

    #[test]
    fn only_nodes_in_dev_are_devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("video3");
        std::fs::write(&file, "no device").expect("room");
        let error = index_of(&file.to_string_lossy()).expect_err("is a file");
        assert!(error.contains("not a camera's device"), "{error}");
        assert_eq!(index_of("3"), Ok(3));
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

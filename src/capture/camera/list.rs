//! Which cameras there are, and what they can do.

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfo {
    /// What to write into the pipeline's `device`, or `index` where it is a number.
    pub device: String,
    /// The maker's name for it.
    pub name: String,
    /// What it can do.
    pub modes: Vec<CameraMode>,
}

/// One thing that a camera can do.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraMode {
    /// Four letters that name the pixel format.
    pub fourcc: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: f64,
}

#[cfg(target_os = "linux")]
pub use linux::{list_cameras, modes_of, put_into_readable_mode};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use v4l::capability::Flags;
    use v4l::format::FourCC;
    use v4l::frameinterval::FrameIntervalEnum;
    use v4l::framesize::FrameSizeEnum;
    use v4l::video::Capture;
    use v4l::video::capture::Parameters;
    use v4l::{Device, Format};

    use super::{CameraInfo, CameraMode};

    /// All cameras, by number. Nodes that give no pictures (metadata, outputs) are left out.
    pub fn list_cameras() -> Vec<CameraInfo> {
        let mut nodes = v4l::context::enum_devices();
        nodes.sort_by_key(v4l::context::Node::index);
        nodes
            .iter()
            .filter_map(|node| {
                let device = Device::with_path(node.path()).ok()?;
                let caps = device.query_caps().ok()?;
                if !caps.capabilities.contains(Flags::VIDEO_CAPTURE) {
                    return None;
                }
                let modes = modes(&device).unwrap_or_default();
                (!modes.is_empty()).then(|| CameraInfo {
                    device: node.path().display().to_string(),
                    name: caps.card,
                    modes,
                })
            })
            .collect()
    }

    /// What camera `index` can do.
    ///
    /// # Errors
    /// The system's word.
    pub fn modes_of(index: u32) -> io::Result<Vec<CameraMode>> {
        modes(&Device::new(index as usize)?)
    }

    fn modes(device: &Device) -> io::Result<Vec<CameraMode>> {
        let mut all = Vec::new();
        for format in device.enum_formats()? {
            for size in device.enum_framesizes(format.fourcc).unwrap_or_default() {
                let (width, height) = match size.size {
                    FrameSizeEnum::Discrete(s) => (s.width, s.height),
                    FrameSizeEnum::Stepwise(s) => (s.max_width, s.max_height),
                };
                let intervals = device
                    .enum_frameintervals(format.fourcc, width, height)
                    .unwrap_or_default();
                all.extend(intervals.into_iter().map(|interval| {
                    let shortest = match interval.interval {
                        FrameIntervalEnum::Discrete(fraction) => fraction,
                        FrameIntervalEnum::Stepwise(steps) => steps.min,
                    };
                    CameraMode {
                        fourcc: format.fourcc.to_string(),
                        width,
                        height,
                        fps: f64::from(shortest.denominator) / f64::from(shortest.numerator.max(1)),
                    }
                }));
            }
        }
        Ok(all)
    }

    /// nokhwa refuses a camera whose present mode it cannot express (a fractional rate, a format
    /// that it does not know), also if another program left it so. Such a one is set to a plain
    /// mode first; any other is left alone.
    ///
    /// # Errors
    /// The system's word.
    pub fn put_into_readable_mode(index: u32) -> Result<(), String> {
        let put = || -> io::Result<()> {
            let device = Device::new(index as usize)?;
            let known = [b"YUYV", b"MJPG", b"NV12"].map(FourCC::new);
            let now = device.format()?;
            if !known.contains(&now.fourcc) {
                let offered = device.enum_formats()?;
                let usable = known
                    .into_iter()
                    .find(|fourcc| offered.iter().any(|f| f.fourcc == *fourcc));
                if let Some(fourcc) = usable {
                    device.set_format(&Format::new(640, 480, fourcc))?;
                }
            }
            if device.params()?.interval.numerator != 1 {
                device.set_params(&Parameters::with_fps(30))?;
                if device.params()?.interval.numerator != 1 {
                    // The size may have no whole rate; a usual one has.
                    let format = device.format()?;
                    device.set_format(&Format::new(640, 480, format.fourcc))?;
                    device.set_params(&Parameters::with_fps(30))?;
                }
            }
            Ok(())
        };
        put().map_err(|e| e.to_string())
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{list_cameras, modes_of, put_into_readable_mode};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    use super::{CameraInfo, CameraMode};

    /// All cameras; their modes are known only once they are opened.
    pub fn list_cameras() -> Vec<CameraInfo> {
        nokhwa::query(nokhwa::utils::ApiBackend::Auto)
            .unwrap_or_default()
            .into_iter()
            .map(|camera| CameraInfo {
                device: camera.index().as_string(),
                name: camera.human_name(),
                modes: Vec::new(),
            })
            .collect()
    }

    /// Not known before the camera is opened.
    pub fn modes_of(_: u32) -> io::Result<Vec<CameraMode>> {
        Ok(Vec::new())
    }

    /// Only Linux drivers keep a mode that nokhwa cannot express.
    pub fn put_into_readable_mode(_: u32) -> Result<(), String> {
        Ok(())
    }
}

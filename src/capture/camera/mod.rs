//! The source `camera`: V4L2 devices on Linux, elsewhere what nokhwa supports.
//!
//! A camera may block for ever, be unplugged, or hang, and its driver has no timeout. So one thread
//! owns the device: it opens it, reads it, puts each frame into a [`LatestSlot`](latest_slot::LatestSlot)
//! (latest frame wins), and closes the device at the first error. The source waits for the slot with a
//! timeout and reports a stall itself. The thread is never joined: it may hang in the driver. A
//! [`CameraReopener`] opens the same camera again, also when its device number has changed.

mod device;
mod info;
mod latest_slot;
mod list;
mod modes;
mod os_error;
mod picture;
mod reopen;
mod request;
mod source;
#[cfg(target_os = "linux")]
mod v4l2;

pub use info::{CameraInfo, CameraMode};
pub use list::list_cameras;
pub use reopen::CameraReopener;
pub use request::CameraRequest;
pub use source::CameraSource;

//! The source `camera`.
//!
//! A camera may block for ever, vanish, or hang, and its driver offers no time-out. So one thread
//! owns the device: it opens it, reads it, keeps only the newest frame in a [mailbox], and drops
//! it at the first error. The source waits at the mailbox with a time-out and reports a stall
//! itself. The thread is never waited for: it may hang in the driver. A [`CameraSeat`] opens the same
//! camera again, wherever it is by then.
//!
//! [mailbox]: mailbox::Mailbox

mod device;
#[cfg(target_os = "linux")]
mod linux;
mod list;
mod mailbox;
mod offer;
mod picture;
mod request;
mod seat;
mod source;

pub use list::{CameraInfo, CameraMode, list_cameras};
pub use request::CameraRequest;
pub use seat::CameraSeat;
pub use source::CameraSource;

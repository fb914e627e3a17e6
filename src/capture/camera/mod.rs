//! The source `camera`.
//!
//! A camera may block for ever, vanish, or hang, and its driver offers no time-out. So one thread
//! owns the device: it opens it, reads it, keeps only the newest frame in a [latest_slot], and drops
//! it at the first error. The source waits at the latest_slot with a time-out and reports a stall
//! itself. The thread is never waited for: it may hang in the driver. A [`CameraReopener`] opens the same
//! camera again, wherever it is by then.
//!
//! [latest_slot]: latest_slot::Mailbox

mod device;
mod latest_slot;
mod list;
mod modes;
mod picture;
mod reopen;
mod request;
mod source;
#[cfg(target_os = "linux")]
mod v4l2;

pub use list::{CameraInfo, CameraMode, list_cameras};
pub use reopen::CameraReopener;
pub use request::CameraRequest;
pub use source::CameraSource;

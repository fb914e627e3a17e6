//! Reopens a camera, also under a new device number.

use std::sync::{Mutex, PoisonError};

use super::info::CameraIdentity;
use super::request::CameraRequest;
use super::source::CameraSource;
use crate::capture::CaptureError;

/// Opens a camera, and later the same camera again, even if its device number changed (`/dev/videoN`)
/// after it was unplugged.
pub struct CameraReopener {
    request: CameraRequest,
    identity: Mutex<Option<CameraIdentity>>,
}

impl CameraReopener {
    /// Opens nothing yet.
    pub fn new(request: CameraRequest) -> Self {
        Self {
            request,
            identity: Mutex::default(),
        }
    }

    /// The requested device.
    pub fn name(&self) -> &str {
        &self.request.device
    }

    /// Opens the camera.
    ///
    /// # Errors
    /// See [`CameraSource::open`].
    pub fn open(&self) -> Result<CameraSource, CaptureError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match &*identity {
            Some(known) => find(&self.request.device, known),
            None => self.request.device.clone(),
        };
        let request = CameraRequest {
            device,
            ..self.request.clone()
        };
        let source = CameraSource::open(&request)?;
        if request.device != self.request.device {
            tracing::info!("camera {} is now {}", self.request.device, request.device);
        }
        if identity.is_none() {
            *identity = identity_of(&request.device);
        }
        Ok(source)
    }
}

/// Current device path of the camera `known`; `requested` if it is not connected.
fn find(requested: &str, known: &CameraIdentity) -> String {
    if identity_of(requested).as_ref() == Some(known) {
        return requested.to_owned();
    }
    let others = device_nodes().into_iter();
    let mut same = others.filter(|node| identity_of(node).as_ref() == Some(known));
    same.next().unwrap_or_else(|| requested.to_owned())
}

#[cfg(target_os = "linux")]
use super::v4l2::{device_nodes, identity_of};

/// Cameras are identified only on Linux.
#[cfg(not(target_os = "linux"))]
fn identity_of(_: &str) -> Option<CameraIdentity> {
    None
}

#[cfg(not(target_os = "linux"))]
fn device_nodes() -> Vec<String> {
    Vec::new()
}

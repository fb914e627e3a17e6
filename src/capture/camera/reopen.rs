//! A camera that is found again.

use std::sync::{Mutex, PoisonError};

use super::request::CameraRequest;
use super::source::CameraSource;
use crate::capture::CaptureError;

/// What tells a camera from others: the maker's name for it, and where it is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The maker's name.
    pub card: String,
    /// Bus and port.
    pub bus: String,
}

/// Opens a camera, and the same one again, also if it came back under another number.
pub struct CameraReopener {
    request: CameraRequest,
    identity: Mutex<Option<Identity>>,
}

impl CameraReopener {
    /// Nothing opened yet.
    pub fn new(request: CameraRequest) -> Self {
        Self {
            request,
            identity: Mutex::default(),
        }
    }

    /// The device as it was asked for.
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

/// Where the camera `known` is now; `asked` if it is nowhere.
fn find(asked: &str, known: &Identity) -> String {
    if identity_of(asked).as_ref() == Some(known) {
        return asked.to_owned();
    }
    let others = nodes().into_iter();
    let mut same = others.filter(|node| identity_of(node).as_ref() == Some(known));
    same.next().unwrap_or_else(|| asked.to_owned())
}

#[cfg(target_os = "linux")]
use super::v4l2::{identity_of, nodes};

/// Other systems' cameras are known by their number alone.
#[cfg(not(target_os = "linux"))]
fn identity_of(_: &str) -> Option<Identity> {
    None
}

#[cfg(not(target_os = "linux"))]
fn nodes() -> Vec<String> {
    Vec::new()
}

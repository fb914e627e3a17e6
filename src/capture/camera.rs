//! placeholder
use super::*;
pub struct CameraRequest {
    pub device: String,
    pub width_px: u32,
    pub height_px: u32,
    pub fps: u32,
    pub stall: std::time::Duration,
}
impl Default for CameraRequest {
    fn default() -> Self {
        Self {
            device: String::new(),
            width_px: 640,
            height_px: 480,
            fps: 30,
            stall: std::time::Duration::from_secs(5),
        }
    }
}
pub struct CameraSource;
pub struct CameraInfo;
pub struct CameraMode;
pub fn list_cameras() -> Vec<CameraInfo> {
    vec![]
}
impl CameraSource {
    pub fn open(r: &CameraRequest) -> Result<Self, CaptureError> {
        Err(CaptureError::Device {
            device: r.device.clone(),
            why: "not there".into(),
        })
    }
}
impl Source for CameraSource {
    fn info(&self) -> &SourceInfo {
        unimplemented!()
    }
    fn next(&mut self, _: &crate::flow::StopSignal) -> Result<Captured, CaptureError> {
        unimplemented!()
    }
    fn rewind(&mut self) -> Result<(), CaptureError> {
        unimplemented!()
    }
}

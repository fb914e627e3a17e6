//! The cameras of this machine.

#[cfg(feature = "camera")]
use mobilens::capture::{CameraInfo, CameraMode, list_cameras};
#[cfg(feature = "camera")]
use serde_json::json;

use crate::cli::print_error;
#[cfg(feature = "camera")]
use crate::cli::{DONE, print};

/// Device path and name of each camera.
#[cfg(feature = "camera")]
pub fn local_cameras() -> Vec<(String, String)> {
    let cameras = list_cameras().into_iter();
    cameras.map(|camera| (camera.device, camera.name)).collect()
}

#[cfg(not(feature = "camera"))]
pub fn local_cameras() -> Vec<(String, String)> {
    Vec::new()
}

/// Lists them.
#[cfg(not(feature = "camera"))]
pub fn list(_: bool) -> u8 {
    print_error("this build has no cameras: build it with the Cargo feature `camera`");
    crate::cli::USAGE
}

/// Lists them.
#[cfg(feature = "camera")]
pub fn list(is_json: bool) -> u8 {
    let mut cameras = list_cameras();
    for camera in &mut cameras {
        camera.modes.sort_by(|a, b| {
            let key = |m: &CameraMode| (m.fourcc.clone(), m.width, m.height);
            key(a).cmp(&key(b)).then(b.fps.total_cmp(&a.fps))
        });
    }
    if cameras.is_empty() {
        print_error("there is no camera");
    }
    if is_json {
        print(&as_json(&cameras).to_string());
    } else {
        cameras.iter().for_each(print_camera);
    }
    DONE
}

#[cfg(feature = "camera")]
fn as_json(cameras: &[CameraInfo]) -> serde_json::Value {
    let mode = |mode: &CameraMode| {
        json!({
            "fourcc": mode.fourcc,
            "width_px": mode.width,
            "height_px": mode.height,
            "fps": mode.fps,
        })
    };
    let cameras = cameras.iter().map(|camera| {
        json!({
            "device": camera.device,
            "name": camera.name,
            "modes": camera.modes.iter().map(mode).collect::<Vec<_>>(),
        })
    });
    json!({ "cameras": cameras.collect::<Vec<_>>() })
}

#[cfg(feature = "camera")]
fn print_camera(camera: &CameraInfo) {
    print(&format!("{}  {}", camera.device, camera.name));
    let of_sizes = camera
        .modes
        .chunk_by(|a, b| (&a.fourcc, a.width, a.height) == (&b.fourcc, b.width, b.height));
    for of_size in of_sizes {
        let rates: Vec<String> = of_size
            .iter()
            .map(|m| format!("{}", (m.fps * 100.0).round() / 100.0))
            .collect();
        let CameraMode {
            fourcc,
            width,
            height,
            ..
        } = &of_size[0];
        print(&format!(
            "  {fourcc} {width}x{height}  {} fps",
            rates.join(" ")
        ));
    }
}

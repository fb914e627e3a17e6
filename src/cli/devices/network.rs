//! The cameras in the network.

use std::time::Duration;

use mobilens::sandbox::{Folders, restrict_process};
use serde_json::json;

use super::PasswordError;
use super::arguments::{DevicesArgs, LoginArgs};
use crate::cli::onvif::{
    Login, NetworkCamera, Search, SearchError, StreamProfile, ask_all, search,
};
use crate::cli::{DONE, FAILED, USAGE, print, print_error};

/// The user and password that the command line gives, if it gives a user.
///
/// # Errors
/// When there is no password.
pub fn login_of(arguments: &LoginArgs) -> Result<Option<Login>, PasswordError> {
    let Some(user) = arguments.user.clone() else {
        return Ok(None);
    };
    let password = arguments.password()?;
    Ok(Some(Login { user, password }))
}

/// Finds cameras, and lists their streams. Exit code 1 where something was wrong and there is no stream, or
/// where a camera that is named does not answer.
pub fn network_cameras(arguments: &DevicesArgs) -> u8 {
    let login = match login_of(&arguments.login) {
        Ok(login) => login,
        Err(error) => {
            print_error(&error.to_string());
            return USAGE;
        }
    };
    // What strangers send is read from here on.
    restrict_process(&Folders::of(&[]));
    let asked = Search {
        address: arguments.address.clone(),
        interfaces: arguments.interface.clone(),
        time: Duration::from_secs(arguments.seconds.into()),
    };
    let found = match search(&asked) {
        Ok(found) => found,
        Err(error) => {
            print_error(&error.to_string());
            return match error {
                SearchError::Address(_) => USAGE,
                _ => FAILED,
            };
        }
    };
    let cameras = ask_all(found, login.as_ref());
    if arguments.json {
        print(&json!({ "cameras": cameras }).to_string());
    } else {
        print_table(&cameras);
    }
    let mut is_wrong = cameras.is_empty() && arguments.address.is_some();
    for camera in &cameras {
        for error in errors_of(camera) {
            print_error(&error);
            is_wrong = true;
        }
    }
    if cameras.is_empty() {
        let whom = arguments.address.as_deref().unwrap_or("no network camera");
        let answered = if arguments.address.is_some() {
            "did not answer"
        } else {
            "answered"
        };
        print_error(&format!("{whom} {answered} within {} s", arguments.seconds));
    }
    let is_any = cameras
        .iter()
        .flat_map(|camera| &camera.profiles)
        .any(|profile| profile.rtsp_url.is_some());
    if is_wrong && !is_any { FAILED } else { DONE }
}

/// A line for each thing that is wrong with a camera; one where all of its profiles say the same.
fn errors_of(camera: &NetworkCamera) -> Vec<String> {
    let where_found = match &camera.device_url {
        Some(url) => url.to_string(),
        None => camera.address.clone(),
    };
    let mut errors: Vec<String> = Vec::new();
    let of_profiles = camera.profiles.iter().filter_map(|p| p.error.as_ref());
    for error in camera.error.iter().chain(of_profiles) {
        let line = format!("{where_found}: {error}");
        if !errors.contains(&line) {
            errors.push(line);
        }
    }
    errors
}

/// A line for each profile.
fn print_table(cameras: &[NetworkCamera]) {
    let mut rows = vec![
        [
            "name", "address", "profile", "size", "codec", "fps", "RTSP URL",
        ]
        .map(str::to_owned),
    ];
    for camera in cameras {
        rows.extend(camera.profiles.iter().map(|profile| row(camera, profile)));
    }
    if rows.len() == 1 {
        return;
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or_default());
    for row in &rows {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        print(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn row(camera: &NetworkCamera, profile: &StreamProfile) -> [String; 7] {
    let unknown = || "-".to_owned();
    let size = profile.width_px.zip(profile.height_px);
    [
        camera.name.clone(),
        camera.address.clone(),
        profile.name.clone(),
        size.map_or_else(unknown, |(width, height)| format!("{width}x{height}")),
        profile.codec.clone().unwrap_or_else(unknown),
        profile.fps.map_or_else(unknown, |fps| fps.to_string()),
        profile
            .rtsp_url
            .as_ref()
            .map_or_else(unknown, ToString::to_string),
    ]
}

//! A build without the search for network cameras.

use super::arguments::DevicesArgs;
use crate::cli::{USAGE, print_error};

/// Says so.
pub fn network_cameras(_: &DevicesArgs) -> u8 {
    print_error("this build finds no network cameras: build it with the Cargo feature `onvif`");
    USAGE
}

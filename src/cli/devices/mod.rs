//! `mobilens devices`: cameras of this machine, and with `--network` those that are found by ONVIF.

pub mod arguments;
mod local;
#[cfg(feature = "onvif")]
mod network;
#[cfg(not(feature = "onvif"))]
#[path = "no_network.rs"]
mod network;
#[cfg(feature = "onvif")]
mod password;

pub use local::local_cameras;
#[cfg(feature = "onvif")]
pub use network::login_of;
#[cfg(feature = "onvif")]
pub use password::PasswordError;

use arguments::DevicesArgs;

use crate::cli::{USAGE, print_error};

/// Lists cameras.
pub fn devices(arguments: &DevicesArgs) -> u8 {
    if arguments.login.user.is_some() && !arguments.network {
        print_error("--user is for network cameras: add --network");
        return USAGE;
    }
    if arguments.network {
        network::network_cameras(arguments)
    } else {
        local::list(arguments.json)
    }
}

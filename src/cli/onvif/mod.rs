//! ONVIF: finds network cameras by WS-Discovery, and asks them for their profiles and stream URIs.
//!
//! | file | what |
//! |---|---|
//! | `search` | the probe by UDP, on each network interface or to one address |
//! | `probe_match` | what a camera answers to it |
//! | `soap` | a request by HTTP, and its answer |
//! | `login` | user and password: WS-UsernameToken |
//! | `camera` | the operations, in their order |
//! | `answers` | what is read from the answers |
//! | `xml` | messages of strangers, within limits |
//!
//! Whoever answers may be anybody. Requests, which may hold the digest of a password, go to the machine that
//! answered and to no other that it names; sizes, counts and times are limited; texts lose their control
//! characters. IPv4 only, but for a camera that is named by its address.
//!
//! WS-Discovery 1.0 (April 2005), ONVIF Core Specification (device service), ONVIF Media and Media2 Service
//! Specifications, OASIS Web Services Security UsernameToken Profile 1.0.

mod answers;
mod camera;
mod login;
mod probe_match;
mod search;
mod soap;
mod xml;

pub use answers::StreamProfile;
pub use camera::{NetworkCamera, ask_all};
pub use login::Login;
pub use search::{Search, SearchError, search};

/// 128 random bits.
fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_le_bytes(bytes),
        // Nothing secret: what matters is that two of them differ.
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| since.as_nanos()),
    }
}

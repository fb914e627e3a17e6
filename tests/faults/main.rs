//! The program under faults: full disks, silent cameras, strangers on the network, kill -9.
//!
//! Not part of plain `cargo test`, since faults take their time; `cargo test --test faults` runs them,
//! and CI does. One module per subject; the rules of the integration tests hold here, too.
#![allow(clippy::print_stderr, reason = "tests say what they measure and skip")]

#[allow(
    dead_code,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../integration/support/mod.rs"]
mod support;

mod access;
mod decoding;
mod delivery;
mod disk;
mod kill;
mod opening;
mod sandbox;
mod service;
mod slow_sinks;
mod store;

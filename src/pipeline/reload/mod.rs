//! Hot reload: a running pipeline goes on under another configuration.
//!
//! A configuration that is already loaded and valid is asked for by a [`Reloader`], from any thread. The supervisor
//! of the run compares it with the present one (`changes`), loads what it needs, builds the parts that change and
//! opens the sinks that are new; until then nothing has changed, and what fails refuses the whole. Each stream then
//! gets one [`StreamUpdate`] by its [`Handover`], and all its stages change between the same two frames.

mod changes;
mod handover;
mod parts;
mod request;

pub use changes::{Changes, changes, output_conflicts};
pub use handover::{Distributor, Handover, Refusal, StreamUpdate};
pub use parts::{Applied, Parts, give};
pub use request::{Event, ReloadError, Reloaded, Reloader, StreamChange, StreamReload};

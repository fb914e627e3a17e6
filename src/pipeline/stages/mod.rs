//! The stages of a frame's way, in its order. They know neither the configuration nor threads.

pub mod capture;

pub mod infer;

pub mod detect;

pub mod models;

pub mod segment;
#[cfg(feature = "store")]
pub mod store;

pub mod classify;

pub mod classify_tracks;

pub mod publish;

pub mod sink_edges;

pub mod analyze;

pub mod render;

#[cfg(feature = "recording")]
pub mod encode;

#[cfg(feature = "web")]
pub mod web;

pub mod write;

pub mod window;

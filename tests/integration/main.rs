//! The program as a whole: the binary on real input, and the library where a test needs its types.
//!
//! One module per subject, run by `cargo test --test integration SUBJECT::`. The tests run side by
//! side in one process: they share no file, port or environment variable, and no result depends on
//! how fast the machine is. What takes minutes is `#[ignore]`d (`-- --include-ignored` runs it, and
//! CI does). A test whose tools or data are missing says `SKIPPED`, or fails where the environment
//! variable `MOBILENS_CI` is set. Speed is measured in `benches/`.
#![allow(clippy::print_stderr, reason = "tests say what they measure and skip")]

mod support;

// The small ONNX files of the tests of `mobilens-nn`.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../crates/mobilens-nn/tests/integration/onnx.rs"]
mod onnx;

mod any_head;
mod bad_input;
mod bad_model;
mod card;
mod classify;
mod classify_tracks;
mod codecs;
mod compare;
mod config;
mod counting;
mod data_dir;
mod decode_parity;
mod devices;
mod devices_wrong;
mod eval;
mod events;
mod faces;
mod golden;
mod heads;
mod images;
mod init;
mod label;
mod looks;
mod models;
mod mqtt;
mod overlay;
mod precision;
mod preprocess_pillow;
mod preprocess_tensorflow;
mod quantize;
mod recording;
mod reload;
mod rtsp;
mod rtsp_loss;
mod run;
mod segment;
mod selfie;
mod streams;
mod telemetry;
mod tracking;
mod video;
mod web;
mod web_api;
mod webhook;
mod window;

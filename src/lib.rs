//! MobiLens: real-time detection and segmentation for security cameras and drones, with MobileNets
//! on an ordinary CPU.
//!
//! A pipeline is described by one YAML file. [`config::load_all`] reads it, [`pipeline::run_streams`]
//! runs it, and [`pipeline::run_with_sinks`] does so with sinks of one's own. The folder `examples/`
//! has a program for each of the usual cases: `detect_picture`, `run_pipeline`, `custom_sink`.
//!
//! # The path of a frame
//!
//! The modules are listed in the order of processing.
//!
//! 1. [`config`] reads the pipeline's YAML and the model's card, and reports all errors in them.
//! 2. [`pipeline`] builds stages from the configuration and runs them on threads: the one module that
//!    depends on all others.
//! 3. [`capture`] gives frames in their decoder's own pixel format ([`mobilens_video`] demuxes and
//!    decodes). Identity (stream, number) and time (media time, instant of capture) are set once, here,
//!    and stay with the frame in its [`frame::Packet`]. A drone's [`telemetry`] is laid beside the
//!    frames.
//! 4. [`gating`] gives each frame an [`InferencePlan`](frame::InferencePlan): on which regions of it
//!    the network runs.
//! 5. [`flow`] carries frames, and events of their source, as [`frame::StreamMessage`]s: bounded edges
//!    with an overflow policy and drop counts, an ordered worker pool, a stop signal. It is independent
//!    of images; the stages are independent of threads.
//! 6. [`preprocess`](mobilens_image::preprocess) goes from the captured planes to the input tensor in
//!    one pass and returns [`ImageFromModel`](mobilens_image::ImageFromModel), the one transform that
//!    takes results back.
//! 7. [`mobilens_nn`] runs the network.
//! 8. [`postprocess`] decodes its raw outputs. Model coordinates end here: from now on all is in pixels
//!    of the original frame.
//! 9. [`track`] assigns track ids, [`analytics`] derives events from tracks and masks, in the order of
//!    the frames.
//! 10. [`records`] turns results into data, [`overlay`] draws them; a picture is converted to RGB once
//!     and drawn once for each style, and only if a sink needs it ([`overlay::FramePictures`]).
//! 11. [`sink`] writes, displays, publishes and stores them; [`store`] is the database of events.
//!
//! On Linux, [`sandbox`] restricts the program to what a run needs.
//!
//! [`eval`] is not part of that path: it compares results with ground truth.
//!
//! An [`InferenceWorker`](pipeline::InferenceWorker) runs 6 to 8 on its own thread, so that it takes
//! the newest frame at the moment it is free, and no prepared tensor grows old in a queue.
//!
//! Cargo features, all on by default, leave out what not everyone wants: `camera`, `mqtt`, `onvif`, `recording`,
//! `rtsp`, `store`, `web`, `webhook`, `window`.

pub mod config;

pub mod pipeline;

pub mod capture;

pub mod telemetry;

pub mod frame;

pub mod flow;

pub mod gating;

pub mod postprocess;

pub mod track;

pub mod analytics;

pub mod overlay;

pub mod records;

#[cfg(feature = "store")]
pub mod store;

pub mod sink;

pub mod sandbox;

pub mod eval;

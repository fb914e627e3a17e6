//! MobiLens: real-time detection for security cameras and drones, with MobileNets on an ordinary
//! CPU.
//!
//! # The path of a frame
//!
//! The modules are listed in the order of processing.
//!
//! 1. [`config`] reads the pipeline's YAML and the model's card, and finds every fault in them.
//! 2. [`pipeline`] builds what they describe and runs it: the one place that knows all others.
//! 3. [`capture`] gives frames in their decoder's own pixel format. Identity (stream, number) and
//!    time (media time, instant of capture) are set once, here, and stay with the frame in its
//!    [`frame::Packet`].
//!    A drone's [`telemetry`] is laid beside the frames there, and before any network has seen one,
//!    [`gating`] decides on which regions of it the network runs.
//! 4. [`flow`] carries them: bounded edges with a policy and a count of what they drop, work
//!    an ordered worker pool, a stop signal. It is independent of images; the stages are
//!    independent of threads.
//! 5. [`preprocess`](mobilens_image::preprocess) goes from the captured planes to the network's tensor in one pass and writes
//!    down [`ImageFromModel`](mobilens_image::ImageFromModel), the one transform that takes results back.
//! 6. [`nn`](mobilens_nn) runs the network.
//! 7. [`postprocess`] decodes its raw heads. Model space ends here: from now on all is in pixels of
//!    the original frame.
//! 8. [`track`] assigns track ids, [`analytics`] derives events from tracks, in
//!    the order of the frames.
//! 9. [`records`] turns results into data, [`overlay`] draws them on the picture (which is made
//!    only when a sink needs it).
//! 10. [`sink`] writes, displays, publishes and stores them.
//!
//! [`eval`] is not part of that path: it compares results with ground truth.
//!
//! An inference worker runs 5 to 7 as one chain on its own thread, so that it takes the newest frame
//! at the moment it is free, and no prepared tensor grows old in a queue.

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

pub mod sink;

pub mod eval;

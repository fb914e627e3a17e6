//! MobiLens: real-time detection for security cameras and drones, with MobileNets on an ordinary
//! CPU.
//!
//! # A frame's way
//!
//! The modules stand in the order in which a frame meets them.
//!
//! 1. [`config`] reads the pipeline's YAML and the model's card, and finds every fault in them.
//! 2. [`pipeline`] builds what they describe and runs it: the one place that knows all others.
//! 3. [`capture`] gives frames in their decoder's own pixel format. Identity (stream, number) and
//!    time (media time, instant of capture) are set once, here, and stay with the frame in its
//!    [`frame::Packet`].
//!    A drone's [`telemetry`] is laid beside the frames there, and before any network has seen one,
//!    [`gating`] decides what of it is looked at.
//! 4. [`flow`] carries them: bounded edges with a policy and a count of what they drop, work
//!    shared over threads with results in order, one word that ends it all. It knows no pixels;
//!    the stages know no threads.
//! 5. [`preprocess`](mobilens_image::preprocess) goes from the captured planes to the network's tensor in one pass and writes
//!    down [`ImageFromModel`](mobilens_image::ImageFromModel), the one transform that takes results back.
//! 6. [`nn`](mobilens_nn) runs the network.
//! 7. [`postprocess`] decodes its raw heads. Model space ends here: from now on all is in pixels of
//!    the original frame.
//! 8. [`track`] gives objects a number that they keep, [`analytics`] makes events of what they do, in
//!    the order of the frames.
//! 9. [`records`] says what was seen as data, [`overlay`] draws it on the picture (which is made
//!    only when somebody looks).
//! 10. [`sink`] writes, shows and keeps.
//!
//! [`eval`] stands beside that way: it holds results against what is known to be true.
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

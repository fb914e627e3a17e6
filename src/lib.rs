//! MobiLens: real-time detection and segmentation for security cameras and drones.

pub mod app;
pub mod capture;
pub mod config;
pub mod flow;
pub mod frame;
pub mod nn;
pub mod overlay;
pub mod postprocess;
pub mod preprocess;
pub mod records;
pub mod sink;

//! MobiLens: real-time detection and segmentation for security cameras and drones.

pub mod capture;
pub mod config;
pub mod flow;
pub mod frame;
pub mod nn;
pub mod postprocess;
pub mod records;
pub mod sink;

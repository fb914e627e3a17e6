//! What the library promises about whole networks: the results of plain tract, on every instruction
//! set of this CPU.

mod class_pruning;
mod fusion_patterns;
mod models;
mod onnx;
mod parity;
mod random_networks;

//! What the library promises about whole networks: the results of plain tract, on every instruction
//! set of this CPU.

mod activations;
mod bf16;
mod class_pruning;
mod fusion_patterns;
mod layout_operators;
mod matrix_products;
mod models;
mod onnx;
mod parity;
mod precision;
mod qdq;
mod qdq_errors;
mod qdq_exporters;
mod qdq_operators;
mod quantize;
mod random_int8_networks;
mod random_networks;
mod transformers;

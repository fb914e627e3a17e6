//! Inference of ONNX networks of the MobileNet family on CPU kernels of its own.
//!
//! [`Network::load`] reads an ONNX file; a [`Session`] runs it. tract loads the file, infers shapes
//! and simplifies the graph. What the [`kernels`] support is then compiled for the instruction set
//! of this CPU, AVX-512 or AVX2, and what they do not support stays on tract.
//!
//! # Load and run a model
//!
//! ```
//! use std::path::Path;
//!
//! use mobilens_nn::{LoadOptions, Network};
//!
//! let model = concat!(
//!     env!("CARGO_MANIFEST_DIR"),
//!     "/../../models/ssdlite_mobilenet_v2_coco.onnx"
//! );
//! let network = Network::load(Path::new(model), &LoadOptions::default())?;
//! assert_eq!(network.input().shape, [1, 3, 300, 300]);
//!
//! // One session for each worker, here on two threads.
//! let mut session = network.session(2)?;
//! // RGB from -1 to 1, in the dimension order of the file (NCHW); here a grey picture.
//! // `input_mut` saves the copy for who can write `session.input_layout()`.
//! session.set_input(&vec![0.0; network.input().len()]);
//! session.run()?;
//!
//! let names: Vec<_> = network.outputs().iter().map(|o| o.name.as_str()).collect();
//! assert_eq!(names, ["boxes", "scores"]);
//! let scores = session.output(1); // [1, 1917 anchors, 91 classes]
//! assert_eq!(scores.len(), 1917 * 91);
//! assert!(scores.iter().all(|score| score.is_finite()));
//! # Ok::<(), mobilens_nn::NnError>(())
//! ```
//!
//! # From file to program
//!
//! | module | what it does |
//! |---|---|
//! | `qdq` | quantised files (QDQ and QOperator form) as float graphs with marked roundings |
//! | `onnx_file` | [`OnnxFile`]: what a file says of itself, without running it |
//! | `weight_checks` | sizes of tensors and weights that are no numbers, before anything is computed |
//! | `onnx` | loads the file with tract: shape inference, constant folding |
//! | `qdq` | quantised files: constants as float32, roundings of activations as operators |
//! | `partition` | graph partitioning: subgraphs that the kernels support, the rest for tract |
//! | `import` | tract's nodes as operators of the `graph` |
//! | `fuse` | operator fusion: padding, batch normalisation, activations and residuals into convolutions |
//! | `fuse_scales` | channel scales of a quantised activation into the convolutions around it |
//! | `prune` | class pruning: output channels of classes that are not needed |
//! | `lower_int8`, `lower_conv_int8` | lowering of quantised graphs: which operators run on codes of one byte |
//! | `lower_bf16` | lowering to bfloat16: convolutions, and conversions around them |
//! | `plan`, `plan_conv`, `plan_int8` | memory layouts (NHWC, no copies for transpose, reshape and concatenation), compilation |
//! | `fuse_convolutions` | fusion of convolutions whose intermediate value would not stay in cache |
//! | `memory_plan` | memory planning: lifetimes, offsets in one arena |
//! | [`kernels`] | the program and its kernels: GEMM, depthwise, fused convolutions, thread pool |
//! | `precision` | number format: what [`Precision`] means for a file and this CPU |
//! | `quantize` | [`quantize()`]: from a float32 file and pictures to an int8 file |
//! | `report` | [`LayerReport`]: layers, their cost, and what runs them |
//!
//! Shapes are fixed at load and the batch size is 1. Values are float32, or codes of one byte in a
//! quantised file ([`Precision`]). Results do not depend on the number of threads, bit by bit; those
//! of int8 not on the instruction set either.

mod error;
mod external_data;
mod fuse;
mod fuse_convolutions;
mod fuse_scales;
mod graph;
mod import;
mod initializer;
mod input_shape;
mod input_size;
pub mod kernels;
mod load_options;
mod lower_bf16;
mod lower_conv_int8;
mod lower_int8;
mod memory_plan;
mod network;
mod onnx;
mod onnx_file;
mod partition;
mod plan;
mod plan_conv;
mod plan_int8;
mod precision;
mod prune;
mod qdq;
mod quantize;
mod report;
mod session;
mod tensor_info;
mod weight_checks;

pub use error::NnError;
pub use initializer::initializer_values;
pub use load_options::{FeatureMaps, KeptClasses, KernelChoice, LoadOptions, Precision};
pub use network::{Network, PrunedClasses};
pub use onnx_file::{OnnxConstant, OnnxFile, OnnxNode, OnnxValue};
pub use quantize::{
    CalibrationPictures, QuantizeError, QuantizeOptions, QuantizePhase, QuantizeProgress,
    QuantizeReport, Quantized, TensorSqnr, quantize,
};
pub use report::LayerReport;
pub use session::Session;
pub use tensor_info::{InputLayout, TensorInfo};

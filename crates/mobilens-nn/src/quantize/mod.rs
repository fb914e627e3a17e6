//! Quantisation of float32 networks to int8 after training.
//!
//! [`quantize`] reads an ONNX file in float32 and pictures, and writes an ONNX file in the QDQ
//! format (`QuantizeLinear` and `DequantizeLinear`), which ONNX Runtime, OpenVINO and this library
//! run in int8. Activations become unsigned codes with a scale and a zero point for each tensor;
//! weights become signed codes with a scale for each output channel and no zero point.
//!
//! | module | what it does |
//! |---|---|
//! | `opset` | raises the file to opset 13 |
//! | `fold` | folds constants, batch normalisation and padding into convolutions |
//! | `placement` | which convolutions are quantised, which values are rounded and share a scale |
//! | `observe` | histograms of values, mean inputs of convolutions |
//! | `ranges` | scales with the least mean squared error |
//! | `correct` | codes of weights, bias correction layer by layer |
//! | `segments` | the network in parts, from rounded value to rounded value |
//! | `calibrate` | runs pictures through the float network and the quantised one |
//! | `write` | writes the QDQ file |
//!
//! The file is the same, byte by byte, for the same pictures in the same order, whatever the number
//! of threads; with [`KernelChoice::Portable`], the default, also whatever the processor, for a
//! network that the kernels run as a whole.

mod calibrate;
mod correct;
mod fold;
mod model;
mod observe;
mod opset;
mod placement;
mod proto;
mod ranges;
mod report;
mod segments;
mod write;

use std::ops::ControlFlow;

use prost::Message as _;

use crate::error::NnError;
use crate::load_options::KernelChoice;
use crate::network::isa_of;

use calibrate::Calibration;
use model::FloatModel;

pub(crate) use proto::constant_floats;
pub use report::{QuantizeReport, TensorSqnr};

/// Options of [`quantize`].
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// Input height and width in pixels, for a fully convolutional network; `None` takes the fixed
    /// input size of the file.
    pub input: Option<(usize, usize)>,
    /// Least and greatest value that the input can have. Without it the input's scale is chosen by
    /// the pictures.
    pub input_range: Option<(f32, f32)>,
    /// What runs the network in float32.
    pub kernels: KernelChoice,
    /// Threads inside one inference; 0 counts as 1.
    pub threads: usize,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self {
            input: None,
            input_range: None,
            kernels: KernelChoice::Portable,
            threads: 1,
        }
    }
}

/// The pictures that a network is calibrated with, preprocessed.
pub trait CalibrationPictures {
    /// Number of pictures.
    fn count(&self) -> usize;

    /// Writes picture `index` into the network's input, in the dimension order of the file. Each
    /// picture is asked for several times, and must be the same each time.
    ///
    /// # Errors
    /// When the picture cannot be read: one line that names it.
    fn read(&mut self, index: usize, input: &mut [f32]) -> Result<(), String>;
}

/// What a quantisation is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantizePhase {
    /// Observing the pictures' values in float32.
    Observe,
    /// Correcting the bias, layer by layer.
    Correct,
    /// Measuring the quantised network against the float one, picture by picture.
    Measure,
}

/// How far a phase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeProgress {
    /// The phase.
    pub phase: QuantizePhase,
    /// Steps that are done.
    pub done: usize,
    /// Steps of this phase.
    pub total: usize,
}

/// A quantised network.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// What it is worth.
    pub report: QuantizeReport,
}

/// Why a network is not quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The model is damaged, not in float32, or has nothing that can be quantised.
    #[error("{0}")]
    Model(String),
    /// There are no pictures, or one of them cannot be used.
    #[error("{0}")]
    Pictures(String),
    /// The instruction set that was asked for is not supported, or inference failed.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The caller did not want to go on.
    #[error("interrupted")]
    Interrupted,
}

/// Quantises the float32 ONNX file `model` to int8 with the scales that `pictures` need. `progress`
/// is called after every step; the quantisation ends when it breaks.
///
/// Values are rounded as described at the head of this module's source; convolutions whose result
/// only leads to the network's outputs write float32. Ranges have the least mean squared error over
/// the pictures' values, and each convolution's bias is corrected so that the mean of its channels
/// is that of float32.
///
/// # Errors
/// When the model or a picture cannot be used, or `progress` breaks.
pub fn quantize(
    model: &[u8],
    pictures: &mut dyn CalibrationPictures,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(QuantizeProgress) -> ControlFlow<()>,
) -> Result<Quantized, QuantizeError> {
    if pictures.count() == 0 {
        return Err(QuantizeError::Pictures("there are no pictures".to_owned()));
    }
    // Said as what it is, not as a fault of the model.
    isa_of(options.kernels)?;
    let float =
        FloatModel::read(model, options.input, options.kernels).map_err(QuantizeError::Model)?;
    let mut calibration = Calibration {
        float: &float,
        kernels: options.kernels,
        threads: options.threads.max(1),
        pictures,
        progress,
    };
    let observed = calibration.observe()?;
    let scales = observed.scales(&float, options.input_range);
    let (codes, networks) = calibration.correct(&observed, &scales)?;
    let mut report = calibration.measure(&scales, &networks)?;
    let mut file = write::qdq_file(&float.with_graph(), &float.placement, &scales, &codes);
    file.producer_name = "mobilens quantize".to_owned();
    file.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    let onnx = file.encode_to_vec();
    report.bytes = (model.len(), onnx.len());
    Ok(Quantized { onnx, report })
}

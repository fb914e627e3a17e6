//! An ONNX network, loaded and ready to run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::prelude::*;

use crate::flow::panic_message;
use crate::frame::TensorLayout;

/// Why a network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// The file is not an ONNX model that can be run here.
    #[error("{path}: not a model that can be run: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The engine failed while running.
    #[error("inference failed: {why}")]
    Run {
        /// The engine's word.
        why: String,
    },
}

/// Which implementation runs the hot operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The fastest that this machine has.
    #[default]
    Auto,
    /// tract alone.
    Tract,
}

/// How to load a network.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which implementation runs the hot operators.
    pub kernels: KernelChoice,
}

/// Name and shape of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the ONNX file.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
}

/// A network that is loaded, checked and optimised. Clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    plan: Arc<TypedSimplePlan>,
    input: TensorInfo,
    outputs: Arc<[TensorInfo]>,
}

impl Network {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// When the file cannot be read, is no ONNX model, has other than one float32 input of a fixed
    /// shape, or holds operators that cannot be run.
    pub fn load(path: &Path, _options: &LoadOptions) -> Result<Self, NnError> {
        let bytes = std::fs::read(path).map_err(|e| NnError::Unreadable {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let unusable = |why: String| NnError::Unusable {
            path: path.to_owned(),
            why,
        };
        // The engine may panic on a damaged file; nothing of it survives the unwinding.
        catch_unwind(AssertUnwindSafe(|| Self::from_bytes(&bytes)))
            .unwrap_or_else(|panic| Err(panic_message(&*panic)))
            .map_err(unusable)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let one_line = |e: TractError| format!("{e:#}").replace('\n', " ");
        let model = onnx().model_for_read(&mut &*bytes).map_err(one_line)?;
        let typed = model.into_typed().map_err(one_line)?;
        let info = |outlet: &OutletId, typed: &TypedModel| -> Result<TensorInfo, String> {
            let fact = typed.outlet_fact(*outlet).map_err(one_line)?;
            let name = typed
                .outlet_label(*outlet)
                .map_or_else(|| typed.node(outlet.node).name.clone(), ToOwned::to_owned);
            let shape = fact
                .shape
                .as_concrete()
                .ok_or_else(|| format!("{name} has a dynamic shape {:?}", fact.shape))?
                .to_vec();
            if fact.datum_type != f32::datum_type() {
                return Err(format!("{name} is {:?}, not float32", fact.datum_type));
            }
            Ok(TensorInfo { name, shape })
        };
        let inputs = typed.input_outlets().map_err(one_line)?.to_vec();
        let [input] = inputs.as_slice() else {
            return Err(format!("it has {} inputs, not one", inputs.len()));
        };
        let input = info(input, &typed)?;
        let outputs = typed
            .output_outlets()
            .map_err(one_line)?
            .iter()
            .map(|outlet| info(outlet, &typed))
            .collect::<Result<_, _>>()?;
        let plan = typed
            .into_optimized()
            .and_then(TypedModel::into_runnable)
            .map_err(one_line)?;
        Ok(Self {
            plan,
            input,
            outputs,
        })
    }

    /// The one input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// The outputs, in the file's order.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// State for one worker that runs this network.
    ///
    /// # Errors
    /// When the engine cannot make it.
    pub fn session(&self, _threads: usize) -> Result<Session, NnError> {
        Ok(Session {
            input: vec![0.0; self.input.shape.iter().product()],
            outputs: Vec::new(),
            network: self.clone(),
        })
    }
}

/// One worker's state.
pub struct Session {
    network: Network,
    input: Vec<f32>,
    outputs: Vec<Vec<f32>>,
}

impl Session {
    /// Order of the input's dimensions.
    pub fn input_layout(&self) -> TensorLayout {
        TensorLayout::Nchw
    }

    /// The input, to be filled before [`run`](Self::run).
    pub fn input_mut(&mut self) -> &mut [f32] {
        &mut self.input
    }

    /// Runs the network on the input.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self) -> Result<(), NnError> {
        let failed = |e: TractError| NnError::Run {
            why: format!("{e:#}"),
        };
        let input = Tensor::from_shape(&self.network.input.shape, &self.input).map_err(failed)?;
        let outputs = self
            .network
            .plan
            .run(tvec!(input.into_tvalue()))
            .map_err(failed)?;
        self.outputs.clear();
        for output in &outputs {
            let view = output.to_plain_array_view::<f32>().map_err(failed)?;
            self.outputs.push(view.iter().copied().collect());
        }
        Ok(())
    }

    /// Output `index` of the last run, in the order of [`Network::outputs`].
    pub fn output(&self, index: usize) -> &[f32] {
        &self.outputs[index]
    }
}

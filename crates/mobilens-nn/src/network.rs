//! A loaded network, which sessions on any number of threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::{DatumType, IntoRunnable as _, OutletId, TypedModel};

use crate::error::{NnError, panic_message};
use crate::graph::Graph;
use crate::kernels::Isa;
use crate::load_options::{KeptClasses, KernelChoice, LoadOptions};
use crate::onnx::{load_onnx, one_line};
use crate::partition::{Partitioned, partition};
use crate::plan::PlanOptions;
use crate::prune::prune_classes;
use crate::report::{LayerReport, layers_of_model, layers_of_plan};
use crate::session::{Engine, Session};
use crate::tensor_info::TensorInfo;

/// The classes that are left of a detector after class pruning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedClasses {
    /// Column `i` of the scores is class `classes[i]`.
    pub classes: Vec<usize>,
    /// Number of classes in the file.
    pub of: usize,
}

/// A network that is loaded, checked and compiled. Clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    engine: Engine,
    input: TensorInfo,
    outputs: Arc<[TensorInfo]>,
    layers: Arc<[LayerReport]>,
    pruned: Option<Arc<PrunedClasses>>,
}

impl Network {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// When the file cannot be read, is not a valid ONNX model, has other than one float32 input
    /// of fixed shape, or has operators that are not supported; when the CPU does not support the
    /// instruction set of the kernels that the options ask for.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, NnError> {
        let isa = match options.kernels {
            // The portable kernels are many times slower than tract.
            KernelChoice::Auto => Some(Isa::best()).filter(|isa| *isa != Isa::Portable),
            KernelChoice::Tract => None,
            KernelChoice::Portable => Some(Isa::Portable),
            KernelChoice::Avx2 => Some(Isa::Avx2),
            KernelChoice::Avx512 => Some(Isa::Avx512),
        };
        if let Some(isa) = isa.filter(|isa| !isa.available()) {
            return Err(NnError::UnsupportedIsa {
                kernels: isa.name(),
            });
        }
        let bytes = std::fs::read(path).map_err(|e| NnError::Read {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        // tract may panic on a damaged file; nothing of it survives the unwinding.
        catch_unwind(AssertUnwindSafe(|| Self::from_bytes(&bytes, isa, options)))
            .unwrap_or_else(|panic| Err(panic_message(&*panic)))
            .map_err(|reason| NnError::InvalidModel {
                path: path.to_owned(),
                reason,
            })
    }

    fn from_bytes(bytes: &[u8], isa: Option<Isa>, options: &LoadOptions) -> Result<Self, String> {
        let model = load_onnx(bytes, options.input)?;
        let inputs = model.input_outlets().map_err(one_line)?;
        let [input] = inputs else {
            let count = inputs.len();
            return Err(format!("the model has {count} inputs, expected one"));
        };
        let input = tensor_info(&model, *input)?;
        let mut outputs = model
            .output_outlets()
            .map_err(one_line)?
            .iter()
            .map(|outlet| tensor_info(&model, *outlet))
            .collect::<Result<Vec<_>, _>>()?;
        let kept = options.keep.as_ref().and_then(|kept| {
            let index = outputs.iter().position(|o| o.name == kept.output)?;
            Some((index, kept))
        });
        let (engine, layers, is_pruned) = compile(model, isa, kept)?;
        let pruned = kept.filter(|_| is_pruned).map(|(index, kept)| {
            let classes = kept.classes.clone();
            let of = std::mem::replace(&mut outputs[index].shape[2], classes.len());
            Arc::new(PrunedClasses { classes, of })
        });
        Ok(Self {
            engine,
            input,
            outputs: outputs.into(),
            layers: layers.into(),
            pruned,
        })
    }

    /// The classes whose scores the network computes, if the others were pruned.
    pub fn pruned_classes(&self) -> Option<&PrunedClasses> {
        self.pruned.as_deref()
    }

    /// Name and shape of the input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// Names and shapes of the outputs, in the order of the file.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The layers after operator fusion, and what runs each of them.
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// State for one worker that runs this network on `threads` threads, its own among them; 0
    /// counts as 1.
    ///
    /// # Errors
    /// When a thread cannot be started, or tract cannot create its state.
    pub fn session(&self, threads: usize) -> Result<Session, NnError> {
        Session::new(&self.engine, self.input.clone(), &self.outputs, threads)
    }
}

/// Name and shape of an input or output; both must be float32 of fixed shape.
fn tensor_info(model: &TypedModel, outlet: OutletId) -> Result<TensorInfo, String> {
    let fact = model.outlet_fact(outlet).map_err(one_line)?;
    let name = model
        .outlet_label(outlet)
        .map_or_else(|| model.node(outlet.node).name.clone(), ToOwned::to_owned);
    let shape = fact
        .shape
        .as_concrete()
        .ok_or_else(|| {
            format!(
                "{name} has a dynamic shape {:?}, not a fixed one",
                fact.shape
            )
        })?
        .to_vec();
    if fact.datum_type != DatumType::F32 {
        return Err(format!("{name} is {:?}, not float32", fact.datum_type));
    }
    Ok(TensorInfo { name, shape })
}

/// Compiles for the kernels of `isa`, or for tract. Returns what runs the network, its layers, and
/// whether output `kept.0` was pruned.
fn compile(
    model: TypedModel,
    isa: Option<Isa>,
    kept: Option<(usize, &KeptClasses)>,
) -> Result<(Engine, Vec<LayerReport>, bool), String> {
    let model = match isa {
        None => model,
        Some(isa) => {
            let mut is_pruned = false;
            let mut prune = |graph: &mut Graph| {
                if let Some((index, kept)) = kept {
                    is_pruned = prune_classes(graph, graph.outputs[index], &kept.classes);
                }
            };
            match partition(&model, PlanOptions::new(isa), &mut prune)? {
                Partitioned::Whole(plan) => {
                    let layers = layers_of_plan(&plan);
                    return Ok((Engine::Kernels(Arc::from(plan)), layers, is_pruned));
                }
                Partitioned::Mixed(model) => model,
            }
        }
    };
    let plan = model
        .into_optimized()
        .and_then(TypedModel::into_runnable)
        .map_err(one_line)?;
    let layers = layers_of_model(plan.model());
    Ok((Engine::Tract(plan), layers, false))
}

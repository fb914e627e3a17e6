//! A loaded network, which sessions on any number of threads share.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::{DatumType, IntoRunnable as _, OutletId, TypedModel};

use crate::error::{NnError, panic_message};
use crate::graph::Graph;
use crate::kernels::{Bf16Isa, Int8Isa, Isa, IsaSet};
use crate::load_options::{KeptClasses, KernelChoice, LoadOptions};
use crate::onnx::{load_onnx, one_line};
use crate::onnx_file::read_model;
use crate::partition::{Partitioned, partition};
use crate::plan::PlanOptions;
use crate::precision::{NumberFormat, bulk_of, check_precision, number_format};
use crate::prune::prune_classes;
use crate::qdq::{WeightScales, drop_rounding_of_model};
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
    inputs: Arc<[TensorInfo]>,
    outputs: Arc<[TensorInfo]>,
    layers: Arc<[LayerReport]>,
    pruned: Option<Arc<PrunedClasses>>,
}

impl Network {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// When the file cannot be read, is not a valid ONNX model, has weights that are NaN or infinite, has other than one float32 input
    /// of fixed shape, or has operators that are not supported; when the CPU does not support the
    /// instruction set of the kernels or the precision that the options ask for; when the precision is
    /// int8, but the file is not quantised.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, NnError> {
        let isa = isa_of(options.kernels)?;
        check_precision(options)?;
        let bytes = read_model(path)?;
        let (model, weight_scales) = caught(path, || load_onnx(&bytes, path.parent(), options))?;
        let format = number_format(path, options, weight_scales.is_some())?;
        let weight_scales = weight_scales.unwrap_or_default();
        let network = caught(path, || {
            Self::from_model(model, &weight_scales, format, isa, options)
        })?;
        match network.inputs.len() {
            1 => Ok(network),
            count => Err(NnError::InvalidModel {
                path: path.to_owned(),
                reason: format!("the model has {count} inputs, expected one"),
            }),
        }
    }

    /// The network, or part of one with any number of inputs, of an ONNX file's content.
    pub(super) fn of_bytes(
        bytes: &[u8],
        isa: Option<IsaSet>,
        options: &LoadOptions,
    ) -> Result<Self, String> {
        let load = || {
            let (model, weight_scales) = load_onnx(bytes, None, options)?;
            let format = number_format(Path::new("the model"), options, weight_scales.is_some());
            let format = format.map_err(|e| e.to_string())?;
            Self::from_model(
                model,
                &weight_scales.unwrap_or_default(),
                format,
                isa,
                options,
            )
        };
        // tract may panic on a damaged file; nothing of it survives the unwinding.
        catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| Err(panic_message(&*panic)))
    }

    fn from_model(
        model: TypedModel,
        weight_scales: &WeightScales,
        format: NumberFormat,
        isa: Option<IsaSet>,
        options: &LoadOptions,
    ) -> Result<Self, String> {
        let int8 = format == NumberFormat::Int8;
        let has_int8_convolutions = int8 && !weight_scales.is_empty();
        // The portable float32 kernels are many times slower than tract.
        let prefers_tract = options.kernels == KernelChoice::Auto && !has_int8_convolutions;
        let isa = isa.filter(|isa| !(prefers_tract && isa.float == Isa::Portable));
        let inputs = model
            .input_outlets()
            .map_err(one_line)?
            .iter()
            .map(|outlet| tensor_info(&model, *outlet))
            .collect::<Result<Vec<_>, _>>()?;
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
        let (engine, layers, is_pruned) = compile(
            model,
            weight_scales,
            format,
            isa.map(|isa| PlanOptions::new(isa, format)),
            kept,
        )?;
        let pruned = kept.filter(|_| is_pruned).map(|(index, kept)| {
            let classes = kept.classes.clone();
            let of = std::mem::replace(&mut outputs[index].shape[2], classes.len());
            Arc::new(PrunedClasses { classes, of })
        });
        Ok(Self {
            engine,
            inputs: inputs.into(),
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
        &self.inputs[0]
    }

    /// Names and shapes of the outputs, in the order of the file.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The layers after operator fusion, and what runs each of them.
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// Number format that the bulk of the layers works in, by multiply-accumulates: `f32`, `int8` or `bf16`. Each
    /// layer's own is in [`layers`](Self::layers).
    pub fn precision(&self) -> &'static str {
        bulk_of(&self.layers).0
    }

    /// What those layers run on, as in [`LayerReport::runs_on`]: an instruction set, for instance
    /// `avx512vnni`, or `tract`.
    pub fn instruction_set(&self) -> &'static str {
        bulk_of(&self.layers).1
    }

    /// State for one worker that runs this network on `threads` threads, its own among them; 0
    /// counts as 1.
    ///
    /// # Errors
    /// When a thread cannot be started, or tract cannot create its state.
    pub fn session(&self, threads: usize) -> Result<Session, NnError> {
        Session::new(
            &self.engine,
            Arc::clone(&self.inputs),
            &self.outputs,
            threads,
        )
    }
}

/// The instruction set of the kernels; `None` is tract.
///
/// # Errors
/// When the CPU does not support the one that is asked for.
pub(super) fn isa_of(kernels: KernelChoice) -> Result<Option<IsaSet>, NnError> {
    let isa = match kernels {
        KernelChoice::Auto => Some(IsaSet::best()),
        KernelChoice::Tract => None,
        KernelChoice::Portable => Some(Isa::Portable.into()),
        KernelChoice::Avx2 => Some(Isa::Avx2.into()),
        KernelChoice::AvxVnni => Some(IsaSet {
            float: Isa::Avx2,
            int8: Int8Isa::AvxVnni,
            bf16: Bf16Isa::Portable,
        }),
        KernelChoice::Avx512 => Some(Isa::Avx512.into()),
        KernelChoice::Avx512Vnni => Some(IsaSet {
            float: Isa::Avx512,
            int8: Int8Isa::Avx512Vnni,
            bf16: if Bf16Isa::Avx512Bf16.available() {
                Bf16Isa::Avx512Bf16
            } else {
                Bf16Isa::Portable
            },
        }),
    };
    if isa.is_some_and(|isa| !isa.available()) {
        return Err(NnError::UnsupportedIsa {
            kernels: kernels.name(),
        });
    }
    Ok(isa)
}

/// Number format and instruction set, for instance `int8 on avx512vnni`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (precision, runs_on) = bulk_of(&self.layers);
        write!(f, "{precision} on {runs_on}")
    }
}

/// The result of `load`, which reads the file `path`.
fn caught<T>(path: &Path, load: impl FnOnce() -> Result<T, String>) -> Result<T, NnError> {
    // tract may panic on a damaged file; nothing of it survives the unwinding.
    catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|panic| Err(panic_message(&*panic)))
        .map_err(|reason| NnError::InvalidModel {
            path: path.to_owned(),
            reason,
        })
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

/// Compiles for the kernels with `options`, or for tract. Returns what runs the network, its layers, and
/// whether output `kept.0` was pruned.
fn compile(
    model: TypedModel,
    weight_scales: &WeightScales,
    format: NumberFormat,
    options: Option<PlanOptions>,
    kept: Option<(usize, &KeptClasses)>,
) -> Result<(Engine, Vec<LayerReport>, bool), String> {
    let mut model = match options {
        None => model,
        Some(options) => {
            let mut is_pruned = false;
            let mut prune = |graph: &mut Graph| {
                if let Some((index, kept)) = kept {
                    is_pruned = prune_classes(graph, graph.outputs[index], &kept.classes);
                }
            };
            match partition(&model, weight_scales, options, &mut prune)? {
                Partitioned::Whole(plan) => {
                    let layers = layers_of_plan(&plan);
                    return Ok((Engine::Kernels(Arc::from(plan)), layers, is_pruned));
                }
                Partitioned::Mixed(model) => model,
            }
        }
    };
    if format != NumberFormat::Int8 {
        drop_rounding_of_model(&mut model);
    }
    let plan = model
        .into_optimized()
        .and_then(TypedModel::into_runnable)
        .map_err(one_line)?;
    let layers = layers_of_model(plan.model());
    Ok((Engine::Tract(plan), layers, false))
}

//! A loaded network, shared between workers, and the sessions that run it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::model::TypedModelPatch;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::Resize;

use crate::error::{NnError, panic_message};
use crate::graph::Graph;
use crate::kernels::{Arena, Isa, Team};
use crate::plan::{Plan, PlanOptions};
use crate::prune::keep_classes;
use crate::report::{LayerReport, layers_of_model, layers_of_plan};
use crate::rewrite::{Rewritten, place_input, rewrite, with_threads};

/// Order of the input tensor's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// `[1, channels, rows, columns]`.
    Nchw,
    /// `[1, rows, columns, channels]`.
    Nhwc,
}

/// Which implementation runs the hot operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The kernels for the widest vectors that this machine has; tract where there are none.
    #[default]
    Auto,
    /// tract alone: the yardstick.
    Tract,
    /// The kernels in plain Rust, on any machine.
    Portable,
    /// The kernels for AVX2 and FMA.
    Avx2,
    /// The kernels for AVX-512.
    Avx512,
}

/// How to load a network.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which implementation runs the hot operators.
    pub kernels: KernelChoice,
    /// Classes to keep of a detector's scores; all where there is none.
    pub keep: Option<KeptClasses>,
    /// Rows and columns of the input, for a fully convolutional network; the file's where there
    /// are none.
    pub input: Option<(usize, usize)>,
}

/// The classes that are wanted of a detector. Where the network allows it, the others are not
/// computed at all; [`Network::pruned_classes`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptClasses {
    /// Name of the output `[1, anchors, classes]`.
    pub output: String,
    /// Its columns that are wanted, ascending.
    pub classes: Vec<usize>,
}

/// What became of a network whose unwanted classes were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedClasses {
    /// Column `i` of the scores is class `classes[i]`.
    pub classes: Vec<usize>,
    /// How many classes the file has.
    pub of: usize,
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
    engine: Engine,
    input: TensorInfo,
    outputs: Arc<[TensorInfo]>,
    layers: Arc<[LayerReport]>,
    pruned: Option<Arc<PrunedClasses>>,
}

/// What runs a network.
#[derive(Clone, Debug)]
enum Engine {
    /// The kernels, all of it.
    Kernels(Arc<Plan>),
    /// tract, perhaps with the kernels as some of its operators.
    Tract(Arc<TypedSimplePlan>),
}

impl Network {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// When the file cannot be read, is no ONNX model, has other than one float32 input of a fixed
    /// shape, or holds operators that cannot be run.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, NnError> {
        let isa = match options.kernels {
            // In plain Rust they are many times slower than tract.
            KernelChoice::Auto => Some(Isa::best()).filter(|isa| *isa != Isa::Portable),
            KernelChoice::Tract => None,
            KernelChoice::Portable => Some(Isa::Portable),
            KernelChoice::Avx2 => Some(Isa::Avx2),
            KernelChoice::Avx512 => Some(Isa::Avx512),
        };
        if let Some(isa) = isa.filter(|isa| !isa.available()) {
            return Err(NnError::NoSuchKernels {
                kernels: isa.name(),
            });
        }
        let bytes = std::fs::read(path).map_err(|e| NnError::Unreadable {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let unusable = |why: String| NnError::Unusable {
            path: path.to_owned(),
            why,
        };
        // The engine may panic on a damaged file; nothing of it survives the unwinding.
        catch_unwind(AssertUnwindSafe(|| Self::from_bytes(&bytes, isa, options)))
            .unwrap_or_else(|panic| Err(panic_message(&*panic)))
            .map_err(unusable)
    }

    fn from_bytes(bytes: &[u8], isa: Option<Isa>, options: &LoadOptions) -> Result<Self, String> {
        let one_line = |e: TractError| format!("{e:#}").replace('\n', " ");
        let mut typed = typed_from_bytes(bytes, options.input)?;
        typed.prop_consts().map_err(one_line)?;
        fold_casts(&mut typed).map_err(one_line)?;
        plain_resizes(&mut typed).map_err(one_line)?;
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
        let mut outputs = typed
            .output_outlets()
            .map_err(one_line)?
            .iter()
            .map(|outlet| info(outlet, &typed))
            .collect::<Result<Vec<_>, _>>()?;
        let wanted = options.keep.as_ref().and_then(|keep| {
            let index = outputs.iter().position(|o| o.name == keep.output)?;
            Some((index, keep))
        });
        let (engine, layers, pruned) = Self::engine(typed, isa, wanted)?;
        let pruned = wanted.filter(|_| pruned).map(|(index, keep)| {
            let classes = keep.classes.clone();
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

    /// What runs the network, its layers, and whether the classes of output `wanted.0` were cut.
    fn engine(
        typed: TypedModel,
        isa: Option<Isa>,
        wanted: Option<(usize, &KeptClasses)>,
    ) -> Result<(Engine, Vec<LayerReport>, bool), String> {
        let one_line = |e: TractError| format!("{e:#}").replace('\n', " ");
        let typed = match isa {
            None => typed,
            Some(isa) => {
                let mut pruned = false;
                let mut prune = |graph: &mut Graph| {
                    if let Some((index, keep)) = wanted {
                        pruned = keep_classes(graph, graph.outputs[index], &keep.classes);
                    }
                };
                match rewrite(&typed, PlanOptions::new(isa), &mut prune)? {
                    Rewritten::Whole(plan) => {
                        let layers = layers_of_plan(&plan);
                        return Ok((Engine::Kernels(Arc::from(plan)), layers, pruned));
                    }
                    Rewritten::Mixed(model) => model,
                }
            }
        };
        let plan = typed
            .into_optimized()
            .and_then(TypedModel::into_runnable)
            .map_err(one_line)?;
        let layers = layers_of_model(plan.model());
        Ok((Engine::Tract(plan), layers, false))
    }

    /// The classes whose scores the network computes, if the others were cut.
    pub fn pruned_classes(&self) -> Option<&PrunedClasses> {
        self.pruned.as_deref()
    }

    /// The one input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// The outputs, in the file's order.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// What the network consists of, and what runs where.
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// State for one worker that runs this network on `threads` threads.
    ///
    /// # Errors
    /// When the engine cannot make it.
    pub fn session(&self, threads: usize) -> Result<Session, NnError> {
        let runner = match &self.engine {
            Engine::Kernels(plan) => {
                let threads = threads.max(1);
                let team = Team::new(threads).map_err(|e| NnError::Run { why: e.to_string() })?;
                Runner::Kernels {
                    arena: plan.program.arena(threads),
                    team,
                    plan: Arc::clone(plan),
                }
            }
            Engine::Tract(plan) => Runner::Tract {
                state: with_threads(threads.max(1), || plan.spawn()).map_err(failed)?,
                input: vec![0.0; self.input.len()],
                outputs: self.outputs.iter().map(|o| vec![0.0; o.len()]).collect(),
            },
        };
        Ok(Session {
            network: self.clone(),
            runner,
        })
    }
}

impl TensorInfo {
    /// Number of values.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a network's tensors hold something"
    )]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// tract's graph with all shapes known; those that the file writes down do not count if the input
/// is to have another size.
fn typed_from_bytes(bytes: &[u8], input: Option<(usize, usize)>) -> Result<TypedModel, String> {
    let one_line = |e: TractError| format!("{e:#}").replace('\n', " ");
    let Some((rows, columns)) = input else {
        let model = onnx().model_for_read(&mut &*bytes).map_err(one_line)?;
        return model.into_typed().map_err(one_line);
    };
    let free = onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_value_info(true);
    let mut model = free.model_for_read(&mut &*bytes).map_err(one_line)?;
    let fact = f32::fact([1, 3, rows, columns]);
    model.set_input_fact(0, fact.into()).map_err(one_line)?;
    let typed = model.into_typed().map_err(one_line);
    typed.map_err(|e| format!("it cannot run at {columns}x{rows} pixels: {e}"))
}

/// Weights that are kept as float16 are cast once, here; tract leaves casts of large constants to
/// each run.
fn fold_casts(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(cast) = node.op.downcast_ref::<Cast>() else {
            continue;
        };
        let Some(constant) = &model.outlet_fact(node.inputs[0])?.konst else {
            continue;
        };
        let widened = constant.cast_to_dt(cast.to)?.into_owned().into_arc_tensor();
        TypedModelPatch::replace_single_op(model, node, &[], Const::new(widened)?)?.apply(model)?;
    }
    Ok(())
}

/// ONNX's `Resize` becomes tract's own where it can; the kernels know that one.
fn plain_resizes(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let is_onnx = node.op.name() == "Resize" && !node.op.is::<Resize>();
        if is_onnx && let Some(patch) = node.op.declutter(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}

fn failed(error: TractError) -> NnError {
    NnError::Run {
        why: format!("{error:#}").replace('\n', " "),
    }
}

/// One worker's state: the network's memory and threads.
pub struct Session {
    network: Network,
    runner: Runner,
}

enum Runner {
    Kernels {
        plan: Arc<Plan>,
        arena: Arena,
        team: Team,
    },
    Tract {
        state: TypedSimpleState,
        input: Vec<f32>,
        outputs: Vec<Vec<f32>>,
    },
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Order of the input's dimensions in [`input_mut`](Self::input_mut), whatever the file's.
    pub fn input_layout(&self) -> InputLayout {
        let shape = &self.network.input.shape;
        let channels_last_in_file = shape.len() == 4 && shape[3] <= 4 && shape[1] > 4;
        let moved = match &self.runner {
            Runner::Kernels { plan, .. } => plan.inputs.iter().any(|i| i.order == [0, 2, 3, 1]),
            Runner::Tract { .. } => false,
        };
        if moved || channels_last_in_file {
            InputLayout::Nhwc
        } else {
            InputLayout::Nchw
        }
    }

    /// The input in [`input_layout`](Self::input_layout), to be filled before [`run`](Self::run).
    pub fn input_mut(&mut self) -> &mut [f32] {
        match &mut self.runner {
            Runner::Kernels { plan, arena, .. } => arena.tensor_mut(plan.inputs[0].slot),
            Runner::Tract { input, .. } => input,
        }
    }

    /// Fills the input from values in the file's own order of dimensions.
    ///
    /// # Panics
    /// When the number of values is wrong.
    pub fn set_input(&mut self, values: &[f32]) {
        assert_eq!(
            values.len(),
            self.network.input.len(),
            "as many values as the input has"
        );
        match &mut self.runner {
            Runner::Kernels { plan, arena, .. } => {
                let placed = &plan.inputs[0];
                let to = arena.tensor_mut(placed.slot);
                place_input(placed, &self.network.input.shape, values, to);
            }
            Runner::Tract { input, .. } => input.copy_from_slice(values),
        }
    }

    /// Runs the network on the input.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self) -> Result<(), NnError> {
        match &mut self.runner {
            Runner::Kernels { plan, arena, team } => {
                plan.program.run(arena, team);
                Ok(())
            }
            Runner::Tract {
                state,
                input,
                outputs,
            } => {
                let shape = &self.network.input.shape;
                let tensor = Tensor::from_shape(shape, input).map_err(failed)?;
                let results = state.run(tvec!(tensor.into_tvalue())).map_err(failed)?;
                for (to, from) in outputs.iter_mut().zip(&results) {
                    let view = from.to_plain_array_view::<f32>().map_err(failed)?;
                    to.clear();
                    to.extend(view.iter().copied());
                }
                Ok(())
            }
        }
    }

    /// Output `index` of the last run, in the order of [`Network::outputs`] and with its values in
    /// the file's own order.
    pub fn output(&self, index: usize) -> &[f32] {
        match &self.runner {
            Runner::Kernels { plan, arena, .. } => arena.tensor(plan.outputs[index]),
            Runner::Tract { outputs, .. } => &outputs[index],
        }
    }

    /// Runs the network and returns the seconds of each step, in the numbering of
    /// [`LayerReport::step`]; nothing where tract runs any of it.
    pub fn run_timed(&mut self) -> Vec<f64> {
        match &mut self.runner {
            Runner::Kernels { plan, arena, team } => {
                let mut times = Vec::new();
                let mut last = std::time::Instant::now();
                plan.program.run_timed(arena, team, |_| {
                    let now = std::time::Instant::now();
                    times.push((now - last).as_secs_f64());
                    last = now;
                });
                times
            }
            Runner::Tract { .. } => Vec::new(),
        }
    }
}

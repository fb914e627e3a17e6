//! Sessions: the state in which one thread runs a network.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::{
    IntoTValue as _, Tensor, TractError, TypedSimplePlan, TypedSimpleState, tvec,
};

use crate::error::NnError;
use crate::kernels::{Arena, ThreadPool};
use crate::onnx::one_line;
use crate::partition::{copy_input, with_threads};
use crate::plan::ExecutionPlan;
use crate::tensor_info::{InputLayout, TensorInfo};

/// What runs a network.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    /// The kernels, all of it.
    Kernels(Arc<ExecutionPlan>),
    /// tract, perhaps with the kernels as some of its operators.
    Tract(Arc<TypedSimplePlan>),
}

/// The state of one worker that runs a [`Network`](crate::Network): input, outputs, memory arena
/// and threads. Made by [`Network::session`](crate::Network::session).
pub struct Session {
    input: TensorInfo,
    runner: Runner,
}

enum Runner {
    Kernels {
        plan: Arc<ExecutionPlan>,
        arena: Arena,
        pool: ThreadPool,
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
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

fn run_error(error: TractError) -> NnError {
    NnError::Run {
        reason: one_line(error),
    }
}

impl Session {
    /// A session that runs on `threads` threads.
    pub(super) fn new(
        engine: &Engine,
        input: TensorInfo,
        outputs: &[TensorInfo],
        threads: usize,
    ) -> Result<Self, NnError> {
        let threads = threads.max(1);
        let runner = match engine {
            Engine::Kernels(plan) => Runner::Kernels {
                arena: plan.program.arena(threads),
                pool: ThreadPool::new(threads).map_err(|e| NnError::Run {
                    reason: format!("cannot start a thread: {e}"),
                })?,
                plan: Arc::clone(plan),
            },
            Engine::Tract(plan) => Runner::Tract {
                state: with_threads(threads, || plan.spawn()).map_err(run_error)?,
                input: vec![0.0; input.len()],
                outputs: outputs.iter().map(|o| vec![0.0; o.len()]).collect(),
            },
        };
        Ok(Self { input, runner })
    }

    /// Order of the input's dimensions in [`input_mut`](Self::input_mut), whatever the file's.
    pub fn input_layout(&self) -> InputLayout {
        let shape = &self.input.shape;
        let nhwc_in_file = shape.len() == 4 && shape[3] <= 4 && shape[1] > 4;
        let transposed = match &self.runner {
            Runner::Kernels { plan, .. } => plan.inputs.iter().any(|i| i.order == [0, 2, 3, 1]),
            Runner::Tract { .. } => false,
        };
        if transposed || nhwc_in_file {
            InputLayout::Nhwc
        } else {
            InputLayout::Nchw
        }
    }

    /// The input in [`input_layout`](Self::input_layout), to be filled before [`run`](Self::run).
    /// Written in place, without a copy.
    pub fn input_mut(&mut self) -> &mut [f32] {
        match &mut self.runner {
            Runner::Kernels { plan, arena, .. } => arena.tensor_mut(plan.inputs[0].slot),
            Runner::Tract { input, .. } => input,
        }
    }

    /// Fills the input from values in the dimension order of the file.
    ///
    /// # Panics
    /// When the number of values is not that of [`Network::input`](crate::Network::input).
    pub fn set_input(&mut self, values: &[f32]) {
        assert_eq!(
            values.len(),
            self.input.len(),
            "as many values as the input has"
        );
        match &mut self.runner {
            Runner::Kernels { plan, arena, .. } => {
                let binding = &plan.inputs[0];
                let slot = arena.tensor_mut(binding.slot);
                copy_input(binding, &self.input.shape, values, slot);
            }
            Runner::Tract { input, .. } => input.copy_from_slice(values),
        }
    }

    /// Runs the network on the input.
    ///
    /// # Errors
    /// When tract runs a part of the network and fails. The kernels do not fail.
    pub fn run(&mut self) -> Result<(), NnError> {
        match &mut self.runner {
            Runner::Kernels { plan, arena, pool } => {
                plan.program.run(arena, pool);
                Ok(())
            }
            Runner::Tract {
                state,
                input,
                outputs,
            } => {
                let tensor = Tensor::from_shape(&self.input.shape, input).map_err(run_error)?;
                let results = state.run(tvec!(tensor.into_tvalue())).map_err(run_error)?;
                for (output, result) in outputs.iter_mut().zip(&results) {
                    let view = result.to_plain_array_view::<f32>().map_err(run_error)?;
                    output.clear();
                    output.extend(view.iter().copied());
                }
                Ok(())
            }
        }
    }

    /// Output `index` of the last run, in the order of
    /// [`Network::outputs`](crate::Network::outputs); its values are in the dimension order of the
    /// file.
    ///
    /// # Panics
    /// When there is no such output.
    pub fn output(&self, index: usize) -> &[f32] {
        match &self.runner {
            Runner::Kernels { plan, arena, .. } => arena.tensor(plan.outputs[index]),
            Runner::Tract { outputs, .. } => &outputs[index],
        }
    }

    /// Runs the network and returns the seconds of each step, in the numbering of
    /// [`LayerReport::step`](crate::LayerReport::step). Where tract runs a part of the network,
    /// nothing is run, and the result is empty.
    pub fn run_timed(&mut self) -> Vec<f64> {
        match &mut self.runner {
            Runner::Kernels { plan, arena, pool } => {
                let mut times = Vec::new();
                let mut last = Instant::now();
                plan.program.run_timed(arena, pool, |_| {
                    let now = Instant::now();
                    times.push((now - last).as_secs_f64());
                    last = now;
                });
                times
            }
            Runner::Tract { .. } => Vec::new(),
        }
    }
}

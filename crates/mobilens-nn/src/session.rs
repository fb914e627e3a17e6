//! Sessions: the state in which one thread runs a network.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::{
    IntoTValue as _, Tensor, TractError, TypedSimplePlan, TypedSimpleState, tvec,
};

use crate::error::NnError;
use crate::kernels::{Arena, FakeQuantize, ThreadPool};
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
    inputs: Arc<[TensorInfo]>,
    runner: Runner,
}

enum Runner {
    Kernels {
        plan: Arc<ExecutionPlan>,
        arena: Arena,
        pool: ThreadPool,
        /// The input in float32, where the network takes codes.
        float_input: Vec<f32>,
        /// It was written since the last run.
        is_new: bool,
    },
    Tract {
        state: TypedSimpleState,
        inputs: Vec<Vec<f32>>,
        outputs: Vec<Vec<f32>>,
    },
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("inputs", &self.inputs)
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
        inputs: Arc<[TensorInfo]>,
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
                float_input: match plan.inputs[0].rounding {
                    Some(_) => vec![0.0; inputs[0].len()],
                    None => Vec::new(),
                },
                is_new: false,
                plan: Arc::clone(plan),
            },
            Engine::Tract(plan) => Runner::Tract {
                state: with_threads(threads, || plan.spawn()).map_err(run_error)?,
                inputs: inputs.iter().map(|i| vec![0.0; i.len()]).collect(),
                outputs: outputs.iter().map(|o| vec![0.0; o.len()]).collect(),
            },
        };
        Ok(Self { inputs, runner })
    }

    /// Order of the input's dimensions in [`input_mut`](Self::input_mut), whatever the file's.
    pub fn input_layout(&self) -> InputLayout {
        let shape = &self.inputs[0].shape;
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
            Runner::Kernels {
                plan,
                arena,
                float_input,
                is_new,
                ..
            } => match plan.inputs[0].rounding {
                Some(_) => {
                    *is_new = true;
                    float_input
                }
                None => arena.tensor_mut(plan.inputs[0].slot),
            },
            Runner::Tract { inputs, .. } => &mut inputs[0],
        }
    }

    /// Where the network's input is quantised: how, and its codes in
    /// [`input_layout`](Self::input_layout), to be filled before [`run`](Self::run) instead of
    /// [`input_mut`](Self::input_mut), which saves a float32 tensor between.
    pub fn input_codes_mut(&mut self) -> Option<(FakeQuantize, &mut [u8])> {
        match &mut self.runner {
            Runner::Kernels {
                plan,
                arena,
                is_new,
                ..
            } => {
                let rounding = plan.inputs[0].rounding?;
                *is_new = false;
                Some((rounding, arena.tensor_mut(plan.inputs[0].slot)))
            }
            Runner::Tract { .. } => None,
        }
    }

    /// The values of the input of the last run, in [`input_layout`](Self::input_layout).
    pub fn input_values(&self) -> Box<dyn ExactSizeIterator<Item = f32> + '_> {
        match &self.runner {
            Runner::Kernels { plan, arena, .. } => {
                let binding = &plan.inputs[0];
                match binding.rounding {
                    Some(rounding) => {
                        let codes = arena.tensor::<u8>(binding.slot).iter();
                        Box::new(codes.map(move |code| rounding.value(*code)))
                    }
                    None => Box::new(arena.tensor::<f32>(binding.slot).iter().copied()),
                }
            }
            Runner::Tract { inputs, .. } => Box::new(inputs[0].iter().copied()),
        }
    }

    /// Fills the input from values in the dimension order of the file.
    ///
    /// # Panics
    /// When the number of values is not that of [`Network::input`](crate::Network::input).
    pub fn set_input(&mut self, values: &[f32]) {
        self.set_nth_input(0, values);
    }

    /// As [`set_input`](Self::set_input), for input `index` of a part of a network, which may have
    /// several.
    pub(super) fn set_nth_input(&mut self, index: usize, values: &[f32]) {
        let info = &self.inputs[index];
        assert_eq!(values.len(), info.len(), "as many values as the input has");
        match &mut self.runner {
            Runner::Kernels {
                plan,
                arena,
                float_input,
                is_new,
                ..
            } => {
                let binding = &plan.inputs[index];
                let slot = match binding.rounding {
                    Some(_) => float_input,
                    None => arena.tensor_mut(binding.slot),
                };
                copy_input(binding, &info.shape, values, slot);
                *is_new = true;
            }
            Runner::Tract { inputs, .. } => inputs[index].copy_from_slice(values),
        }
    }

    /// Runs the network on the input.
    ///
    /// # Errors
    /// When tract runs a part of the network and fails. The kernels do not fail.
    pub fn run(&mut self) -> Result<(), NnError> {
        self.round_input();
        match &mut self.runner {
            Runner::Kernels {
                plan, arena, pool, ..
            } => {
                plan.program.run(arena, pool);
                Ok(())
            }
            Runner::Tract {
                state,
                inputs,
                outputs,
            } => {
                let mut tensors = tvec!();
                for (info, values) in self.inputs.iter().zip(inputs) {
                    let tensor = Tensor::from_shape(&info.shape, values).map_err(run_error)?;
                    tensors.push(tensor.into_tvalue());
                }
                let results = state.run(tensors).map_err(run_error)?;
                for (output, result) in outputs.iter_mut().zip(&results) {
                    let view = result.to_plain_array_view::<f32>().map_err(run_error)?;
                    output.clear();
                    output.extend(view.iter().copied());
                }
                Ok(())
            }
        }
    }

    /// Rounds a new float32 input to the codes that the network takes.
    fn round_input(&mut self) {
        if let Runner::Kernels {
            plan,
            arena,
            float_input,
            is_new,
            ..
        } = &mut self.runner
            && let Some(rounding) = plan.inputs[0].rounding
            && std::mem::take(is_new)
        {
            let codes: &mut [u8] = arena.tensor_mut(plan.inputs[0].slot);
            for (code, value) in codes.iter_mut().zip(float_input) {
                *code = rounding.code(*value);
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
        self.round_input();
        match &mut self.runner {
            Runner::Kernels {
                plan, arena, pool, ..
            } => {
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

//! Runs one stream, or several side by side.

use crate::config::LoadedPipeline;
use crate::flow::{FairScheduler, StopReason, StopSignal, panic_message};

use super::build::{Model, SharedSinks, build_stream, ensure_built, max_concurrent_frames};
use super::options::{RunError, RunOptions};
use super::report::RunReport;
use super::threads::NamedSink;

/// Runs a stream until its source ends or `stop` is given.
///
/// # Errors
/// When it cannot start; later failures are in the report.
pub fn run(
    loaded: LoadedPipeline,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<RunReport, RunError> {
    run_with_sinks(loaded, Vec::new(), options, stop)
}

/// Like [`run`], with sinks beside those that the configuration names; each runs on a thread of its
/// own, whose name (at most 15 bytes) stands beside it.
///
/// # Errors
/// When it cannot start; later failures are in the report.
pub fn run_with_sinks(
    loaded: LoadedPipeline,
    sinks: Vec<NamedSink>,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<RunReport, RunError> {
    let mut outcomes = run_all(vec![loaded], sinks, options, stop)?;
    outcomes.remove(0).result
}

/// How the run of a stream ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub stream: String,
    /// Its report, or why it did not start.
    pub result: Result<RunReport, RunError>,
}

/// Runs streams side by side until their sources end or `stop` is given. They share the network, with a
/// fair scheduler; one that fails leaves the others running.
///
/// # Errors
/// When the network that they share cannot be loaded or does not fit.
pub fn run_streams(
    configs: Vec<LoadedPipeline>,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<Vec<Outcome>, RunError> {
    run_all(configs, Vec::new(), options, stop)
}

/// `sinks` are for the first stream.
fn run_all(
    mut configs: Vec<LoadedPipeline>,
    mut sinks: Vec<NamedSink>,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<Vec<Outcome>, RunError> {
    if options.discard {
        configs.iter_mut().for_each(LoadedPipeline::clear_sinks);
    }
    for loaded in &configs {
        ensure_built(&loaded.config)?;
    }
    let models = Model::load_shared(&configs)?;
    let scheduler =
        (configs.len() > 1).then(|| FairScheduler::new(max_concurrent_frames(&configs[0])));
    let mut shared = SharedSinks::default();
    let mut outcomes = Vec::new();
    let mut ready = Vec::new();
    for (place, (loaded, model)) in configs.into_iter().zip(&models).enumerate() {
        let name = loaded.stream.clone();
        let slot = scheduler.as_ref().map(|scheduler| scheduler.slot());
        match build_stream(loaded, model, options, slot, &mut shared) {
            Ok((mut stream, window)) => {
                stream.sinks.records.append(&mut sinks);
                ready.push((place, name, stream, window));
            }
            Err(error) => outcomes.push((place, name, Err(error))),
        }
    }
    shared.begin();
    // The window's stream runs on the main thread, as some systems require.
    let with_window = ready.iter().position(|(.., window)| window.is_some());
    let on_main = (!ready.is_empty()).then(|| ready.swap_remove(with_window.unwrap_or(0)));
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (place, name, stream, _) in ready {
            let stop = stop.child();
            let thread = scope.spawn(move || stream.run(None, &stop).map_err(RunError::from));
            running.push((place, name, thread));
        }
        if let Some((place, name, stream, window)) = on_main {
            let child = stop.child();
            let result = stream.run(window, &child).map_err(RunError::from);
            if child.reason() == Some(StopReason::WindowClosed) {
                stop.stop(StopReason::WindowClosed);
            }
            outcomes.push((place, name, result));
        }
        for (place, name, thread) in running {
            let result = thread.join().unwrap_or_else(|panic| {
                let why = format!("internal error: {}", panic_message(&*panic));
                Err(RunError::Thread(std::io::Error::other(why)))
            });
            outcomes.push((place, name, result));
        }
    });
    drop(shared);
    outcomes.sort_by_key(|(place, ..)| *place);
    let outcomes = outcomes
        .into_iter()
        .map(|(_, stream, result)| Outcome { stream, result });
    Ok(outcomes.collect())
}

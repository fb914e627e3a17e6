//! Runs one stream, or several side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::{CaptureError, OpenThread};
use crate::config::LoadedPipeline;
use crate::flow::{FairScheduler, StopReason, StopSignal, StreamHealth, StreamSlot, panic_message};
use crate::records::{EndRecord, FrameCounts};
use crate::sink::DisplayWindow;

use super::build::{
    LoadedModels, OpenOptions, SharedSinks, StreamModels, TrackModels, build_stream, ensure_built,
    max_concurrent_frames, open_source, open_window,
};
use super::options::{RunError, RunOptions};
use super::report::RunReport;
use super::stages::write::GuardedSink;
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
/// fair scheduler; one that fails or panics leaves the others running. Each opens its source on a thread of
/// its own, after the web servers are started, so that none waits for another.
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

/// A stream before its source is open.
struct Stream<'a> {
    /// Its place in the pipeline file.
    place: usize,
    loaded: LoadedPipeline,
    models: &'a StreamModels,
    track_models: &'a TrackModels,
    slot: Option<StreamSlot>,
    health: StreamHealth,
    /// Sinks beside those of the configuration.
    sinks: Vec<NamedSink>,
    /// Whether it waits for a live source that is absent.
    waits: bool,
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
    let models = LoadedModels::load(&configs, options.kernels)?;
    let track_models = TrackModels::load(&configs, options.kernels)?;
    for (card, network) in &models.networks {
        tracing::info!("{card}: {network}");
    }
    for (card, network) in track_models.networks() {
        tracing::info!("{card}: {network}");
    }
    let several = configs.len() > 1;
    let scheduler = several.then(|| FairScheduler::new(max_concurrent_frames(&configs[0])));
    let shared = Mutex::new(SharedSinks::new(&configs, &options.health));
    let mut outcomes = Vec::new();
    let mut streams = Vec::new();
    let mut on_main = None;
    for (place, (mut loaded, models)) in configs.into_iter().zip(&models.streams).enumerate() {
        let window = open_window(&mut loaded);
        let waits = (several || window.is_none()) && !options.discard;
        if let Err(error) = register(&shared, &loaded) {
            outcomes.push((place, loaded.stream, Err(error)));
            continue;
        }
        let health = options.health.add(&loaded.stream);
        if let Some(rtsp) = &loaded.config.source.rtsp {
            health.allow_stall(Duration::from_millis(rtsp.stall_ms));
        }
        let stream = Stream {
            place,
            loaded,
            health,
            models,
            track_models: &track_models,
            slot: scheduler.as_ref().map(|scheduler| scheduler.slot()),
            sinks: std::mem::take(&mut sinks),
            waits,
        };
        // The window's stream runs on the main thread, as some systems require.
        match window {
            Some(window) if on_main.is_none() => on_main = Some((stream, Some(window))),
            _ => streams.push(stream),
        }
    }
    if on_main.is_none() && !streams.is_empty() {
        on_main = Some((streams.remove(0), None));
    }
    lock(&shared).begin();
    options.health.set_ready();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for stream in streams {
            let (place, name) = (stream.place, stream.loaded.stream.clone());
            let (shared, stop) = (&shared, stop.child());
            let thread = scope.spawn(move || stream.run(None, options, shared, &stop));
            running.push((place, name, thread));
        }
        if let Some((stream, window)) = on_main {
            let (place, name) = (stream.place, stream.loaded.stream.clone());
            let child = stop.child();
            let result = stream.run(window, options, &shared, &child);
            if child.reason() == Some(StopReason::WindowClosed) {
                stop.stop(StopReason::WindowClosed);
            }
            outcomes.push((place, name, result));
        }
        for (place, name, thread) in running {
            let result = thread
                .join()
                .unwrap_or_else(|panic| Err(RunError::Panicked(panic_message(&*panic))));
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

impl Stream<'_> {
    /// Opens the source, then the sinks, and runs the stream. A panic is its error.
    fn run(
        self,
        window: Option<DisplayWindow>,
        options: &RunOptions,
        shared: &Mutex<SharedSinks>,
        stop: &StopSignal,
    ) -> Result<RunReport, RunError> {
        // Unwind safe: everything of this stream is dropped, and what it shares is behind locks.
        let run = AssertUnwindSafe(|| self.open_and_run(window, options, shared, stop));
        catch_unwind(run).unwrap_or_else(|panic| Err(RunError::Panicked(panic_message(&*panic))))
    }

    fn open_and_run(
        self,
        mut window: Option<DisplayWindow>,
        options: &RunOptions,
        shared: &Mutex<SharedSinks>,
        stop: &StopSignal,
    ) -> Result<RunReport, RunError> {
        let started = Instant::now();
        let config = &self.loaded.config;
        let has_web = config.sinks.iter().any(|sink| sink.web.is_some());
        // It ends with this function: what it opened may depend on it.
        let thread = OpenThread::start(stop)?;
        let is_watched = window.is_some() || has_web;
        let mut idle = || {
            if let Some(window) = &mut window
                && (window.poll().is_err() || !window.is_open())
            {
                stop.stop(StopReason::WindowClosed);
            }
        };
        let mut open = OpenOptions {
            is_watched,
            waits: self.waits,
            thread: &thread,
            idle: &mut idle,
        };
        let source = match open_source(config, &mut open) {
            Ok(source) => source,
            Err(CaptureError::Interrupted) => {
                return Ok(interrupted(&self.loaded.stream, stop, started.elapsed()));
            }
            Err(error) => return Err(error.into()),
        };
        let loaded = &self.loaded;
        let mut pipeline = build_stream(
            loaded,
            source,
            self.models,
            options,
            self.slot,
            self.health,
            shared,
        )?;
        pipeline.track_classifiers = self.track_models.classifiers(self.place, loaded)?;
        let sinks = self.sinks.into_iter().map(|(name, sink)| {
            let sink = GuardedSink::new(&name, sink);
            (name, sink)
        });
        pipeline.sinks.records.extend(sinks);
        let report = pipeline.run(window, stop)?;
        let others = self.models.others.iter();
        let others = others.map(|(name, model)| (name.clone(), model.network().clone()));
        Ok(RunReport {
            network: Some(self.models.first.network().clone()),
            others: others.collect(),
            ..report
        })
    }
}

/// The report of a stream that was stopped before its source was open.
fn interrupted(stream: &str, stop: &StopSignal, elapsed: Duration) -> RunReport {
    RunReport {
        end: EndRecord::new(stream, stop.reason(), FrameCounts::default()),
        failures: Vec::new(),
        sink_drops: Vec::new(),
        latencies: Vec::new(),
        elapsed,
        network: None,
        others: Vec::new(),
        track_classifiers: Vec::new(),
    }
}

/// Starts the web servers of a stream, so that its page is there whatever its source does.
#[cfg(feature = "web")]
fn register(shared: &Mutex<SharedSinks>, loaded: &LoadedPipeline) -> Result<(), RunError> {
    Ok(lock(shared).register(loaded)?)
}

#[cfg(not(feature = "web"))]
fn register(_: &Mutex<SharedSinks>, _: &LoadedPipeline) -> Result<(), RunError> {
    Ok(())
}

fn lock(shared: &Mutex<SharedSinks>) -> std::sync::MutexGuard<'_, SharedSinks> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

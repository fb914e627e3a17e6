//! Runs one stream, or several side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::{CaptureError, OpenThread};
use crate::config::LoadedPipeline;
use crate::flow::{FairScheduler, StopReason, StopSignal, StreamHealth, StreamSlot, panic_message};
use crate::records::{EndRecord, FrameCounts};
use crate::sink::DisplayWindow;

use super::build::{
    LoadedModels, OpenOptions, SharedSinks, StreamBuilder, TrackModels, ensure_built,
    max_concurrent_frames, open_source, open_window,
};
use super::options::{RunError, RunOptions};
use super::report::RunReport;
use super::stages::classify_tracks::TrackClassifier;
use super::stages::write::GuardedSink;
use super::supervisor::{RunContext, StreamControl, Supervisor, run_with_window};
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
pub struct Stream {
    /// What it runs.
    pub control: Arc<StreamControl>,
    /// Second networks.
    pub track_classifiers: Vec<TrackClassifier>,
    /// Its turns at inference.
    pub slot: StreamSlot,
    /// Whether several streams shared the machine when it was started.
    pub shares: bool,
    /// Watches it.
    pub health: StreamHealth,
    /// Sinks beside those of the configuration.
    pub sinks: Vec<NamedSink>,
    /// Whether it waits for a live source that is absent.
    pub waits: bool,
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
    let shares = configs.len() > 1;
    let scheduler = FairScheduler::new(max_concurrent_frames(&configs[0]));
    let shared = Mutex::new(SharedSinks::new(&configs, &options.health));
    let context = RunContext {
        options,
        shared: &shared,
        stop,
        scheduler: &scheduler,
    };
    let outcomes = std::thread::scope(|scope| {
        let mut supervisor = Supervisor::new(scope, context);
        let mut streams = Vec::new();
        let mut on_main = None;
        for (i, (mut loaded, models)) in configs.into_iter().zip(models.streams).enumerate() {
            let has_window = loaded.config.sinks.iter().any(|s| s.window.is_some());
            let window = open_window(&mut loaded);
            let waits = (shares || window.is_none()) && !options.discard;
            let registered = register(&shared, &loaded);
            let track_classifiers = track_models.classifiers(i, &loaded);
            let control = StreamControl::new(loaded, models);
            let (place, stop) = supervisor.add(&control, has_window && window.is_none());
            let track_classifiers = match registered.and(track_classifiers.map_err(RunError::from))
            {
                Ok(track_classifiers) => track_classifiers,
                Err(error) => {
                    supervisor.fail(place, error);
                    continue;
                }
            };
            let health = options.health.add(&control.lock().loaded.stream);
            let stream = Stream {
                control,
                track_classifiers,
                slot: scheduler.slot(),
                shares,
                health,
                sinks: std::mem::take(&mut sinks),
                waits,
            };
            match window {
                Some(window) if on_main.is_none() => {
                    on_main = Some(((place, stream, stop), window))
                }
                _ => streams.push((place, stream, stop)),
            }
        }
        lock(&shared).begin();
        options.health.set_ready();
        options.reloader.attach(Some(supervisor.sender()));
        for (place, stream, stop) in streams {
            supervisor.start(place, stream, stop);
        }
        let outcomes = match on_main {
            Some((stream, window)) => run_with_window(supervisor, stream, window),
            None => supervisor.run(),
        };
        options.reloader.attach(None);
        outcomes
    });
    drop(shared);
    Ok(outcomes)
}

impl Stream {
    /// Opens the source, then the sinks, and runs the stream. A panic is its error.
    pub fn run(
        self,
        window: Option<DisplayWindow>,
        context: RunContext<'_>,
        stop: &StopSignal,
    ) -> Result<RunReport, RunError> {
        // Unwind safe: everything of this stream is dropped, and what it shares is behind locks.
        let run = AssertUnwindSafe(|| self.open_and_run(window, context, stop));
        catch_unwind(run).unwrap_or_else(|panic| Err(RunError::Panicked(panic_message(&*panic))))
    }

    fn open_and_run(
        self,
        mut window: Option<DisplayWindow>,
        context: RunContext<'_>,
        stop: &StopSignal,
    ) -> Result<RunReport, RunError> {
        let started = Instant::now();
        // What opens the source stays as it is while the stream runs.
        let config = self.control.lock().loaded.config.clone();
        if let Some(rtsp) = &config.source.rtsp {
            self.health
                .allow_stall(Duration::from_millis(rtsp.stall_ms));
        }
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
        let source = open_source(&config, &mut open);
        let mut state = self.control.lock();
        let source = match source {
            Ok(source) => source,
            Err(CaptureError::Interrupted) => {
                return Ok(interrupted(&state.loaded.stream, stop, started.elapsed()));
            }
            Err(error) => return Err(error.into()),
        };
        let builder = StreamBuilder::new(&state.loaded, &source, self.shares);
        let mut pipeline = builder.pipeline(
            &state.loaded,
            source,
            &state.models,
            context.options,
            self.health,
            context.shared,
        )?;
        pipeline.slot = Some(self.slot);
        pipeline.track_classifiers = self.track_classifiers;
        let sinks = self.sinks.into_iter().map(|(name, sink)| {
            let sink = GuardedSink::new(&name, sink);
            (format!("sink {name}").into(), name, sink)
        });
        pipeline.sinks.records.extend(sinks);
        let report = pipeline.run(window, stop, move |running| {
            state.running = Some((builder, running));
        })?;
        let models = &self.control.lock().models;
        let others = models.others.iter();
        let others = others.map(|(name, model)| (name.clone(), model.network().clone()));
        Ok(RunReport {
            network: Some(models.first.network().clone()),
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
pub fn register(shared: &Mutex<SharedSinks>, loaded: &LoadedPipeline) -> Result<(), RunError> {
    Ok(lock(shared).register(loaded)?)
}

/// There are none.
#[cfg(not(feature = "web"))]
pub fn register(_: &Mutex<SharedSinks>, _: &LoadedPipeline) -> Result<(), RunError> {
    Ok(())
}

/// The shared sinks.
pub fn lock(shared: &Mutex<SharedSinks>) -> std::sync::MutexGuard<'_, SharedSinks> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Watches over the streams of a run: starts them, waits for their ends, and gives them another configuration.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::config::{LoadedPipeline, ensure_json};
use crate::flow::{FairScheduler, StopReason, StopSignal};
use crate::sink::DisplayWindow;

use super::build::{
    LoadedModels, SharedSinks, StreamBuilder, StreamModels, TrackModels, ensure_built,
};
use super::options::{RunError, RunOptions};
use super::reload::{
    Applied, Changes, Event, Parts, ReloadError, Reloaded, StreamChange, StreamReload, changes,
    give, output_conflicts,
};
use super::report::RunReport;
use super::run::{Outcome, Stream, lock, register};
use super::stages::classify_tracks::TrackClassifier;
use super::threads::RunningStream;

/// How long a reload waits for the first frame under it.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);

/// A stream as its own thread and the supervisor see it.
pub struct StreamControl(Mutex<ControlState>);

/// What a stream runs, or will run once its source is open.
pub struct ControlState {
    /// Its configuration.
    pub loaded: LoadedPipeline,
    /// Its networks.
    pub models: StreamModels,
    /// What builds its parts, and what reaches into it; `None` before its source is open.
    pub running: Option<(StreamBuilder, RunningStream)>,
}

impl StreamControl {
    /// Of a stream whose source is not open yet.
    pub fn new(loaded: LoadedPipeline, models: StreamModels) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ControlState {
            loaded,
            models,
            running: None,
        })))
    }

    /// Keeps the configuration as it is meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all streams of a run have in common.
#[derive(Clone, Copy)]
pub struct RunContext<'env> {
    /// Its options.
    pub options: &'env RunOptions,
    /// Sinks that several streams write to.
    pub shared: &'env Mutex<SharedSinks>,
    /// Stops all streams.
    pub stop: &'env StopSignal,
    /// Gives the streams their turns.
    pub scheduler: &'env Arc<FairScheduler>,
}

/// A stream under supervision.
struct Supervised {
    name: String,
    /// `None` once it is removed and has ended: its networks are not kept.
    control: Option<Arc<StreamControl>>,
    stop: StopSignal,
    /// Whether it had a window in its file, and none could be opened.
    lost_window: bool,
    is_removed: bool,
    has_ended: bool,
}

/// Starts streams, and waits until all have ended.
pub struct Supervisor<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    context: RunContext<'env>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    streams: Vec<Supervised>,
    outcomes: BTreeMap<usize, Outcome>,
}

impl<'scope, 'env> Supervisor<'scope, 'env> {
    /// Without streams.
    pub fn new(scope: &'scope Scope<'scope, 'env>, context: RunContext<'env>) -> Self {
        let (sender, events) = mpsc::channel();
        Self {
            scope,
            context,
            events,
            sender,
            streams: Vec::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// What it waits for.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Takes a stream under supervision; gives its place, and what stops it.
    pub fn add(&mut self, control: &Arc<StreamControl>, lost_window: bool) -> (usize, StopSignal) {
        let stop = self.context.stop.child();
        self.streams.push(Supervised {
            name: control.lock().loaded.stream.clone(),
            control: Some(Arc::clone(control)),
            stop: stop.clone(),
            lost_window,
            is_removed: false,
            has_ended: false,
        });
        (self.streams.len() - 1, stop)
    }

    /// A stream could not be started.
    pub fn fail(&mut self, place: usize, error: RunError) {
        self.ended(place, Err(error));
    }

    /// Runs a stream on a thread of its own.
    pub fn start(&self, place: usize, stream: Stream, stop: StopSignal) {
        let (events, context) = (self.sender.clone(), self.context);
        self.scope.spawn(move || {
            let result = Box::new(stream.run(None, context, &stop));
            let _ = events.send(Event::Ended { place, result });
        });
    }

    /// Waits until all streams have ended; gives how, in their order.
    pub fn run(mut self) -> Vec<Outcome> {
        while self.streams.iter().any(|stream| !stream.has_ended) {
            match self.events.recv() {
                Ok(Event::Ended { place, result }) => self.ended(place, *result),
                Ok(Event::Reload { configs, answer }) => {
                    let reloaded = self.reload(configs);
                    let _ = answer.send(reloaded);
                }
                // It holds a sender itself.
                Err(mpsc::RecvError) => break,
            }
        }
        self.outcomes.into_values().collect()
    }

    fn ended(&mut self, place: usize, result: Result<RunReport, RunError>) {
        let stream = &mut self.streams[place];
        stream.has_ended = true;
        if let Some(control) = &stream.control {
            control.lock().running = None;
        }
        let name = stream.name.clone();
        let outcome = |result| Outcome {
            stream: name.clone(),
            result,
        };
        if !stream.is_removed {
            self.outcomes.insert(place, outcome(result));
            return;
        }
        stream.control = None;
        self.context.options.health.remove(&stream.name);
        // Of a stream that was removed only what went wrong is kept.
        match result {
            Ok(report) if report.failures.is_empty() => {
                tracing::info!("{name}: removed; {}", report.frames_line());
            }
            result => {
                self.outcomes.insert(place, outcome(result));
            }
        }
    }

    /// Streams that run or are being opened.
    fn present(&self) -> impl Iterator<Item = &Supervised> {
        self.streams.iter().filter(|stream| !stream.is_removed)
    }

    fn find(&self, name: &str) -> Option<&Supervised> {
        self.present().find(|stream| stream.name == name)
    }

    /// Goes on under `configs`: all of it, or nothing.
    fn reload(&mut self, mut configs: Vec<LoadedPipeline>) -> Result<Reloaded, ReloadError> {
        for next in &mut configs {
            if self.context.options.discard {
                next.clear_sinks();
            }
            if self.find(&next.stream).is_some_and(|s| s.lost_window) {
                ensure_json(next);
            }
            ensure_built(&next.config).map_err(RunError::from)?;
        }
        let controls = self.present().filter_map(|stream| stream.control.clone());
        let controls: Vec<Arc<StreamControl>> = controls.collect();
        // A stream whose source is opened meanwhile waits, and is built as it is to be then.
        let mut states: States<'_> = controls
            .iter()
            .map(|control| {
                let state = control.lock();
                (state.loaded.stream.clone(), state)
            })
            .collect();
        let restart = self.needs_restart(&states, &configs);
        if !restart.is_empty() {
            return Err(ReloadError::NeedsRestart(format!(
                "cannot change while the pipeline runs, restart it: {}",
                restart.join(", ")
            )));
        }
        let models = self.load_models(&states, &configs)?;
        let prepared = self.prepare(&states, &configs, models.as_ref());
        let Prepared { updates, added } = prepared.inspect_err(|_| {
            // Closes what was opened for it.
            let before: Vec<_> = states.values().map(|state| &state.loaded).collect();
            lock(self.context.shared).retain(&before);
        })?;
        let mut reloaded = Reloaded::default();
        let waiting = self.change(&mut states, updates, &mut reloaded);
        drop(states);
        self.remove(&configs, &mut reloaded);
        lock(self.context.shared).retain(&configs.iter().collect::<Vec<_>>());
        for stream in added {
            reloaded.push(&stream.0.stream, StreamChange::Added);
            self.start_added(stream);
        }
        lock(self.context.shared).begin();
        let deadline = Instant::now() + APPLY_DEADLINE;
        for (name, keys, applied) in waiting {
            let frame = applied.and_then(|applied| applied.wait(deadline));
            reloaded.push(&name, StreamChange::Changed { keys, frame });
        }
        Ok(reloaded)
    }

    /// What cannot change, each with its stream.
    fn needs_restart(&self, states: &States<'_>, configs: &[LoadedPipeline]) -> Vec<String> {
        let mut restart = Vec::new();
        for next in configs {
            let name = &next.stream;
            let Some(state) = states.get(name) else {
                if next.config.sinks.iter().any(|sink| sink.window.is_some()) {
                    restart.push(format!("{name}: sinks.window"));
                }
                continue;
            };
            if self.has_ended(name) {
                continue;
            }
            let fixed = changes(&state.loaded, next).fixed;
            restart.extend(fixed.iter().map(|key| format!("{name}: {key}")));
            if let Some((builder, _)) = &state.running {
                let now = builder.worker_count(&state.loaded);
                let then = builder.worker_count(next);
                if now != then {
                    restart.push(format!(
                        "{name}: the number of inference threads ({now}, then {then})"
                    ));
                }
            }
        }
        let before: Vec<_> = states.values().map(|state| &state.loaded).collect();
        restart.extend(output_conflicts(&before, configs));
        restart
    }

    /// The networks, if one of the streams needs others.
    fn load_models(
        &self,
        states: &States<'_>,
        configs: &[LoadedPipeline],
    ) -> Result<Option<(LoadedModels, TrackModels)>, RunError> {
        let needs = |next: &LoadedPipeline| {
            let state = states.get(&next.stream);
            state.is_none_or(|state| changes(&state.loaded, next).inference)
        };
        if !configs.iter().any(needs) {
            return Ok(None);
        }
        let kernels = self.context.options.kernels;
        let models = LoadedModels::load(configs, kernels)?;
        Ok(Some((models, TrackModels::load(configs, kernels)?)))
    }

    /// Builds and opens all that the configuration needs.
    fn prepare(
        &self,
        states: &States<'_>,
        configs: &[LoadedPipeline],
        models: Option<&(LoadedModels, TrackModels)>,
    ) -> Result<Prepared, ReloadError> {
        let (mut updates, mut added) = (Vec::new(), Vec::new());
        for (i, next) in configs.iter().enumerate() {
            let new_models = models.and_then(|(models, _)| models.streams.get(i));
            let Some(state) = states.get(&next.stream) else {
                register(self.context.shared, next)?;
                let (Some(models), Some((_, track))) = (new_models, models) else {
                    continue;
                };
                let track_classifiers = track.classifiers(i, next).map_err(RunError::from)?;
                added.push((next.clone(), models.clone(), track_classifiers));
                continue;
            };
            let changes = changes(&state.loaded, next);
            if changes.keys.is_empty() {
                continue;
            }
            let next = next.clone();
            if self.has_ended(&next.stream) {
                updates.push((next, changes, None));
                continue;
            }
            register(self.context.shared, &next)?;
            let models = match new_models {
                Some(models) if changes.inference => models.clone(),
                _ => state.models.clone(),
            };
            let parts = match &state.running {
                Some((builder, running)) => {
                    if !running.handover.has_room() {
                        return Err(ReloadError::Stream {
                            stream: next.stream,
                            why: "too many reloads wait for its next frame".to_owned(),
                        });
                    }
                    let shared = self.context.shared;
                    Some(Parts::build(builder, &next, &changes, &models, shared)?)
                }
                None => None,
            };
            updates.push((next, changes, Some((models, parts))));
        }
        Ok(Prepared { updates, added })
    }

    /// Gives the streams that go on their parts.
    fn change(
        &self,
        states: &mut States<'_>,
        updates: Vec<Update>,
        reloaded: &mut Reloaded,
    ) -> Vec<(String, Vec<String>, Option<Applied>)> {
        let mut waiting = Vec::new();
        for (next, changes, update) in updates {
            let name = next.stream.clone();
            let (Some((models, parts)), Some(state)) = (update, states.get_mut(&name)) else {
                reloaded.push(&name, StreamChange::Ended);
                continue;
            };
            let running = state.running.as_ref().map(|(_, running)| running);
            let given = parts.zip(running);
            let given = given.map(|(parts, running)| give(running, parts, &next, &changes));
            let Ok(applied) = given.transpose() else {
                reloaded.push(&name, StreamChange::Ended);
                continue;
            };
            (state.loaded, state.models) = (next, models);
            waiting.push((name, changes.keys, applied));
        }
        waiting
    }

    /// Ends the streams that `configs` have not.
    fn remove(&mut self, configs: &[LoadedPipeline], reloaded: &mut Reloaded) {
        for stream in &mut self.streams {
            let stays = configs.iter().any(|next| next.stream == stream.name);
            if stays || stream.is_removed {
                continue;
            }
            stream.is_removed = true;
            stream.stop.stop(StopReason::Removed);
            reloaded.push(&stream.name, StreamChange::Removed);
            if stream.has_ended {
                stream.control = None;
                self.context.options.health.remove(&stream.name);
            }
        }
    }

    /// Starts a stream, as at a start.
    fn start_added(&mut self, (loaded, models, track_classifiers): Added) {
        let health = self.context.options.health.add(&loaded.stream);
        let control = StreamControl::new(loaded, models);
        let (place, stop) = self.add(&control, false);
        let stream = Stream {
            control,
            health,
            track_classifiers,
            slot: self.context.scheduler.slot(),
            shares: true,
            sinks: Vec::new(),
            waits: !self.context.options.discard,
        };
        self.start(place, stream, stop);
    }

    fn has_ended(&self, name: &str) -> bool {
        self.find(name).is_some_and(|stream| stream.has_ended)
    }
}

/// What the streams run, by their names.
type States<'a> = BTreeMap<String, MutexGuard<'a, ControlState>>;

impl Reloaded {
    fn push(&mut self, stream: &str, change: StreamChange) {
        self.streams.push(StreamReload {
            stream: stream.to_owned(),
            change,
        });
    }
}

/// What is ready to change over.
struct Prepared {
    updates: Vec<Update>,
    added: Vec<Added>,
}

/// A stream that goes on, what changes in it, and with what: its networks and, if it runs, its parts.
type Update = (
    LoadedPipeline,
    Changes,
    Option<(StreamModels, Option<Parts>)>,
);

/// A stream that is started.
type Added = (LoadedPipeline, StreamModels, Vec<TrackClassifier>);

/// Runs the stream of a window, which some systems want on the main thread, beside `supervisor`.
pub fn run_with_window(
    supervisor: Supervisor<'_, '_>,
    (place, stream, stop): (usize, Stream, StopSignal),
    window: DisplayWindow,
) -> Vec<Outcome> {
    let (events, context) = (supervisor.sender(), supervisor.context);
    let outcomes = supervisor.scope.spawn(move || supervisor.run());
    let result = stream.run(Some(window), context, &stop);
    if stop.reason() == Some(StopReason::WindowClosed) {
        context.stop.stop(StopReason::WindowClosed);
    }
    let result = Box::new(result);
    let _ = events.send(Event::Ended { place, result });
    outcomes.join().unwrap_or_default()
}

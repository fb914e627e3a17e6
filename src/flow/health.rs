//! Health of a run: when each stage last worked and each source last gave a frame. The watchdog of a
//! service manager and the web server's `/healthz` are answered from it.
//!
//! A stage's thread marks its work by [`tick`] and its waiting by [`while_idle`]; edges, the ordered pool and
//! the stop signal do so for the stages that use them. On threads that belong to no stage both do nothing.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A source that is not lost gives a frame within this time, unless its pace or its stall limit is slower.
const FRAME_LIMIT: Duration = Duration::from_secs(15);
/// A lost source is tried again within this time.
const RECONNECT_LIMIT: Duration = Duration::from_secs(60);
/// A stage that works on one frame for longer is stuck.
const STAGE_LIMIT: Duration = Duration::from_secs(15);

/// The health of all streams of a run; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<RunState>);

#[derive(Debug, Default)]
struct RunState {
    ready: AtomicBool,
    streams: Mutex<Vec<Arc<StreamState>>>,
}

#[derive(Debug)]
struct StreamState {
    name: String,
    source: AtomicU8,
    frame: Moment,
    attempt: Moment,
    frame_limit_ms: AtomicU64,
    stages: Mutex<Vec<Arc<StageState>>>,
}

#[derive(Debug)]
struct StageState {
    name: String,
    stream: Arc<StreamState>,
    tick: Moment,
    is_idle: AtomicBool,
}

/// What a stream's source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It is being opened, or has given no frame yet.
    Opening = 0,
    /// It gives frames.
    Running = 1,
    /// It was lost and is opened again.
    Reconnecting = 2,
    /// The stream has ended, or could not be started.
    Ended = 3,
}

/// The health of a run at one moment, as `/healthz` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// `ok` while all streams are.
    pub status: HealthStatus,
    /// All streams, in the order in which they were added.
    pub streams: Vec<StreamHealthReport>,
}

/// The health of a stream at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamHealthReport {
    /// Its name.
    pub stream: String,
    /// `ok` while frames come or a lost source is tried again, and no stage is stuck.
    pub status: HealthStatus,
    /// What its source does.
    pub source: SourceState,
    /// Age of the last frame in milliseconds; `None` before the first.
    pub last_frame_ms: Option<u64>,
    /// Stages that have worked on the same frame for too long.
    pub stuck_stages: Vec<String>,
}

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Frames come, or a lost source is tried again.
    Ok,
    /// Something stands still.
    Unhealthy,
}

impl HealthStatus {
    fn of(is_ok: bool) -> Self {
        if is_ok { Self::Ok } else { Self::Unhealthy }
    }
}

impl Health {
    /// Adds a stream, which has ended when the handle is dropped.
    pub fn add(&self, stream: &str) -> StreamHealth {
        let state = Arc::new(StreamState {
            name: stream.to_owned(),
            source: AtomicU8::new(SourceState::Opening as u8),
            frame: Moment::default(),
            attempt: Moment::default(),
            frame_limit_ms: AtomicU64::new(FRAME_LIMIT.as_millis() as u64),
            stages: Mutex::default(),
        });
        lock(&self.0.streams).push(Arc::clone(&state));
        StreamHealth(state)
    }

    /// Forgets a stream that has ended and is no part of the configuration any more.
    pub fn remove(&self, stream: &str) {
        lock(&self.0.streams).retain(|state| state.name != stream || !state.has_ended());
    }

    /// The program has started: its servers listen, its streams run or are being opened.
    pub fn set_ready(&self) {
        self.0.ready.store(true, Ordering::SeqCst);
    }

    /// Whether the program has started.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }

    /// Names of the stages that have worked on the same frame for longer than `limit`, each after its stream.
    pub fn stuck_stages(&self, limit: Duration) -> Vec<String> {
        let streams = lock(&self.0.streams).clone();
        let stuck = streams.iter().flat_map(|stream| {
            let names = stream.stuck_stages(limit);
            let of_stream = names
                .into_iter()
                .map(|name| format!("{}: {name}", stream.name));
            of_stream.collect::<Vec<_>>()
        });
        stuck.collect()
    }

    /// The health at this moment; not `ok` before the first stream was added.
    pub fn report(&self) -> HealthReport {
        let streams: Vec<_> = lock(&self.0.streams).iter().map(|s| s.report()).collect();
        let is_ok = |stream: &StreamHealthReport| stream.status == HealthStatus::Ok;
        HealthReport {
            status: HealthStatus::of(!streams.is_empty() && streams.iter().all(is_ok)),
            streams,
        }
    }
}

impl StreamState {
    fn stuck_stages(&self, limit: Duration) -> Vec<String> {
        let stages = lock(&self.stages);
        let stuck = stages.iter().filter(|stage| {
            let is_late = stage.tick.age().is_some_and(|age| age > limit);
            is_late && !stage.is_idle.load(Ordering::SeqCst)
        });
        stuck.map(|stage| stage.name.clone()).collect()
    }

    /// Whether the thread that captures waits until the next frame is due.
    fn is_pacing(&self) -> bool {
        let stages = lock(&self.stages);
        let mut captures = stages.iter().filter(|stage| stage.name.starts_with("0-"));
        captures.any(|stage| stage.is_idle.load(Ordering::SeqCst))
    }

    fn report(&self) -> StreamHealthReport {
        let stuck_stages = self.stuck_stages(STAGE_LIMIT);
        let source = match self.source.load(Ordering::SeqCst) {
            0 => SourceState::Opening,
            1 => SourceState::Running,
            2 => SourceState::Reconnecting,
            _ => SourceState::Ended,
        };
        let frame_limit = Duration::from_millis(self.frame_limit_ms.load(Ordering::SeqCst));
        let goes_on = match source {
            SourceState::Running => self.frame.is_within(frame_limit) || self.is_pacing(),
            SourceState::Reconnecting => self.attempt.is_within(RECONNECT_LIMIT.max(frame_limit)),
            SourceState::Opening | SourceState::Ended => false,
        };
        StreamHealthReport {
            stream: self.name.clone(),
            status: HealthStatus::of(goes_on && stuck_stages.is_empty()),
            source,
            last_frame_ms: self.frame.age().map(|age| age.as_millis() as u64),
            stuck_stages,
        }
    }
}

/// The health of a stream, in the hands of what runs it.
#[derive(Debug)]
pub struct StreamHealth(Arc<StreamState>);

impl StreamHealth {
    /// Frames may be further apart than usual: a source that is stalled is lost only after `stall`.
    pub fn allow_stall(&self, stall: Duration) {
        let limit = FRAME_LIMIT.max(stall * 2).as_millis() as u64;
        self.0.frame_limit_ms.store(limit, Ordering::SeqCst);
    }

    /// The stream's stages, for those who start some while it goes on.
    pub fn stages(&self) -> StreamStages {
        StreamStages(Arc::clone(&self.0))
    }

    /// A stage whose thread is about to be started.
    pub fn stage(&self, name: &str) -> StageHealth {
        self.stages().stage(name)
    }
}

/// The stages of a stream.
#[derive(Clone, Debug)]
pub struct StreamStages(Arc<StreamState>);

impl StreamStages {
    /// A stage whose thread is about to be started.
    pub fn stage(&self, name: &str) -> StageHealth {
        let stage = StageState {
            name: name.to_owned(),
            stream: Arc::clone(&self.0),
            tick: Moment::default(),
            is_idle: AtomicBool::new(false),
        };
        StageHealth(Arc::new(stage))
    }
}

impl Drop for StreamHealth {
    fn drop(&mut self) {
        self.0.set(SourceState::Ended);
    }
}

impl StreamState {
    fn set(&self, state: SourceState) {
        self.source.store(state as u8, Ordering::SeqCst);
    }

    fn has_ended(&self) -> bool {
        self.source.load(Ordering::SeqCst) == SourceState::Ended as u8
    }
}

/// The health of a stage.
#[derive(Debug)]
pub struct StageHealth(Arc<StageState>);

impl StageHealth {
    /// Runs the stage on this thread; it is watched until it ends.
    pub fn watch<R>(&self, body: impl FnOnce() -> R) -> R {
        let _watched = Watched::begin(&self.0);
        body()
    }
}

/// Ends the watch also when the stage panics.
struct Watched<'a>(&'a Arc<StageState>);

impl<'a> Watched<'a> {
    fn begin(stage: &'a Arc<StageState>) -> Self {
        stage.tick.set();
        lock(&stage.stream.stages).push(Arc::clone(stage));
        STAGE.replace(Some(Arc::clone(stage)));
        Self(stage)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        STAGE.replace(None);
        lock(&self.0.stream.stages).retain(|stage| !Arc::ptr_eq(stage, self.0));
    }
}

thread_local! {
    /// The stage that this thread runs.
    static STAGE: RefCell<Option<Arc<StageState>>> = const { RefCell::new(None) };
}

fn with_stage(act: impl FnOnce(&StageState)) {
    STAGE.with_borrow(|stage| {
        if let Some(stage) = stage {
            act(stage);
        }
    });
}

/// The stage of this thread goes on.
pub fn tick() {
    with_stage(|stage| stage.tick.set());
}

/// Runs `wait`, in which the stage of this thread waits for something to do, for as long as it takes.
pub fn while_idle<R>(wait: impl FnOnce() -> R) -> R {
    let mut before = false;
    with_stage(|stage| before = stage.is_idle.swap(true, Ordering::SeqCst));
    let result = wait();
    with_stage(|stage| {
        stage.tick.set();
        stage.is_idle.store(before, Ordering::SeqCst);
    });
    result
}

/// The source that this thread reads gave a frame.
pub fn source_frame() {
    with_stage(|stage| {
        stage.stream.frame.set();
        stage.stream.set(SourceState::Running);
        stage.tick.set();
    });
}

/// The source that this thread reads was lost.
pub fn source_lost() {
    with_stage(|stage| {
        stage.stream.attempt.set();
        stage.stream.set(SourceState::Reconnecting);
    });
}

/// The source that this thread reads is opened again.
pub fn source_attempt() {
    with_stage(|stage| stage.stream.attempt.set());
}

/// When something happened last.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

/// What moments are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Moment {
    fn set(&self) {
        // 0 means never.
        let ms = EPOCH.elapsed().as_millis() as u64 + 1;
        self.0.store(ms, Ordering::SeqCst);
    }

    fn age(&self) -> Option<Duration> {
        let at = self.0.load(Ordering::SeqCst).checked_sub(1)?;
        Some(EPOCH.elapsed().saturating_sub(Duration::from_millis(at)))
    }

    fn is_within(&self, limit: Duration) -> bool {
        self.age().is_some_and(|age| age <= limit)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_run_is_healthy_while_all_streams_give_frames_or_reconnect() {
        let health = Health::default();
        assert_eq!(health.report().status, HealthStatus::Unhealthy);
        let (gate, yard) = (health.add("gate"), health.add("yard"));
        assert_eq!(health.report().streams[0].source, SourceState::Opening);
        gate.stage("0-capture").watch(source_frame);
        assert_eq!(health.report().streams[0].status, HealthStatus::Ok);
        assert_eq!(health.report().status, HealthStatus::Unhealthy);
        yard.stage("0-capture").watch(source_lost);
        let report = health.report();
        assert_eq!(report.status, HealthStatus::Ok);
        assert_eq!(report.streams[1].source, SourceState::Reconnecting);
        drop(yard);
        let report = health.report();
        assert_eq!(report.streams[1].source, SourceState::Ended);
        assert_eq!(report.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn a_stage_that_works_for_too_long_is_stuck_and_one_that_waits_is_not() {
        let health = Health::default();
        let stream = health.add("gate");
        let stuck = || health.stuck_stages(Duration::from_millis(5));
        let pause = || std::thread::sleep(Duration::from_millis(20));
        stream.stage("2-publish").watch(|| {
            while_idle(|| {
                pause();
                assert!(stuck().is_empty(), "it waits");
            });
            pause();
            assert_eq!(stuck(), ["gate: 2-publish"]);
            // A wait inside of a wait.
            while_idle(|| {
                while_idle(|| {});
                pause();
                assert!(stuck().is_empty(), "it still waits");
            });
        });
        pause();
        assert!(stuck().is_empty(), "it has ended");
    }

    #[test]
    fn a_stage_that_panics_is_not_watched_any_more() {
        let health = Health::default();
        let stage = health.add("gate").stage("1-infer-0");
        let panicked = catch_unwind(AssertUnwindSafe(|| stage.watch(|| panic!("lost"))));
        assert!(panicked.is_err());
        std::thread::sleep(Duration::from_millis(20));
        assert!(health.stuck_stages(Duration::ZERO).is_empty());
        tick();
    }

    #[test]
    fn a_source_with_a_pace_of_its_own_is_healthy_between_its_frames() {
        let health = Health::default();
        let stream = health.add("slides");
        let status = || health.report().streams[0].status;
        stream.stage("0-capture").watch(|| {
            source_frame();
            stream.0.frame_limit_ms.store(0, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(status(), HealthStatus::Unhealthy);
            while_idle(|| assert_eq!(status(), HealthStatus::Ok));
        });
        stream.allow_stall(Duration::from_secs(60));
        assert_eq!(status(), HealthStatus::Ok);
    }
}

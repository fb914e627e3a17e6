//! Builds a pipeline from its description and runs it. The only module that knows all others.
//!
//! [`run`] reads from top to bottom as a frame travels: source, workers, records, overlay, sinks.
//!
//! | thread | work | edge to the next (live / replay) |
//! |---|---|---|
//! | `0-capture` | read, number, pace | newest wins, 1 / blocks, 2 |
//! | `1-infer-N` | preprocess, infer, postprocess | blocks, in order |
//! | `2-emit` | records | blocks, 4 (records); see below (pictures) |
//! | `3-overlay` | convert and draw, only if somebody looks | blocks, or newest wins for the window |
//! | `4-SINK` | write | |
//! | main | the window, or waiting | |
//!
//! Only the source is told to stop; the rest drains because its input closes. The last record is
//! made when all that comes before the sinks has ended, so its counts are final.

mod detector;
mod emit;
mod feed;
mod model;
mod progress;
mod show;
mod source;
mod summary;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

pub use detector::{Detector, DetectorLatency};
pub use feed::{Feed, FeedCounts, Pace};
pub use model::{DetectorModel, ModelError};
pub use summary::RunReport;

use crate::capture::{CaptureError, SourceInfo};
use crate::config::{PictureFormat, PipelineConfig, SinkSpec, WindowSpec, ensure_json};
use crate::flow::{
    EdgeCounts, Failures, Latency, Policy, Received, Receiver, StopReason, StopSignal, SystemClock,
    edge, workshop,
};
use crate::nn::NnError;
use crate::overlay::{Overlay, OverlayStyle};
use crate::postprocess::Labels;
use crate::records::{
    DroppedFrames, EndRecord, FrameCounts, FrameRecord, LabelRecord, ModelRecord, RunRecord,
    SCHEMA_VERSION, SourceRecord,
};
use crate::sink::{
    CocoSink, ImagesSink, JsonlSink, PictureEncoding, RecordSink, SinkError, Window,
};
use emit::Emitter;
use progress::Progress;
use show::{Artist, Drawn};
use source::open_source;

/// A live frame that waited longer is dropped, where the pipeline does not say.
const MAX_AGE: Duration = Duration::from_millis(500);
/// How long the window waits for a picture before it looks at its keys again.
const WINDOW_POLL: Duration = Duration::from_millis(15);

/// What the command line says beside the pipeline.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop after so many frames.
    pub frames: Option<u64>,
    /// Show a progress bar if standard error is a terminal.
    pub progress: bool,
    /// Throw the results away, for measuring.
    pub discard: bool,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not serve the pipeline.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be made ready.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The source cannot be opened.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs a pipeline until its source ends or `stop` is given.
///
/// # Errors
/// When it cannot begin; what goes wrong later is in the report.
pub fn run(
    mut config: PipelineConfig,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<RunReport, RunError> {
    let started = Instant::now();
    let model = Arc::new(DetectorModel::load(&config)?);
    let mut window = open_window(&mut config, options);
    let source = open_source(&config.spec, window.is_some())?;
    let info = source.source.info().clone();
    let stream: Arc<str> = config.stream.as_str().into();
    let labels = Arc::new(config.card.labels());
    let run_record = run_record(&config, &info);
    let failures = Failures::new(stop.clone());
    let drops = source.drops;

    // Who takes records, and who takes pictures.
    let mut record_sinks = Threads::default();
    let mut picture_sinks = Threads::default();
    let mut viewers = Vec::new();
    let mut records = Vec::new();
    for (kind, sink) in open_record_sinks(&config, options, &run_record)? {
        let (tx, rx) = edge(&kind, 4, Policy::Block);
        records.push(tx);
        record_sinks.push(spawn_record_sink(&failures, stop, &kind, sink, rx)?);
    }
    let mut pictures_are_kept = false;
    for spec in config.spec.sinks.iter().filter(|_| !options.discard) {
        if let Some(images) = &spec.images {
            let encoding = match images.format {
                PictureFormat::Png => PictureEncoding::Png,
                PictureFormat::Jpeg => PictureEncoding::Jpeg {
                    quality: images.quality.unwrap_or(90),
                },
            };
            let sink = ImagesSink::open(&images.dir, encoding)?;
            let (tx, rx) = edge("images", 4, Policy::Block);
            viewers.push(tx);
            picture_sinks.push(spawn_images_sink(&failures, sink, rx)?);
            pictures_are_kept = true;
        }
    }
    let shown = window.as_ref().map(|_| {
        let (tx, rx) = edge("window", 1, Policy::NewestWins);
        viewers.push(tx);
        rx
    });

    // 0-capture
    let policy = if drops {
        Policy::NewestWins
    } else {
        Policy::Block
    };
    let (captured_tx, captured_rx) = edge("capture", if drops { 1 } else { 2 }, policy);
    let capture_counts = captured_tx.counts();
    let feed_counts = Arc::<FeedCounts>::default();
    let decode = Latency::new("decode");
    let feed = Feed {
        source: source.source,
        stream: Arc::clone(&stream),
        pace: source.pace,
        looping: source.looping,
        frame_limit: options.frames,
        counts: Arc::clone(&feed_counts),
        latency: decode.clone(),
    };
    let mut trunk = Threads::default();
    trunk.push({
        let stop = stop.clone();
        failures.spawn("0-capture", move || {
            feed.run(&captured_tx, &SystemClock, &stop)
        })?
    });

    // 1-infer-N
    let (workers, threads) = workers_and_threads(&config, drops);
    let max_age = drops.then(|| {
        let ms = config.spec.inference.max_age_ms;
        ms.map_or(MAX_AGE, Duration::from_millis)
    });
    let (shop, ordered) = workshop(captured_rx, workers, max_age);
    let detector_latency = DetectorLatency::default();
    for i in 0..workers {
        let mut detector = Detector::new(&model, threads, &detector_latency)?;
        let shop = shop.clone();
        trunk.push(failures.spawn(&format!("1-infer-{i}"), move || {
            while let Some((packet, ticket)) = shop.take() {
                ticket.finish(detector.run(packet)?);
            }
            Ok::<(), NnError>(())
        })?);
    }
    drop(shop);

    // 3-overlay, before 2-emit has anything to give it.
    let overlay = Latency::new("overlay");
    let pictures = if viewers.is_empty() {
        None
    } else {
        let policy = if pictures_are_kept {
            Policy::Block
        } else {
            Policy::NewestWins
        };
        let (tx, rx) = edge("overlay", 2, policy);
        let artist = Artist {
            overlay: Overlay::new(overlay_style(&config, &labels), Arc::clone(&labels)),
            viewers,
            latency: overlay.clone(),
        };
        picture_sinks.push(failures.spawn("3-overlay", move || {
            artist.run(&rx);
            Ok::<(), String>(())
        })?);
        Some(tx)
    };

    // 2-emit
    let emitted = Arc::<AtomicU64>::default();
    let end_to_end = Latency::new("end to end");
    let emitter = Emitter {
        labels,
        records,
        pictures,
        emitted: Arc::clone(&emitted),
        end_to_end: end_to_end.clone(),
        progress: progress(&config, options, &info),
    };
    trunk.push(failures.spawn("2-emit", move || {
        emitter.run(ordered);
        Ok::<(), String>(())
    })?);

    // The window lives on the main thread; some systems want it there.
    if let (Some(window), Some(shown)) = (&mut window, shown) {
        let hold = info.kind == "images";
        failures.watch("window", || watch_window(window, shown, hold, stop));
    }
    trunk.join();
    let counts = frame_counts(&feed_counts, &capture_counts, &emitted);
    let reason = stop.reason();
    let end = EndRecord::new(&stream, reason, counts);
    for mut sink in record_sinks.join().into_iter().flatten() {
        failures.watch("sink", || sink.finish(&end));
    }
    picture_sinks.join();
    let DetectorLatency {
        preprocess,
        infer,
        postprocess,
    } = detector_latency;
    Ok(RunReport {
        end,
        failures: failures.all(),
        latencies: vec![decode, preprocess, infer, postprocess, overlay, end_to_end],
        elapsed: started.elapsed(),
    })
}

/// Threads that are waited for together.
struct Threads<T>(Vec<JoinHandle<Option<T>>>);

impl<T> Default for Threads<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Threads<T> {
    fn push(&mut self, thread: JoinHandle<Option<T>>) {
        self.0.push(thread);
    }

    /// What those that succeeded left. Panics were caught on the threads themselves.
    fn join(self) -> Vec<T> {
        self.0
            .into_iter()
            .filter_map(|thread| thread.join().ok().flatten())
            .collect()
    }
}

/// Opens the pipeline's window. Without a display the run goes on headless, and says so.
fn open_window(config: &mut PipelineConfig, options: &RunOptions) -> Option<Window> {
    let spec: WindowSpec = config.spec.sinks.iter().find_map(|s| s.window.clone())?;
    if options.discard {
        return None;
    }
    let title = spec.title.as_deref().unwrap_or(&config.stream);
    let (width, height) = (spec.width_px.unwrap_or(960), spec.height_px.unwrap_or(540));
    match Window::open(title, width as usize, height as usize) {
        Ok(window) => Some(window),
        Err(error) => {
            tracing::warn!("{error}: going on headless, JSON lines go to standard output");
            config.spec.sinks.retain(|sink| sink.window.is_none());
            ensure_json(config);
            None
        }
    }
}

fn run_record(config: &PipelineConfig, info: &SourceInfo) -> RunRecord {
    let card = &config.card;
    RunRecord {
        schema: SCHEMA_VERSION,
        tool: format!("mobilens {}", env!("CARGO_PKG_VERSION")),
        stream: config.stream.clone(),
        source: SourceRecord {
            kind: info.kind.to_owned(),
            uri: info.uri.clone(),
            width: info.size.map(|s| s.width),
            height: info.size.map(|s| s.height),
            fps: info.fps,
        },
        model: ModelRecord {
            name: card.name.clone(),
            sha256: config.model_sha256.clone(),
            input: [card.input.width_px, card.input.height_px],
        },
        labels: card
            .labels
            .iter()
            .map(|l| LabelRecord {
                id: l.id,
                name: l.name.clone(),
            })
            .collect(),
        config_sha256: config.sha256(),
    }
}

/// The pipeline's JSON sinks, each with the name of its thread.
fn open_record_sinks(
    config: &PipelineConfig,
    options: &RunOptions,
    run: &RunRecord,
) -> Result<Vec<(String, Box<dyn RecordSink>)>, SinkError> {
    let mut sinks: Vec<(String, Box<dyn RecordSink>)> = Vec::new();
    for spec in config.spec.sinks.iter().filter(|_| !options.discard) {
        if let Some(jsonl) = &spec.jsonl {
            let sink = JsonlSink::open(&jsonl.path, run, jsonl.timings)?;
            sinks.push(("4-jsonl".to_owned(), Box::new(sink)));
        }
        if let Some(coco) = &spec.coco {
            sinks.push(("4-coco".to_owned(), Box::new(CocoSink::open(&coco.path)?)));
        }
    }
    Ok(sinks)
}

/// Leaves the sink behind, to be finished; `None` if its reader went away.
type SinkThread = JoinHandle<Option<Option<Box<dyn RecordSink>>>>;

/// A sink that fails ends the run; one whose reader went away asks for its end.
fn spawn_record_sink(
    failures: &Failures,
    stop: &StopSignal,
    name: &str,
    mut sink: Box<dyn RecordSink>,
    records: Receiver<Arc<FrameRecord>>,
) -> std::io::Result<SinkThread> {
    let stop = stop.clone();
    failures.spawn(name, move || {
        while let Some(record) = records.recv() {
            match sink.frame(&record) {
                Ok(()) => {}
                Err(SinkError::ReaderGone { target }) => {
                    tracing::info!("{target} was closed by its reader; stopping");
                    stop.stop(StopReason::ReaderGone);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(sink))
    })
}

fn spawn_images_sink(
    failures: &Failures,
    mut sink: ImagesSink,
    pictures: Receiver<Drawn>,
) -> std::io::Result<JoinHandle<Option<()>>> {
    failures.spawn("4-images", move || {
        while let Some(drawn) = pictures.recv() {
            sink.write(&drawn.meta, &drawn.picture)?;
        }
        Ok::<(), SinkError>(())
    })
}

/// Shows pictures until no more come or the user has seen enough. With `hold` the last one stays
/// until then.
fn watch_window(
    window: &mut Window,
    pictures: Receiver<Drawn>,
    hold: bool,
    stop: &StopSignal,
) -> Result<(), crate::sink::WindowError> {
    let mut rate = FrameRate::default();
    let mut ended = false;
    loop {
        let received = if ended {
            std::thread::sleep(WINDOW_POLL);
            Received::Nothing
        } else {
            pictures.recv_timeout(WINDOW_POLL)
        };
        match received {
            Received::Item(drawn) => {
                let fps = rate.tick(Instant::now());
                window.show(&drawn.picture, &format!("{fps:.1} frames/s"))?;
            }
            Received::Nothing => window.poll()?,
            Received::Closed => ended = true,
        }
        if !window.is_open() {
            stop.stop(StopReason::WindowClosed);
            return Ok(());
        }
        if ended && (!hold || stop.is_stopped()) {
            return Ok(());
        }
    }
}

/// Frames a second over the last second or so.
#[derive(Default)]
struct FrameRate {
    last: Option<Instant>,
    seconds_a_frame: f64,
}

impl FrameRate {
    fn tick(&mut self, now: Instant) -> f64 {
        if let Some(last) = self.last.replace(now) {
            let seconds = (now - last).as_secs_f64();
            // An exponential average that forgets within about a second.
            let share = seconds.min(1.0).max(0.02);
            self.seconds_a_frame += (seconds - self.seconds_a_frame)
                * if self.seconds_a_frame == 0.0 {
                    1.0
                } else {
                    share
                };
        }
        if self.seconds_a_frame > 0.0 {
            1.0 / self.seconds_a_frame
        } else {
            0.0
        }
    }
}

/// Replay: a worker a core, for frames/s. Live: one worker with all cores, for latency.
fn workers_and_threads(config: &PipelineConfig, live: bool) -> (usize, usize) {
    let cores = available_parallelism().map_or(1, usize::from);
    let inference = &config.spec.inference;
    match (inference.workers, inference.threads) {
        (Some(workers), Some(threads)) => (workers, threads),
        (Some(workers), None) => (workers, (cores / workers).max(1)),
        (None, Some(threads)) => ((cores / threads).max(1), threads),
        (None, None) if live => (1, cores),
        (None, None) => (cores, 1),
    }
}

fn overlay_style(config: &PipelineConfig, labels: &Labels) -> OverlayStyle {
    let overlay = &config.spec.overlay;
    OverlayStyle {
        line_px: overlay.line_px,
        text_px: overlay.text_px,
        hide_labels: overlay.labels == Some(false),
        hide_scores: overlay.scores == Some(false),
        colours: overlay
            .colours
            .iter()
            .filter_map(|(label, colour)| Some((labels.id(label)?, colour.rgb())))
            .collect(),
    }
}

fn progress(config: &PipelineConfig, options: &RunOptions, info: &SourceInfo) -> Progress {
    if !options.progress {
        return Progress::hidden();
    }
    let prints = |sink: &SinkSpec| {
        let path = sink.jsonl.as_ref().map(|s| &s.path);
        path.or(sink.coco.as_ref().map(|s| &s.path))
            .is_some_and(|path| path == Path::new("-"))
    };
    let frames = match (info.frames, options.frames) {
        (Some(all), Some(limit)) => Some(all.min(limit)),
        (all, limit) => all.or(limit),
    };
    Progress::on_terminal(frames, config.spec.sinks.iter().any(prints))
}

/// Final once the trunk's threads have ended: what was captured and is nowhere else was under way
/// when a stage failed.
fn frame_counts(feed: &FeedCounts, edge: &EdgeCounts, emitted: &AtomicU64) -> FrameCounts {
    let captured = feed.captured.load(Ordering::SeqCst);
    let emitted = emitted.load(Ordering::SeqCst);
    let mut dropped = DroppedFrames {
        queue: edge.evicted() + feed.source_dropped.load(Ordering::SeqCst),
        stale: edge.stale(),
        decode_error: feed.decode_error.load(Ordering::SeqCst),
        shutdown: 0,
    };
    dropped.shutdown = captured.saturating_sub(emitted + dropped.total());
    FrameCounts {
        captured,
        emitted,
        dropped,
    }
}

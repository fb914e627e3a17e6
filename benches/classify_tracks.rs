//! A second network on 20 tracks at 25 frames/s, beside the detector: `cargo bench --bench classify_tracks`.
//!
//! The frames are those of the bundled clip, the detector that of `pipelines/classify_tracks.yaml`; the tracks
//! are made up: 20 boxes of 40 to 120 pixels that move. Frames come at their time, as from a camera. Each is
//! detected, then its record is given the attributes; one that comes while the detector is busy is dropped for the
//! next. A frame is measured from its time on; the second row is with the second network, at the rate and within the
//! budget that the pipeline and the card say.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mobilens::capture::Captured;
use mobilens::config::{self, LoadedPipeline, Override};
use mobilens::flow::{Latency, StopSignal};
use mobilens::gating::Feedback;
use mobilens::pipeline::{
    InferenceLatency, Model, TrackClassification, TrackModels, open_recording,
};
use mobilens::records::{FrameRecord, TrackRecord, TrackStateRecord};
use mobilens_image::{Image, SizePx};
use mobilens_nn::KernelChoice;

const TRACKS: u64 = 20;
const FRAMES: u64 = 1500;
const FRAME: Duration = Duration::from_millis(40);

fn main() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/classify_tracks.yaml");
    // The boxes are anywhere, so that scores are low; the other network is for persons.
    let sets = [
        "classify_tracks.vehicle.score_threshold=0",
        "classify_tracks.clothing.every_ms=86400000",
    ];
    let sets = sets.map(|set| Override::parse(set).expect("a constant"));
    let loaded = config::load(&file, &sets).expect("a shipped pipeline");
    let images = images(&loaded);
    let model = Model::load(&loaded).expect("a shipped model");
    let pipelines = std::slice::from_ref(&loaded);
    let models = TrackModels::load(pipelines, KernelChoice::default()).expect("a shipped model");
    println!(
        "{TRACKS} tracks, {} frames of {} ms",
        FRAMES,
        FRAME.as_millis()
    );
    crop_time(&models, &loaded, &images[0]);
    for is_classified in [false, true] {
        let classifiers = if is_classified {
            models.classifiers(0, &loaded).expect("it can run")
        } else {
            Vec::new()
        };
        let budget: Vec<_> = classifiers
            .iter()
            .map(|classifier| classifier.params.budget_ms_per_s)
            .collect();
        let crop = Latency::new("crop");
        let (mut stage, thread) = TrackClassification::start(classifiers, true, crop.clone());
        let thread = thread.map(|thread| std::thread::spawn(move || thread.run()));
        let (whole, update) = (Latency::new("frame"), Latency::new("update"));
        let feedback = Arc::<Feedback>::default();
        let worker = model.worker(1, &InferenceLatency::default(), &feedback);
        let mut worker = worker.expect("it can run");
        let counts = stage.as_ref().map(|stage| stage.counts());
        let mut oldest_ms: f64 = 0.0;
        let (mut number, mut dropped) = (0, 0);
        let begin = Instant::now();
        while number < FRAMES {
            let due = begin + FRAME * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let image = &images[number as usize % images.len()];
            worker.predict(Image::clone(image)).expect("it can run");
            let mut record = record(number, image.size());
            if let Some(stage) = &mut stage {
                update.time(|| stage.update(&mut record, image).expect("it can run"));
            }
            whole.record(due.elapsed());
            // After two seconds each track has had its turn.
            let tracks = record.tracks.iter().flatten().filter(|_| number > 50);
            let ages = tracks.flat_map(|track| track.attributes.values().map(|said| said.age_ms));
            oldest_ms = ages.fold(oldest_ms, f64::max);
            // The newest frame is next; those that came before it meanwhile are dropped.
            let newest = (begin.elapsed().as_nanos() / FRAME.as_nanos()) as u64;
            dropped += newest.saturating_sub(number + 1);
            number = newest.max(number + 1);
        }
        let seconds = begin.elapsed().as_secs_f64();
        drop(stage);
        if let Some(thread) = thread {
            thread.join().expect("no panic").expect("it can run");
        }
        row(if is_classified { "with" } else { "without" }, &whole);
        println!("  {dropped} frames dropped");
        if let (Some(counts), Some(p)) = (counts, crop.percentiles()) {
            row("  the records' thread", &update);
            row("  a crop", &crop);
            let spent = p.mean_ms * p.count as f64 / seconds;
            println!(
                "  {:.1} crops/s, {spent:.0} ms/s of {budget:.0?}; oldest result {oldest_ms:.0} ms; {:?}",
                p.count as f64 / seconds,
                counts.get()
            );
        }
    }
}

/// Processor time of a crop, which depends less on what else the machine does. Linux tells it.
fn crop_time(models: &TrackModels, loaded: &LoadedPipeline, image: &Image) {
    const CROPS: u32 = 200;
    let side = 120;
    let size = SizePx {
        width: side,
        height: side,
    };
    let mut classifiers = models.classifiers(0, loaded).expect("it can run");
    let classifier = classifiers.first_mut().expect("the pipeline has one");
    let mut begin = thread_ms();
    for i in 0..CROPS + 10 {
        if i == 10 {
            begin = thread_ms();
        }
        let crop = image.crop(i % 100, i % 50, size);
        classifier.network.scores(&crop).expect("it can run");
    }
    if let Some((begin, end)) = begin.zip(thread_ms()) {
        let each = (end - begin) / f64::from(CROPS);
        println!("a crop of {side}x{side}: {each:.2} ms of one core");
    }
}

/// Milliseconds that this thread has run.
fn thread_ms() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: f64 = stat.split(' ').next()?.parse().ok()?;
    Some(ns / 1e6)
}

fn row(name: &str, latency: &Latency) {
    if let Some(p) = latency.percentiles() {
        println!(
            "{name:<22} mean {:.2} ms, p50 {:.2}, p95 {:.2}, p99 {:.2}",
            p.mean_ms, p.p50_ms, p.p95_ms, p.p99_ms
        );
    }
}

/// The frames of the pipeline's clip.
fn images(loaded: &LoadedPipeline) -> Vec<Arc<Image>> {
    let stop = StopSignal::new();
    let mut source = open_recording(&loaded.config.source, &stop).expect("the bundled clip");
    let mut images = Vec::new();
    while let Captured::Frame { image, .. } = source.next(&stop).expect("it can be read") {
        images.push(Arc::new(image));
    }
    images
}

/// A record with boxes that go back and forth at their own speeds.
fn record(number: u64, size: SizePx) -> FrameRecord {
    let tracks = (0..TRACKS).map(|i| {
        let side = 40 + 4 * i;
        let room = |length: u32, speed: u64| {
            let room = u64::from(length) - side;
            let along = (number * speed + i * 91) % (2 * room);
            along.min(2 * room - along) as f64
        };
        let (x, y) = (room(size.width, 1 + i % 5), room(size.height, 1 + i % 3));
        TrackRecord {
            track_id: i + 1,
            category_id: 3,
            label: "car".to_owned(),
            state: TrackStateRecord::Seen,
            bbox: [x, y, side as f64, side as f64].into(),
            attributes: BTreeMap::new(),
            model: None,
            keypoints: Vec::new(),
        }
    });
    FrameRecord {
        frame: number,
        pts_ms: number as f64 * FRAME.as_secs_f64() * 1000.0,
        tracks: Some(tracks.collect()),
        ..FrameRecord::default()
    }
}

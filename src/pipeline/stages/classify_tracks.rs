//! Classification of tracks: second networks look at the parts of a frame where tracked objects are, and their
//! results stay with the tracks.
//!
//! Live, they run on a thread of their own beside the frames. It is given crops only while it has nothing to
//! do, so that none grow old in a queue: a crop is of the newest frame when the thread is free. Results come
//! with the record of the first frame after they are there. No frame waits.
//!
//! In a replay, which loses nothing and gives the same records each time, the crops of a frame are classified
//! before its record goes on, and all that are due are.
//!
//! The crops of a frame run one after another: networks have a batch size of 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::flow::{Latency, Policy, Received, Receiver, Sender, edge, lower_priority};
use crate::postprocess::{Classification, ClassifyParams, Labels};
use crate::records::{
    AttributeRecord, ClassificationRecord, FrameRecord, TrackRecord, TrackStateRecord, rounded,
};
use crate::track::classification::{ClassifySchedule, CropRegion, TimeBudget, TrackScores};
use mobilens_image::{Image, RectPx, SizePx};

/// A network that gives a picture its scores.
pub trait CropClassifier: Send {
    /// One score for each of [`ClassifyParams::channels`], of a part of a frame.
    ///
    /// # Errors
    /// When the network cannot run; the run ends.
    fn scores(&mut self, crop: &Image) -> Result<Vec<f32>, String>;
}

/// A second network and what it is for.
pub struct TrackClassifier {
    /// Name of the attribute in the records.
    pub name: String,
    /// Names of its classes.
    pub labels: Arc<Labels>,
    /// What is classified, and how often.
    pub params: TrackClassifierParams,
    /// The network.
    pub network: Box<dyn CropClassifier>,
}

/// What a second network is for.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackClassifierParams {
    /// Labels of the tracks that are classified; all if empty.
    pub classes: Vec<String>,
    /// A track is classified at most once in so many milliseconds of media time.
    pub every_ms: f64,
    /// Objects whose longer side is shorter, in pixels, are not classified.
    pub min_px: f64,
    /// Which part of the picture is classified.
    pub region: CropRegion,
    /// Weight of a track's past scores, 0 to 1: see [`TrackScores::add`].
    pub smoothing: f32,
    /// Milliseconds that it may take in each second of a live stream.
    pub budget_ms_per_s: f64,
    /// From scores to the best classes.
    pub classify: ClassifyParams,
}

/// What became of the classifications of one second network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackClassifierCounts {
    /// Its name.
    pub name: String,
    /// Crops that it classified.
    pub classified: u64,
    /// Classifications that did not take place for lack of time: see [`ClassifySchedule::skipped`].
    pub skipped: u64,
}

/// The counts of all second networks of a stream; they can be read while it runs and after it.
#[derive(Clone, Debug, Default)]
pub struct TrackClassificationCounts(Arc<Vec<SharedCounts>>);

#[derive(Debug)]
struct SharedCounts {
    name: String,
    classified: AtomicU64,
    skipped: AtomicU64,
}

impl TrackClassificationCounts {
    /// The counts so far, in the order of the networks.
    pub fn get(&self) -> Vec<TrackClassifierCounts> {
        let counts = self.0.iter().map(|counts| TrackClassifierCounts {
            name: counts.name.clone(),
            classified: counts.classified.load(Ordering::SeqCst),
            skipped: counts.skipped.load(Ordering::SeqCst),
        });
        counts.collect()
    }
}

/// Crops of a frame.
struct CropBatch {
    image: Arc<Image>,
    t_ms: f64,
    crops: Vec<Crop>,
}

struct Crop {
    /// Index of the network.
    classifier: usize,
    track_id: u64,
    /// In whole pixels.
    region: RectPx,
}

/// The scores of a frame's crops.
struct BatchScores {
    t_ms: f64,
    /// Index of the network, track, scores.
    scores: Vec<(usize, u64, Vec<f32>)>,
    /// For each network: number of crops, and the milliseconds that they took.
    spent: Vec<(usize, f64)>,
}

/// Runs the networks.
pub struct CropWorker {
    networks: Vec<Box<dyn CropClassifier>>,
    latency: Latency,
}

impl CropWorker {
    fn classify(&mut self, batch: &CropBatch) -> Result<BatchScores, String> {
        let mut done = BatchScores {
            t_ms: batch.t_ms,
            scores: Vec::with_capacity(batch.crops.len()),
            spent: vec![(0, 0.0); self.networks.len()],
        };
        for crop in &batch.crops {
            let i = crop.classifier;
            let begin = Instant::now();
            let [x, y] = [crop.region.x, crop.region.y].map(|v| v as u32);
            let size = SizePx {
                width: crop.region.width as u32,
                height: crop.region.height as u32,
            };
            let scores = self.networks[i].scores(&batch.image.crop(x, y, size))?;
            let took = begin.elapsed();
            self.latency.record(took);
            done.scores.push((i, crop.track_id, scores));
            let (count, ms) = &mut done.spent[i];
            *count += 1;
            *ms += took.as_secs_f64() * 1000.0;
        }
        Ok(done)
    }
}

/// The networks on a thread of their own.
pub struct CropThread {
    worker: CropWorker,
    batches: Receiver<CropBatch>,
    results: Sender<BatchScores>,
}

impl CropThread {
    /// Works until the [`TrackClassification`] is gone, at a lower priority than the threads of the frames.
    ///
    /// # Errors
    /// When a network cannot run.
    pub fn run(mut self) -> Result<(), String> {
        lower_priority();
        while let Some(batch) = self.batches.recv() {
            if self.results.send(self.worker.classify(&batch)?).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Where the networks run.
enum Runner {
    /// On the thread of the records.
    Inline(CropWorker),
    /// Beside it; at most one batch is under way.
    Beside {
        batches: Sender<CropBatch>,
        results: Receiver<BatchScores>,
        is_busy: bool,
    },
}

/// What is known of the tracks by one network.
struct Attribute {
    name: String,
    labels: Arc<Labels>,
    params: TrackClassifierParams,
    schedule: ClassifySchedule,
    budget: TimeBudget,
    tracks: BTreeMap<u64, KnownTrack>,
}

/// What is known of one track.
#[derive(Default)]
struct KnownTrack {
    scores: TrackScores,
    /// Its best classes, best first: they change with the scores only.
    best: Vec<ClassificationRecord>,
}

/// Adds what second networks say of tracked objects to the records.
pub struct TrackClassification {
    attributes: Vec<Attribute>,
    runner: Runner,
    counts: TrackClassificationCounts,
}

impl TrackClassification {
    /// For a replay: what is due is classified before the record of its frame goes on. `latency` gets the time
    /// of each crop.
    pub fn inline(classifiers: Vec<TrackClassifier>, latency: Latency) -> Self {
        let (attributes, worker) = split(classifiers, latency);
        Self::new(attributes, Runner::Inline(worker))
    }

    /// For a live source: the networks run on a thread of their own, which is to run [`CropThread::run`].
    pub fn beside(classifiers: Vec<TrackClassifier>, latency: Latency) -> (Self, CropThread) {
        let (attributes, worker) = split(classifiers, latency);
        let (batches_tx, batches) = edge("crops", 1, Policy::Block);
        let (results, results_rx) = edge("attributes", 1, Policy::Block);
        let runner = Runner::Beside {
            batches: batches_tx,
            results: results_rx,
            is_busy: false,
        };
        let thread = CropThread {
            worker,
            batches,
            results,
        };
        (Self::new(attributes, runner), thread)
    }

    /// As [`beside`](Self::beside) where frames are dropped (`drops`), else as [`inline`](Self::inline); nothing
    /// without networks.
    pub fn start(
        classifiers: Vec<TrackClassifier>,
        drops: bool,
        latency: Latency,
    ) -> (Option<Self>, Option<CropThread>) {
        if classifiers.is_empty() {
            return (None, None);
        }
        if !drops {
            return (Some(Self::inline(classifiers, latency)), None);
        }
        let (stage, thread) = Self::beside(classifiers, latency);
        (Some(stage), Some(thread))
    }

    fn new(attributes: Vec<Attribute>, runner: Runner) -> Self {
        let counts = attributes.iter().map(|attribute| SharedCounts {
            name: attribute.name.clone(),
            classified: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        let counts = TrackClassificationCounts(Arc::new(counts.collect()));
        Self {
            attributes,
            runner,
            counts,
        }
    }

    /// The counts; they outlive the stage.
    pub fn counts(&self) -> TrackClassificationCounts {
        self.counts.clone()
    }

    /// Adds attributes to the tracks and events of a frame's record, and has those tracks classified in `image`
    /// that are due.
    ///
    /// # Errors
    /// When a network cannot run, in a replay; a thread of its own reports that itself.
    pub fn update(&mut self, record: &mut FrameRecord, image: &Arc<Image>) -> Result<(), String> {
        self.take_results();
        let crops = self.crops(record, image.size());
        if !crops.is_empty() {
            let batch = CropBatch {
                image: Arc::clone(image),
                t_ms: record.pts_ms,
                crops,
            };
            match &mut self.runner {
                Runner::Inline(worker) => {
                    let done = worker.classify(&batch)?;
                    self.take(done);
                }
                Runner::Beside {
                    batches, is_busy, ..
                } => {
                    // There is room: nothing is under way. Without the thread the run is ending.
                    *is_busy = batches.send(batch).is_ok();
                }
            }
        }
        self.add_to(record);
        Ok(())
    }

    fn take_results(&mut self) {
        if let Runner::Beside {
            results, is_busy, ..
        } = &mut self.runner
            && let Received::Item(done) = results.try_recv()
        {
            *is_busy = false;
            self.take(done);
        }
    }

    fn take(&mut self, done: BatchScores) {
        let attributes = self.attributes.iter_mut();
        for (attribute, (count, ms)) in attributes.zip(&done.spent) {
            attribute.budget.spend(*count, *ms);
        }
        for (i, track_id, scores) in done.scores {
            let attribute = &mut self.attributes[i];
            attribute.add(track_id, &scores, done.t_ms);
            self.counts.0[i].classified.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is classified in a frame of `size`.
    fn crops(&mut self, record: &FrameRecord, size: SizePx) -> Vec<Crop> {
        let mut crops = Vec::new();
        for (i, attribute) in self.attributes.iter_mut().enumerate() {
            let tracks = record.tracks.iter().flatten();
            let regions: BTreeMap<u64, Option<RectPx>> = tracks
                .map(|track| (track.track_id, attribute.region(track, size)))
                .collect();
            let possible = regions.iter().map(|(id, region)| (*id, region.is_some()));
            let due = attribute.schedule.due(record.pts_ms, possible);
            let most = match &self.runner {
                Runner::Inline(_) => usize::MAX,
                Runner::Beside { is_busy: true, .. } => 0,
                Runner::Beside { .. } => attribute.budget.crops(record.pts_ms),
            };
            for track_id in due.into_iter().take(most) {
                attribute.schedule.classified(track_id, record.pts_ms);
                crops.extend(
                    regions
                        .get(&track_id)
                        .copied()
                        .flatten()
                        .map(|region| Crop {
                            classifier: i,
                            track_id,
                            region,
                        }),
                );
            }
            let skipped = attribute.schedule.skipped();
            self.counts.0[i].skipped.store(skipped, Ordering::SeqCst);
        }
        crops
    }

    /// Adds what is known so far, and forgets tracks that have ended.
    fn add_to(&mut self, record: &mut FrameRecord) {
        let t_ms = record.pts_ms;
        for attribute in &mut self.attributes {
            for track in record.tracks.iter_mut().flatten() {
                if let Some(said) = attribute.of(track.track_id, t_ms) {
                    track.attributes.insert(attribute.name.clone(), said);
                }
            }
            // A track may end with an event.
            for event in &mut record.events {
                let track_id = event.track_id;
                if let Some(said) = track_id.and_then(|track_id| attribute.of(track_id, t_ms)) {
                    event.attributes.insert(attribute.name.clone(), said);
                }
            }
            let tracks = record.tracks.iter().flatten();
            let alive: Vec<u64> = tracks.map(|track| track.track_id).collect();
            attribute.tracks.retain(|id, _| alive.contains(id));
        }
    }
}

impl Drop for TrackClassification {
    /// The final counts.
    fn drop(&mut self) {
        for (attribute, counts) in self.attributes.iter_mut().zip(&*self.counts.0) {
            attribute.schedule.finish();
            let skipped = attribute.schedule.skipped();
            counts.skipped.store(skipped, Ordering::SeqCst);
        }
    }
}

impl Attribute {
    /// The part of a frame of `size` to classify `track` by, if it can be.
    fn region(&self, track: &TrackRecord, size: SizePx) -> Option<RectPx> {
        let TrackClassifierParams {
            classes, min_px, ..
        } = &self.params;
        let is_wanted = classes.is_empty() || classes.contains(&track.label);
        // A predicted box may be beside the object.
        let is_seen = track.state == TrackStateRecord::Seen;
        let longer = track.bbox.width.max(track.bbox.height);
        if !is_wanted || !is_seen || longer < *min_px {
            return None;
        }
        self.params.region.of(&track.bbox.into(), size)
    }

    /// Adds the scores of a track in the frame at `t_ms`.
    fn add(&mut self, track_id: u64, scores: &[f32], t_ms: f64) {
        let track = self.tracks.entry(track_id).or_default();
        track.scores.add(scores, t_ms, self.params.smoothing);
        let best = self.params.classify.best(track.scores.scores());
        let class = |class: &Classification| ClassificationRecord {
            category_id: class.category_id,
            label: self.labels.name(class.category_id).to_owned(),
            score: rounded(class.score.into(), 10_000.0),
        };
        track.best = best.iter().map(class).collect();
    }

    /// What is known of a track at `t_ms`.
    fn of(&self, track_id: u64, t_ms: f64) -> Option<AttributeRecord> {
        let track = self.tracks.get(&track_id)?;
        let ClassificationRecord { label, score, .. } = track.best.first()?.clone();
        Some(AttributeRecord {
            label,
            score,
            age_ms: rounded(t_ms - track.scores.at_ms(), 1000.0),
            classes: if self.params.classify.top > 1 {
                track.best.clone()
            } else {
                Vec::new()
            },
        })
    }
}

fn split(classifiers: Vec<TrackClassifier>, latency: Latency) -> (Vec<Attribute>, CropWorker) {
    let (attributes, networks) = classifiers
        .into_iter()
        .map(|classifier| {
            let attribute = Attribute {
                name: classifier.name,
                labels: classifier.labels,
                schedule: ClassifySchedule::new(classifier.params.every_ms),
                budget: TimeBudget::new(classifier.params.budget_ms_per_s),
                params: classifier.params,
                tracks: BTreeMap::new(),
            };
            (attribute, classifier.network)
        })
        .unzip();
    (attributes, CropWorker { networks, latency })
}

#[cfg(test)]
mod tests;

//! Second networks on tracks, within whole runs.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::scripted::{run_changed, sink};
use crate::frame::{InferencePlan, Packet};
use crate::pipeline::threads::Pipeline;
use crate::pipeline::{CropClassifier, InferenceWorker, TrackClassifier, TrackClassifierParams};
use crate::postprocess::{ClassActivation, ClassifyParams, Detection, Prediction};
use crate::track::classification::CropRegion;
use crate::track::{Tracker, TrackerParams};
use mobilens_image::{Image, RectPx};

/// Finds the same object in each frame.
struct OneObject;

impl InferenceWorker for OneObject {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let rect = RectPx {
            x: 0.0,
            y: 0.0,
            width: 2.0,
            height: 2.0,
        };
        let detection = Detection {
            category_id: 1,
            score: 0.9,
            rect,
            keypoints: Vec::new(),
            mask: None,
        };
        Ok(packet.with(Prediction {
            detections: vec![detection],
            ..Prediction::default()
        }))
    }
}

struct Scripted<F>(F);

impl<F: FnMut() -> Result<(), String> + Send> CropClassifier for Scripted<F> {
    fn scores(&mut self, _: &Image) -> Result<Vec<f32>, String> {
        (self.0)().map(|()| vec![1.0])
    }
}

/// Tracks from the first detection on, and classifies them in each frame.
fn classify(pipeline: &mut Pipeline, network: impl FnMut() -> Result<(), String> + Send + 'static) {
    pipeline.publish.analyzer.tracker = Some(Tracker::new(TrackerParams {
        score_low: 0.1,
        score_high: 0.5,
        start_score: 0.5,
        match_iou: 0.2,
        nms_iou: 0.5,
        cross_class_iou: 0.8,
        confirm_frames: 1,
        confirm_ms: 0.0,
        memory_ms: 1000.0,
    }));
    pipeline.track_classifiers = vec![TrackClassifier {
        name: "kind".to_owned(),
        labels: Arc::default(),
        params: TrackClassifierParams {
            classes: Vec::new(),
            every_ms: 0.0,
            min_px: 0.0,
            region: CropRegion {
                expand: 0.0,
                middle: None,
            },
            smoothing: 0.0,
            budget_ms_per_s: 1000.0,
            classify: ClassifyParams {
                channels: vec![0],
                activation: ClassActivation::Identity,
                top: 1,
                score_threshold: 0.0,
            },
        },
        network: Box::new(Scripted(network)),
    }];
}

#[test]
fn live_frames_pass_a_second_network_that_hangs() {
    const FRAMES: u64 = 100;
    // The network holds its first crop until the last frame but one is written; each frame is given once
    // the one before it is.
    let (written_tx, written) = channel();
    let (release_tx, release) = channel();
    let before = move |frame| {
        if frame > 0 {
            let patience = Duration::from_secs(60);
            let () = written.recv_timeout(patience).expect("it is published");
        }
        if frame == FRAMES - 1 {
            let _ = release_tx.send(());
        }
        None
    };
    let (seen, sink) = sink(move |_| {
        let _ = written_tx.send(());
        Ok(())
    });
    let network = move || {
        // Closed once the source has ended.
        let _ = release.recv();
        Ok(())
    };
    let workers: Vec<Box<dyn InferenceWorker>> = vec![Box::new(OneObject)];
    let report = run_changed(FRAMES, true, before, workers, vec![sink], |pipeline| {
        classify(pipeline, network);
    });
    assert_eq!(report.failures, []);
    assert_eq!(report.end.frames.emitted, FRAMES);
    assert_eq!(seen.lock().expect("no panic").frames.len() as u64, FRAMES);
    let [counts] = report.track_classifiers.as_slice() else {
        panic!("one network");
    };
    // The first one may be done before the last frame is published, not before.
    assert!(counts.classified <= 1, "{counts:?}");
}

#[test]
fn a_replay_waits_for_each_result() {
    let (seen, sink) = sink(|_| Ok(()));
    let workers: Vec<Box<dyn InferenceWorker>> = vec![Box::new(OneObject), Box::new(OneObject)];
    let report = run_changed(
        50,
        false,
        |_| None,
        workers,
        vec![sink],
        |pipeline| {
            classify(pipeline, || Ok(()));
        },
    );
    assert_eq!(report.failures, []);
    assert_eq!(seen.lock().expect("no panic").frames.len(), 50);
    assert_eq!(report.track_classifiers[0].classified, 50);
    let said = report.to_string();
    let expected = "classify_tracks kind: 50 crops classified, 0 skipped for lack of time\n";
    assert!(said.contains(expected), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("classify ")),
        "{said}"
    );
}

#[test]
fn a_second_network_that_fails_ends_the_run_by_name() {
    for (drops, expected) in [(true, "2-classify: tired"), (false, "2-publish: tired")] {
        let (seen, sink) = sink(|_| Ok(()));
        let workers: Vec<Box<dyn InferenceWorker>> = vec![Box::new(OneObject)];
        let report = run_changed(
            1_000_000,
            drops,
            |_| None,
            workers,
            vec![sink],
            |pipeline| {
                classify(pipeline, || Err("tired".to_owned()));
            },
        );
        assert_eq!(report.failures[0].to_string(), expected);
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.end.as_ref().expect("an end").reason, "failed");
    }
}

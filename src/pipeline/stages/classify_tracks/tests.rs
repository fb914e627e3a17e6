//! Second networks that do what a test says.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::postprocess::ClassActivation;
use crate::records::EventRecord;
use mobilens_image::{PixelFormat, YuvColour};

/// What is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls a function with the first code of each crop.
struct Scripted<F>(F);

impl<F: FnMut(u8) -> Result<Vec<f32>, String> + Send> CropClassifier for Scripted<F> {
    fn scores(&mut self, crop: &Image) -> Result<Vec<f32>, String> {
        (self.0)(crop.data()[0])
    }
}

fn params() -> TrackClassifierParams {
    TrackClassifierParams {
        classes: Vec::new(),
        every_ms: 1000.0,
        min_px: 0.0,
        region: CropRegion {
            expand: 0.0,
            middle: None,
        },
        smoothing: 0.5,
        budget_ms_per_s: 1e9,
        classify: ClassifyParams {
            channels: vec![0, 1],
            activation: ClassActivation::Identity,
            top: 1,
            score_threshold: 0.1,
        },
    }
}

fn classifier(
    params: TrackClassifierParams,
    network: impl FnMut(u8) -> Result<Vec<f32>, String> + Send + 'static,
) -> Vec<TrackClassifier> {
    let labels = vec![(0, "dark".to_owned()), (1, "bright".to_owned())];
    vec![TrackClassifier {
        name: "light".to_owned(),
        labels: Arc::new(Labels::new(labels)),
        params,
        network: Box::new(Scripted(network)),
    }]
}

/// A grey frame of 64x64 pixels.
fn image(code: u8) -> Arc<Image> {
    let size = SizePx {
        width: 64,
        height: 64,
    };
    let data = vec![code; PixelFormat::Rgb8.bytes(size)];
    Arc::new(Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data).expect("it fits"))
}

fn track(track_id: u64, label: &str, state: TrackStateRecord) -> TrackRecord {
    TrackRecord {
        track_id,
        category_id: 1,
        label: label.to_owned(),
        state,
        bbox: [2.0 * track_id as f64, 8.0, 16.0, 24.0].into(),
        attributes: BTreeMap::new(),
        model: None,
        keypoints: Vec::new(),
    }
}

/// Frame `number` at 25 frames/s, with an event of each of `events`.
fn record(number: u64, tracks: Vec<TrackRecord>, events: &[u64]) -> FrameRecord {
    let mut record = FrameRecord {
        frame: number,
        pts_ms: number as f64 * 40.0,
        tracks: Some(tracks),
        ..FrameRecord::default()
    };
    let of_track = |id: &u64| EventRecord {
        track_id: Some(*id),
        ..EventRecord::of(&record, "zone", "new", "yard")
    };
    record.events = events.iter().map(of_track).collect();
    record
}

fn said(record: &FrameRecord, track_id: u64) -> Option<(String, f64, f64)> {
    let mut tracks = record.tracks.iter().flatten();
    let track = tracks.find(|track| track.track_id == track_id)?;
    let said = track.attributes.get("light")?;
    Some((said.label.clone(), said.score, said.age_ms))
}

#[test]
fn in_a_replay_a_track_is_classified_in_its_frame_and_its_result_stays_with_it() {
    let calls = Arc::<Mutex<Vec<u8>>>::default();
    let seen = Arc::clone(&calls);
    let network = move |code| {
        seen.lock().expect("no panic").push(code);
        Ok(if code < 100 {
            vec![0.8, 0.2]
        } else {
            vec![0.0, 1.0]
        })
    };
    let latency = Latency::new("classify");
    let mut stage = TrackClassification::inline(classifier(params(), network), latency.clone());
    let counts = stage.counts();
    let person = |id| track(id, "person", TrackStateRecord::Seen);
    let mut update = |number, code, tracks, events: &[u64]| {
        let mut record = record(number, tracks, events);
        stage.update(&mut record, &image(code)).expect("it can run");
        record
    };
    let got = update(0, 10, vec![person(1)], &[1, 9]);
    let dark = Some(("dark".to_owned(), 0.8, 0.0));
    assert_eq!(said(&got, 1), dark);
    assert_eq!(got.events[0].attributes["light"].label, "dark");
    assert!(got.events[1].attributes.is_empty(), "no such track");
    // Not again before its time; another one at once.
    let got = update(10, 20, vec![person(1), person(2)], &[]);
    assert_eq!(said(&got, 1), Some(("dark".to_owned(), 0.8, 400.0)));
    assert_eq!(said(&got, 2), dark);
    assert_eq!(*calls.lock().expect("no panic"), [10, 20]);
    // Together with the first look it is brighter than dark: (0.2 + 1) / 2.
    let got = update(25, 200, vec![person(1)], &[2]);
    assert_eq!(said(&got, 1), Some(("bright".to_owned(), 0.6, 0.0)));
    // The track has ended with this frame, and its event says what it was.
    assert_eq!(got.events[0].attributes["light"].label, "dark");
    let got = update(26, 200, vec![person(1)], &[2]);
    assert!(got.events[0].attributes.is_empty());
    let expected = TrackClassifierCounts {
        name: "light".to_owned(),
        classified: 3,
        skipped: 0,
    };
    assert_eq!(counts.get(), [expected]);
    assert_eq!(latency.percentiles().map(|p| p.count), Some(3));
}

#[test]
fn only_what_it_is_for_is_classified_and_only_what_was_detected() {
    let params = TrackClassifierParams {
        classes: vec!["car".to_owned()],
        min_px: 24.0,
        ..params()
    };
    let mut stage = TrackClassification::inline(
        classifier(params, |_| Ok(vec![0.0, 0.0])),
        Latency::new("classify"),
    );
    let small = TrackRecord {
        bbox: [8.0, 8.0, 23.0, 23.0].into(),
        ..track(4, "car", TrackStateRecord::Seen)
    };
    let outside = TrackRecord {
        bbox: [80.0, 8.0, 24.0, 24.0].into(),
        ..track(5, "car", TrackStateRecord::Seen)
    };
    let mut record = record(
        0,
        vec![
            track(1, "car", TrackStateRecord::Seen),
            track(2, "person", TrackStateRecord::Seen),
            track(3, "car", TrackStateRecord::Held),
            small,
            outside,
        ],
        &[],
    );
    stage.update(&mut record, &image(0)).expect("it can run");
    assert_eq!(stage.counts().get()[0].classified, 1);
    // Nothing reaches the threshold.
    assert!(said(&record, 1).is_none());
}

#[test]
fn frames_do_not_wait_for_a_second_network_that_hangs() {
    let (release, hold) = channel::<()>();
    let (taken_tx, taken) = channel();
    let network = move |code| {
        let _ = taken_tx.send(code);
        hold.recv().map_err(|_| "released".to_owned())?;
        Ok(vec![0.9, 0.1])
    };
    let latency = Latency::new("classify");
    let (mut stage, thread) = TrackClassification::beside(classifier(params(), network), latency);
    let counts = stage.counts();
    let thread = std::thread::spawn(move || thread.run());
    let tracks = || -> Vec<TrackRecord> {
        let tracks = 1..=20;
        tracks
            .map(|id| track(id, "car", TrackStateRecord::Seen))
            .collect()
    };
    let mut update = |number: u64| {
        let mut record = record(number, tracks(), &[1]);
        let image = image(number as u8);
        stage.update(&mut record, &image).expect("nothing failed");
        (record, Arc::strong_count(&image))
    };
    // One crop before any was measured; it is in the network's hands.
    let (first, _) = update(0);
    assert!(said(&first, 1).is_none());
    assert_eq!(taken.recv_timeout(PATIENCE), Ok(0));
    for number in 1..200 {
        let (record, holders) = update(number);
        assert!(said(&record, 1).is_none());
        assert_eq!(holders, 1, "the frame is not kept");
    }
    assert!(taken.try_recv().is_err(), "nothing else was begun");
    release.send(()).expect("it waits");
    // The result comes with the first record after it is there.
    let deadline = Instant::now() + PATIENCE;
    let mut number = 200;
    let record = loop {
        let (record, _) = update(number);
        if said(&record, 1).is_some() {
            break record;
        }
        assert!(Instant::now() < deadline, "no result");
        std::thread::yield_now();
        number = (number + 1).min(250);
    };
    let age_ms = number as f64 * 40.0;
    assert_eq!(said(&record, 1), Some(("dark".to_owned(), 0.9, age_ms)));
    assert_eq!(record.events[0].attributes["light"].age_ms, age_ms);
    // What is next is of the frame that is newest then.
    assert_eq!(taken.recv_timeout(PATIENCE), Ok(number as u8));
    drop(stage);
    drop(release);
    let ended = thread.join().expect("no panic");
    assert_eq!(ended, Err("released".to_owned()));
    let counts = counts.get();
    assert_eq!(counts[0].classified, 1);
    // 19 tracks waited for more than 7 s, of which each had a turn every second.
    assert!(counts[0].skipped >= 19, "{counts:?}");
}

#[test]
fn several_networks_have_a_result_each() {
    let mut classifiers = classifier(params(), |_| Ok(vec![0.9, 0.1]));
    let top = ClassifyParams {
        top: 2,
        ..params().classify
    };
    let both = TrackClassifierParams {
        classify: top,
        ..params()
    };
    let mut other = classifier(both, |_| Ok(vec![0.25, 0.75]));
    other[0].name = "shade".to_owned();
    classifiers.append(&mut other);
    let mut stage = TrackClassification::inline(classifiers, Latency::new("classify"));
    let mut record = record(0, vec![track(1, "car", TrackStateRecord::Seen)], &[]);
    stage.update(&mut record, &image(0)).expect("it can run");
    let tracks = record.tracks.expect("tracks");
    let json = serde_json::to_value(&tracks[0].attributes).expect("plain data");
    let expected = serde_json::json!({
        "light": { "label": "dark", "score": 0.9, "age_ms": 0.0 },
        "shade": { "label": "bright", "score": 0.75, "age_ms": 0.0, "classes": [
            { "category_id": 1, "label": "bright", "score": 0.75 },
            { "category_id": 0, "label": "dark", "score": 0.25 },
        ] },
    });
    assert_eq!(json, expected);
}

#[test]
fn a_network_that_fails_in_a_replay_is_an_error() {
    let network = classifier(params(), |_| Err("tired".to_owned()));
    let mut stage = TrackClassification::inline(network, Latency::new("classify"));
    let mut record = record(0, vec![track(1, "car", TrackStateRecord::Seen)], &[]);
    let failed = stage.update(&mut record, &image(0));
    assert_eq!(failed, Err("tired".to_owned()));
}

//! Several models on one stream.

use super::*;
use crate::records::ModelRunRecord;
use crate::track::TrackerParams;

const SIZE: SizePx = SizePx {
    width: 640,
    height: 480,
};

fn tracker() -> Option<Tracker> {
    Some(Tracker::new(TrackerParams {
        score_low: 0.1,
        score_high: 0.5,
        start_score: 0.5,
        match_iou: 0.2,
        nms_iou: 0.7,
        cross_class_iou: 0.5,
        confirm_frames: 2,
        confirm_ms: 1000.0,
        memory_ms: 1000.0,
    }))
}

/// Persons and, by another model, helmets, each with a label of the same name.
fn analyzer() -> Analyzer {
    let labels = vec![(1, "person".to_owned()), (2, "person".to_owned())];
    let models = vec![(0, "street".to_owned()), (2, "helmets".to_owned())];
    let filter = |score| ClassFilter {
        score_threshold: Some(score),
        ..ClassFilter::default()
    };
    Analyzer {
        labels: Arc::new(Labels::of_models(labels, models)),
        score_threshold: 0.4,
        classes: [("person".to_owned(), filter(0.6))].into(),
        tracker: tracker(),
        others: vec![OtherModel {
            name: "helmets".to_owned(),
            score_threshold: 0.4,
            tracker: tracker(),
            ..OtherModel::default()
        }],
        ..Analyzer::default()
    }
}

fn frame(frame: u64, found: &[(&str, u32, f64)], helmets_ran: bool) -> FrameRecord {
    let detections = found
        .iter()
        .map(|(model, category_id, score)| DetectionRecord {
            category_id: *category_id,
            label: "person".to_owned(),
            model: Some((*model).to_owned()),
            score: *score,
            bbox: [200.0, 100.0, 60.0, 120.0].into(),
            ..DetectionRecord::default()
        });
    let ran = |inferred| ModelRunRecord {
        inferred,
        regions: None,
    };
    let models = [("street", ran(true)), ("helmets", ran(helmets_ran))];
    FrameRecord {
        frame,
        pts_ms: frame as f64 * 40.0,
        detections: detections.collect(),
        models: models.map(|(name, run)| (name.to_owned(), run)).into(),
        ..FrameRecord::default()
    }
}

#[test]
fn one_box_of_two_models_is_two_tracks_and_each_model_holds_its_own() {
    let mut analyzer = analyzer();
    let both = [("street", 1, 0.9), ("helmets", 2, 0.8)];
    let mut record = frame(0, &both, true);
    for number in 1..4 {
        analyzer.update(&mut record, SIZE);
        record = frame(number, &both, true);
    }
    analyzer.update(&mut record, SIZE);
    let tracks = record.tracks.as_deref().expect("tracked");
    let seen = |track: &TrackRecord| (track.track_id, track.model.clone(), track.state);
    let (street, helmets) = (Some("street".to_owned()), Some("helmets".to_owned()));
    let tracks: Vec<_> = tracks.iter().map(seen).collect();
    let expected = [
        (1, street.clone(), TrackStateRecord::Seen),
        (2, helmets.clone(), TrackStateRecord::Seen),
    ];
    assert_eq!(tracks, expected);
    let ids = record
        .detections
        .iter()
        .map(|d| (d.model.clone(), d.track_id));
    let expected = [(street.clone(), Some(1)), (helmets.clone(), Some(2))];
    assert_eq!(ids.collect::<Vec<_>>(), expected);

    // Where the other model did not run, and then where it ran and found nothing.
    for (number, ran, state) in [
        (4, false, TrackStateRecord::Held),
        (5, true, TrackStateRecord::Lost),
    ] {
        let mut record = frame(number, &both[..1], ran);
        analyzer.update(&mut record, SIZE);
        let tracks = record.tracks.as_deref().expect("tracked");
        let tracks: Vec<_> = tracks.iter().map(seen).collect();
        let first = (1, street.clone(), TrackStateRecord::Seen);
        assert_eq!(tracks, [first, (2, helmets.clone(), state)]);
    }
}

#[test]
fn each_model_has_its_own_threshold_for_the_same_label() {
    let mut record = frame(0, &[("street", 1, 0.5), ("helmets", 2, 0.5)], true);
    analyzer().update(&mut record, SIZE);
    let clear: Vec<_> = record.detections.iter().map(|d| d.category_id).collect();
    let faint: Vec<_> = record.faint.iter().map(|d| d.category_id).collect();
    assert_eq!((clear, faint), (vec![2], vec![1]));
}

/// An analyzer with a zone and a line, in which a person has entered the zone, and crossed the line once.
fn counting() -> Analyzer {
    let square = |to: f32| Polygon::new(vec![[0.0, 0.0], [to, 0.0], [to, 1.0], [0.0, 1.0]]);
    Analyzer {
        zones: vec![MonitoredZone {
            name: "all".to_owned(),
            polygon: square(1.0).expect("a square"),
            classes: Vec::new(),
            anchor: AnchorPoint::Center,
            monitor: ZoneMonitor::new(500.0, None, None),
        }],
        lines: vec![CountedLine {
            name: "middle".to_owned(),
            from: [0.5, 0.0],
            to: [0.5, 1.0],
            classes: Vec::new(),
            anchor: AnchorPoint::Center,
            hysteresis: 0.0,
            counter: None,
        }],
        ..analyzer()
    }
}

fn watch(analyzer: &mut Analyzer, frames: std::ops::Range<u64>) -> Vec<FrameRecord> {
    let records = frames.map(|number| {
        let mut record = frame(number, &[("street", 1, 0.9)], true);
        analyzer.update(&mut record, SIZE);
        record
    });
    records.collect()
}

fn ids(record: &FrameRecord) -> Vec<u64> {
    let tracks = record.tracks.iter().flatten();
    tracks.map(|track| track.track_id).collect()
}

#[test]
fn tracks_and_counts_live_on_under_other_settings() {
    let mut before = counting();
    watch(&mut before, 0..4);
    if let Some((_, counter)) = &mut before.lines[0].counter {
        counter.set_counts(LineCounts {
            inward: 3,
            outward: 1,
        });
    }
    let mut next = counting();
    next.score_threshold = 0.5;
    // It has moved: what it counted stays.
    next.lines[0].from = [0.4, 0.0];
    let left = next.continue_from(before, &FrameRecord::default());
    assert!(left.is_empty());
    let records = watch(&mut next, 4..6);
    assert_eq!(ids(&records[0]), [1]);
    assert!(records[0].events.is_empty(), "it is in the zone already");
    assert_eq!(next.zones[0].monitor.counts().entered, 1);
    let counter = next.lines[0].counter.as_ref().map(|(_, c)| c.counts());
    assert_eq!(counter.map(|c| (c.inward, c.outward)), Some((3, 1)));
}

#[test]
fn what_ends_with_the_settings_has_its_events_and_no_id_is_given_twice() {
    let mut before = counting();
    watch(&mut before, 0..4);
    let last = frame(3, &[], true);
    // The zone is gone.
    let mut next = analyzer();
    let left = next.continue_from(before, &last);
    let left: Vec<_> = left
        .iter()
        .map(|e| (&*e.kind, &*e.phase, e.track_id, e.frame))
        .collect();
    assert_eq!(left, [("zone", "end", Some(1), 3)]);
    assert_eq!(ids(&watch(&mut next, 4..5)[0]), [1]);
    // No tracking, and then again, by another model.
    let mut untracked = Analyzer {
        tracker: None,
        ..analyzer()
    };
    untracked.continue_from(next, &last);
    watch(&mut untracked, 5..6);
    let mut renamed = Analyzer {
        labels: Arc::new(Labels::of_models(
            vec![(1, "people".to_owned())],
            vec![(0, "street".to_owned())],
        )),
        ..analyzer()
    };
    renamed.continue_from(untracked, &last);
    let records = watch(&mut renamed, 6..10);
    assert_eq!(records.last().map(ids), Some(vec![2]));
}

//! The tracker on scripted scenes.

mod association;
mod births;

use super::{FrameContext, Observation, TrackState, Tracker, TrackerParams};
use mobilens_image::{RectPx, Similarity};

const PARAMS: TrackerParams = TrackerParams {
    score_low: 0.1,
    score_high: 0.5,
    start_score: 0.65,
    match_iou: 0.2,
    nms_iou: 0.5,
    cross_class_iou: 0.8,
    confirm_frames: 2,
    confirm_ms: 1200.0,
    memory_ms: 1000.0,
};

fn person(x: f32, score: f64) -> Observation {
    Observation {
        category_id: 1,
        score,
        is_faint: score < 0.5,
        rect: RectPx {
            x,
            y: 50.0,
            width: 20.0,
            height: 60.0,
        },
    }
}

fn scene(frame: u32) -> FrameContext<'static> {
    FrameContext {
        t_ms: f64::from(frame) * 40.0,
        size: None,
        is_cut: false,
        camera: None,
        inferred: None,
        is_still: false,
    }
}

#[test]
fn crossing_objects_keep_their_ids() {
    let mut tracker = Tracker::new(PARAMS);
    let mut last = Vec::new();
    for frame in 0..60 {
        let t = frame as f32;
        let mut left = person(t * 4.0, 0.9);
        let mut right = person(240.0 - t * 4.0, 0.8);
        (left.rect.y, right.rect.y) = (40.0, 60.0);
        last = tracker.update(&scene(frame), &[left, right]);
    }
    assert_eq!(last, [Some(1), Some(2)]);
}

#[test]
fn a_low_score_continues_a_track_but_starts_none() {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..10 {
        assert_eq!(tracker.update(&scene(frame), &[person(10.0, 0.3)]), [None]);
    }
    for frame in 10..13 {
        tracker.update(&scene(frame), &[person(10.0, 0.9)]);
    }
    for frame in 13..20 {
        assert_eq!(
            tracker.update(&scene(frame), &[person(10.0, 0.2)]),
            [Some(1)]
        );
    }
    assert_eq!(tracker.update(&scene(20), &[person(10.0, 0.05)]), [None]);
}

#[test]
fn an_occluded_track_is_kept_and_then_removed() {
    for (gap, expected) in [(20, Some(1)), (30, None)] {
        let mut tracker = Tracker::new(PARAMS);
        for frame in 0..10 {
            tracker.update(&scene(frame), &[person(frame as f32 * 2.0, 0.9)]);
        }
        for frame in 10..10 + gap {
            tracker.update(&scene(frame), &[]);
        }
        let back = 10 + gap;
        let ids = tracker.update(&scene(back), &[person(back as f32 * 2.0, 0.9)]);
        assert_eq!(ids, [expected], "after {gap} frames");
    }
}

#[test]
fn classes_do_not_mix_and_a_cut_ends_all() {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..5 {
        tracker.update(&scene(frame), &[person(10.0, 0.9)]);
    }
    let other = Observation {
        category_id: 2,
        ..person(10.0, 0.9)
    };
    assert_eq!(tracker.update(&scene(5), &[other]), [None]);
    assert_eq!(tracker.update(&scene(6), &[person(10.0, 0.9)]), [Some(1)]);
    let cut = FrameContext {
        is_cut: true,
        ..scene(7)
    };
    assert_eq!(tracker.update(&cut, &[person(10.0, 0.9)]), [None]);
    assert_eq!(tracker.update(&scene(8), &[person(10.0, 0.9)]), [Some(2)]);
}

#[test]
fn tracks_without_inference_are_held() {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..10 {
        tracker.update(&scene(frame), &[person(100.0, 0.9)]);
    }
    // Ten minutes of stillness.
    for frame in 10..15_000 {
        let still = FrameContext {
            inferred: Some(&[]),
            is_still: true,
            ..scene(frame)
        };
        tracker.update(&still, &[]);
    }
    let held: Vec<_> = tracker.tracks().collect();
    assert_eq!((held.len(), held[0].state), (1, TrackState::Held));
    assert_eq!(
        tracker.update(&scene(15_000), &[person(100.0, 0.9)]),
        [Some(1)]
    );
    // Inference elsewhere: it is held, too.
    let elsewhere = [RectPx {
        x: 300.0,
        y: 0.0,
        width: 100.0,
        height: 100.0,
    }];
    let aside = FrameContext {
        inferred: Some(&elsewhere),
        ..scene(15_001)
    };
    tracker.update(&aside, &[]);
    assert_eq!(
        tracker.tracks().next().map(|t| t.state),
        Some(TrackState::Held)
    );
}

#[test]
fn camera_motion_is_compensated() {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..5 {
        tracker.update(&scene(frame), &[person(100.0, 0.9)]);
    }
    let jump = Similarity {
        a: 1.0,
        b: 0.0,
        x: 200.0,
        y: 0.0,
    };
    let moved = FrameContext {
        camera: Some(&jump),
        ..scene(5)
    };
    assert_eq!(tracker.update(&moved, &[person(300.0, 0.9)]), [Some(1)]);
}

#[test]
fn one_match_confirms_with_confirm_frames_1() {
    let mut tracker = Tracker::new(TrackerParams {
        confirm_frames: 1,
        ..PARAMS
    });
    let two = [person(10.0, 0.9), person(200.0, 0.8)];
    assert_eq!(tracker.update(&scene(0), &two), [Some(1), Some(2)]);
}

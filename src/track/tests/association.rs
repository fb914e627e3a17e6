//! Which detection continues which track.

use super::{PARAMS, person, scene};
use crate::track::{FrameContext, Observation, TrackState, Tracker};
use mobilens_image::{RectPx, Similarity};

/// A tracker that has followed `at` for `frames` frames.
fn follow(frames: u32, at: impl Fn(u32) -> Observation) -> Tracker {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..frames {
        tracker.update(&scene(frame), &[at(frame)]);
    }
    tracker
}

#[test]
fn a_faint_detection_must_be_the_nearer_the_longer_it_is_all_there_is() {
    let faint_until = |shift: f32| {
        let mut tracker = follow(10, |_| person(100.0, 0.9));
        let followed = (10..60).take_while(|frame| {
            // A shift that does not move the track: to the left and to the right.
            let side = if frame % 2 == 0 { shift } else { -shift };
            tracker.update(&scene(*frame), &[person(100.0 + side, 0.3)]) == [Some(1)]
        });
        followed.count()
    };
    let (exact, near) = (faint_until(0.0), faint_until(3.0));
    assert!((13..=15).contains(&exact), "{exact} frames at its place");
    assert!((3..exact).contains(&near), "{near} frames near by");
    assert_eq!(faint_until(12.0), 0);
}

#[test]
fn a_clear_detection_renews_what_faint_ones_use_up() {
    let mut tracker = follow(10, |_| person(100.0, 0.9));
    for frame in 10..200 {
        let score = if frame % 10 == 0 { 0.6 } else { 0.2 };
        let ids = tracker.update(&scene(frame), &[person(100.0, score)]);
        assert_eq!(ids, [Some(1)], "frame {frame}");
    }
}

#[test]
fn time_without_inference_does_not_use_up_faint_detections() {
    let mut tracker = follow(10, |_| person(100.0, 0.9));
    for frame in 10..1000 {
        let still = FrameContext {
            inferred: Some(&[]),
            is_still: true,
            ..scene(frame)
        };
        tracker.update(&still, &[]);
    }
    let faint = [person(100.0, 0.3)];
    assert_eq!(tracker.update(&scene(1000), &faint), [Some(1)]);
}

#[test]
fn wide_boxes_find_what_jumps() {
    // Of a width of 20: beside its place, with a gap between.
    let jump = |x: f32| follow(10, |_| person(100.0, 0.9)).update(&scene(10), &[person(x, 0.9)]);
    assert_eq!(jump(122.0), [Some(1)]);
    assert_eq!(jump(160.0), [None]);
    // Whoever is at its place goes first, though faint.
    let mut tracker = follow(10, |_| person(100.0, 0.9));
    let both = [person(122.0, 0.9), person(100.0, 0.3)];
    assert_eq!(tracker.update(&scene(10), &both), [None, Some(1)]);
}

#[test]
fn of_two_near_detections_the_one_ahead_is_taken() {
    let mut tracker = follow(10, |frame| person(100.0 + frame as f32 * 4.0, 0.9));
    // Both as far from the predicted place, 140; one goes on from 136, the other goes back.
    let ahead = [person(133.0, 0.9), person(147.0, 0.9)];
    assert_eq!(tracker.update(&scene(10), &ahead), [None, Some(1)]);
    let mut tracker = follow(10, |frame| person(200.0 - frame as f32 * 4.0, 0.9));
    let ahead = [person(153.0, 0.9), person(167.0, 0.9)];
    assert_eq!(tracker.update(&scene(10), &ahead), [Some(1), None]);
}

/// Boxes go right at 2 px a frame, are hidden for 12 frames, and come back 14 px short of where they
/// were expected.
fn hidden_and_back(camera: Option<&Similarity>, place: impl Fn(u32, f32) -> f32) -> RectPx {
    let at = |frame: u32| {
        let x = frame as f32 * 2.0;
        person(place(frame, if frame < 20 { x } else { x - 14.0 }), 0.9)
    };
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..46 {
        let seen = if (20..32).contains(&frame) {
            Vec::new()
        } else {
            vec![at(frame)]
        };
        let context = FrameContext {
            camera: camera.filter(|_| frame > 0),
            ..scene(frame)
        };
        tracker.update(&context, &seen);
        if frame == 32 {
            break;
        }
    }
    // Where it is expected in the next frames, unseen.
    let context = FrameContext {
        camera,
        ..scene(38)
    };
    tracker.update(&context, &[]);
    let tracks: Vec<_> = tracker.tracks().collect();
    assert_eq!((tracks.len(), tracks[0].id), (1, 1));
    assert_eq!(tracks[0].state, TrackState::Lost);
    tracks[0].rect
}

#[test]
fn after_a_gap_the_velocity_is_that_of_the_straight_way() {
    // From 38 to 50 in 13 frames: six frames on, at 55.5, not at 62.
    let x = hidden_and_back(None, |_, x| x).x;
    assert!((53.0..59.0).contains(&x), "{x}");
}

#[test]
fn a_re_update_follows_the_camera() {
    let pan = Similarity {
        a: 1.0,
        b: 0.0,
        x: 5.0,
        y: 0.0,
    };
    let still = hidden_and_back(None, |_, x| x).x;
    let panned = hidden_and_back(Some(&pan), |frame, x| x + frame as f32 * 5.0).x;
    // 33 frames of 5 pixels until then: the last step is one frame of the camera's, however long.
    assert!((panned - still - 165.0).abs() < 0.5, "{still} {panned}");
}

#[test]
fn a_lost_track_is_found_again_by_its_uncertainty() {
    let mut tracker = follow(20, |frame| person(100.0 + frame as f32, 0.9));
    for frame in 20..30 {
        tracker.update(&scene(frame), &[]);
    }
    // Too far for boxes, near enough for the uncertainty after 400 ms.
    let back = |frame: u32| person(152.0 + (frame - 30) as f32, 0.9);
    assert_eq!(tracker.update(&scene(30), &[back(30)]), [Some(1)]);
    assert_eq!(tracker.update(&scene(31), &[back(31)]), [Some(1)]);
}

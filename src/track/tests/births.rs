//! Which detections begin tracks, when those are confirmed, and when they end.

use super::{PARAMS, person, scene};
use crate::track::{FrameContext, Observation, Tracker};
use mobilens_image::SizePx;

const SIZE: SizePx = SizePx {
    width: 640,
    height: 480,
};

/// A detection above the detector's threshold, however low its score.
fn clear(x: f32, score: f64) -> Observation {
    Observation {
        is_faint: false,
        ..person(x, score)
    }
}

fn of_class(category_id: u32, x: f32, score: f64) -> Observation {
    Observation {
        category_id,
        ..clear(x, score)
    }
}

/// The frame at which the first track is confirmed, if each has `seen`.
fn confirmed_at(tracker: &mut Tracker, frames: u32, seen: &dyn Fn(u32) -> Observation) -> u32 {
    let is_confirmed = |frame: &u32| {
        let context = FrameContext {
            size: Some(SIZE),
            ..scene(*frame)
        };
        tracker.update(&context, &[seen(*frame)]) != [None]
    };
    (0..frames).find(is_confirmed).unwrap_or(frames)
}

#[test]
fn a_track_is_confirmed_by_its_score_or_by_its_age() {
    let at = |seen: &dyn Fn(u32) -> Observation| confirmed_at(&mut Tracker::new(PARAMS), 100, seen);
    // In the second frame with confirm_frames 2.
    assert_eq!(at(&|_| clear(300.0, 0.7)), 1);
    // As soon as one detection reaches start_score.
    assert_eq!(at(&|i| clear(300.0, if i == 7 { 0.66 } else { 0.4 })), 7);
    // After confirm_ms, 1200 ms of 40 ms each.
    assert_eq!(at(&|_| clear(300.0, 0.4)), 30);
    // Not without a match for longer than a moment.
    let flashing = |i: u32| clear(if i % 10 < 5 { 300.0 } else { 100.0 }, 0.4);
    assert_eq!(at(&flashing), 100);
    // At the edge score_high is enough.
    assert_eq!(at(&|_| clear(300.0, 0.55)), 30);
    assert_eq!(at(&|_| clear(0.0, 0.55)), 1);
}

#[test]
fn an_object_that_scores_low_is_followed_all_the_same() {
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..100 {
        let seen = clear(100.0 + frame as f32, 0.35);
        let ids = tracker.update(&scene(frame), &[seen]);
        assert_eq!(ids, [(frame >= 30).then_some(1)], "frame {frame}");
    }
    // Also after an occlusion.
    for frame in 100..115 {
        tracker.update(&scene(frame), &[]);
    }
    let back = clear(215.0, 0.35);
    assert_eq!(tracker.update(&scene(115), &[back]), [Some(1)]);
}

#[test]
fn a_person_that_is_found_twice_has_one_track() {
    // A shifted box of IoU 0.6, one of 0.43, and the lower half.
    let shifted = |x| of_class(1, x, 0.75);
    let mut half = clear(100.0, 0.75);
    (half.rect.y, half.rect.height) = (80.0, 30.0);
    for second in [shifted(105.0), shifted(108.0), half] {
        let mut tracker = Tracker::new(PARAMS);
        for frame in 0..60 {
            let ids = tracker.update(&scene(frame), &[clear(100.0, 0.9), second]);
            assert_eq!(ids, [(frame > 0).then_some(1), None], "{second:?}");
        }
    }
    // Somebody beside.
    let mut tracker = Tracker::new(PARAMS);
    let two = [clear(100.0, 0.9), clear(114.0, 0.75)];
    tracker.update(&scene(0), &two);
    assert_eq!(tracker.update(&scene(1), &two), [Some(1), Some(2)]);
}

#[test]
fn suppression_of_the_tracker_is_its_own() {
    let two = [clear(100.0, 0.9), clear(105.0, 0.75)];
    let ids_with = |nms_iou, shift: f32| {
        let mut tracker = Tracker::new(crate::track::TrackerParams { nms_iou, ..PARAMS });
        let apart = [clear(100.0, 0.9), clear(140.0, 0.75)];
        (0..5).for_each(|frame| drop(tracker.update(&scene(frame), &apart)));
        // They come together: IoU 0.6.
        for (i, x) in [132.0, 124.0, 116.0, 109.0].into_iter().enumerate() {
            let near = [clear(100.0, 0.9), clear(x + shift, 0.75)];
            tracker.update(&scene(5 + i as u32), &near);
        }
        tracker.update(&scene(9), &two)
    };
    assert_eq!(ids_with(0.7, 0.0), [Some(1), Some(2)]);
    assert_eq!(ids_with(0.5, 0.0), [Some(1), None]);
}

#[test]
fn two_classes_on_one_body_are_one_track() {
    let (car, truck) = (3, 8);
    // Both at once, the better one first.
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..30 {
        let both = [of_class(car, 100.0, 0.9), of_class(truck, 101.0, 0.8)];
        let ids = tracker.update(&scene(frame), &both);
        assert_eq!(ids, [(frame > 0).then_some(1), None]);
    }
    // In turns: nothing else begins as long as the first was seen lately.
    for frame in 30..60 {
        let class = if frame % 5 == 0 { car } else { truck };
        tracker.update(&scene(frame), &[of_class(class, 100.0, 0.8)]);
        assert_eq!(tracker.tracks().count(), 1, "frame {frame}");
    }
    // For good: it was a truck.
    for frame in 60..120 {
        tracker.update(&scene(frame), &[of_class(truck, 100.0, 0.8)]);
    }
    let left: Vec<u32> = tracker.tracks().map(|track| track.category_id).collect();
    assert_eq!(left, [truck]);
    // A rider is not the horse.
    let mut rider = of_class(1, 100.0, 0.9);
    rider.rect.height = 40.0;
    let mut tracker = Tracker::new(PARAMS);
    let both = [rider, of_class(19, 100.0, 0.8)];
    tracker.update(&scene(0), &both);
    assert_eq!(tracker.update(&scene(1), &both), [Some(1), Some(2)]);
}

#[test]
fn two_tracks_that_come_to_lie_on_one_body_become_one() {
    let (car, truck) = (3, 8);
    let mut tracker = Tracker::new(PARAMS);
    for frame in 0..60 {
        let apart = 40.0 - (frame.min(10) * 4) as f32;
        let both = [
            of_class(car, 100.0, 0.9),
            of_class(truck, 100.0 + apart, 0.7),
        ];
        tracker.update(&scene(frame), &both);
        let expected = match frame {
            0 => 0,
            1..20 => 2,
            _ => 1,
        };
        // Between: half a second from when the filter has settled.
        if !(20..36).contains(&frame) {
            assert_eq!(tracker.tracks().count(), expected, "frame {frame}");
        }
    }
    let left: Vec<u32> = tracker.tracks().map(|track| track.category_id).collect();
    assert_eq!(left, [car]);
}

#[test]
fn who_leaves_the_picture_is_not_who_comes_in_there() {
    let run = |size| {
        let mut tracker = Tracker::new(PARAMS);
        let mut context = |frame, seen: &[Observation]| {
            let context = FrameContext {
                size,
                ..scene(frame)
            };
            let ids = tracker.update(&context, seen);
            (ids, tracker.tracks().count())
        };
        for frame in 0..30 {
            let x = 530.0 + frame as f32 * 3.5;
            let mut seen = clear(x, 0.9);
            seen.rect.width = seen.rect.width.min(640.0 - x);
            context(frame, &[seen]);
        }
        (30..38).for_each(|frame| drop(context(frame, &[])));
        let after = context(38, &[]).1;
        let mut other = Vec::new();
        for frame in 39..44 {
            let x = 632.0 - (frame - 39) as f32 * 3.0;
            let mut seen = clear(x, 0.9);
            seen.rect.width = 640.0 - x;
            other = context(frame, &[seen]).0;
        }
        (after, other)
    };
    assert_eq!(run(Some(SIZE)), (0, vec![Some(2)]));
    // Without the edge the first is still expected.
    assert_eq!(run(None).0, 1);
}

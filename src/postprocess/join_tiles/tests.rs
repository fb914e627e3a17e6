use std::slice::from_ref;

use proptest::prelude::*;

use super::*;

const SIZE: SizePx = SizePx {
    width: 400,
    height: 200,
};

fn rect(x: f32, y: f32, width: f32, height: f32) -> RectPx {
    RectPx {
        x,
        y,
        width,
        height,
    }
}

fn of_class(category_id: u32, score: f32, rect: RectPx) -> Detection {
    Detection {
        category_id,
        score,
        rect,
        ..Detection::default()
    }
}

fn car(score: f32, rect: RectPx) -> Detection {
    of_class(3, score, rect)
}

fn look(crop: RectPx, detections: &[Detection]) -> CropDetections {
    CropDetections {
        crop,
        detections: detections.to_vec(),
    }
}

fn whole(detections: &[Detection]) -> CropDetections {
    look(rect(0.0, 0.0, 400.0, 200.0), detections)
}

/// The left half of the picture, and some more.
fn left(detections: &[Detection]) -> CropDetections {
    look(rect(0.0, 0.0, 220.0, 200.0), detections)
}

fn right(detections: &[Detection]) -> CropDetections {
    look(rect(180.0, 0.0, 220.0, 200.0), detections)
}

fn params(merge: TileMerge) -> JoinParams {
    JoinParams {
        merge,
        overlap: 0.6,
        limit: 100,
    }
}

fn join(looks: &[CropDetections]) -> Vec<Detection> {
    join_tiles(looks, SIZE, &params(TileMerge::Nms))
}

#[test]
fn a_fragment_loses_to_the_whole_of_another_tile_whatever_its_score() {
    // The left tile sees the front half of it.
    let front = car(0.95, rect(190.0, 80.0, 30.0, 30.0));
    let all_of_it = car(0.6, rect(190.0, 80.0, 70.0, 32.0));
    let joined = join(&[left(from_ref(&front)), right(from_ref(&all_of_it))]);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].rect, all_of_it.rect);
    assert!(
        (joined[0].score - 0.775).abs() < 1e-6,
        "halfway: {joined:?}"
    );
    // Without the whole picture, and without the whole car, the fragment is all there is.
    assert_eq!(join(&[left(from_ref(&front))]), *from_ref(&front));
}

#[test]
fn a_fragment_of_another_class_is_the_same_object() {
    let upper_half = look(
        rect(0.0, 0.0, 400.0, 110.0),
        &[of_class(17, 0.9, rect(100.0, 10.0, 60.0, 99.0))],
    );
    let person = of_class(1, 0.4, rect(98.0, 10.0, 64.0, 180.0));
    assert_eq!(
        join(&[whole(from_ref(&person)), upper_half]),
        *from_ref(&person)
    );
}

#[test]
fn a_fragment_of_nothing_that_the_whole_picture_shows_is_dropped() {
    let floor = of_class(15, 0.9, rect(2.0, 120.0, 218.0, 80.0));
    assert_eq!(join(&[whole(&[]), left(from_ref(&floor))]), []);
    assert_eq!(join(&[left(from_ref(&floor))]), *from_ref(&floor));
}

#[test]
fn only_borders_inside_the_picture_cut() {
    let at_the_corner = car(0.5, rect(0.0, 0.0, 20.0, 15.0));
    assert_eq!(
        join(&[whole(&[]), left(from_ref(&at_the_corner))]),
        *from_ref(&at_the_corner)
    );
}

#[test]
fn what_the_whole_picture_should_show_and_does_not_is_doubtful() {
    let bench = car(0.9, rect(20.0, 20.0, 150.0, 150.0));
    let joined = join(&[whole(&[]), left(from_ref(&bench))]);
    let share = 150.0 * 150.0 / 80_000.0;
    assert!(
        (joined[0].score - 0.9 * SMALL_SHARE / share).abs() < 1e-6,
        "{joined:?}"
    );
    // Not if it is small, and not if the whole picture shows it, too.
    let small = car(0.9, rect(20.0, 20.0, 30.0, 30.0));
    assert_eq!(
        join(&[whole(&[]), left(from_ref(&small))]),
        *from_ref(&small)
    );
    let faint = car(0.2, bench.rect);
    assert_eq!(
        join(&[whole(from_ref(&faint)), left(from_ref(&bench))]),
        *from_ref(&bench)
    );
}

#[test]
fn each_way_of_merging_merges_what_it_says() {
    let (large, part) = (
        car(0.6, rect(20.0, 20.0, 40.0, 40.0)),
        car(0.8, rect(20.0, 20.0, 40.0, 20.0)),
    );
    let moved = car(0.2, rect(24.0, 20.0, 40.0, 40.0));
    let joined = |merge, others: &[Detection]| {
        let looks = [whole(from_ref(&large)), left(others)];
        join_tiles(&looks, SIZE, &params(merge))
    };
    assert_eq!(
        joined(TileMerge::Nms, from_ref(&part)),
        [part.clone(), large.clone()]
    );
    assert_eq!(
        joined(TileMerge::Smaller, from_ref(&part)),
        *from_ref(&part)
    );
    assert_eq!(joined(TileMerge::Nms, from_ref(&moved)), *from_ref(&large));
    let fused = joined(TileMerge::Fusion, from_ref(&moved));
    assert_eq!(fused.len(), 1);
    assert!((fused[0].score - 0.4).abs() < 1e-6, "the mean: {fused:?}");
    assert!(
        (fused[0].rect.x - 21.0).abs() < 1e-4,
        "weighted by the scores: {fused:?}"
    );
}

prop_compose! {
    fn detections(width: u8, height: u8)(
        raw in prop::collection::vec((0..width, 0..height, 1_u8..80, 1_u8..80, 0_u8..10, 0_u32..3), 0..25)
    ) -> Vec<Detection> {
        let (width, height) = (f32::from(width), f32::from(height));
        let detection = |(x, y, w, h, score, class): (u8, u8, u8, u8, u8, u32)| {
            let (x, y) = (f32::from(x), f32::from(y));
            let (w, h) = (f32::from(w).min(width - x), f32::from(h).min(height - y));
            of_class(class, f32::from(score) / 10.0, rect(x, y, w, h))
        };
        raw.into_iter().map(detection).collect()
    }
}

fn any_merge() -> impl Strategy<Value = TileMerge> {
    prop::sample::select(vec![TileMerge::Nms, TileMerge::Smaller, TileMerge::Fusion])
}

proptest! {
    #[test]
    fn nothing_is_invented(
        of_whole in detections(250, 200),
        of_left in detections(220, 200),
        of_right in detections(220, 200),
        merge in any_merge(),
        has_whole in any::<bool>(),
        limit in 0_usize..40,
    ) {
        let mut looks = vec![left(&of_left)];
        let shifted: Vec<Detection> = of_right
            .iter()
            .map(|d| Detection { rect: RectPx { x: d.rect.x + 180.0, ..d.rect }, ..d.clone() })
            .collect();
        looks.push(right(&shifted));
        if has_whole {
            looks.insert(0, whole(&of_whole));
        }
        let joined = join_tiles(&looks, SIZE, &JoinParams { limit, ..params(merge) });
        let all: Vec<&Detection> = looks.iter().flat_map(|look| &look.detections).collect();
        prop_assert!(joined.len() <= limit.min(all.len()));
        prop_assert!(joined.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for detection in &joined {
            let of_class = || all.iter().filter(|d| d.category_id == detection.category_id);
            let most = of_class().map(|d| d.score).fold(0.0, f32::max);
            prop_assert!((0.0..=most + 1e-6).contains(&detection.score), "{detection:?}");
            let same = of_class().any(|d| d.rect == detection.rect);
            prop_assert!(same || merge == TileMerge::Fusion, "{detection:?}");
            // Means lie within the picture as well.
            let RectPx { x, y, width, height } = detection.rect;
            prop_assert!(x >= 0.0 && y >= 0.0 && x + width <= 400.01 && y + height <= 200.01);
        }
        // The same again.
        prop_assert_eq!(joined, join_tiles(&looks, SIZE, &JoinParams { limit, ..params(merge) }));
    }

    #[test]
    fn no_two_of_a_class_overlap_by_more_than_allowed(
        of_whole in detections(250, 200),
        of_left in detections(220, 200),
    ) {
        let looks = [whole(&of_whole), left(&of_left)];
        let joined = join(&looks);
        for (i, a) in joined.iter().enumerate() {
            for b in &joined[..i] {
                let allowed = a.category_id != b.category_id || a.rect.iou(&b.rect) <= 0.6;
                prop_assert!(allowed, "{:?} and {:?}", a, b);
            }
        }
    }

    #[test]
    fn the_whole_picture_alone_is_only_merged(of_whole in detections(250, 200)) {
        let joined = join(&[whole(&of_whole)]);
        let scales = crate::postprocess::join_scales(vec![of_whole], 0.6, 100);
        prop_assert_eq!(joined, scales);
    }
}

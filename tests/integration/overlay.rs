//! Boxes and labels look as they did: `UPDATE_GOLDENS=1 cargo test --test integration overlay::`
//! makes the pictures anew, to be looked at before they are committed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use mobilens::overlay::{Counters, Overlay, OverlayStyle, Trails};
use mobilens::postprocess::{Detection, Labels, Prediction};
use mobilens::records::{FrameRecord, TrackRecord, TrackStateRecord};
use mobilens_image::RectPx;

/// Codes of 255 that a glyph's edge may differ by.
const TOLERANCE: u8 = 8;

fn detection(category_id: u32, score: f32, [x, y, width, height]: [f32; 4]) -> Detection {
    let rect = RectPx {
        x,
        y,
        width,
        height,
    };
    Detection {
        category_id,
        score,
        rect,
        ..Detection::default()
    }
}

fn draw(picture: &mut RgbImage, style: OverlayStyle, detections: Vec<Detection>) {
    let names = [
        (1, "person"),
        (2, "bicycle"),
        (3, "car"),
        (4, "Einkaufswagen (groß)"),
    ];
    let labels = Labels::new(names.map(|(id, name)| (id, name.to_owned())).to_vec());
    Overlay::new(style, Arc::new(labels)).draw_mut(
        picture,
        &Prediction {
            detections,
            ..Prediction::default()
        },
    );
}

/// A picture that goes from one colour to others.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = ((x * 255 / width) as u8, (y * 255 / height) as u8);
        Rgb([x, y / 2 + 60, 255 - x])
    })
}

/// Compares with the golden picture; on failure leaves what was drawn and where it differs.
fn assert_golden(name: &str, picture: &RgbImage) {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/overlay/{name}.png"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        picture.save(&golden).expect("writable checkout");
    }
    let expected = image::open(&golden)
        .expect("made with UPDATE_GOLDENS=1")
        .into_rgb8();
    assert_eq!(picture.dimensions(), expected.dimensions(), "{name}");
    let mut differ = 0;
    let mut difference = picture.clone();
    for (pixel, expected) in difference.pixels_mut().zip(expected.pixels()) {
        let far = pixel
            .0
            .iter()
            .zip(expected.0)
            .any(|(a, b)| a.abs_diff(b) > TOLERANCE);
        differ += usize::from(far);
        // What differs stands out in white against a darkened picture.
        pixel.0 = if far {
            [255; 3]
        } else {
            pixel.0.map(|c| c / 4)
        };
    }
    if differ > 0 {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("overlay");
        fs::create_dir_all(&folder).expect("a folder in target");
        let (actual, diff) = (
            folder.join(format!("{name}.actual.png")),
            folder.join(format!("{name}.diff.png")),
        );
        picture.save(&actual).expect("room");
        difference.save(&diff).expect("room");
        panic!(
            "{name}: {differ} pixels differ from {}; see {} and {}",
            golden.display(),
            actual.display(),
            diff.display()
        );
    }
}

#[test]
fn boxes_and_labels() {
    let mut picture = gradient(320, 200);
    let detections = vec![
        detection(1, 0.91, [20.0, 40.0, 60.0, 120.0]),
        detection(3, 0.5, [250.0, 2.0, 70.0, 60.0]),
        detection(3, 1.0, [100.0, 190.0, 220.0, 10.0]),
        detection(3, 0.64, [130.0, 80.0, 60.0, 40.0]),
        detection(3, 0.43, [140.0, 86.0, 60.0, 40.0]),
    ];
    draw(&mut picture, OverlayStyle::default(), detections);
    assert_golden("boxes", &picture);
}

#[test]
fn labels_stay_in_the_picture() {
    let mut picture = gradient(160, 120);
    let detections = vec![
        detection(1, 0.5, [0.0, 0.0, 160.0, 120.0]),
        detection(2, 0.5, [150.0, 0.0, 10.0, 10.0]),
        detection(3, 0.5, [0.0, 110.0, 10.0, 10.0]),
        detection(4, 0.5, [155.0, 115.0, 5.0, 5.0]),
    ];
    draw(&mut picture, OverlayStyle::default(), detections);
    assert_golden("edges", &picture);
}

#[test]
fn any_background_will_do() {
    // Black, grey, white and checks; all colours of the palette on each.
    let mut picture = RgbImage::from_fn(640, 360, |x, y| match x / 160 {
        0 => Rgb([0; 3]),
        1 => Rgb([128; 3]),
        2 => Rgb([255; 3]),
        _ => Rgb([(x / 4 + y / 4) as u8 % 2 * 255; 3]),
    });
    let detections = (0..56_u32).map(|i| {
        let (column, row) = ((i / 14 * 160) as f32, (i % 14 / 2) as f32 * 50.0);
        let x = column + (i % 2) as f32 * 80.0;
        detection(i % 14, 0.5, [x + 6.0, row + 24.0, 66.0, 22.0])
    });
    let style = OverlayStyle {
        hide_labels: true,
        ..OverlayStyle::default()
    };
    draw(&mut picture, style, detections.collect());
    assert_golden("palette", &picture);
}

#[test]
fn large_pictures_get_larger_letters() {
    let mut picture = gradient(1920, 1080);
    let detections = vec![detection(4, 0.999, [600.0, 300.0, 500.0, 400.0])];
    draw(&mut picture, OverlayStyle::default(), detections);
    let part = image::imageops::crop_imm(&picture, 580, 260, 360, 100).to_image();
    assert_golden("large", &part);
}

#[test]
fn the_style_is_obeyed() {
    let mut picture = gradient(200, 100);
    let style = OverlayStyle {
        line_px: Some(6),
        text_px: Some(24),
        hide_scores: true,
        colours: [(1, [255, 255, 255])].into(),
        ..OverlayStyle::default()
    };
    let detections = vec![detection(1, 0.9, [40.0, 40.0, 140.0, 50.0])];
    draw(&mut picture, style, detections);
    assert_golden("style", &picture);
}

/// Objects that a zone counts are dashed where they were not detected; others are thin or left out.
#[test]
fn what_is_counted_is_shown() {
    let track = |track_id, state, bbox: [f64; 4]| TrackRecord {
        track_id,
        category_id: 1,
        label: "person".to_owned(),
        state,
        bbox: bbox.into(),
        keypoints: Vec::new(),
    };
    let lost_uncounted = [250.0, 120.0, 40.0, 60.0];
    let record = FrameRecord {
        tracks: Some(vec![
            track(1, TrackStateRecord::Seen, [20.0, 30.0, 50.0, 70.0]),
            track(2, TrackStateRecord::Held, [100.0, 30.0, 50.0, 70.0]),
            track(3, TrackStateRecord::Held, [180.0, 30.0, 50.0, 70.0]),
            track(4, TrackStateRecord::Lost, [100.0, 125.0, 61.0, 50.0]),
            track(5, TrackStateRecord::Lost, lost_uncounted),
            // It is predicted to be half outside, and the next far away.
            track(6, TrackStateRecord::Lost, [290.0, 30.0, 60.0, 70.0]),
            track(7, TrackStateRecord::Lost, [900.0, 150.0, 60.0, 70.0]),
        ]),
        ..FrameRecord::default()
    };
    let counters = Counters {
        texts: vec![("yard".to_owned(), "yard: 5 now, 7 in all".to_owned())],
        inside: [1, 3, 4, 6, 7].into(),
    };
    let style = OverlayStyle {
        tracks: true,
        ..OverlayStyle::default()
    };
    let labels = Arc::new(Labels::new(vec![(1, "person".to_owned())]));
    let mut picture = gradient(320, 200);
    let trails = Trails::new(0.0);
    Overlay::new(style, labels).draw_tracks_mut(&mut picture, &record, &counters, &trails);
    assert_golden("counted", &picture);
    let clean = gradient(320, 200);
    let changed = |[x, y, w, h]: [f64; 4]| {
        let (x, y, w, h) = (x as u32, y as u32, w as u32, h as u32);
        let upper_edge = (x..x + w).map(|x| (x, y + h));
        upper_edge
            .filter(|(x, y)| picture.get_pixel(*x, *y) != clean.get_pixel(*x, *y))
            .count()
    };
    assert_eq!(changed([20.0, 30.0, 50.0, 70.0]), 50, "seen: a whole line");
    let dashed = changed([180.0, 30.0, 50.0, 70.0]);
    assert!((20..40).contains(&dashed), "held and counted: {dashed}");
    let dashed = changed([100.0, 125.0, 61.0, 50.0]);
    assert!((25..48).contains(&dashed), "lost and counted: {dashed}");
    assert_eq!(changed(lost_uncounted), 0, "lost and not counted");
}

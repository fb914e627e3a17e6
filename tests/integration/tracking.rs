//! Tracks, events and gating on real input, through the binary.

use crate::support::{complaints, file, mobilens, of_type, records, run, shared, stderr};
use serde_json::Value;

const COUNTING: &str = "pipelines/ssd_counting.yaml";

fn set<'a>(more: &[&'a str]) -> Vec<&'a str> {
    more.iter().flat_map(|pair| ["--set", *pair]).collect()
}

fn counting(more: &[&str]) -> Vec<u8> {
    let output = run(&[&[COUNTING, "--headless", "--pace", "fast"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output.stdout
}

fn save(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("room");
    path.display().to_string()
}

#[test]
fn any_number_of_workers_and_an_analysis_of_the_records_lead_to_the_same_bytes() {
    let live = counting(&set(&["inference.workers=1"]));
    assert!(
        counting(&set(&["inference.workers=4"])) == live,
        "other records"
    );
    let got = records(&live);
    let kinds = |kind: &str| {
        of_type(&got, "event")
            .iter()
            .filter(|e| e["kind"] == kind)
            .count()
    };
    assert!(
        kinds("zone") >= 10 && kinds("line") >= 1,
        "{} {}",
        kinds("zone"),
        kinds("line")
    );
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(&dir, "live.jsonl", &live);
    // As if neither video nor network were there: the pipeline alone, elsewhere.
    let yaml = std::fs::read_to_string(file(COUNTING)).expect("the pipeline");
    let models = file("models/ssdlite_mobilenet_v2_coco")
        .display()
        .to_string();
    let yaml = yaml.replace("../models/ssdlite_mobilenet_v2_coco", &models);
    let pipeline = save(&dir, "ssd_counting.yaml", yaml.as_bytes());
    let again = run(&["analyze", &saved, &pipeline]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(again.stdout == live, "the analysis differs");
    // Other rules lead to other events from the same detections.
    let other = run(&[
        "analyze",
        &saved,
        &pipeline,
        "--set",
        "track.confirm_frames=8",
    ]);
    let other = records(&other.stdout);
    let count = |of: &[Value]| of_type(of, "event").len();
    assert!(count(&other) < count(&got));
    let mot = run(&["analyze", &saved, &pipeline, "--format", "mot"]);
    let mot = String::from_utf8(mot.stdout).expect("text");
    assert!(mot.lines().count() > 100 && mot.lines().all(|l| l.split(',').count() == 10));
}

#[test]
#[ignore = "takes half a minute; CI runs it"]
fn each_way_to_look_says_where_it_looked_and_does_not_depend_on_workers() {
    let ways = [
        "gating.motion_gate={}",
        "gating.interval={every: 3}",
        "gating.regions={on: motion}",
        "gating.regions={on: tracks}",
        "gating.tiles={columns: 2, rows: 1, at_once: 1}",
    ];
    for way in ways {
        let run = |workers| counting(&[set(&[way, workers]), vec!["--frames", "75"]].concat());
        let one = run("inference.workers=1");
        assert!(one == run("inference.workers=3"), "{way}: other records");
        let got = records(&one);
        let frames = of_type(&got, "frame");
        assert_eq!(frames.len(), 75);
        let looked = frames.iter().filter(|f| f["inferred"] == true).count();
        for frame in &frames {
            assert!(frame["inferred"].is_boolean(), "{way}");
            if frame["inferred"] == false {
                assert_eq!(frame["detections"], Value::Array(Vec::new()), "{way}");
                let tracks = frame["tracks"].as_array().expect("tracks");
                assert!(tracks.iter().all(|t| t["state"] != "seen"), "{way}");
            }
        }
        let parts = frames.iter().filter(|f| f["regions"].is_array()).count();
        match way {
            // A cut is looked at before its turn.
            "gating.interval={every: 3}" => assert!((25..=27).contains(&looked), "{looked}"),
            w if w.contains("tiles") => assert_eq!((looked, parts), (75, 75), "{way}"),
            w if w.contains("on: motion") => assert!(parts > 0, "{way}: no region"),
            _ => assert!(looked > 0, "{way}"),
        }
    }
}

#[test]
fn a_run_is_held_against_saved_records() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = ["--frames", "40"];
    let saved = save(&dir, "good.jsonl", &counting(&args));
    let held = |saved: &str| {
        run(&[
            COUNTING,
            "--headless",
            "--pace",
            "fast",
            "--frames",
            "40",
            "--expect",
            saved,
        ])
    };
    let same = held(&saved);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let text = std::fs::read_to_string(&saved).expect("saved");
    let line = text
        .lines()
        .position(|l| l.contains("\"frame\":38,"))
        .expect("the frame");
    let changed: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(i, l)| {
            if i == line {
                l.replace("\"pts_ms\":1520.0", "\"pts_ms\":1521.0")
            } else {
                l.to_owned()
            }
        })
        .collect();
    let other = save(&dir, "other.jsonl", (changed.join("\n") + "\n").as_bytes());
    let differs = held(&other);
    assert_eq!(differs.status.code(), Some(1));
    let said = complaints(&differs);
    assert_eq!(said.len(), 1, "{said:?}");
    let place = format!(
        "other.jsonl:{}: frame 38: pts_ms: expected 1521.0, got 1520.0",
        line + 1
    );
    assert!(said[0].contains(&place), "{said:?}");
    let short = save(
        &dir,
        "short.jsonl",
        (text.lines().take(10).collect::<Vec<_>>().join("\n") + "\n").as_bytes(),
    );
    let ends = held(&short);
    assert_eq!(ends.status.code(), Some(1));
    assert!(
        complaints(&ends)[0].contains("the expected records end here"),
        "{:?}",
        complaints(&ends)
    );
}

#[test]
fn what_cannot_be_analyzed_or_plotted_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let broken = save(&dir, "broken.jsonl", b"{\"type\":\"run\"");
    let frame = br#"{"type":"frame","stream":"s","frame":0,"pts_ms":0.0,"dropped_before":0,"detections":[]}"#;
    let headless = save(&dir, "headless.jsonl", frame);
    let heat = dir.path().join("heat.png").display().to_string();
    let cases: [(Vec<&str>, &str); 4] = [
        (vec!["analyze", &broken, COUNTING], "line 1: not a record"),
        (
            vec!["analyze", &headless, COUNTING],
            "line 1: there is no run record before it",
        ),
        (vec!["analyze", "none.jsonl", COUNTING], "No such file"),
        (
            vec!["plot", &headless, "-o", &heat],
            "size is not in the run record",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn where_tracks_went_is_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(&dir, "live.jsonl", &counting(&["--frames", "130"]));
    let heat = dir.path().join("heat.png");
    let plotted = mobilens()
        .args(["plot", &saved, "-o"])
        .arg(&heat)
        .output()
        .expect("starts");
    assert_eq!(plotted.status.code(), Some(0), "{}", stderr(&plotted));
    let picture = image::open(&heat).expect("a picture").into_rgb8();
    assert_eq!(picture.dimensions(), (640, 272));
    let warm = picture.pixels().filter(|p| p[0] > 150).count();
    assert!(warm > 50, "{warm} warm pixels");
}

/// Photographs of a crossing from above, if they are at hand: tiles find what the whole does not.
#[test]
fn tiles_find_small_vehicles() {
    let Some(dir) = shared("aerial") else {
        return;
    };
    let pictures = tempfile::tempdir().expect("a folder");
    let names = ["DJI_0005-0018", "DJI_0005-0041"];
    for name in names {
        let from = dir.join(format!("{name}.jpg"));
        std::fs::copy(from, pictures.path().join(format!("{name}.jpg"))).expect("room");
    }
    let input = pictures.path().display().to_string();
    let recall = |more: &[&str]| {
        let base = [
            "pipelines/ssd_tiles_drone.yaml",
            "--headless",
            "--input",
            &input,
        ];
        let output = run(&[&base, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let got = records(&output.stdout);
        let (mut found, mut all) = (0, 0);
        for frame in of_type(&got, "frame") {
            let name = frame["name"]
                .as_str()
                .expect("a name")
                .trim_end_matches(".jpg");
            let truth = std::fs::read_to_string(dir.join(format!("{name}.txt"))).expect("truth");
            let vehicles = truth.lines().map(|line| {
                let n: Vec<f64> = line
                    .split(' ')
                    .map(|n| n.parse().expect("a number"))
                    .collect();
                let [w, h] = [n[3] * 1920.0, n[4] * 1080.0];
                (
                    n[0],
                    [n[1] * 1920.0 - w / 2.0, n[2] * 1080.0 - h / 2.0, w, h],
                )
            });
            let mut seen: Vec<[f64; 4]> = frame["detections"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|d| d["label"] == "car" || d["label"] == "vehicle")
                .map(|d| serde_json::from_value(d["bbox"].clone()).expect("a box"))
                .collect();
            for (_, vehicle) in vehicles.filter(|(class, _)| *class < 4.0) {
                all += 1;
                if let Some(i) = seen.iter().position(|s| iou(s, &vehicle) >= 0.3) {
                    seen.remove(i);
                    found += 1;
                }
            }
        }
        assert_eq!(all, 44);
        found
    };
    let (tiles, whole) = (recall(&[]), recall(&["--set", "gating={}"]));
    eprintln!("vehicles found of 44: {tiles} in tiles, {whole} in the whole picture");
    assert!(
        tiles >= 2 * whole.max(5),
        "{tiles} in tiles, {whole} in the whole picture"
    );
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let w = (a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0]);
    let h = (a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1]);
    let both = w.max(0.0) * h.max(0.0);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

//! Segmentation on real pictures, from the command line.

use std::fs;
use std::path::Path;

use crate::support::{file, of_type, records, run, stderr};
use serde_json::Value;

const PIPELINE: &str = "pipelines/deeplab_replay.yaml";

fn share(frame: &Value, label: &str) -> f64 {
    let classes = frame["segmentation"]["classes"].as_array().expect("a list");
    let class = classes.iter().find(|class| class["label"] == label);
    class.map_or(0.0, |class| class["share"].as_f64().expect("a share"))
}

/// One PNG of indices.
fn indices(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = fs::File::open(path).expect("a mask");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    reader.next_frame(&mut pixels).expect("pixels");
    (reader.info().width, reader.info().height, pixels)
}

#[test]
fn a_cat_and_a_person_are_seen_and_all_outputs_say_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let masks = dir.path().join("masks");
    let pictures = file("tests/data/pictures");
    let pictures = pictures.to_str().expect("a path");
    let into = format!("sinks.1.masks.dir={}", masks.display());
    let output = run(&[
        PIPELINE,
        "--headless",
        "--input",
        pictures,
        "--set",
        &into,
        "--set",
        "segment.rle=true",
        "--set",
        "segment.safe_ground={avoid: [cat, person], margin_px: 2}",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    let named = |name: &str| {
        let of_name = frames.iter().find(|f| f["name"] == name);
        *of_name.expect("a record for each picture")
    };
    let (cat, person) = (named("chelsea.png"), named("astronaut.png"));
    assert!(share(cat, "cat") > 0.3, "{cat}");
    assert!(share(person, "person") > 0.3, "{person}");
    let classes = cat["segmentation"]["classes"].as_array().expect("a list");
    let sum: f64 = classes
        .iter()
        .map(|c| c["share"].as_f64().expect("a share"))
        .sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");

    // The mask file, the shares and the run lengths are of one mask.
    let (width, height, pixels) = indices(&masks.join("chelsea.png"));
    let of_cat = pixels.iter().filter(|class| **class == 8).count();
    let part = of_cat as f64 / f64::from(width * height);
    assert!((part - share(cat, "cat")).abs() < 1e-5);
    let rle = &classes.iter().find(|c| c["label"] == "cat").expect("seen")["rle"];
    let rle: mobilens::records::Rle = serde_json::from_value(rle.clone()).expect("run lengths");
    assert_eq!(rle.size, [height, width]);
    let ones: u64 = rle.runs().expect("whole").iter().skip(1).step_by(2).sum();
    assert_eq!(ones, of_cat as u64);

    // The circle is free of the cat and inside the picture.
    let circle = &cat["segmentation"]["safe_ground"];
    let number = |value: &Value| value.as_f64().expect("a number");
    let (x, y) = (number(&circle["center"][0]), number(&circle["center"][1]));
    let radius = number(&circle["radius_px"]);
    assert!(radius > 5.0, "{circle}");
    assert!(x - radius >= 0.0 && y - radius >= 0.0);
    assert!(x + radius <= f64::from(width) && y + radius <= f64::from(height));
    for (at, class) in pixels.iter().enumerate() {
        let (column, row) = (at as u32 % width, at as u32 / width);
        let away = (f64::from(column) + 0.5 - x).hypot(f64::from(row) + 0.5 - y);
        assert!(
            *class != 8 || away + 0.01 >= radius + 2.0,
            "{column}, {row}"
        );
    }
}

#[test]
fn masks_are_the_same_whatever_the_number_of_workers() {
    let run = |workers: &str| {
        let output = run(&[
            PIPELINE,
            "--headless",
            "--frames",
            "20",
            "--set",
            "segment.rle=true",
            "--set",
            workers,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output.stdout
    };
    assert!(run("inference.workers=1") == run("inference.workers=2"));
}

#[test]
fn smoothing_steadies_areas_and_forgets_at_a_cut() {
    let shares = |more: &[&str]| -> Vec<f64> {
        let output = run(&[&[PIPELINE, "--headless", "--frames", "60"][..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let got = records(&output.stdout);
        let frames = of_type(&got, "frame");
        frames.iter().map(|frame| share(frame, "person")).collect()
    };
    let (plain, smooth) = (shares(&[]), shares(&["--set", "segment.smoothing=0.8"]));
    // How much the change of a frame differs from that of the one before.
    let trembling = |shares: &[f64]| -> f64 {
        let triples = shares[31..44].windows(3);
        triples.map(|s| (s[2] - 2.0 * s[1] + s[0]).abs()).sum()
    };
    assert!(
        trembling(&smooth) < 0.6 * trembling(&plain),
        "{plain:?} {smooth:?}"
    );
    // The clip cuts to another scene at frame 30; nothing of the first is left in it.
    assert_eq!(plain[30], smooth[30]);
    assert!(plain[30] > 0.1 && plain[29] < 0.05, "{plain:?}");

    let refused = run(&[
        PIPELINE,
        "--set",
        "segment.smoothing=0.8",
        "--set",
        "inference.workers=2",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("smoothing needs frames in order"));
}

#[test]
fn odd_sizes_are_segmented_too() {
    let dir = tempfile::tempdir().expect("a folder");
    for (width, height) in [(1, 1), (3, 2000), (2000, 3)] {
        let name = format!("{width}x{height}.png");
        let picture = image::RgbImage::new(width, height);
        picture.save(dir.path().join(name)).expect("room");
    }
    let into = format!("sinks.1.masks.dir={}", dir.path().join("masks").display());
    let drawn = format!("sinks.2.images.dir={}", dir.path().join("drawn").display());
    let output = run(&[
        PIPELINE,
        "--headless",
        "--input",
        &dir.path().display().to_string(),
        "--set",
        &into,
        "--set",
        &drawn,
        "--set",
        "segment.safe_ground={avoid: [cat]}",
        "--set",
        "segment.rle=true",
        "--set",
        "segment.polygons=true",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    assert_eq!(of_type(&got, "frame").len(), 3);
    let (width, height, pixels) = indices(&dir.path().join("masks/3x2000.png"));
    assert_eq!((width, height, pixels.len()), (3, 2000, 6000));
}

#[test]
fn coco_results_carry_each_class() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(
        file("tests/data/pictures/chelsea.png"),
        dir.path().join("000000000042.png"),
    )
    .expect("room");
    let out = dir.path().join("results.json");
    let output = run(&[
        PIPELINE,
        "--headless",
        "--input",
        &dir.path().display().to_string(),
        "--format",
        "coco",
        "--output",
        &out.display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let results: Value = serde_json::from_slice(&fs::read(&out).expect("there")).expect("JSON");
    let results = results.as_array().expect("a list");
    let cat = results
        .iter()
        .find(|r| r["category_id"] == 8)
        .expect("the cat");
    assert_eq!(cat["image_id"], 42);
    assert_eq!(cat["segmentation"]["size"][0], 300);
    assert!(cat.get("bbox").is_none());
}

#[test]
fn evaluation_of_its_own_masks_is_perfect_and_bad_truth_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let masks = dir.path().join("masks");
    let into = format!("sinks=[{{masks: {{dir: {}}}}}]", masks.display());
    let pictures = file("tests/data/pictures").display().to_string();
    let output = run(&[PIPELINE, "--input", &pictures, "--set", &into]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let truth = masks.display().to_string();
    let eval = [
        "eval",
        "segmentation",
        PIPELINE,
        "--images",
        &pictures,
        "--masks",
    ];
    let output = run(&[&eval[..], &[&truth, "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&figures["mean_iou"], &figures["pixel_accuracy"]),
        (&1.0.into(), &1.0.into())
    );

    // Masks may lie among the pictures: they are none of them.
    let mixed = dir.path().join("mixed");
    fs::create_dir(&mixed).expect("room");
    fs::copy(
        file("tests/data/pictures/chelsea.png"),
        mixed.join("chelsea.png"),
    )
    .expect("room");
    fs::copy(masks.join("chelsea.png"), mixed.join("chelsea_mask.png")).expect("room");
    let mixed = mixed.display().to_string();
    let output = run(&[
        "eval",
        "segmentation",
        PIPELINE,
        "--images",
        &mixed,
        "--masks",
        &mixed,
        "--json",
    ]);
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&figures["pictures"], &figures["mean_iou"]),
        (&1.into(), &1.0.into())
    );

    // A mask of another size, a damaged one, none at all, and no folder.
    let refused = |arguments: &[&str], expected: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{expected}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    };
    fs::copy(masks.join("astronaut.png"), masks.join("chelsea.png")).expect("room");
    refused(
        &[&eval[..], &[&truth]].concat(),
        "chelsea.png: the mask has 512x512 pixels, the picture 451x300",
    );
    fs::write(masks.join("chelsea.png"), "no picture").expect("room");
    refused(&[&eval[..], &[&truth]].concat(), "chelsea.png: ");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("room");
    let empty = empty.display().to_string();
    refused(
        &[&eval[..], &[&empty]].concat(),
        "no picture has ground truth",
    );
    refused(
        &[&eval[..], &["nowhere"]].concat(),
        "nowhere: not a folder of masks",
    );
    let detector = [
        "eval",
        "segmentation",
        "pipelines/ssd_replay.yaml",
        "--images",
        &pictures,
    ];
    refused(
        &[&detector[..], &["--masks", &empty]].concat(),
        "does not segment",
    );
}

#[test]
fn a_person_in_the_landing_zone_is_an_event_that_begins_and_ends() {
    let clip = file("assets/street.mp4").display().to_string();
    let output = run(&[
        "pipelines/deeplab_drone.yaml",
        "--headless",
        "--input",
        &clip,
        "--pace",
        "fast",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let events = of_type(&got, "event");
    assert!(events.len() >= 2, "{events:?}");
    for (event, phase) in events.iter().zip(["new", "end"].into_iter().cycle()) {
        assert_eq!(event["kind"], "area_above");
        assert_eq!(event["phase"], phase);
        assert_eq!(event["name"], "person in the landing zone");
        assert_eq!(event["zone"], "landing");
        let share = event["share"].as_f64().expect("a share");
        assert_eq!(share > 0.0045, phase == "new", "{event}");
    }
    // An event follows the record of its frame.
    let at = got.iter().position(|r| r["type"] == "event").expect("one");
    assert_eq!(got[at - 1]["frame"], got[at]["frame"]);
    // Free ground stays in the zone, less half a pixel's rounding.
    for frame in of_type(&got, "frame") {
        let circle = &frame["segmentation"]["safe_ground"];
        let (Some(x), Some(r)) = (circle["center"][0].as_f64(), circle["radius_px"].as_f64())
        else {
            continue;
        };
        assert!(x - r >= 63.0 && x + r <= 577.0, "{circle}");
    }
}

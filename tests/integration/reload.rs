//! Reloading a running pipeline: the settings change between two frames, and no frame is lost or doubled.

mod pipeline_run;

use std::fs;
use std::process::Command;

use crate::support::{of_type, until};
use pipeline_run::{
    BASE, PipelineRun, assert_in_sequence, assert_tracks_live_on, number, numbers, of_streams,
    reloads, scores, tracks, whole_lines,
};

#[test]
fn a_threshold_a_zone_and_a_line_change_between_two_frames() {
    let run = PipelineRun::start(BASE);
    until("what the second threshold does not let through", || {
        let records = whole_lines(&run.path("records.jsonl"));
        let mut found = of_type(&records, "frame").into_iter().flat_map(scores);
        found.any(|score| score < 0.6)
    });
    let stricter = BASE.replace("score_threshold: 0.4", "score_threshold: 0.6");
    let said = run.reload(&stricter);
    assert!(
        said.starts_with("pipeline: detect.score_threshold (from frame "),
        "{said}"
    );
    run.until_frames(10);
    // The zone moves, another one and a line are new.
    let zones = stricter
        .replace("[[0, 0], [0.5, 0], [0.5, 1], [0, 1]] }", "[[0, 0], [0.6, 0], [0.6, 1], [0, 1]] }, all: { polygon: [[0, 0], [1, 0], [1, 1], [0, 1]] }")
        .replace("lines: {", "lines: { low: { from: [0, 0.8], to: [1, 0.8] },");
    let said = run.reload(&zones);
    assert!(
        said.starts_with("pipeline: lines.low, zones.all, zones.left (from frame "),
        "{said}"
    );
    run.until_frames(60);
    let said = run.reload(&zones);
    assert_eq!(said, "nothing changed\n");
    let records = run.end();
    assert_in_sequence(&records, 0);
    let events = reloads(&records);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(
        events[0]["changed"],
        serde_json::json!(["detect.score_threshold"])
    );
    assert_eq!(events[0]["phase"], "update");
    let digest = |i: usize| events[i]["config_sha256"].as_str().expect("a digest");
    let at_start = records[0]["config_sha256"].as_str().expect("a digest");
    assert!(at_start != digest(0) && digest(0) != digest(1) && digest(1).len() == 64);
    let at: Vec<u64> = events.iter().map(|event| number(&event["frame"])).collect();
    let mut faint = 0;
    for frame in of_type(&records, "frame") {
        let (frame_number, least) = (number(&frame["frame"]), scores(frame));
        let least = least.into_iter().fold(1.0, f64::min);
        let threshold = if frame_number < at[0] { 0.4 } else { 0.6 };
        assert!(least >= threshold, "{frame}");
        faint += usize::from(frame_number < at[0] && least < 0.6);
        for detection in frame["detections"].as_array().expect("a list") {
            let zones = detection["zones"].as_array().into_iter().flatten();
            let is_in_all = zones.into_iter().any(|zone| zone == "all");
            assert_eq!(is_in_all, frame_number >= at[1], "{frame}");
        }
    }
    assert!(faint > 0, "the first threshold lets more through");
    for event in &events {
        assert_tracks_live_on(&records, event);
    }
    // What the zone has counted is counted on.
    let mut entered = 0;
    for event in records.iter().filter(|r| r["zone"] == "left") {
        let now = number(&event["counts"]["entered"]);
        assert!(now >= entered, "{event}");
        entered = now;
    }
    assert!(entered > 0);
}

#[test]
fn sinks_are_added_and_removed_and_each_has_its_frames_whole() {
    let run = PipelineRun::start(BASE);
    let with = |more: &str| BASE.replace("sinks: [", &format!("sinks: [ {more},"));
    let said = run.reload(&with(
        "jsonl: { path: extra.jsonl }, images: { dir: pictures, format: jpeg }",
    ));
    assert!(
        said.starts_with("pipeline: sinks.images, sinks.jsonl (from frame "),
        "{said}"
    );
    run.until_frames(20);
    // Of both one goes, and one comes.
    let said = run.reload(&with("coco: { path: results.json }"));
    assert!(
        said.contains("sinks.coco, sinks.images, sinks.jsonl"),
        "{said}"
    );
    until("the end of the sink", || {
        whole_lines(&run.path("extra.jsonl"))
            .last()
            .is_some_and(|last| last["type"] == "end")
    });
    let extra = whole_lines(&run.path("extra.jsonl"));
    run.until_frames(10);
    run.reload(BASE);
    until("the end of the results", || {
        fs::read_to_string(run.path("results.json"))
            .is_ok_and(|text| text.trim_end().ends_with(']'))
    });
    let pictures = fs::read_dir(run.path("pictures"))
        .expect("a folder")
        .count();
    let coco = fs::read_to_string(run.path("results.json")).expect("results");
    let records = run.end();
    assert_in_sequence(&records, 0);
    let at: Vec<u64> = reloads(&records)
        .iter()
        .map(|event| number(&event["frame"]))
        .collect();
    assert_eq!(at.len(), 3);
    assert_eq!(extra[0]["type"], "run");
    assert_in_sequence(&extra, at[0]);
    assert_eq!(numbers(&extra).len() as u64, at[1] - at[0]);
    let end = crate::support::end(&extra);
    assert_eq!(end["reason"], "removed");
    assert_eq!(end["frames"]["emitted"], at[1]);
    assert_eq!(pictures as u64, at[1] - at[0]);
    let same: Vec<_> = records
        .iter()
        .filter(|r| r["type"] == "frame" && (at[0]..at[1]).contains(&number(&r["frame"])))
        .collect();
    assert_eq!(same, of_type(&extra, "frame"));
    let coco: Vec<serde_json::Value> = serde_json::from_str(&coco).expect("a list");
    let seen = of_type(&records, "frame").into_iter();
    let seen = seen.filter(|r| (at[1]..at[2]).contains(&number(&r["frame"])));
    assert_eq!(
        coco.len(),
        seen.map(|frame| scores(frame).len()).sum::<usize>()
    );
}

#[test]
fn streams_are_added_and_removed_and_the_others_go_on() {
    let run = PipelineRun::start(&of_streams(&["gate", "yard"]));
    let said = run.reload(&of_streams(&["gate", "roof"]));
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["roof: added", "yard: removed"]);
    let has = |kind: &'static str, stream: &'static str| {
        let records = run.records();
        records
            .iter()
            .any(|r| r["type"] == kind && r["stream"] == stream)
    };
    until("the end of the stream", || has("end", "yard"));
    until("frames of the new stream", || has("frame", "roof"));
    run.until_frames(20);
    assert!(run.log().contains("yard: removed; "), "{}", run.log());
    let records = run.end();
    for (stream, reason) in [
        ("gate", "interrupted"),
        ("yard", "removed"),
        ("roof", "interrupted"),
    ] {
        let of_stream: Vec<_> = records
            .iter()
            .filter(|r| r["stream"] == stream)
            .cloned()
            .collect();
        assert_eq!(of_stream[0]["type"], "run", "{stream}");
        assert_in_sequence(&of_stream, 0);
        let end = crate::support::end(&of_stream);
        assert_eq!(end["reason"], reason, "{stream}");
        assert_eq!(
            end["frames"]["emitted"],
            numbers(&of_stream).len(),
            "{stream}"
        );
    }
    // A stream in which nothing changed has no event.
    assert!(reloads(&records).is_empty());
}

#[test]
fn a_model_is_swapped_once_it_is_loaded() {
    let run = PipelineRun::start(BASE);
    let other = BASE.replace("_coco_int8.yaml", "_coco.yaml");
    let said = run.reload(&other);
    assert!(said.starts_with("pipeline: model (from frame "), "{said}");
    run.until_frames(20);
    // The same card, and another network in its file: as after a training.
    let card = fs::read_to_string(crate::support::file(
        "models/ssdlite_mobilenet_v2_coco.yaml",
    ));
    fs::write(run.path("own.yaml"), card.expect("a card")).expect("room");
    let onnx = |name: &str| crate::support::file("models").join(name);
    let own = run.path("ssdlite_mobilenet_v2_coco.onnx");
    fs::copy(onnx("ssdlite_mobilenet_v2_coco.onnx"), &own).expect("room");
    run.reload(&BASE.replace("MODELS/ssdlite_mobilenet_v2_coco_int8.yaml", "own.yaml"));
    run.until_frames(5);
    let records = run.end();
    assert_in_sequence(&records, 0);
    let events = reloads(&records);
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(event["changed"], serde_json::json!(["model"]));
        assert_tracks_live_on(&records, event);
    }
    let all: Vec<u64> = of_type(&records, "frame")
        .into_iter()
        .flat_map(tracks)
        .collect();
    assert!(!all.is_empty());
}

#[test]
fn a_refused_file_changes_nothing_and_says_why() {
    let run = PipelineRun::start(BASE);
    for (yaml, why) in [
        (
            BASE.replace("score_threshold: 0.4", "score_threshold: 4"),
            "detect.score_threshold",
        ),
        (BASE.replace("car: {}", "unicorn: {}"), "unicorn"),
        ("model: [".to_owned(), "invalid YAML"),
        (
            BASE.replace("pace: realtime", "pace: fast"),
            "restart it: pipeline: source.video",
        ),
        (
            BASE.replace("track: {}", "inference: { workers: 3 }\ntrack: {}"),
            "inference.workers",
        ),
        (
            BASE.replace("path: records.jsonl", "path: records.jsonl, timings: true"),
            "sinks.jsonl at ",
        ),
        (
            BASE.replace("sinks: [", "sinks: [ jsonl: { path: /dev/full },"),
            "No space left",
        ),
    ] {
        let said = run.refused(&yaml);
        assert!(said.contains(why), "{why}: {said}");
        assert!(
            said.lines().all(|line| line.starts_with("mobilens: ")),
            "{said}"
        );
    }
    run.until_frames(5);
    // What could not be loaded does not stand in the way of what can.
    run.reload(&BASE.replace("score_threshold: 0.4", "score_threshold: 0.5"));
    let records = run.end();
    assert_in_sequence(&records, 0);
    assert_eq!(reloads(&records).len(), 1);
    assert_eq!(of_type(&records, "run").len(), 1);
}

#[test]
fn a_network_that_does_not_load_is_refused() {
    let run = PipelineRun::start(BASE);
    let card = fs::read_to_string(crate::support::file(
        "models/ssdlite_mobilenet_v2_coco.yaml",
    ));
    fs::write(run.path("own.yaml"), card.expect("a card")).expect("room");
    let own = run.path("ssdlite_mobilenet_v2_coco.onnx");
    fs::write(own, b"no network").expect("room");
    let broken = BASE.replace("MODELS/ssdlite_mobilenet_v2_coco_int8.yaml", "own.yaml");
    let said = run.refused(&broken);
    assert!(said.contains("ssdlite_mobilenet_v2_coco.onnx"), "{said}");
    run.until_frames(5);
    let records = run.end();
    assert_in_sequence(&records, 0);
    assert!(reloads(&records).is_empty());
}

#[test]
fn a_change_of_a_watched_file_and_sighup_reload_it() {
    let watched = format!("watch: true\n{BASE}");
    let run = PipelineRun::start(&watched);
    run.write(&watched.replace("score_threshold: 0.4", "score_threshold: 0.5"));
    run.until_reload(1);
    // From now on it is not watched.
    run.write(&BASE.replace("score_threshold: 0.4", "score_threshold: 0.6"));
    run.until_reload(2);
    run.write(BASE);
    run.until_frames(50);
    let seen = run.records();
    assert_eq!(reloads(&seen).len(), 2, "it is not watched any more");
    let told = Command::new("kill")
        .args(["-HUP", &run.process.id().to_string()])
        .status();
    assert!(told.expect("kill starts").success());
    run.until_reload(3);
    assert!(
        run.log()
            .contains("reloaded (SIGHUP): pipeline: detect.score_threshold")
    );
    let records = run.end();
    assert_in_sequence(&records, 0);
}

#[test]
fn the_command_finds_its_run() {
    let run = PipelineRun::start(BASE);
    let file = run.path("pipeline.yaml").display().to_string();
    let code = |arguments: &[&str]| run.command(arguments).status.code();
    assert_eq!(code(&[&file]), Some(0));
    assert_eq!(code(&["pipelines/ssd_replay.yaml"]), Some(2));
    assert_eq!(code(&["nowhere.yaml"]), Some(2));
    assert_eq!(code(&["--pid", "1"]), Some(2));
    let socket = run.path(&format!("mobilens/{}.sock", run.process.id()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(&socket).expect("a socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    run.process.terminate();
    until("the end of its socket", || !socket.exists());
}

/// Frames come faster than the network can look at them, and each is accounted for.
#[test]
fn a_live_source_that_outruns_inference_is_accounted_for() {
    let live = BASE
        .replace("pace: realtime", "pace: live")
        .replace(
            "track: {}",
            "track: {}\ngating: { tiles: { columns: 3, rows: 2 } }",
        )
        .replace("_coco_int8.yaml", "_coco.yaml");
    let run = PipelineRun::start(&live);
    for i in 0..6 {
        let threshold = format!("score_threshold: 0.{}", 41 + i);
        let mut next = live.replace("score_threshold: 0.4", &threshold);
        if i % 2 == 0 {
            next = next.replace("sinks: [", "sinks: [ jsonl: { path: extra.jsonl },");
        }
        run.reload(&next);
        run.until_frames(3);
    }
    until("the end of the other sink", || {
        whole_lines(&run.path("extra.jsonl"))
            .last()
            .is_some_and(|last| last["type"] == "end")
    });
    let extra = whole_lines(&run.path("extra.jsonl"));
    let records = run.end();
    let frames = of_type(&records, "frame");
    let mut next = 0;
    for frame in &frames {
        next += number(&frame["dropped_before"]);
        assert_eq!(number(&frame["frame"]), next, "{frame}");
        next += 1;
    }
    let end = crate::support::end(&records);
    assert_eq!(end["frames"]["emitted"], frames.len());
    assert!(number(&end["frames"]["dropped"]["queue"]) > 0, "{end}");
    assert_eq!(number(&end["frames"]["dropped"]["shutdown"]), 0, "{end}");
    assert_eq!(reloads(&records).len(), 6);
    // The other file was opened three times, and continued.
    assert_eq!(of_type(&extra, "run").len(), 3);
    let ends = of_type(&extra, "end");
    assert!(
        ends.iter().all(|end| end["reason"] == "removed"),
        "{ends:?}"
    );
    assert_eq!(ends.len(), 3);
}

/// A hundred reloads, of everything that can change; the process does not grow.
#[test]
#[ignore = "takes minutes; CI runs it"]
fn repeated() {
    let names = ["gate", "yard"];
    let base = |threshold: u32, more: &str| {
        let zones =
            format!("zones: {{ left: {{ polygon: [[0, 0], [0.{threshold}, 0], [0.5, 1]] }} }}\n");
        of_streams(&names)
            .replace(
                "track: {}",
                &format!("track: {{}}\ndetect: {{ score_threshold: 0.{threshold} }}\n{zones}"),
            )
            .replace("sinks: [", &format!("sinks: [ {more}"))
    };
    let variants = |i: usize| match i % 4 {
        0 => base(40, ""),
        1 => base(55, "jsonl: { path: extra.jsonl },"),
        2 => base(55, "").replace("yard", "roof"),
        _ => base(40, "").replace("_coco_int8.yaml", "_coco.yaml"),
    };
    let run = PipelineRun::start(&variants(0));
    let pid = run.process.id();
    let count = |of: &str| {
        fs::read_dir(format!("/proc/{pid}/{of}"))
            .expect("it runs")
            .count()
    };
    let memory_kb = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kb.expect("kilobytes")
    };
    let settled = |i: usize| {
        run.until_frames(20);
        let seen = (count("task"), count("fd"), memory_kb());
        eprintln!(
            "after {i} reloads: {} threads, {} descriptors, {} kB",
            seen.0, seen.1, seen.2
        );
        seen
    };
    let mut after = Vec::new();
    for i in 1..=100 {
        run.reload(&variants(i));
        if i % 20 == 0 {
            after.push(settled(i));
        }
    }
    let (first, later, last) = (after[0], after[2], after[4]);
    assert_eq!((last.0, last.1), (first.0, first.1), "{after:?}");
    // The allocator's arenas fill at first. One network that is kept is 18 MB.
    assert!(last.2 < later.2 + 30_000, "{after:?}");
    let records = run.end();
    let gate: Vec<_> = records
        .iter()
        .filter(|r| r["stream"] == "gate")
        .cloned()
        .collect();
    assert_in_sequence(&gate, 0);
    assert_eq!(reloads(&gate).len(), 100);
}

#[test]
fn a_live_run_goes_on_beside_a_disk_that_is_full_and_without_it() {
    let live = BASE.replace("pace: realtime", "pace: live");
    let run = PipelineRun::start(&live);
    run.reload(&live.replace("sinks: [", "sinks: [ jsonl: { path: /dev/full },"));
    assert!(run.log().contains("trying again (on_error: retry)"));
    run.until_frames(10);
    let said = run.reload(&live);
    assert!(
        said.starts_with("pipeline: sinks.jsonl (from frame "),
        "{said}"
    );
    run.until_frames(10);
    assert!(
        run.log()
            .contains("the sink jsonl was removed, and is not whole"),
        "{}",
        run.log()
    );
    let records = run.end();
    let end = crate::support::end(&records);
    assert_eq!(end["frames"]["emitted"], of_type(&records, "frame").len());
}

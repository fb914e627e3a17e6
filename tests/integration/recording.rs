//! Recordings, read back by the built-in decoder and by ffmpeg.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Process, file, mobilens, records, run, skip, stderr, until};
use image::RgbImage;
use mobilens::capture::{Captured, Source, VideoSource};
use mobilens::flow::StopSignal;
use mobilens_image::rgb_from_image;
use serde_json::Value;

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The pictures of a clip with their times; what is damaged is missing.
fn pictures(path: &Path) -> Vec<(f64, RgbImage)> {
    let mut source = VideoSource::open(path).unwrap_or_else(|e| panic!("{e}"));
    let stop = StopSignal::new();
    let mut all = Vec::new();
    while let Ok(Captured::Frame { image, pts, .. }) = source.next(&stop) {
        let mut rgb = RgbImage::new(image.size().width, image.size().height);
        rgb_from_image(&image, &mut rgb);
        all.push((pts.as_ms(), rgb));
    }
    all
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let sum: f64 = a.as_raw().iter().zip(b.as_raw()).map(square).sum();
    10.0 * (255.0 * 255.0 * a.as_raw().len() as f64 / sum.max(1e-9)).log10()
}

/// What ffmpeg says of a file; nothing where it is sound or ffmpeg is missing.
fn complaints_of_ffmpeg(path: &Path) -> String {
    let said = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output();
    match said {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(_) => {
            skip("ffmpeg is not installed");
            String::new()
        }
    }
}

#[test]
#[ignore = "takes half a minute; CI runs it"]
fn everything_is_recorded_in_pieces_and_each_event_in_a_clip() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name);
    let video = format!(
        "sinks.0={{video: {{dir: {}, split_s: 3}}}}",
        place("all").display()
    );
    let clips = format!(
        "sinks.1={{clips: {{dir: {}, before_ms: 1000, after_ms: 500, events: [zone, line]}}}}",
        place("clips").display()
    );
    let output = run(&[
        "pipelines/ssd_counting.yaml",
        "--headless",
        "--output",
        "-",
        "--pace",
        "fast",
        "--set",
        &video,
        "--set",
        &clips,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let original = pictures(&file("assets/street.mp4"));
    let mut whole = Vec::new();
    let all = files(&place("all"));
    assert_eq!(all.len(), 4, "{all:?}");
    for path in &all {
        assert_eq!(complaints_of_ffmpeg(path), "");
        let piece = pictures(path);
        let steps = piece.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(
            steps.clone().all(|step| (step - 40.0).abs() < 0.1),
            "{:?}",
            steps.collect::<Vec<_>>()
        );
        assert_eq!(piece[0].0, 0.0);
        whole.extend(piece);
    }
    assert_eq!(whole.len(), original.len());
    let likeness: Vec<f64> = whole
        .iter()
        .zip(&original)
        .map(|(a, b)| psnr(&a.1, &b.1))
        .collect();
    let worst = likeness.iter().copied().fold(f64::MAX, f64::min);
    eprintln!("worst picture {worst:.1} dB");
    assert!(worst > 32.0, "{worst} dB");

    let got = records(&output.stdout);
    let begins = |r: &&Value| {
        let (kind, phase) = (r["kind"].as_str(), r["phase"].as_str());
        kind == Some("zone") && phase == Some("new") || kind == Some("line")
    };
    let events: Vec<&Value> = got.iter().filter(begins).collect();
    let clips = files(&place("clips"));
    assert!(clips.len() > 3);
    assert_eq!(clips.len(), events.len());
    for event in events {
        let frame = event["frame"].as_u64().expect("a number");
        let name = format!(
            "_{}-{}-{frame}-{}.mp4",
            event["kind"].as_str().expect("a kind"),
            event["name"].as_str().expect("a name"),
            event["track_id"]
        );
        let path = clips
            .iter()
            .find(|path| path.display().to_string().ends_with(&name));
        let path = path.unwrap_or_else(|| panic!("no {name} in {clips:?}"));
        assert_eq!(complaints_of_ffmpeg(path), "");
        let clip = pictures(path);
        // A second before, from the keyframe that comes before that; half a second after.
        let before = frame.min(25);
        assert!(clip.len() as u64 > before, "{name}: {}", clip.len());
        let at_event = (0..clip.len()).max_by(|a, b| {
            let like = |i: usize| psnr(&clip[i].1, &original[frame as usize].1);
            like(*a).total_cmp(&like(*b))
        });
        let at_event = at_event.expect("pictures") as u64;
        assert!(
            at_event >= before && at_event <= before + 26,
            "{name}: {at_event}"
        );
    }
}

#[test]
fn annotated_pictures_are_recorded_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let video = format!(
        "sinks.0={{video: {{dir: {}, picture: annotated}}}}",
        dir.path().display()
    );
    let output = run(&[
        "pipelines/ssd_counting.yaml",
        "--headless",
        "--frames",
        "30",
        "--pace",
        "fast",
        "--set",
        &video,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (all, original) = (files(dir.path()), pictures(&file("assets/street.mp4")));
    let annotated = pictures(&all[0]);
    assert_eq!(annotated.len(), 30);
    // The line in the middle is yellow.
    let yellow = |picture: &RgbImage| {
        (310..330).any(|x| {
            let [r, g, b] = picture.get_pixel(x, 60).0;
            r > 150 && g > 150 && b < 110
        })
    };
    assert!(yellow(&annotated[29].1) && !yellow(&original[29].1));
}

#[test]
fn a_crash_costs_no_more_than_the_last_second() {
    let dir = tempfile::tempdir().expect("a folder");
    let video = format!("sinks.0={{video: {{dir: {}}}}}", dir.path().display());
    let mut child = Process::start(
        mobilens()
            .args(["pipelines/ssd_counting.yaml", "--headless", "--output"])
            .arg(dir.path().join("records.jsonl"))
            .args(["--set", &video, "--set", "source.video.loop=true"])
            .stderr(Stdio::null()),
    );
    let frames = || {
        let said = std::fs::read_to_string(dir.path().join("records.jsonl")).unwrap_or_default();
        let is_frame = |line: &&str| line.contains("\"type\":\"frame\"");
        said.lines().filter(is_frame).count()
    };
    until("four seconds of records", || frames() >= 105);
    child.kill().expect("runs");
    child.wait().expect("ends");
    let frames = frames();
    let file = files(dir.path())
        .into_iter()
        .find(|f| f.extension() == Some("mp4".as_ref()));
    let file = file.expect("a recording");
    assert_eq!(complaints_of_ffmpeg(&file), "");
    let kept = pictures(&file).len();
    eprintln!("{frames} seen, {kept} kept");
    // A fragment of a second, and what was on its way to the encoder: two frames before the renderer
    // and four after it may wait, and each thread has one in its hands.
    assert!(kept + 25 + 10 >= frames && kept >= 50, "{kept} of {frames}");
}

#[test]
fn what_cannot_be_written_ends_the_run_with_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = dir.path().join("file");
    std::fs::write(&taken, "").expect("room");
    let video = format!("sinks.0={{video: {{dir: {}/in}}}}", taken.display());
    let output = run(&["pipelines/ssd_counting.yaml", "--headless", "--set", &video]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let same = format!("sinks.0={{video: {{dir: {}}}}}", dir.path().display());
    let again = format!("sinks.1={{clips: {{dir: {}}}}}", dir.path().display());
    let output = run(&[
        "pipelines/ssd_counting.yaml",
        "--headless",
        "--set",
        &same,
        "--set",
        &again,
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("another sink already writes to"),
        "{}",
        stderr(&output)
    );
}

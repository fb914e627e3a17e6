//! The pipeline as YAML with comments.

use std::path::Path;

use super::arguments::{Show, Speed};
use super::camera::Source;
use super::choices::Choices;
use super::error::InitError;
use super::paths::in_pipeline;
use crate::cli::card::note::{Lines, Note, quoted};
use crate::cli::data_dir;

/// Where the page is.
pub const PAGE: &str = "127.0.0.1:8080";
/// The detector: 80 classes of COCO, in int8.
const MODEL: &str = "models/ssdlite_mobilenet_v2_coco_int8.yaml";

/// The text of the pipeline `file`, which will be in `folder`.
///
/// # Errors
/// When the model is not installed, or a path cannot stand in YAML.
pub fn yaml(choices: &Choices, file: &Path, folder: &Path) -> Result<String, InitError> {
    let mut lines = Lines::default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    lines.plain(
        0,
        "# Made by `mobilens init`. Paths are relative to this file.",
    );
    lines.plain(
        0,
        format!(
            "# Check it after a change: mobilens check {}",
            name.escape_debug()
        ),
    );
    lines.plain(
        0,
        "# Every key with its default: mobilens schema --markdown",
    );
    add_source(&mut lines, choices, folder)?;
    add_model(&mut lines, choices, folder)?;
    add_analysis(&mut lines, choices);
    add_sinks(&mut lines, choices, folder)?;
    Ok(lines.to_string())
}

fn known(why: &str) -> Note {
    Note::Known(why.to_owned())
}

fn add_source(lines: &mut Lines, choices: &Choices, folder: &Path) -> Result<(), InitError> {
    lines.plain(0, "");
    lines.plain(0, "source:");
    match &choices.source {
        Source::Device(device) => {
            lines.plain(1, "camera:");
            let index = device
                .strip_prefix("/dev/video")
                .and_then(|n| n.parse::<u8>().ok());
            match index {
                Some(index) => lines.put(2, format!("index: {index}"), known(device)),
                None => lines.plain(2, format!("device: {}", quoted(device))),
            }
            lines.put(
                2,
                "width_px: 1280",
                known("the nearest mode of the camera is used: mobilens devices"),
            );
            lines.plain(2, "height_px: 720");
            lines.plain(2, "fps: 30");
        }
        Source::Rtsp(url) => {
            lines.plain(1, "rtsp:");
            if url.contains("${") {
                lines.plain(2, "# ${NAME} is replaced by that environment variable; characters of a password such as @ and / are");
                lines.plain(2, "# percent-encoded in it: %40 and %2F.");
            }
            lines.plain(2, format!("url: {}", quoted(url)));
            lines.put(
                2,
                "transport: tcp",
                known("udp: where the camera wants that"),
            );
        }
        Source::Video(path) => {
            lines.plain(1, "video:");
            lines.plain(2, format!("path: {}", quoted(&in_pipeline(path, folder)?)));
            add_pace(lines, choices);
        }
        Source::VideoUrl(url) => {
            lines.plain(1, "video:");
            lines.put(2, format!("path: {}", quoted(url)), known("read by ffmpeg"));
            add_pace(lines, choices);
        }
        Source::Images(path) => {
            lines.plain(1, "images:");
            lines.plain(2, format!("path: {}", quoted(&in_pipeline(path, folder)?)));
        }
    }
    Ok(())
}

/// Recorded frames that somebody watches are shown at their own pace.
fn add_pace(lines: &mut Lines, choices: &Choices) {
    let (pace, why) = match choices.show {
        Show::None => ("fast", "realtime: at the pace of the recording"),
        Show::Window | Show::Page => ("realtime", "fast: as fast as the machine can"),
    };
    lines.put(2, format!("pace: {pace}"), known(why));
}

fn add_model(lines: &mut Lines, choices: &Choices, folder: &Path) -> Result<(), InitError> {
    let card = in_pipeline(&data_dir::find(Path::new(MODEL))?, folder)?;
    lines.plain(0, "");
    lines.plain(0, "model:");
    lines.plain(1, format!("card: {}", quoted(&card)));
    lines.put(
        1,
        "fit: rectangle",
        known("the picture's aspect ratio, not a square"),
    );
    lines.plain(0, "");
    lines.plain(0, "detect:");
    lines.put(
        1,
        "score_threshold: 0.4",
        known("lower finds more, and more that is not there"),
    );
    let classes = choices.classes();
    if classes.is_empty() {
        lines.plain(
            1,
            "# classes: { person: {}, car: {} }   # default: all classes of the model",
        );
    } else {
        lines.put(
            1,
            "classes:",
            known("only these are computed; without this key, all of the model"),
        );
        for class in classes {
            lines.plain(2, format!("{class}: {{}}"));
        }
    }
    let is_live = choices.source.is_live();
    if choices.speed == Speed::Accurate || is_live {
        lines.plain(0, "");
    }
    match choices.speed {
        Speed::Accurate => {
            lines.plain(0, "gating:");
            lines.put(
                1,
                "scales: [300, 556]",
                known("input sizes that are joined; without this key, 300 alone"),
            );
            if is_live {
                lines.plain(
                    1,
                    "# motion_gate: {}              # no inference while nothing moves",
                );
            }
        }
        Speed::Fast if is_live => {
            lines.plain(
                0,
                "# gating: { motion_gate: {} }    # no inference while nothing moves",
            );
        }
        Speed::Fast => {}
    }
    Ok(())
}

fn add_analysis(lines: &mut Lines, choices: &Choices) {
    if matches!(choices.source, Source::Images(_)) {
        return;
    }
    lines.plain(0, "");
    lines.put(
        0,
        "track: {}",
        known("objects keep their number from frame to frame"),
    );
    lines.plain(0, "");
    lines.plain(0, "# Entering and leaving a zone are events. Corners are shares of width and height, from the upper left.");
    lines.plain(0, "zones:");
    lines.put(
        1,
        "everywhere: { polygon: [[0, 0], [1, 0], [1, 1], [0, 1]] }",
        known("loiter_ms: 10000 for who stays"),
    );
    lines.plain(0, "# lines:");
    lines.plain(
        0,
        "#   gate: { from: [0.5, 1.0], to: [0.5, 0.0] }   # objects that cross it are counted",
    );
}

fn add_sinks(lines: &mut Lines, choices: &Choices, folder: &Path) -> Result<(), InitError> {
    let path = |text: &str| match text {
        "-" => Ok(quoted("-")),
        text => in_pipeline(Path::new(text), folder).map(|path| quoted(&path)),
    };
    lines.plain(0, "");
    lines.plain(0, "sinks:");
    match choices.show {
        Show::Window => lines.put(1, "- window: {}", known("Esc ends the run")),
        Show::Page => {
            let note = known("another address than loopback needs a token");
            lines.put(1, format!("- web: {{ bind: {} }}", quoted(PAGE)), note);
        }
        Show::None => {}
    }
    if let Some(records) = &choices.records {
        let note = if records == "-" {
            "JSON lines on standard output"
        } else {
            "JSON lines"
        };
        lines.put(
            1,
            format!("- jsonl: {{ path: {} }}", path(records)?),
            known(note),
        );
    }
    if let Some(recordings) = &choices.recordings {
        let sink = format!(
            "- video: {{ dir: {}, max_mb: 10000, max_days: 30 }}",
            path(recordings)?
        );
        lines.put(1, sink, known("the oldest files are removed"));
    }
    if let Some(clips) = &choices.clips {
        let sink = format!(
            "- clips: {{ dir: {}, before_ms: 5000, after_ms: 5000, max_mb: 2000 }}",
            path(clips)?
        );
        lines.put(1, sink, known("one for each event"));
    }
    Ok(())
}

//! Holds the decoder to ffmpeg: count, order, times and every pixel of real clips.
//!
//! Needs `ffmpeg` and `ffprobe`, and a folder of clips: `MOBILENS_PARITY_CLIPS`, or
//! `../shared/data/video` beside the repository.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use mobilens::capture::{Captured, Source, VideoSource};
use mobilens::flow::StopSignal;

use crate::support::{shared, skip};

/// Largest difference of presentation times, in milliseconds.
const PTS_TOLERANCE_MS: f64 = 1.0;

/// The clips; none, said aloud, where there is no folder of them.
fn clips() -> Vec<PathBuf> {
    let folder = std::env::var_os("MOBILENS_PARITY_CLIPS").map(PathBuf::from);
    let Some(folder) = folder.or_else(|| shared("video")) else {
        return Vec::new();
    };
    let mut clips: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder of clips")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "mp4" || e == "mov"))
        .collect();
    clips.sort();
    assert!(!clips.is_empty(), "{}: no clips", folder.display());
    clips
}

fn has(tool: &str) -> bool {
    Command::new(tool)
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The pictures of a clip by ffmpeg, as planes one after the other.
struct Reference {
    ffmpeg: Child,
    pictures: BufReader<ChildStdout>,
}

impl Reference {
    fn of(clip: &Path) -> Self {
        let mut ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-i"])
            .arg(clip)
            .args(["-map", "0:v:0", "-vsync", "passthrough"])
            .args(["-f", "rawvideo", "-"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ffmpeg is installed");
        let stdout = ffmpeg.stdout.take().expect("stdout is piped");
        Self {
            ffmpeg,
            pictures: BufReader::with_capacity(1 << 20, stdout),
        }
    }

    /// The next picture of `bytes` bytes; none at the end.
    fn next(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut picture = vec![0; bytes];
        self.pictures.read_exact(&mut picture).ok()?;
        Some(picture)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.ffmpeg.kill());
        drop(self.ffmpeg.wait());
    }
}

/// Presentation times by ffprobe, in milliseconds.
fn reference_times_ms(clip: &Path) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries"])
        .args(["frame=best_effort_timestamp_time", "-of", "csv=p=0"])
        .arg(clip)
        .output()
        .expect("ffprobe is installed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(',').next()?.parse::<f64>().ok())
        .map(|seconds| seconds * 1000.0)
        .collect()
}

#[test]
#[ignore = "takes long, on clips outside the repository; CI runs it"]
fn real_clips_equal_ffmpeg_frame_for_frame() {
    if !has("ffmpeg") || !has("ffprobe") {
        skip("ffmpeg is not installed");
        return;
    }
    for clip in clips() {
        let name = clip.display();
        let times_ms = reference_times_ms(&clip);
        let mut reference = Reference::of(&clip);
        let mut source = VideoSource::open(&clip).unwrap_or_else(|e| panic!("{e}"));
        let stop = StopSignal::new();
        let mut frames = 0;
        loop {
            match source.next(&stop).unwrap_or_else(|e| panic!("{e}")) {
                Captured::Lost { .. } | Captured::Back { .. } => panic!("a file is not lost"),
                Captured::End => break,
                Captured::Undecodable { pts, why } => {
                    panic!("{name}: {:.1} ms: {why}", pts.as_ms())
                }
                Captured::Frame { image, pts, .. } => {
                    let expected = reference.next(image.data().len());
                    let expected =
                        expected.unwrap_or_else(|| panic!("{name}: ffmpeg has only {frames}"));
                    assert!(
                        image.data() == expected,
                        "{name}: pixels of frame {frames} differ"
                    );
                    let expected_ms = times_ms.get(frames).copied().unwrap_or(f64::NAN);
                    let ms = pts.as_ms();
                    assert!(
                        (ms - expected_ms).abs() < PTS_TOLERANCE_MS,
                        "{name}: frame {frames} at {ms:.3} ms, ffmpeg has {expected_ms:.3} ms"
                    );
                    frames += 1;
                }
            }
        }
        assert!(
            reference.next(1).is_none(),
            "{name}: ffmpeg has more than {frames}"
        );
        assert_eq!(frames, times_ms.len(), "{name}");
        if let Some(announced) = source.info().frames {
            assert_eq!(announced, frames as u64, "{name}");
        }
        eprintln!(
            "{name}: {frames} frames equal, {:?} frames/s",
            source.info().fps
        );
    }
}

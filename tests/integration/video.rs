//! The source `video`: what ffmpeg shows is what comes out, and nothing bad breaks it.

use std::fs;
use std::path::{Path, PathBuf};

use mobilens::capture::{Captured, Source, VideoSource};
use mobilens::flow::{StopReason, StopSignal};
use mobilens_image::{PixelFormat, SizePx, YuvMatrix, YuvRange};
use sha2::{Digest, Sha256};

fn clip(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if name == "street.mp4" {
        return root.join("assets").join(name);
    }
    root.join("tests/data/video").join(name)
}

/// What a source gives, one line each: the sum of a picture, or why there is none.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Picture([u8; 32]),
    Lost(String),
}

/// All that a clip gives, with times in milliseconds, and how it ends.
fn watch(source: &mut VideoSource) -> (Vec<(f64, Seen)>, Result<(), String>) {
    let stop = StopSignal::new();
    let mut seen = Vec::new();
    loop {
        match source.next(&stop) {
            Ok(Captured::Lost { .. } | Captured::Back { .. }) => panic!("a file is not lost"),
            Ok(Captured::End) => return (seen, Ok(())),
            Ok(Captured::Frame { image, pts, .. }) => {
                let sum = Sha256::digest(image.data()).into();
                seen.push((pts.as_ms(), Seen::Picture(sum)));
            }
            Ok(Captured::Undecodable { pts, why }) => seen.push((pts.as_ms(), Seen::Lost(why))),
            Err(error) => return (seen, Err(error.to_string())),
        }
    }
}

/// The line of `expected.txt` for a clip: sum of all pictures, and times.
fn expected(name: &str) -> (String, Vec<f64>) {
    let all = fs::read_to_string(clip("expected.txt")).expect("committed");
    let line = all
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .unwrap_or_else(|| panic!("{name} is not in expected.txt"));
    let mut fields = line.split(' ').skip(1);
    let sum = fields.next().expect("sum").to_owned();
    let times = fields.next().expect("times").split(',');
    (sum, times.map(|t| t.parse().expect("number")).collect())
}

fn equals_ffmpeg(name: &str) {
    let (sum, times_ms) = expected(name);
    let mut source = VideoSource::open(&clip(name)).unwrap_or_else(|e| panic!("{e}"));
    if let Some(frames) = source.info().frames {
        assert_eq!(frames, times_ms.len() as u64, "{name}");
    }
    let stop = StopSignal::new();
    for round in 0..2 {
        let mut all = Sha256::new();
        let mut got_ms = Vec::new();
        loop {
            match source.next(&stop).unwrap_or_else(|e| panic!("{e}")) {
                Captured::Lost { .. } | Captured::Back { .. } => panic!("a file is not lost"),
                Captured::End => break,
                Captured::Undecodable { why, .. } => panic!("{name}: {why}"),
                Captured::Frame { image, pts, .. } => {
                    assert_eq!(image.format(), PixelFormat::I420);
                    assert_eq!(source.info().size, Some(image.size()));
                    all.update(image.data());
                    got_ms.push(pts.as_ms());
                }
            }
        }
        assert_eq!(got_ms.len(), times_ms.len(), "{name}, round {round}");
        for (got, want) in got_ms.iter().zip(&times_ms) {
            assert!((got - want).abs() < 1.0, "{name}: {got_ms:?} {times_ms:?}");
        }
        let hex: String = all.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, sum, "{name}: pixels, round {round}");
        source.rewind().expect("rewinds");
    }
}

#[test]
fn made_clips_equal_ffmpeg_also_after_rewinding() {
    for name in [
        "baseline.mp4",
        "bframes.mp4",
        "delayed.mov",
        "faststart.mp4",
        "fragments.mp4",
        "no_edits.mp4",
        "slices.mp4",
        "trimmed.mp4",
        "turned_180.mp4",
        "turned_270.mp4",
        "turned_90.mp4",
        "uneven.mp4",
    ] {
        equals_ffmpeg(name);
    }
}

#[test]
fn the_bundled_clip_equals_ffmpeg() {
    equals_ffmpeg("street.mp4");
}

/// `bframes.mp4` with another edit list: (duration in ms, beginning in ticks or -1 for nothing).
fn with_edits(edits: &[(u32, i32)]) -> Vec<u8> {
    let mut bytes = fs::read(clip("bframes.mp4")).expect("read");
    let find = |bytes: &[u8], kind| bytes.windows(4).position(|w| w == kind).expect("box") - 4;
    let size = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
    };
    let mut elst = (16 + 12 * edits.len() as u32).to_be_bytes().to_vec();
    elst.extend(b"elst\0\0\0\0");
    elst.extend((edits.len() as u32).to_be_bytes());
    for (duration, from) in edits {
        elst.extend(duration.to_be_bytes());
        elst.extend(from.to_be_bytes());
        elst.extend([0, 1, 0, 0]);
    }
    let at = find(&bytes, b"elst");
    let old = size(&bytes, at);
    for kind in [b"moov", b"trak", b"edts"] {
        let at = find(&bytes, kind);
        let size = size(&bytes, at) + elst.len() as u32 - old;
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    bytes.splice(at..at + old as usize, elst);
    bytes
}

/// The numbers are ffmpeg's for the same files.
#[test]
fn edits_are_applied_as_ffmpeg_does() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("edited.mp4");
    let (all, _) = watch(&mut VideoSource::open(&clip("bframes.mp4")).expect("opens"));
    let first = 1024; // time of the first picture, in ticks of 1/12800 s
    for (edits, shown, starts_ms) in [
        (
            vec![(200, first + 5120), (240, first)],
            [10..15, 0..6],
            [0.0, 200.0],
        ),
        (
            vec![(120, -1), (200, first), (80, -1), (200, first + 5120)],
            [0..5, 10..15],
            [120.0, 400.0],
        ),
        (vec![(200, first + 3584)], [7..12, 0..0], [0.0, 0.0]),
        // Between two pictures: the later one is the first, and moves to the beginning.
        (vec![(200, first + 3684)], [8..13, 0..0], [0.0, 0.0]),
        (vec![(390, first)], [0..10, 0..0], [0.0, 0.0]),
    ] {
        fs::write(&path, with_edits(&edits)).expect("written");
        let mut source = VideoSource::open(&path).expect("opens");
        let (got, end) = watch(&mut source);
        assert_eq!(end, Ok(()));
        let want: Vec<_> = shown
            .into_iter()
            .zip(starts_ms)
            .flat_map(|(pictures, start)| {
                let times = (0..).map(move |n| start + 40.0 * f64::from(n));
                times.zip(pictures).collect::<Vec<_>>()
            })
            .map(|(ms, picture)| (ms, all[picture].1.clone()))
            .collect();
        assert_eq!(got, want, "{edits:?}");
        assert_eq!(source.info().frames, Some(want.len() as u64));
    }
}

#[test]
fn what_the_file_says_of_itself() {
    let source = VideoSource::open(&clip("turned_90.mp4")).expect("opens");
    let info = source.info();
    assert_eq!((info.kind, info.uri.as_str()), ("video", "turned_90.mp4"));
    assert_eq!((info.fps, info.live), (Some(25.0), false));
    let upright = SizePx {
        width: 50,
        height: 66,
    };
    assert_eq!(info.size, Some(upright));

    for (name, matrix, range) in [
        ("slices.mp4", YuvMatrix::Bt709, YuvRange::Full),
        ("bframes.mp4", YuvMatrix::Bt601, YuvRange::Limited),
    ] {
        let mut source = VideoSource::open(&clip(name)).expect("opens");
        let Ok(Captured::Frame { image, .. }) = source.next(&StopSignal::new()) else {
            panic!("{name}: a frame");
        };
        assert_eq!(image.colour().matrix, matrix, "{name}");
        assert_eq!(image.colour().range, range, "{name}");
    }
}

#[test]
fn a_stop_ends_the_frames() {
    let mut source = VideoSource::open(&clip("bframes.mp4")).expect("opens");
    let stop = StopSignal::new();
    assert!(matches!(source.next(&stop), Ok(Captured::Frame { .. })));
    stop.stop(StopReason::Interrupted);
    assert!(matches!(source.next(&stop), Ok(Captured::End)));
}

#[test]
fn what_is_not_decoded_is_named_with_the_way_out() {
    for (name, what) in [
        ("h265.mp4", "H.265 (HEVC)"),
        ("mpeg4.mp4", "MPEG-4 Part 2"),
        ("yuv444.mp4", "4:4:4 chroma"),
        ("lossless.mp4", "lossless"),
    ] {
        let error = match VideoSource::open(&clip(name)) {
            Err(error) => error.to_string(),
            Ok(mut source) => watch(&mut source).1.expect_err("refused"),
        };
        assert!(error.contains(what), "{error}");
        assert!(error.contains("`ffmpeg -i IN -c:v libx264"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = VideoSource::open(&clip("sound.mp4")).map(drop);
    let error = error.expect_err("refused").to_string();
    assert!(error.ends_with("sound.mp4: no video track"), "{error}");
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = fs::read(clip("bframes.mp4")).expect("read");
    for (name, bytes, end) in [
        ("zero.mp4", &b""[..], "the file is empty"),
        ("short.mp4", b"abc", "not an MP4 or MOV file"),
        (
            "text.mp4",
            b"Dear reader, this is text.",
            "not an MP4 or MOV file",
        ),
        (
            "cut.mp4",
            &whole[..whole.len() / 2],
            "moov box not found: the file is truncated, the recording was never finalized",
        ),
        (
            "film.avi",
            b"RIFF\x10\0\0\0AVI LIST",
            "an AVI file, not MP4 or MOV; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`",
        ),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let error = VideoSource::open(&path).map(drop).expect_err("refused");
        let error = error.to_string();
        assert!(error.ends_with(&format!("{name}: {end}")), "{error}");
    }
    let error = VideoSource::open(folder.path()).map(drop);
    assert!(
        error
            .expect_err("refused")
            .to_string()
            .ends_with("it is a folder")
    );
    let missing = VideoSource::open(&folder.path().join("none.mp4")).map(drop);
    let missing = missing.expect_err("refused").to_string();
    assert!(missing.contains("No such file"), "{missing}");
}

#[test]
fn a_file_that_was_cut_off_gives_what_is_there_and_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, of) in [("faststart.mp4", " of 25"), ("fragments.mp4", "")] {
        let (all, end) = watch(&mut VideoSource::open(&clip(name)).expect("opens"));
        assert_eq!(end, Ok(()));
        let whole = fs::read(clip(name)).expect("read");
        let path = folder.path().join(name);
        fs::write(&path, &whole[..whole.len() * 3 / 4]).expect("written");
        let (some, end) = watch(&mut VideoSource::open(&path).expect("opens"));
        assert!(some.len() > 5 && some.len() < all.len(), "{}", some.len());
        // Frames after the cut can be shown between those before it.
        assert!(some.iter().all(|frame| all.contains(frame)));
        let end = end.expect_err("cut off");
        let line = format!(
            "{name}: the file is truncated: it ends within frame {}{of}",
            some.len() + 1
        );
        assert!(end.ends_with(&line), "{end}");
    }
}

#[test]
fn after_damage_nothing_is_shown_before_the_next_keyframe() {
    let folder = tempfile::tempdir().expect("folder");
    let (all, _) = watch(&mut VideoSource::open(&clip("bframes.mp4")).expect("opens"));
    let mut bytes = fs::read(clip("bframes.mp4")).expect("read");
    // The length before the slice of the second frame becomes larger than the frame.
    let mdat = bytes.windows(4).position(|w| w == b"mdat").expect("mdat") + 4;
    let (first, second) = {
        let mut at = mdat;
        let mut slices = Vec::new();
        while slices.len() < 2 {
            let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
            if matches!(bytes[at + 4] & 0x1f, 1 | 5) {
                slices.push(at);
            }
            at += 4 + length as usize;
        }
        (slices[0], slices[1])
    };
    assert!(first < second);
    bytes[second] = 0x7f;
    let path = folder.path().join("damaged.mp4");
    fs::write(&path, &bytes).expect("written");
    let (damaged, end) = watch(&mut VideoSource::open(&path).expect("opens"));
    assert_eq!(end, Ok(()));
    assert_eq!(damaged.len(), all.len());
    for (n, ((ms, seen), (all_ms, whole))) in damaged.iter().zip(&all).enumerate() {
        assert_eq!(ms, all_ms);
        if (1..10).contains(&n) {
            assert!(matches!(seen, Seen::Lost(_)), "frame {n}");
        } else {
            assert_eq!(seen, whole, "frame {n}");
        }
    }
}

#[test]
fn no_damage_makes_it_panic_or_hang() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("damaged.mp4");
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for name in [
        "bframes.mp4",
        "faststart.mp4",
        "fragments.mp4",
        "delayed.mov",
        "baseline.mp4",
    ] {
        let whole = fs::read(clip(name)).expect("read");
        let moov = whole.windows(4).position(|w| w == b"moov").expect("moov");
        for round in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..=round % 5 {
                // Half of the damage goes to the index, and there often to sizes and counts.
                let at = if random() % 2 == 0 {
                    (moov + random() % 900).min(bytes.len() - 1)
                } else {
                    random() % bytes.len()
                };
                bytes[at] = [0, 0xff, 0x7f, 1 << (random() % 8), random() as u8][random() % 5];
            }
            if random() % 4 == 0 {
                bytes.truncate(random() % bytes.len());
            }
            fs::write(&path, &bytes).expect("written");
            let Ok(mut source) = VideoSource::open(&path) else {
                continue;
            };
            let (seen, _) = watch(&mut source);
            assert!(seen.len() < 10_000, "{name}, round {round}");
            source.rewind().expect("rewinds");
            assert!(source.next(&StopSignal::new()).is_ok() || seen.is_empty());
        }
    }
}

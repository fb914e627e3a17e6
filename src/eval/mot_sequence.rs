//! Sequences in the folder layout of the MOTChallenge: `seqinfo.ini`, `img1/`, `gt/gt.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use super::ground_truth::EvalError;

/// The folder of the frames, unless `seqinfo.ini` names another.
const FRAMES: &str = "img1";
/// Frames per second that can be true.
const FPS_RANGE: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// A sequence with ground truth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MotSequence {
    /// Name of its folder.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its `gt.txt`.
    pub truth: PathBuf,
}

/// What `seqinfo.ini` says of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
struct SequenceInfo {
    /// `frameRate`, in frames per second.
    fps: Option<f64>,
    /// `imDir`: name of the folder of the frames.
    frames: Option<String>,
}

impl MotSequence {
    /// The sequence that `dir` is, or those that are its subfolders, by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(dir: &Path) -> Result<Vec<Self>, EvalError> {
        if let Some(sequence) = Self::of(dir) {
            return Ok(vec![sequence]);
        }
        let entries = fs::read_dir(dir).map_err(|e| EvalError::file(dir, e))?;
        let entries = entries.filter_map(|entry| Self::of(&entry.ok()?.path()));
        let mut sequences: Vec<Self> = entries.collect();
        sequences.sort();
        if sequences.is_empty() {
            let why = "no gt.txt found, nor in its subfolders";
            return Err(EvalError::file(dir, why));
        }
        Ok(sequences)
    }

    fn of(dir: &Path) -> Option<Self> {
        let places = [dir.join("gt.txt"), dir.join("gt").join("gt.txt")];
        let truth = places.into_iter().find(|path| path.is_file())?;
        let absolute = dir.canonicalize().ok();
        let name = absolute.as_deref().unwrap_or(dir).file_name();
        Some(Self {
            name: name.map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            dir: dir.to_owned(),
            truth,
        })
    }

    /// The folder of its frames, and how many there are a second, if `seqinfo.ini` says so.
    ///
    /// # Errors
    /// When there is no such folder, or `seqinfo.ini` is invalid.
    pub fn frames(&self) -> Result<(PathBuf, Option<f64>), EvalError> {
        let file = self.dir.join("seqinfo.ini");
        let info = if file.exists() {
            let text = fs::read_to_string(&file).map_err(|e| EvalError::file(&file, e))?;
            SequenceInfo::parse(&text).map_err(|why| EvalError::file(&file, why))?
        } else {
            SequenceInfo::default()
        };
        let name = info.frames.as_deref().unwrap_or(FRAMES);
        let frames = self.dir.join(name);
        if frames.is_dir() {
            return Ok((frames, info.fps));
        }
        let why = format!("there is no folder {name} with the sequence's frames in it");
        Err(EvalError::file(&self.dir, why))
    }
}

impl SequenceInfo {
    /// Reads `key=value` lines; sections and other keys are passed over.
    fn parse(text: &str) -> Result<Self, String> {
        let mut info = Self::default();
        for (i, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "framerate" => {
                    let fps = value.parse().ok().filter(|fps| FPS_RANGE.contains(fps));
                    info.fps = Some(fps.ok_or_else(|| {
                        format!(
                            "line {}: frameRate: expected frames per second, from {} to {}; got \
                             {value:?}",
                            i + 1,
                            FPS_RANGE.start(),
                            FPS_RANGE.end()
                        )
                    })?);
                }
                "imdir" if !value.is_empty() => info.frames = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_rate_is_read_from_seqinfo() {
        let text =
            "[Sequence]\r\nname=MOT17-02\r\nimDir = img1\r\nframeRate=30\r\nseqLength=600\r\n";
        let info = SequenceInfo::parse(text).expect("valid");
        assert_eq!(info.fps, Some(30.0));
        assert_eq!(info.frames.as_deref(), Some("img1"));
        assert_eq!(SequenceInfo::parse(""), Ok(SequenceInfo::default()));
        for bad in [
            "frameRate=fast",
            "frameRate=0",
            "frameRate=",
            "frameRate=NaN",
        ] {
            let why = SequenceInfo::parse(bad).expect_err(bad);
            assert!(why.starts_with("line 1: frameRate: expected"), "{why}");
        }
    }

    #[test]
    fn sequences_are_found_in_a_folder_and_below_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        assert!(MotSequence::find(dir.path()).is_err());
        for name in ["B", "A", "C"] {
            fs::create_dir_all(path(name).join("gt")).expect("room");
        }
        for name in ["B", "A"] {
            fs::write(path(name).join("gt/gt.txt"), "").expect("room");
        }
        let names = |dir: &Path| -> Vec<String> {
            let found = MotSequence::find(dir).expect("is there");
            found.into_iter().map(|sequence| sequence.name).collect()
        };
        assert_eq!(names(dir.path()), ["A", "B"]);
        assert_eq!(names(&path("B")), ["B"]);
        let sequence = MotSequence::find(&path("A")).expect("is there").remove(0);
        let why = sequence.frames().expect_err("no frames").to_string();
        assert!(why.contains("no folder img1"), "{why}");
        fs::create_dir(path("A/img1")).expect("room");
        assert_eq!(sequence.frames().expect("frames"), (path("A/img1"), None));
    }
}

//! A run's detections as one COCO results file.

use std::fs;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::{RecordSink, SinkError};
use crate::records::{CocoResult, EndRecord, FrameRecord};

/// Writes a JSON array, result by result, under a temporary name; the file appears under its own
/// name when it is whole. Standard output is written as it goes.
#[derive(Debug)]
pub struct CocoSink {
    output: Output,
    rename: Option<(PathBuf, PathBuf)>,
    empty: bool,
    /// Whether the array is closed.
    complete: bool,
}

impl CocoSink {
    /// Opens `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        let (mut output, rename) = if path == Path::new("-") {
            (Output::stdout(), None)
        } else {
            let mut part = path.as_os_str().to_owned();
            part.push(".part");
            let part = PathBuf::from(part);
            (Output::create(&part)?, Some((part, path.to_owned())))
        };
        output.write_chunk(b"[")?;
        Ok(Self {
            output,
            rename,
            empty: true,
            complete: false,
        })
    }
}

impl RecordSink for CocoSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let results = CocoResult::from_frame(record).map_err(|e| SinkError::Unrepresentable {
            target: self.output.name().to_owned(),
            why: e.to_string(),
        })?;
        let (mut chunk, mut empty) = (Vec::new(), self.empty);
        for result in &results {
            chunk.extend_from_slice(if empty { b"\n" } else { b",\n" });
            empty = false;
            serde_json::to_writer(&mut chunk, result)
                .expect("results are plain data with string keys");
        }
        self.output.write_chunk(&chunk)?;
        self.empty = empty;
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        // Once, also when the renaming is tried again.
        if !self.complete {
            self.output.write_chunk(b"\n]\n")?;
            self.complete = true;
        }
        if let Some((part, path)) = &self.rename {
            fs::rename(part, path)
                .map_err(|e| SinkError::from_io(&path.display().to_string(), e))?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.output.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{DetectionRecord, FrameCounts};

    #[test]
    fn the_file_appears_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("results.json");
        let mut sink = CocoSink::open(&path).expect("opens");
        let detection = DetectionRecord {
            category_id: 1,
            label: "person".to_owned(),
            score: 0.5,
            bbox: [1.0, 2.0, 3.0, 4.0].into(),
            ..DetectionRecord::default()
        };
        for frame in 0..2 {
            sink.frame(&FrameRecord {
                frame,
                name: Some(format!("{:012}.jpg", frame + 7)),
                detections: vec![detection.clone(); 2],
                ..FrameRecord::default()
            })
            .expect("room");
        }
        assert!(!path.exists());
        sink.finish(&EndRecord::new("s", None, FrameCounts::default()))
            .expect("room");
        let text = fs::read_to_string(&path).expect("is there");
        let results: Vec<CocoResult> = serde_json::from_str(&text).expect("an array");
        assert_eq!(
            results.iter().map(|r| r.image_id).collect::<Vec<_>>(),
            [7, 7, 8, 8]
        );
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }
}

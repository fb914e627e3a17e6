//! Annotated pictures, a file a frame.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageEncoder, RgbImage};

use super::SinkError;
use super::files::{FileNames, write_whole};
use crate::frame::FrameMeta;

/// How pictures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureEncoding {
    /// Without loss.
    Png,
    /// Small.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
}

/// Writes pictures into a folder. A file appears under its name when it is whole.
#[derive(Debug)]
pub struct ImagesSink {
    dir: PathBuf,
    encoding: PictureEncoding,
    names: FileNames,
}

impl ImagesSink {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path, encoding: PictureEncoding) -> Result<Self, SinkError> {
        fs::create_dir_all(dir).map_err(|e| SinkError::from_io(&dir.display().to_string(), e))?;
        Ok(Self {
            dir: dir.to_owned(),
            encoding,
            names: FileNames::default(),
        })
    }

    /// Writes one picture, named after the frame's own name, or its stream and number. The same
    /// source overwrites its picture; `b.png` after `b.jpg` becomes `b.png.png`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, meta: &FrameMeta, picture: &RgbImage) -> Result<(), SinkError> {
        let ending = match self.encoding {
            PictureEncoding::Png => "png",
            PictureEncoding::Jpeg { .. } => "jpg",
        };
        let path = self.dir.join(self.names.name_of(meta, ending));
        write_whole(&path, |part| self.encode(part, picture))
    }

    fn encode(&self, path: &Path, picture: &RgbImage) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let (w, h) = picture.dimensions();
        let colour = image::ExtendedColorType::Rgb8;
        match self.encoding {
            PictureEncoding::Png => PngEncoder::new(&mut file).write_image(picture, w, h, colour),
            PictureEncoding::Jpeg { quality } => {
                JpegEncoder::new_with_quality(&mut file, quality).write_image(picture, w, h, colour)
            }
        }
        .map_err(|e| match e {
            image::ImageError::IoError(e) => e,
            other => std::io::Error::other(other),
        })?;
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::frame::MediaTime;

    fn meta(name: Option<&str>) -> FrameMeta {
        FrameMeta {
            stream: "gate/1".into(),
            frame: 42,
            pts: MediaTime::ZERO,
            captured_at: Instant::now(),
            name: name.map(Into::into),
            telemetry: None,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|e| e.expect("an entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn pictures_are_named_after_their_source() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("made").join("here");
        let mut sink = ImagesSink::open(&out, PictureEncoding::Png).expect("a folder");
        let picture = RgbImage::from_pixel(4, 3, image::Rgb([1, 2, 3]));
        let sources = [
            None,
            Some("a.b.jpg"),
            Some("a.b.png"),
            Some("a.b.jpg"),
            Some("../c.jpg"),
            Some("d"),
        ];
        for source in sources {
            sink.write(&meta(source), &picture).expect("room");
        }
        let expected = [
            ".._c.png",
            "a.b.png",
            "a.b.png.png",
            "d.png",
            "gate_1_000042.png",
        ];
        assert_eq!(names(&out), expected);
        let back = image::open(out.join("a.b.png")).expect("a picture");
        assert_eq!(back.into_rgb8(), picture);
    }

    #[test]
    fn jpegs_are_close() {
        let dir = tempfile::tempdir().expect("a folder");
        let encoding = PictureEncoding::Jpeg { quality: 90 };
        let mut sink = ImagesSink::open(dir.path(), encoding).expect("a folder");
        let picture = RgbImage::from_pixel(40, 30, image::Rgb([200, 100, 50]));
        sink.write(&meta(None), &picture).expect("room");
        assert_eq!(names(dir.path()), ["gate_1_000042.jpg"]);
        let back = image::open(dir.path().join("gate_1_000042.jpg")).expect("a picture");
        let back = back.into_rgb8();
        let off = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 6;
        assert!(!back.as_raw().iter().zip(picture.as_raw()).any(off));
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        // A folder stands where the picture should.
        fs::create_dir(dir.path().join("a.png")).expect("a folder");
        let mut sink = ImagesSink::open(dir.path(), PictureEncoding::Png).expect("a folder");
        let error = sink
            .write(&meta(Some("a.jpg")), &RgbImage::new(2, 2))
            .expect_err("the name is taken")
            .to_string();
        assert!(error.contains("a.png"), "{error}");
        assert_eq!(names(dir.path()), ["a.png"]);

        let file = dir.path().join("file");
        fs::write(&file, "").expect("room");
        let error = ImagesSink::open(&file.join("in"), PictureEncoding::Png)
            .expect_err("not a folder")
            .to_string();
        assert!(error.contains("file"), "{error}");
    }
}

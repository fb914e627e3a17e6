//! Annotated pictures, a file a frame.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageEncoder, RgbImage};

use super::SinkError;
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
        })
    }

    /// Writes one picture, named after the frame's own name, or its stream and number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, meta: &FrameMeta, picture: &RgbImage) -> Result<(), SinkError> {
        let ending = match self.encoding {
            PictureEncoding::Png => "png",
            PictureEncoding::Jpeg { .. } => "jpg",
        };
        let stem = match &meta.name {
            Some(name) => name
                .rsplit_once('.')
                .map_or(&**name, |(stem, _)| stem)
                .to_owned(),
            None => format!("{}_{:06}", meta.stream, meta.frame),
        };
        let path = self.dir.join(format!("{stem}.{ending}"));
        let part = self.dir.join(format!("{stem}.{ending}.part"));
        let target = path.display().to_string();
        self.encode(&part, picture)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|e| {
                // What is half written helps nobody.
                let _ = fs::remove_file(&part);
                SinkError::from_io(&target, e)
            })
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

    #[test]
    fn pictures_are_named_after_their_source() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("made");
        let mut sink = ImagesSink::open(&out, PictureEncoding::Png).expect("a folder");
        let mut meta = FrameMeta {
            stream: "gate".into(),
            frame: 42,
            pts: MediaTime::ZERO,
            captured_at: Instant::now(),
            name: None,
        };
        let picture = RgbImage::from_pixel(4, 3, image::Rgb([1, 2, 3]));
        sink.write(&meta, &picture).expect("room");
        meta.name = Some("a.b.jpg".into());
        sink.write(&meta, &picture).expect("room");
        let mut names: Vec<_> = fs::read_dir(&out)
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.b.png", "gate_000042.png"]);
        let back = image::open(out.join("a.b.png"))
            .expect("a picture")
            .into_rgb8();
        assert_eq!(back, picture);
    }
}

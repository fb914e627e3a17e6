//! Segmentation masks, a file a frame.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::SinkError;
use super::files::{FileNames, write_whole};
use crate::frame::FrameMeta;
use crate::overlay::ClassColours;
use crate::postprocess::ClassMask;

/// Writes masks into a folder: PNG with 8-bit indices, which are the classes' label ids (255:
/// unknown), and a palette to look at them.
#[derive(Debug)]
pub struct MasksSink {
    dir: PathBuf,
    palette: Vec<u8>,
    names: FileNames,
}

impl MasksSink {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path, colours: &ClassColours) -> Result<Self, SinkError> {
        fs::create_dir_all(dir).map_err(|e| SinkError::from_io(&dir.display().to_string(), e))?;
        let colours = colours.iter().map(|colour| colour.unwrap_or([0; 3]));
        let mut palette: Vec<u8> = colours.flatten().collect();
        // Where the network was not sure.
        palette[3 * 255..].fill(224);
        Ok(Self {
            dir: dir.to_owned(),
            palette,
            names: FileNames::default(),
        })
    }

    /// Writes one mask, named as an annotated picture would be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, meta: &FrameMeta, mask: &ClassMask) -> Result<(), SinkError> {
        let path = self.dir.join(self.names.name_of(meta, "png"));
        write_whole(&path, |part| self.encode(part, mask))
    }

    fn encode(&self, path: &Path, mask: &ClassMask) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let size = mask.size();
        let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(self.palette.as_slice());
        let other = |e: png::EncodingError| match e {
            png::EncodingError::IoError(e) => e,
            other => std::io::Error::other(other),
        };
        let mut writer = encoder.write_header().map_err(other)?;
        writer.write_image_data(mask.classes()).map_err(other)?;
        writer.finish().map_err(other)?;
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::frame::MediaTime;
    use mobilens_image::SizePx;

    #[test]
    fn indices_come_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut sink = MasksSink::open(dir.path(), &[Some([9, 8, 7]); 256]).expect("a folder");
        let classes: Vec<u8> = (0..15).map(|i| if i == 3 { 255 } else { i }).collect();
        let size = SizePx {
            width: 5,
            height: 3,
        };
        let mask = ClassMask::new(size, classes.clone()).expect("fits");
        let meta = FrameMeta {
            stream: "field".into(),
            frame: 7,
            pts: MediaTime::ZERO,
            captured_at: Instant::now(),
            name: None,
            telemetry: None,
        };
        sink.write(&meta, &mask).expect("room");
        let file = File::open(dir.path().join("field_000007.png")).expect("its name");
        let decoder = png::Decoder::new(std::io::BufReader::new(file));
        let mut reader = decoder.read_info().expect("a picture");
        let info = reader.info();
        assert_eq!(
            (info.width, info.height, info.color_type),
            (5, 3, png::ColorType::Indexed)
        );
        let mut back = vec![0; 15];
        reader.next_frame(&mut back).expect("pixels");
        assert_eq!(back, classes);
    }
}

//! The source `images`: one picture, or the pictures of a folder in natural sort order.
//!
//! JPEG, PNG, BMP and WebP, detected by content. Pictures are rotated by their EXIF orientation, as
//! OpenCV's `imread` does. The output is always [`PixelFormat::Rgb8`]: grayscale is converted to RGB,
//! 16 bits per channel are scaled to 8, and the alpha channel is dropped (the colours stay as stored,
//! without blending, as in OpenCV).

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::source::{file_name, malformed, unreadable};
use super::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::StopSignal;
use crate::frame::MediaTime;
use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

/// Largest picture in megapixels. Decoding takes up to 8 bytes per pixel.
const MAX_MEGAPIXELS: u64 = 64;
/// Largest file in bytes.
const MAX_FILE_BYTES: u64 = 300 << 20;
/// Memory limit for decoding one picture, in bytes.
const MAX_DECODE_BYTES: u64 = 768 << 20;
/// Timescale of the presentation times: ticks per second.
const TICKS_HZ: u32 = 1_000_000;

/// One picture, or the pictures of a folder (not recursive).
///
/// In a folder, a picture that cannot be decoded is [`Captured::Undecodable`] and the next one follows;
/// for a single picture it is an error.
pub struct ImagesSource {
    info: SourceInfo,
    files: Vec<PathBuf>,
    next: usize,
    fps: f64,
    is_folder: bool,
}

/// Why a picture cannot be read.
#[derive(Debug, thiserror::Error)]
enum PictureError {
    /// An I/O error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// Not one of the four supported formats.
    #[error("not a JPEG, PNG, BMP or WebP picture{}", .0.map_or_else(String::new, |f| format!(" but {f:?}")))]
    Format(Option<ImageFormat>),
    /// Too many pixels.
    #[error(
        "the picture is {width}x{height} ({} megapixels), above the limit of {MAX_MEGAPIXELS} megapixels",
        u64::from(*.width) * u64::from(*.height) / 1_000_000
    )]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Too many bytes.
    #[error("the file has {0} bytes, above the limit of {MAX_FILE_BYTES}")]
    FileTooLarge(u64),
    /// Damaged.
    #[error("damaged picture: {0}")]
    Damaged(String),
}

impl ImagesSource {
    /// Opens a picture or a folder; picture `n` is shown at `n / fps` seconds.
    ///
    /// # Errors
    /// When the path does not exist, a single picture cannot be decoded or is too large, a folder has
    /// no pictures, or `fps` is not positive.
    pub fn open(path: &Path, fps: f64) -> Result<Self, CaptureError> {
        if !(fps.is_finite() && fps > 0.0) {
            return Err(malformed(
                path,
                format!("invalid frame rate: {fps} pictures per second"),
            ));
        }
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let is_folder = metadata.is_dir();
        let files = if is_folder {
            pictures_in(path)?
        } else {
            vec![path.to_owned()]
        };
        let size = if is_folder {
            None
        } else {
            let probed = catch_panic(|| Probe::open(path).map(|probe| probe.upright_size()));
            Some(probed.map_err(|error| picture_error(path, error))?)
        };
        Ok(Self {
            info: SourceInfo {
                kind: "images",
                uri: file_name(path),
                size,
                fps: Some(fps),
                frames: Some(files.len() as u64),
                live: false,
            },
            files,
            next: 0,
            fps,
            is_folder,
        })
    }

    /// Makes picture `index`, of as many as the source has frames, the next one.
    pub fn seek(&mut self, index: usize) {
        self.next = index;
    }
}

impl Source for ImagesSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        let Some(path) = self.files.get(self.next).filter(|_| !stop.is_stopped()) else {
            return Ok(Captured::End);
        };
        let ticks = self.next as f64 * f64::from(TICKS_HZ) / self.fps;
        let pts = MediaTime {
            ticks: ticks.round() as i64,
            rate_hz: TICKS_HZ,
        };
        self.next += 1;
        let name = file_name(path);
        match catch_panic(|| Probe::open(path)?.decode()) {
            Ok(image) => Ok(Captured::Frame {
                image,
                pts,
                name: Some(Arc::from(name)),
            }),
            Err(error) if self.is_folder => Ok(Captured::Undecodable {
                pts,
                why: format!("{name}: {error}"),
            }),
            Err(error) => Err(picture_error(path, error)),
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        self.next = 0;
        Ok(())
    }
}

/// A picture whose header was read and is within the limits.
struct Probe {
    decoder: Box<dyn ImageDecoder>,
    size: SizePx,
    orientation: image::metadata::Orientation,
}

impl Probe {
    fn open(path: &Path) -> Result<Self, PictureError> {
        // Checked before it is opened: opening a named pipe blocks until there is a writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("not a regular file").into());
        }
        match metadata.len() {
            0 => return Err(PictureError::Empty),
            bytes if bytes > MAX_FILE_BYTES => return Err(PictureError::FileTooLarge(bytes)),
            _ => {}
        }
        let reader = ImageReader::new(BufReader::new(File::open(path)?)).with_guessed_format()?;
        let format = reader.format();
        if !format.is_some_and(is_supported) {
            return Err(PictureError::Format(format));
        }
        let mut decoder = reader.into_decoder().map_err(|e| damaged(&e))?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_MEGAPIXELS * 1_000_000 {
            return Err(PictureError::TooLarge { width, height });
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODE_BYTES);
        decoder.set_limits(limits).map_err(|e| damaged(&e))?;
        // A damaged EXIF block costs only the orientation.
        let orientation = decoder
            .orientation()
            .unwrap_or(image::metadata::Orientation::NoTransforms);
        Ok(Self {
            decoder: Box::new(decoder),
            size: SizePx { width, height },
            orientation,
        })
    }

    /// Size after the EXIF orientation is applied.
    fn upright_size(&self) -> SizePx {
        use image::metadata::Orientation as O;
        match self.orientation {
            O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH => SizePx {
                width: self.size.height,
                height: self.size.width,
            },
            O::NoTransforms | O::Rotate180 | O::FlipHorizontal | O::FlipVertical => self.size,
        }
    }

    fn decode(self) -> Result<Image, PictureError> {
        let mut picture = DynamicImage::from_decoder(self.decoder).map_err(|e| damaged(&e))?;
        picture.apply_orientation(self.orientation);
        let rgb = picture.into_rgb8();
        let size = SizePx {
            width: rgb.width(),
            height: rgb.height(),
        };
        Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw())
            .map_err(|e| PictureError::Damaged(e.to_string()))
    }
}

/// Runs a decoder over untrusted bytes; a panic becomes an error.
fn catch_panic<T>(read: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(PictureError::Damaged("the decoder panicked".to_owned())))
}

fn damaged(error: &image::ImageError) -> PictureError {
    // The first line only: some decoders have errors of many lines.
    let text = error.to_string();
    PictureError::Damaged(text.lines().next().unwrap_or_default().to_owned())
}

fn is_supported(format: ImageFormat) -> bool {
    matches!(
        format,
        ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP
    )
}

/// The pictures of a folder in natural sort order. Files are detected by their extension or else by
/// their first bytes; hidden files are ignored.
fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut files = Vec::new();
    let mut ignored = 0u64;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if file_name(&path).starts_with('.') || path.is_dir() {
            continue;
        }
        if has_picture_extension(&path) || has_picture_content(&path) {
            files.push(path);
        } else {
            ignored += 1;
        }
    }
    if files.is_empty() {
        let why = "no pictures (JPEG, PNG, BMP or WebP) in this folder".to_owned();
        return Err(malformed(folder, why));
    }
    if ignored > 0 {
        tracing::warn!(folder = %folder.display(), ignored, "files that are not pictures are ignored");
    }
    files.sort_by(|a, b| natural_order(&file_name(a), &file_name(b)));
    Ok(files)
}

fn has_picture_extension(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(is_supported)
}

fn has_picture_content(path: &Path) -> bool {
    let mut head = Vec::new();
    path.is_file()
        && File::open(path)
            .and_then(|file| file.take(16).read_to_end(&mut head))
            .is_ok()
        && image::guess_format(&head).is_ok_and(is_supported)
}

/// Natural sort order: `img2` before `img10`. Case-insensitive, except between equal names.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while let (Some(x), Some(y)) = (rest_a.chars().next(), rest_b.chars().next()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number_a, after_a) = leading_number(rest_a);
            let (number_b, after_b) = leading_number(rest_b);
            let by_number =
                (number_a.len().cmp(&number_b.len())).then_with(|| number_a.cmp(number_b));
            if by_number.is_ne() {
                return by_number;
            }
            (rest_a, rest_b) = (after_a, after_b);
        } else {
            let by_letter = x.to_lowercase().cmp(y.to_lowercase());
            if by_letter.is_ne() {
                return by_letter;
            }
            rest_a = &rest_a[x.len_utf8()..];
            rest_b = &rest_b[y.len_utf8()..];
        }
    }
    (rest_a.len().cmp(&rest_b.len())).then_with(|| a.cmp(b))
}

/// The number at the start of `text`, without leading zeros, and the rest.
fn leading_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    (digits.trim_start_matches('0'), after)
}

fn picture_error(path: &Path, error: PictureError) -> CaptureError {
    match error {
        PictureError::Io(error) => unreadable(path, &error),
        error => malformed(path, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = ["b1", "img10", "img2", "img002", "IMG3", "img", "a"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["a", "b1", "img", "img002", "img2", "IMG3", "img10"]);
    }

    #[test]
    fn natural_order_is_a_total_order() {
        let names = ["a01", "a1", "A1", "a1b", "a1B", "a", "1", "01", "é2", "é10"];
        for a in names {
            for b in names {
                assert_eq!(natural_order(a, b), natural_order(b, a).reverse());
                assert_eq!(natural_order(a, b).is_eq(), a == b, "{a} {b}");
            }
        }
    }
}

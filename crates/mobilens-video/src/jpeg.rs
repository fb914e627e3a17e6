//! Decodes JPEG frames of Motion JPEG video (cameras, AVI files).

use image::codecs::jpeg::JpegDecoder;
use image::{DynamicImage, ImageDecoder};

use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

/// Largest picture in pixels, 8192x4320 as for H.264: a progressive one of it takes 0.4 GB to decode.
pub(crate) const MAX_PIXELS: u64 = 8192 * 4320;

/// Decodes the JPEG at the start of `buffer`, which must have `size`; bytes after its end (EOI marker)
/// are ignored. The image is [`PixelFormat::Rgb8`].
///
/// # Errors
/// In one line, when it is truncated, damaged, of another size or larger than 8192x4320 pixels.
pub fn decode_jpeg(buffer: &[u8], size: SizePx) -> Result<Image, String> {
    let jpeg = complete_jpeg(buffer).ok_or("the JPEG is truncated")?;
    let decoder = JpegDecoder::new(std::io::Cursor::new(jpeg)).map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if (width, height) != (size.width, size.height) {
        return Err(format!(
            "the JPEG is {width}x{height}, expected {}x{}",
            size.width, size.height
        ));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!(
            "the JPEG is {width}x{height}, above the limit of 8192x4320 pixels"
        ));
    }
    let rgb = DynamicImage::from_decoder(decoder)
        .map_err(|e| e.to_string())?
        .into_rgb8();
    Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw())
        .map_err(|e| e.to_string())
}

/// The JPEG at the start of `buffer`, from its SOI to its EOI marker (ITU-T T.81, annex B); none if it
/// is truncated, which decoders accept and fill with grey.
///
/// A camera's buffer is longer than the frame, by an unknown number of bytes: a truncated frame over
/// the rest of an older one ends at the older one's EOI, and is not detected.
fn complete_jpeg(buffer: &[u8]) -> Option<&[u8]> {
    const SOI: u8 = 0xd8;
    const EOI: u8 = 0xd9;
    const SOS: u8 = 0xda;
    const FILL: u8 = 0xff;
    let marker_at = |at: usize| match buffer.get(at..at + 2)? {
        &[0xff, marker] => Some(marker),
        _ => None,
    };
    if marker_at(0)? != SOI {
        return None;
    }
    let mut at = 2;
    loop {
        let marker = marker_at(at)?;
        if marker == FILL {
            at += 1;
            continue;
        }
        if marker == EOI {
            return Some(&buffer[..at + 2]);
        }
        let length = buffer.get(at + 2..at + 4)?;
        at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if marker == SOS {
            // Entropy-coded data: within it, FF is followed by 00 or by a restart marker.
            while !matches!(marker_at(at), Some(m) if m != 0 && !(0xd0..=0xd7).contains(&m)) {
                at += 1;
                if at >= buffer.len() {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A baseline JPEG of that size whose data ends at once.
    fn empty_jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([1, 1, 0x11, 0]);
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9]);
        bytes
    }

    #[test]
    fn a_picture_above_the_limit_is_refused_before_memory_is_allocated() {
        let size = SizePx {
            width: 65_000,
            height: 65_000,
        };
        let why = decode_jpeg(&empty_jpeg(65_000, 65_000), size).expect_err("too large");
        assert!(why.contains("above the limit"), "{why}");
        let why = decode_jpeg(&empty_jpeg(16, 8), size).expect_err("another size");
        assert!(why.contains("expected 65000x65000"), "{why}");
    }
}

//! Converts raw frames of a camera to an [`Image`].

use super::device::RawFrame;
use super::modes::RawFormat;
use mobilens_image::{Image, PixelFormat, SizePx};
use mobilens_video::jpeg::decode_jpeg;

/// The image of a raw frame. YUYV and NV12 keep their pixel format; JPEG is decoded.
///
/// # Errors
/// In one line, when the frame is damaged.
pub fn image_from_raw(frame: RawFrame) -> Result<Image, String> {
    let size = SizePx {
        width: frame.width,
        height: frame.height,
    };
    let format = match frame.format {
        RawFormat::Yuyv => PixelFormat::Yuyv,
        RawFormat::Nv12 => PixelFormat::Nv12,
        RawFormat::Mjpeg => return decode_jpeg(&frame.bytes, size),
    };
    let bytes = without_padding(frame.bytes, format, size, frame.stride_bytes)?;
    Image::new(size, format, frame.colour, bytes).map_err(|e| e.to_string())
}

/// Removes the padding that drivers add at the end of rows (alignment) and of the buffer (page size).
fn without_padding(
    mut buffer: Vec<u8>,
    format: PixelFormat,
    size: SizePx,
    stride_bytes: usize,
) -> Result<Vec<u8>, String> {
    let (width, height) = (size.width as usize, size.height as usize);
    // Both formats have rows of one length; the UV rows of NV12 follow those of Y.
    let (tight, rows) = match format {
        PixelFormat::Yuyv => (2 * width, height),
        _ => (2 * width.div_ceil(2), height + height.div_ceil(2)),
    };
    let stride_bytes = stride_bytes.max(tight);
    let needed = stride_bytes * rows;
    // The padding of the last row may be missing.
    if buffer.len() < needed.saturating_sub(stride_bytes - tight) {
        return Err(format!(
            "truncated frame: {} of {needed} bytes",
            buffer.len()
        ));
    }
    if stride_bytes > tight {
        for row in 1..rows {
            let from = row * stride_bytes;
            buffer.copy_within(from..from + tight, row * tight);
        }
    }
    buffer.truncate(tight * rows);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use image::RgbImage;
    use image::codecs::jpeg::JpegEncoder;

    use super::*;
    use mobilens_image::YuvColour;

    fn jpeg() -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = RgbImage::from_fn(32, 16, |x, y| image::Rgb([x as u8 * 8, y as u8 * 16, 99]));
        JpegEncoder::new(&mut bytes)
            .encode_image(&picture)
            .expect("room");
        bytes
    }

    fn frame(format: RawFormat, bytes: Vec<u8>) -> RawFrame {
        RawFrame {
            format,
            width: 32,
            height: 16,
            stride_bytes: 0,
            colour: YuvColour::DEFAULT,
            bytes,
            captured_at: Instant::now(),
        }
    }

    #[test]
    fn page_padding_is_removed() {
        let image = image_from_raw(frame(RawFormat::Yuyv, vec![0; 4096])).expect("enough bytes");
        assert_eq!(image.data().len(), 2 * 32 * 16);
        let image = image_from_raw(frame(RawFormat::Nv12, vec![0; 4096])).expect("enough bytes");
        assert_eq!(image.data().len(), 32 * 16 * 3 / 2);
        let mut padded = jpeg();
        padded.extend([0xab; 100]);
        assert!(image_from_raw(frame(RawFormat::Mjpeg, padded)).is_ok());
    }

    #[test]
    fn fill_bytes_before_markers_are_skipped() {
        let mut bytes = jpeg();
        let end = bytes.len() - 2;
        bytes.splice(end..end, [0xff; 3]);
        bytes.splice(2..2, [0xff; 2]);
        let filled = image_from_raw(frame(RawFormat::Mjpeg, bytes)).expect("allowed");
        let plain = image_from_raw(frame(RawFormat::Mjpeg, jpeg())).expect("whole");
        assert_eq!(filled.data(), plain.data());
    }

    #[test]
    fn row_padding_is_removed() {
        for (format, tight, rows) in [(RawFormat::Yuyv, 64, 16), (RawFormat::Nv12, 32, 24)] {
            let padded: Vec<u8> = (0..rows)
                .flat_map(|row| (0..80).map(move |at| if at < tight { row } else { 0xee }))
                .collect();
            let mut raw = frame(format, padded.clone());
            raw.stride_bytes = 80;
            let image = image_from_raw(raw).expect("enough bytes");
            let expected: Vec<u8> = (0..rows).flat_map(|row| vec![row; tight]).collect();
            assert_eq!(image.data(), expected);
            // Without the last row's padding it is complete, with fewer bytes it is not.
            for (missing, whole) in [(80 - tight, true), (81 - tight, false)] {
                let mut raw = frame(format, padded[..padded.len() - missing].to_vec());
                raw.stride_bytes = 80;
                assert_eq!(image_from_raw(raw).is_ok(), whole);
            }
        }
    }

    #[test]
    fn truncated_frames_and_garbage_are_errors() {
        let whole = jpeg();
        for length in 0..whole.len() - 1 {
            let cut = whole[..length].to_vec();
            assert!(
                image_from_raw(frame(RawFormat::Mjpeg, cut)).is_err(),
                "{length}"
            );
        }
        assert!(image_from_raw(frame(RawFormat::Mjpeg, vec![0xff; 5000])).is_err());
        assert!(image_from_raw(frame(RawFormat::Yuyv, vec![0; 100])).is_err());
    }
}

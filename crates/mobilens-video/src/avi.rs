//! Motion JPEG in AVI, as webcams and old cameras record it (Microsoft's AVI RIFF file reference, and
//! the OpenDML extension for files larger than a gigabyte). Chunks are read sequentially; the index
//! (`idx1`) at the end, which may be missing, is not used.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use mobilens_image::{Image, SizePx};

use crate::jpeg::decode_jpeg;

/// The error for a file that ends within a chunk.
const TRUNCATED: &str = "the file is truncated";
/// Largest coded frame in bytes.
const MAX_FRAME_BYTES: u32 = 64 << 20;
/// Largest stream header in bytes.
const MAX_HEADER_BYTES: u32 = 1 << 16;

/// Reads the frames of the first Motion JPEG stream of an AVI file.
pub struct AviReader<R> {
    reader: BufReader<R>,
    video: VideoStream,
    /// Index of the next frame.
    next_index: i64,
}

/// One frame.
#[derive(Debug)]
pub struct AviFrame {
    /// Index of the frame, from 0.
    pub index: i64,
    /// The picture, or why it cannot be decoded; `None` for an empty chunk, which repeats the
    /// previous frame.
    pub picture: Option<Result<Image, String>>,
}

/// Header of the video stream.
#[derive(Clone, Copy, Debug)]
struct VideoStream {
    /// Index of the stream, the first two characters of its chunk ids.
    index: u8,
    size: SizePx,
    /// Frame rate as numerator and denominator.
    rate: (u32, u32),
    /// Number of frames; 0 if unknown.
    frames: u32,
}

impl<R: Read + Seek> AviReader<R> {
    /// Reads the headers; `None` if the file has no Motion JPEG stream.
    ///
    /// # Errors
    /// In one line: not AVI, truncated or damaged.
    pub fn new(reader: R) -> Result<Option<Self>, String> {
        let mut reader = BufReader::with_capacity(1 << 17, reader);
        let video = read_header(&mut reader)?;
        Ok(video.map(|video| Self {
            reader,
            video,
            next_index: 0,
        }))
    }

    /// Size of the frames.
    pub fn size(&self) -> SizePx {
        self.video.size
    }

    /// Frame rate as numerator and denominator; neither is 0.
    pub fn rate(&self) -> (u32, u32) {
        self.video.rate
    }

    /// Number of frames, where the header has it.
    pub fn frames(&self) -> Option<u64> {
        Some(u64::from(self.video.frames)).filter(|frames| *frames > 0)
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file is truncated within a chunk, or damaged.
    pub fn next_frame(&mut self) -> Result<Option<AviFrame>, String> {
        let Some(bytes) = self.next_frame_chunk()? else {
            return Ok(None);
        };
        let index = self.next_index;
        self.next_index += 1;
        let picture = (!bytes.is_empty()).then(|| decode_jpeg(&bytes, self.video.size));
        Ok(Some(AviFrame { index, picture }))
    }

    /// The next frame's data; empty for one that repeats the previous frame. `None` at the end.
    fn next_frame_chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let Some((id, length)) = read_chunk(&mut self.reader)? else {
                return Ok(None);
            };
            match &id {
                // Descends into lists of frames, and further RIFF chunks of a long file (OpenDML).
                b"RIFF" | b"LIST" => {
                    let mut kind = [0; 4];
                    self.reader.read_exact(&mut kind).map_err(truncated)?;
                    if ![b"AVI ", b"AVIX", b"movi", b"rec "].contains(&&kind) {
                        skip(&mut self.reader, length.saturating_sub(4))?;
                    }
                }
                [tens, ones, b'd', b'c' | b'b']
                    if stream_index(*tens, *ones) == Some(self.video.index) =>
                {
                    if length > MAX_FRAME_BYTES {
                        return Err("damaged: a frame chunk is too large".to_owned());
                    }
                    let mut bytes = vec![0; length as usize];
                    self.reader.read_exact(&mut bytes).map_err(truncated)?;
                    skip(&mut self.reader, length & 1)?;
                    return Ok(Some(bytes));
                }
                _ => skip(&mut self.reader, length + (length & 1))?,
            }
        }
    }
}

/// Reads up to the first list of frames (`movi`); `None` if no stream is Motion JPEG.
fn read_header(reader: &mut (impl Read + Seek)) -> Result<Option<VideoStream>, String> {
    let mut head = [0; 12];
    reader.read_exact(&mut head).map_err(truncated)?;
    if &head[..4] != b"RIFF" || &head[8..] != b"AVI " {
        return Err("not an AVI file".to_owned());
    }
    let (mut streams, mut found) = (0, None);
    let mut header: Option<[u32; 3]> = None;
    while let Some((id, length)) = read_chunk(reader)? {
        match &id {
            b"LIST" => {
                let mut kind = [0; 4];
                reader.read_exact(&mut kind).map_err(truncated)?;
                match &kind {
                    b"movi" => return Ok(found),
                    b"hdrl" | b"strl" => {}
                    _ => skip(reader, length.saturating_sub(4) + (length & 1))?,
                }
            }
            b"strh" | b"strf" if length <= MAX_HEADER_BYTES => {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).map_err(truncated)?;
                skip(reader, length & 1)?;
                let u32_at = |at: usize| -> Option<u32> {
                    let four = bytes.get(at..)?.first_chunk()?;
                    Some(u32::from_le_bytes(*four))
                };
                if &id == b"strh" {
                    streams += 1;
                    let is_video = bytes.starts_with(b"vids");
                    let fields = || Some([u32_at(20)?, u32_at(24)?, u32_at(32)?]);
                    header = is_video.then(fields).flatten();
                    continue;
                }
                let Some([scale, rate, frames]) = header.take() else {
                    continue;
                };
                let is_jpeg = bytes
                    .get(16..20)
                    .is_some_and(|code| code.eq_ignore_ascii_case(b"MJPG"));
                if let (true, None, Some(width), Some(height)) =
                    (is_jpeg, found, u32_at(4), u32_at(8))
                {
                    // A negative height means top-down rows, which does not apply to JPEG.
                    let height = height.cast_signed().unsigned_abs();
                    if scale == 0 || rate == 0 || width == 0 || height == 0 {
                        return Err("damaged stream header".to_owned());
                    }
                    found = Some(VideoStream {
                        index: u8::try_from(streams - 1).unwrap_or(u8::MAX),
                        size: SizePx { width, height },
                        rate: (rate, scale),
                        frames,
                    });
                }
            }
            _ => skip(reader, length + (length & 1))?,
        }
    }
    Ok(found)
}

/// A chunk's id and length; `None` at the end of the file.
fn read_chunk(reader: &mut impl Read) -> Result<Option<([u8; 4], u32)>, String> {
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(TRUNCATED.to_owned()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    let [a, b, c, d, length @ ..] = head;
    Ok(Some(([a, b, c, d], u32::from_le_bytes(length))))
}

fn skip(reader: &mut impl Seek, bytes: u32) -> Result<(), String> {
    let skipped = reader.seek(SeekFrom::Current(bytes.into()));
    skipped.map(|_| ()).map_err(|e| e.to_string())
}

/// The stream index in a chunk id of decimal digits.
fn stream_index(tens: u8, ones: u8) -> Option<u8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn truncated(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => TRUNCATED.to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), as_avi: bool) {
            if as_avi && bytes.len() > 12 {
                bytes[..4].copy_from_slice(b"RIFF");
                bytes[8..12].copy_from_slice(b"AVI ");
            }
            let _ = read_header(&mut Cursor::new(bytes));
        }
    }
}

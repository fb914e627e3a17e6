//! Motion JPEG in AVI, as webcams and old cameras record it (Microsoft's AVI RIFF file reference, and
//! the OpenDML extension for files beyond a gigabyte). Chunks are read one after another; the index
//! at the end, which may be missing, is not needed.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use mobilens_image::{Image, SizePx};

use crate::jpeg::decode_jpeg;

/// Most bytes of a coded frame.
const MAX_FRAME: u32 = 64 << 20;
/// Most bytes of a stream header.
const MAX_HEADER: u32 = 1 << 16;

/// Reads the frames of an AVI file's first Motion JPEG stream.
pub struct AviReader<R> {
    reader: BufReader<R>,
    video: VideoStream,
    frame: i64,
}

/// A frame of the file.
#[derive(Debug)]
pub struct AviFrame {
    /// Its number, from 0.
    pub number: i64,
    /// The picture, or why it cannot be decoded; `None` for an empty chunk, which repeats the frame
    /// before.
    pub picture: Option<Result<Image, String>>,
}

/// The stream that holds the pictures.
#[derive(Clone, Copy, Debug)]
struct VideoStream {
    /// Its number, as its chunks' names begin.
    number: u8,
    size: SizePx,
    /// Frames in so many seconds.
    rate: (u32, u32),
    frames: u32,
}

impl<R: Read + Seek> AviReader<R> {
    /// Reads the headers; `None` if no stream of the file is Motion JPEG.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn new(reader: R) -> Result<Option<Self>, String> {
        let mut reader = BufReader::with_capacity(1 << 17, reader);
        let video = read_head(&mut reader)?;
        Ok(video.map(|video| Self {
            reader,
            video,
            frame: 0,
        }))
    }

    /// Size of the frames.
    pub fn size(&self) -> SizePx {
        self.video.size
    }

    /// Frames a second as numerator and denominator; neither is 0.
    pub fn rate(&self) -> (u32, u32) {
        self.video.rate
    }

    /// Number of frames, where the header says it.
    pub fn frames(&self) -> Option<u64> {
        Some(u64::from(self.video.frames)).filter(|frames| *frames > 0)
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// When the file ends within a chunk, or is damaged.
    pub fn next_frame(&mut self) -> Result<Option<AviFrame>, String> {
        let Some(bytes) = self.next_chunk()? else {
            return Ok(None);
        };
        let number = self.frame;
        self.frame += 1;
        let picture = (!bytes.is_empty()).then(|| decode_jpeg(&bytes, self.video.size));
        Ok(Some(AviFrame { number, picture }))
    }

    /// The next frame's bytes; empty for one that shows the same as before. `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let Some((name, length)) = read_chunk(&mut self.reader)? else {
                return Ok(None);
            };
            match &name {
                // Lists of frames, and further parts of a long file, are walked into.
                b"RIFF" | b"LIST" => {
                    let mut kind = [0; 4];
                    self.reader.read_exact(&mut kind).map_err(cut_off)?;
                    if ![b"AVI ", b"AVIX", b"movi", b"rec "].contains(&&kind) {
                        skip(&mut self.reader, length.saturating_sub(4))?;
                    }
                }
                [tens, ones, b'd', b'c' | b'b']
                    if number(*tens, *ones) == Some(self.video.number) =>
                {
                    if length > MAX_FRAME {
                        return Err("a frame is longer than any".to_owned());
                    }
                    let mut bytes = vec![0; length as usize];
                    self.reader.read_exact(&mut bytes).map_err(cut_off)?;
                    skip(&mut self.reader, length & 1)?;
                    return Ok(Some(bytes));
                }
                _ => skip(&mut self.reader, length + (length & 1))?,
            }
        }
    }
}

/// Reads up to the first list of frames; `None` if no stream is Motion JPEG.
fn read_head(reader: &mut (impl Read + Seek)) -> Result<Option<VideoStream>, String> {
    let mut head = [0; 12];
    reader.read_exact(&mut head).map_err(cut_off)?;
    if &head[..4] != b"RIFF" || &head[8..] != b"AVI " {
        return Err("it is no AVI".to_owned());
    }
    let (mut streams, mut found) = (0, None);
    let mut header: Option<[u32; 4]> = None;
    while let Some((name, length)) = read_chunk(reader)? {
        match &name {
            b"LIST" => {
                let mut kind = [0; 4];
                reader.read_exact(&mut kind).map_err(cut_off)?;
                match &kind {
                    b"movi" => return Ok(found),
                    b"hdrl" | b"strl" => {}
                    _ => skip(reader, length.saturating_sub(4) + (length & 1))?,
                }
            }
            b"strh" | b"strf" if length <= MAX_HEADER => {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).map_err(cut_off)?;
                skip(reader, length & 1)?;
                let word = |at: usize| -> Option<u32> {
                    let four = bytes.get(at..)?.first_chunk()?;
                    Some(u32::from_le_bytes(*four))
                };
                if &name == b"strh" {
                    streams += 1;
                    let is_video = bytes.starts_with(b"vids");
                    let fields = || Some([word(20)?, word(24)?, word(32)?, 0]);
                    header = is_video.then(fields).flatten();
                    continue;
                }
                let Some([scale, rate, frames, _]) = header.take() else {
                    continue;
                };
                let is_jpeg = bytes
                    .get(16..20)
                    .is_some_and(|code| code.eq_ignore_ascii_case(b"MJPG"));
                if let (true, None, Some(width), Some(height)) = (is_jpeg, found, word(4), word(8))
                {
                    // A negative height means another order of rows, which JPEGs do not have.
                    let height = height.cast_signed().unsigned_abs();
                    if scale == 0 || rate == 0 || width == 0 || height == 0 {
                        return Err("its header is damaged".to_owned());
                    }
                    found = Some(VideoStream {
                        number: u8::try_from(streams - 1).unwrap_or(u8::MAX),
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

/// A chunk's name and length; `None` at the end.
fn read_chunk(reader: &mut impl Read) -> Result<Option<([u8; 4], u32)>, String> {
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err("it is cut off".to_owned()),
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

fn number(tens: u8, ones: u8) -> Option<u8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn cut_off(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
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
            let _ = read_head(&mut Cursor::new(bytes));
        }
    }
}

//! Motion JPEG in AVI, as webcams and old cameras record it (Microsoft's AVI RIFF file reference, and
//! the OpenDML extension for files larger than a gigabyte). Chunks are read sequentially; the index
//! (`idx1`) at the end, which may be missing, is not used.

use std::io::{BufReader, ErrorKind, Read, Seek};

use mobilens_image::{Image, SizePx};

use crate::jpeg::{MAX_PIXELS, decode_jpeg};

/// The error for a file that ends within a chunk.
const TRUNCATED: &str = "the file is truncated";
/// Largest coded frame in bytes.
const MAX_FRAME_BYTES: u32 = 64 << 20;
/// Largest stream header in bytes.
const MAX_HEADER_BYTES: u32 = 1 << 16;
/// Most chunks before the first frame; more is taken for damage.
const MAX_HEADER_CHUNKS: u32 = 10_000;
/// Most chunks that one step of reading skips.
const MAX_SKIPPED_CHUNKS: u32 = 1000;

/// Why an AVI file cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AviError {
    /// Its Motion JPEG stream has too many pixels.
    #[error("the video is {width}x{height}, above the limit of 8192x4320 pixels")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Not AVI, truncated or damaged.
    #[error("{0}")]
    Invalid(String),
}

impl From<String> for AviError {
    fn from(why: String) -> Self {
        Self::Invalid(why)
    }
}

/// Reads the frames of the first Motion JPEG stream of an AVI file.
pub struct AviReader<R> {
    reader: BufReader<R>,
    video: VideoStream,
    /// Index of the next frame.
    next_index: i64,
}

/// One step of [`AviReader::read`].
#[derive(Debug)]
pub enum AviRead {
    /// The next frame.
    Frame(AviFrame),
    /// Chunks of other streams were skipped: call again.
    Pending,
    /// No more frames.
    End,
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
    /// In one line: not AVI, truncated, damaged or too large.
    pub fn new(reader: R) -> Result<Option<Self>, AviError> {
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

    /// Returns the next frame, or skips some chunks of other streams.
    ///
    /// # Errors
    /// When the file is truncated within a chunk, or damaged.
    pub fn read(&mut self) -> Result<AviRead, String> {
        for _ in 0..MAX_SKIPPED_CHUNKS {
            let Some((id, length)) = read_chunk(&mut self.reader)? else {
                return Ok(AviRead::End);
            };
            if let Some(bytes) = self.enter_chunk(id, length)? {
                let index = self.next_index;
                self.next_index += 1;
                let picture = (!bytes.is_empty()).then(|| decode_jpeg(&bytes, self.video.size));
                return Ok(AviRead::Frame(AviFrame { index, picture }));
            }
        }
        Ok(AviRead::Pending)
    }

    /// The data of a frame's chunk, empty for one that repeats the previous frame. Skips any other
    /// chunk, or enters it where it may contain frames.
    fn enter_chunk(&mut self, id: [u8; 4], length: u32) -> Result<Option<Vec<u8>>, String> {
        match &id {
            // Descends into lists of frames, and further RIFF chunks of a long file (OpenDML).
            b"RIFF" | b"LIST" => {
                let mut kind = [0; 4];
                self.reader.read_exact(&mut kind).map_err(truncated)?;
                if ![b"AVI ", b"AVIX", b"movi", b"rec "].contains(&&kind) {
                    skip(&mut self.reader, padded(length).saturating_sub(4))?;
                }
                Ok(None)
            }
            [tens, ones, b'd', b'c' | b'b']
                if stream_index(*tens, *ones) == Some(self.video.index) =>
            {
                if length > MAX_FRAME_BYTES {
                    return Err("damaged: a frame chunk is too large".to_owned());
                }
                let mut bytes = vec![0; length as usize];
                self.reader.read_exact(&mut bytes).map_err(truncated)?;
                skip(&mut self.reader, padded(length) - u64::from(length))?;
                Ok(Some(bytes))
            }
            _ => {
                skip(&mut self.reader, padded(length))?;
                Ok(None)
            }
        }
    }
}

/// Reads up to the first list of frames (`movi`); `None` if no stream is Motion JPEG.
fn read_header<R: Read + Seek>(reader: &mut BufReader<R>) -> Result<Option<VideoStream>, AviError> {
    let mut head = [0; 12];
    reader.read_exact(&mut head).map_err(truncated)?;
    if &head[..4] != b"RIFF" || &head[8..] != b"AVI " {
        return Err("not an AVI file".to_owned().into());
    }
    let (mut streams, mut found) = (0, None);
    let mut header: Option<[u32; 3]> = None;
    for _ in 0..MAX_HEADER_CHUNKS {
        let Some((id, length)) = read_chunk(reader)? else {
            return Ok(found);
        };
        match &id {
            b"LIST" => {
                let mut kind = [0; 4];
                reader.read_exact(&mut kind).map_err(truncated)?;
                match &kind {
                    b"movi" => return Ok(found),
                    b"hdrl" | b"strl" => {}
                    _ => skip(reader, padded(length).saturating_sub(4))?,
                }
            }
            b"strh" | b"strf" if length <= MAX_HEADER_BYTES => {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).map_err(truncated)?;
                skip(reader, padded(length) - u64::from(length))?;
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
                        return Err("damaged stream header".to_owned().into());
                    }
                    if u64::from(width) * u64::from(height) > MAX_PIXELS {
                        return Err(AviError::TooLarge { width, height });
                    }
                    found = Some(VideoStream {
                        index: u8::try_from(streams - 1).unwrap_or(u8::MAX),
                        size: SizePx { width, height },
                        rate: (rate, scale),
                        frames,
                    });
                }
            }
            _ => skip(reader, padded(length))?,
        }
    }
    let why = format!("damaged: no list of frames within the first {MAX_HEADER_CHUNKS} chunks");
    Err(why.into())
}

/// Length of a chunk in the file: chunks begin at even offsets.
fn padded(length: u32) -> u64 {
    u64::from(length) + u64::from(length & 1)
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

/// Skips `bytes`, at most a chunk's length; the buffer is kept where the next chunk is in it.
fn skip<R: Seek>(reader: &mut BufReader<R>, bytes: u64) -> Result<(), String> {
    let offset = i64::try_from(bytes).map_err(|e| e.to_string())?;
    reader.seek_relative(offset).map_err(|e| e.to_string())
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

    fn chunk(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    }

    /// An AVI file with one Motion JPEG stream of that size, and `frames` as the content of `movi`.
    fn avi(width: u32, height: u32, frames: &[u8]) -> Vec<u8> {
        let mut strh = b"vidsMJPG".to_vec();
        strh.extend([0; 12]);
        strh.extend([1_u32, 25, 0, 0].map(u32::to_le_bytes).as_flattened());
        let mut strf = [40, width, height].map(u32::to_le_bytes).concat();
        strf.extend([1, 0, 24, 0]);
        strf.extend(b"MJPG");
        strf.extend([0; 20]);
        let strl = [
            b"strl".to_vec(),
            chunk(b"strh", &strh),
            chunk(b"strf", &strf),
        ]
        .concat();
        let hdrl = [b"hdrl".to_vec(), chunk(b"LIST", &strl)].concat();
        let movi = [b"movi", frames].concat();
        let body = [
            b"AVI ".to_vec(),
            chunk(b"LIST", &hdrl),
            chunk(b"LIST", &movi),
        ]
        .concat();
        chunk(b"RIFF", &body)
    }

    fn open(file: Vec<u8>) -> AviReader<Cursor<Vec<u8>>> {
        let reader = AviReader::new(Cursor::new(file)).expect("AVI");
        reader.expect("a Motion JPEG stream")
    }

    #[test]
    fn a_picture_above_the_limit_is_refused_before_it_is_decoded() {
        let huge = AviReader::new(Cursor::new(avi(65_000, 65_000, b"")));
        assert_eq!(
            huge.err().map(|error| error.to_string()).as_deref(),
            Some("the video is 65000x65000, above the limit of 8192x4320 pixels")
        );
        assert_eq!(open(avi(8192, 4320, b"")).size().height, 4320);
    }

    #[test]
    fn a_chunk_of_four_gigabytes_ends_the_file() {
        for id in [b"01wb", b"LIST", b"JUNK"] {
            let mut frames = chunk(b"00dc", b"");
            frames.extend(id);
            frames.extend([0xff; 20]);
            let mut reader = open(avi(16, 16, &frames));
            assert!(matches!(reader.read(), Ok(AviRead::Frame(_))), "{id:?}");
            assert!(matches!(reader.read(), Ok(AviRead::End)), "{id:?}");
            let mut file = avi(16, 16, b"");
            file.truncate(12);
            file.extend(id);
            file.extend([0xff; 20]);
            assert!(matches!(AviReader::new(Cursor::new(file)), Ok(None)));
        }
    }

    /// Counts the bytes that are read.
    struct Counting(Cursor<Vec<u8>>, std::rc::Rc<std::cell::Cell<usize>>);

    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_file_of_empty_chunks_is_read_once_and_in_steps() {
        let file = avi(16, 16, &chunk(b"JUNK", b"").repeat(100_000));
        let (bytes, read) = (file.len(), std::rc::Rc::default());
        let counting = Counting(Cursor::new(file), std::rc::Rc::clone(&read));
        let mut reader = AviReader::new(counting).expect("AVI").expect("a stream");
        let mut steps = 0;
        while !matches!(reader.read().expect("whole"), AviRead::End) {
            steps += 1;
        }
        assert_eq!(steps, 100, "a stop is seen between steps");
        assert_eq!(read.get(), bytes);
        let header = [
            b"RIFF\0\0\0\0AVI ".to_vec(),
            chunk(b"JUNK", b"").repeat(100_000),
        ]
        .concat();
        let endless = AviReader::new(Cursor::new(header)).err();
        assert!(endless.is_some_and(|error| error.to_string().contains("no list of frames")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), as_avi: bool) {
            if as_avi && bytes.len() > 12 {
                bytes[..4].copy_from_slice(b"RIFF");
                bytes[8..12].copy_from_slice(b"AVI ");
            }
            let _ = read_header(&mut BufReader::new(Cursor::new(bytes)));
        }
    }
}

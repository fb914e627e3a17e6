//! Y4M (YUV4MPEG2): uncompressed video with a text header, as mjpegtools defined it. From a file,
//! standard input or a pipe.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use mobilens_image::{Image, PixelFormat, SizePx, YuvColour, YuvMatrix, YuvRange};

/// Magic bytes of a Y4M stream.
pub const Y4M_MAGIC: &[u8] = b"YUV4MPEG2 ";
/// Longest header line in bytes.
const MAX_LINE_BYTES: u64 = 1024;
/// Largest frame in pixels.
const MAX_PIXELS: u64 = 1 << 26;

/// The stream header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Y4mHeader {
    /// Columns and rows.
    pub size: SizePx,
    /// Frame rate as numerator and denominator; neither is 0.
    pub rate: (u32, u32),
    /// Colour matrix and range.
    pub colour: YuvColour,
}

/// Reads frames sequentially.
#[derive(Debug)]
pub struct Y4mReader<R> {
    reader: BufReader<R>,
    header: Y4mHeader,
}

impl<R: Read> Y4mReader<R> {
    /// Reads the stream header.
    ///
    /// # Errors
    /// In one line: not YUV4MPEG2, truncated, or an unsupported format (only progressive 4:2:0 with
    /// 8 bits per sample is read).
    pub fn new(reader: R) -> Result<Self, String> {
        let mut reader = BufReader::with_capacity(1 << 18, reader);
        let line = read_line(&mut reader)?.ok_or("empty input")?;
        let header = parse_header(&line)?;
        Ok(Self { reader, header })
    }

    /// The stream header.
    pub fn header(&self) -> &Y4mHeader {
        &self.header
    }

    /// The next frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the stream is truncated within a frame, or damaged.
    pub fn next_frame(&mut self) -> Result<Option<Image>, String> {
        let Some(line) = read_line(&mut self.reader)? else {
            return Ok(None);
        };
        if !line.starts_with("FRAME") {
            return Err("damaged: expected a FRAME header".to_owned());
        }
        let Y4mHeader { size, colour, .. } = self.header;
        let mut data = vec![0; PixelFormat::I420.bytes(size)];
        self.reader
            .read_exact(&mut data)
            .map_err(|e| match e.kind() {
                ErrorKind::UnexpectedEof => "truncated: the stream ends within a frame".to_owned(),
                _ => e.to_string(),
            })?;
        let image = Image::new(size, PixelFormat::I420, colour, data);
        image.map(Some).map_err(|e| e.to_string())
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let mut limited = reader.take(MAX_LINE_BYTES);
    limited
        .read_until(b'\n', &mut line)
        .map_err(|e| e.to_string())?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        Some(_) => Err("not YUV4MPEG2, or truncated within a header".to_owned()),
    }
}

fn parse_header(line: &str) -> Result<Y4mHeader, String> {
    let mut parameters = line.split(' ');
    if parameters.next() != Some("YUV4MPEG2") {
        return Err("not YUV4MPEG2".to_owned());
    }
    let (mut width, mut height, mut rate) = (0, 0, (25, 1));
    let mut colour = YuvColour::DEFAULT;
    for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
        let (tag, value) = parameter.split_at(parameter.chars().next().map_or(0, char::len_utf8));
        let number = || {
            value
                .parse::<u32>()
                .map_err(|_| format!("invalid header parameter: {parameter}"))
        };
        match tag {
            "W" => width = number()?,
            "H" => height = number()?,
            "F" => {
                let parts = value
                    .split_once(':')
                    .and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                rate = parts.filter(|(n, d)| *n > 0 && *d > 0).unwrap_or(rate);
            }
            "C" if !value.starts_with("420")
                || value.contains('p')
                    && value != "420paldv"
                    && value != "420mpeg2"
                    && value != "420jpeg" =>
            {
                return Err(format!(
                    "unsupported pixel format {value}; only 4:2:0 with 8 bits is read"
                ));
            }
            "I" if value != "p" && value != "?" => {
                return Err("interlaced video is not supported".to_owned());
            }
            "X" if value == "COLORRANGE=FULL" => colour.range = YuvRange::Full,
            _ => {}
        }
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(format!("invalid frame size {width}x{height}"));
    }
    // The header has no colour matrix: chosen by the height, as players do.
    if height >= 720 {
        colour.matrix = YuvMatrix::Bt709;
    }
    Ok(Y4mHeader {
        size: SizePx { width, height },
        rate,
        colour,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_follow_the_header() {
        let mut bytes = b"YUV4MPEG2 W3 H2 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG\n".to_vec();
        for frame in 0..2 {
            bytes.extend(b"FRAME\n");
            bytes.extend([frame; 6 + 4]);
        }
        let mut reader = Y4mReader::new(bytes.as_slice()).expect("a header");
        assert_eq!(reader.header().rate, (30_000, 1001));
        for frame in 0..2 {
            let image = reader.next_frame().expect("whole").expect("a frame");
            assert_eq!(image.data(), [frame; 10]);
        }
        assert!(reader.next_frame().expect("whole").is_none());
        let mut cut = Y4mReader::new(&bytes[..bytes.len() - 1]).expect("a header");
        cut.next_frame().expect("whole");
        assert_eq!(
            cut.next_frame().err().as_deref(),
            Some("truncated: the stream ends within a frame")
        );
    }

    #[test]
    fn unsupported_headers_are_named() {
        let why = |header: &str| Y4mReader::new(header.as_bytes()).expect_err("refused");
        assert!(why("YUV4MPEG2 W4 H4 C444\n").contains("444"));
        assert!(why("YUV4MPEG2 W4 H4 C420p10\n").contains("420p10"));
        assert!(why("YUV4MPEG2 W0 H4\n").contains("0x4"));
        assert!(why("YUV4MPEG2 W99999999 H99999999\n").contains("99999999"));
        assert!(why("YUV4MPEG2 W4 H4 It\n").contains("interlaced"));
        assert!(why("RIFF").contains("not YUV4MPEG2"));
        assert!(why("").contains("empty"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..200), parameter in "[A-Z][0-9:a-z]{0,9}") {
            let mut bytes = format!("YUV4MPEG2 W2 H2 {parameter}\n").into_bytes();
            bytes.extend(tail);
            if let Ok(mut reader) = Y4mReader::new(bytes.as_slice()) {
                while let Ok(Some(_)) = reader.next_frame() {}
            }
        }
    }
}

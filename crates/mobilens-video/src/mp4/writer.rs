//! Writes fragmented MP4 (ISO/IEC 14496-12, section 8.8) with fragments of one second. The file can
//! be played while it grows; after a crash at most the last fragment is lost.

use std::io::{self, Write};

use mobilens_image::{SizePx, YuvMatrix, YuvRange};

use super::box_writer::{full_box, mp4_box, u32s};
use crate::h264::{EncodedFrame, StreamParameters};

/// Timescale: ticks per second.
const TIMESCALE: i64 = 90_000;
/// Length of a fragment in ticks.
const FRAGMENT_TICKS: i64 = TIMESCALE;
/// Duration in ticks of the only frame of a file.
const DEFAULT_DURATION: i64 = TIMESCALE / 25;

/// Writes a fragmented MP4 file with one H.264 track. Not buffered: one write per fragment.
pub struct Mp4Writer<W> {
    file: W,
    first_us: Option<i64>,
    /// Frames of the current fragment with their times in ticks. The duration of the last one is
    /// known when the next one comes.
    pending: Vec<(i64, EncodedFrame)>,
    sequence: u32,
    /// Duration in ticks of the last frame but one.
    last_duration: i64,
}

impl<W: Write> Mp4Writer<W> {
    /// Writes the file header (`ftyp` and `moov`).
    ///
    /// # Errors
    /// An I/O error of `file`.
    pub fn new(mut file: W, parameters: &StreamParameters) -> io::Result<Self> {
        let head = [ftyp(), moov(parameters)].concat();
        file.write_all(&head)?;
        Ok(Self {
            file,
            first_us: None,
            pending: Vec::new(),
            sequence: 0,
            last_duration: DEFAULT_DURATION,
        })
    }

    /// Adds a frame, in presentation order; writes the fragment that it completes. The first frame
    /// gets presentation time 0.
    ///
    /// # Errors
    /// An I/O error of the file.
    pub fn push(&mut self, frame: EncodedFrame) -> io::Result<()> {
        let first = *self.first_us.get_or_insert(frame.at_us);
        let mut at = (frame.at_us - first) * TIMESCALE / 1_000_000;
        if let Some((last, _)) = self.pending.last() {
            at = at.max(last + 1);
            self.last_duration = at - last;
        }
        if let Some((begin, _)) = self.pending.first()
            && at - begin >= FRAGMENT_TICKS
        {
            self.flush(at)?;
        }
        self.pending.push((at, frame));
        Ok(())
    }

    /// Number of fragments so far.
    pub fn fragments(&self) -> u32 {
        self.sequence
    }

    /// Writes the last fragment, and returns the file.
    ///
    /// # Errors
    /// An I/O error of the file.
    pub fn finish(mut self) -> io::Result<W> {
        let end = self
            .pending
            .last()
            .map_or(0, |(at, _)| at + self.last_duration);
        self.flush(end)?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn flush(&mut self, end: i64) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.sequence += 1;
        let frames = std::mem::take(&mut self.pending);
        let fragment = fragment(self.sequence, &frames, end);
        // One write, so that a full disk or a crash truncates at most this fragment.
        self.file.write_all(&fragment)
    }
}

/// Transformation matrix without rotation.
const IDENTITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

fn ftyp() -> Vec<u8> {
    mp4_box(
        b"ftyp",
        &[b"iso5", &512_u32.to_be_bytes(), b"iso5iso6avc1mp41"],
    )
}

fn moov(parameters: &StreamParameters) -> Vec<u8> {
    let SizePx { width, height } = parameters.size;
    let rate = TIMESCALE as u32;
    let mvhd = full_box(
        b"mvhd",
        0,
        0,
        &[
            &u32s(&[0, 0, 1000, 0, 0x1_0000, 0x0100_0000, 0, 0]),
            &u32s(&IDENTITY_MATRIX),
            &u32s(&[0; 6]),
            &u32s(&[2]),
        ],
    );
    let tkhd = full_box(
        b"tkhd",
        0,
        3,
        &[
            &u32s(&[0, 0, 1, 0, 0, 0, 0, 0, 0]),
            &u32s(&IDENTITY_MATRIX),
            &u32s(&[width << 16, height << 16]),
        ],
    );
    let mdhd = full_box(b"mdhd", 0, 0, &[&u32s(&[0, 0, rate, 0, 0x55c4_0000])]);
    let hdlr = full_box(
        b"hdlr",
        0,
        0,
        &[&u32s(&[0]), b"vide", &u32s(&[0; 3]), b"video\0"],
    );
    let dref = full_box(b"dref", 0, 0, &[&u32s(&[1]), &full_box(b"url ", 0, 1, &[])]);
    let empty = |kind| full_box(kind, 0, 0, &[&u32s(&[0])]);
    let stbl = mp4_box(
        b"stbl",
        &[
            &full_box(b"stsd", 0, 0, &[&u32s(&[1]), &avc1(parameters)]),
            &empty(b"stts"),
            &empty(b"stsc"),
            &full_box(b"stsz", 0, 0, &[&u32s(&[0, 0])]),
            &empty(b"stco"),
        ],
    );
    let minf = mp4_box(
        b"minf",
        &[
            &full_box(b"vmhd", 0, 1, &[&u32s(&[0, 0])]),
            &mp4_box(b"dinf", &[&dref]),
            &stbl,
        ],
    );
    let mdia = mp4_box(b"mdia", &[&mdhd, &hdlr, &minf]);
    let trex = full_box(b"trex", 0, 0, &[&u32s(&[1, 1, 0, 0, 0])]);
    mp4_box(
        b"moov",
        &[
            &mvhd,
            &mp4_box(b"trak", &[&tkhd, &mdia]),
            &mp4_box(b"mvex", &[&trex]),
        ],
    )
}

fn avc1(parameters: &StreamParameters) -> Vec<u8> {
    let SizePx { width, height } = parameters.size;
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX).to_be_bytes();
    let length = |nal: &[u8]| u16::try_from(nal.len()).unwrap_or(u16::MAX).to_be_bytes();
    let profile = parameters.sps.get(1..4).unwrap_or(&[66, 0xc0, 30]);
    let avcc = mp4_box(
        b"avcC",
        &[
            &[1],
            profile,
            &[0xff, 0xe1],
            &length(&parameters.sps),
            &parameters.sps,
            &[1],
            &length(&parameters.pps),
            &parameters.pps,
        ],
    );
    let (code, is_full) = match (parameters.colour.matrix, parameters.colour.range) {
        (YuvMatrix::Bt601, range) => (6_u16, range == YuvRange::Full),
        (YuvMatrix::Bt709, range) => (1, range == YuvRange::Full),
    };
    let code = code.to_be_bytes();
    let range = [u8::from(is_full) << 7];
    let colr = mp4_box(b"colr", &[b"nclx", &code, &code, &code, &range]);
    mp4_box(
        b"avc1",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 16],
            &side(width),
            &side(height),
            &u32s(&[0x48_0000, 0x48_0000, 0]),
            &[0, 1],
            &[0; 32],
            &[0, 24, 0xff, 0xff],
            &avcc,
            &colr,
        ],
    )
}

/// `moof` and `mdat` of `frames`, the last of which lasts until `end`.
fn fragment(sequence: u32, frames: &[(i64, EncodedFrame)], end: i64) -> Vec<u8> {
    let begin = frames.first().map_or(0, |(at, _)| *at);
    let ends = frames.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let mut entries = Vec::new();
    for ((at, frame), end) in frames.iter().zip(ends) {
        let duration = u32::try_from((end - at).max(1)).unwrap_or(u32::MAX);
        let size = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
        // Sample flags (8.8.3.1): a sync sample, or a non-sync sample that depends on others.
        let flags = if frame.is_key {
            0x0200_0000
        } else {
            0x0101_0000
        };
        entries.extend(u32s(&[duration, size, flags]));
    }
    let count = frames.len() as u32;
    let moof = |offset: u32| {
        let traf = mp4_box(
            b"traf",
            &[
                &full_box(b"tfhd", 0, 0x02_0000, &[&u32s(&[1])]),
                &full_box(b"tfdt", 1, 0, &[&begin.to_be_bytes()]),
                // Flags: data offset; duration, size and flags of each sample.
                &full_box(b"trun", 0, 0x701, &[&u32s(&[count, offset]), &entries]),
            ],
        );
        mp4_box(
            b"moof",
            &[&full_box(b"mfhd", 0, 0, &[&u32s(&[sequence])]), &traf],
        )
    };
    let offset = u32::try_from(moof(0).len() + 8).unwrap_or(u32::MAX);
    let data: Vec<&[u8]> = frames.iter().map(|(_, frame)| &*frame.data).collect();
    [moof(offset), mp4_box(b"mdat", &data)].concat()
}

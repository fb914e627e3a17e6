//! Writes fragmented MP4 (ISO/IEC 14496-12, section 8.8): each fragment of a second can be played by
//! itself, so a crash loses at most the last one.

use std::io::{self, Write};

use mobilens_image::{SizePx, YuvMatrix, YuvRange};

use crate::h264::{EncodedFrame, StreamParameters};

/// Ticks a second.
const RATE: i64 = 90_000;
/// A fragment is written when it is so long.
const FRAGMENT: i64 = RATE;
/// How long a picture is shown that has no other beside it.
const ALONE: i64 = RATE / 25;

/// Writes one file of one H.264 track.
pub struct Mp4Writer<W> {
    file: W,
    first_us: Option<i64>,
    /// Frames with their times in ticks; the last one's length is not known yet.
    waiting: Vec<(i64, EncodedFrame)>,
    sequence: u32,
    step: i64,
}

impl<W: Write> Mp4Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut file: W, track: &StreamParameters) -> io::Result<Self> {
        let head = [ftyp(), moov(track)].concat();
        file.write_all(&head)?;
        Ok(Self {
            file,
            first_us: None,
            waiting: Vec::new(),
            sequence: 0,
            step: ALONE,
        })
    }

    /// Adds a frame; they come in order.
    ///
    /// # Errors
    /// When a fragment cannot be written.
    pub fn push(&mut self, sample: EncodedFrame) -> io::Result<()> {
        let first = *self.first_us.get_or_insert(sample.at_us);
        let mut at = (sample.at_us - first) * RATE / 1_000_000;
        if let Some((last, _)) = self.waiting.last() {
            at = at.max(last + 1);
            self.step = at - last;
        }
        if let Some((begin, _)) = self.waiting.first()
            && at - begin >= FRAGMENT
        {
            self.flush(at)?;
        }
        self.waiting.push((at, sample));
        Ok(())
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        let end = self.waiting.last().map_or(0, |(at, _)| at + self.step);
        self.flush(end)?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn flush(&mut self, end: i64) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.sequence += 1;
        let samples = std::mem::take(&mut self.waiting);
        let fragment = fragment(self.sequence, &samples, end);
        // One write, so that a full disk or a crash cuts at most this fragment.
        self.file.write_all(&fragment)
    }
}

fn part(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|c| c.len()).sum();
    let length = u32::try_from(length + 8).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend(kind);
    for content in content {
        out.extend(*content);
    }
    out
}

/// A box with version and flags.
fn full(kind: &[u8; 4], version: u8, flags: u32, content: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    let mut all: Vec<&[u8]> = vec![&head];
    all.extend(content);
    part(kind, &all)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const UNITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

fn ftyp() -> Vec<u8> {
    part(
        b"ftyp",
        &[b"iso5", &512_u32.to_be_bytes(), b"iso5iso6avc1mp41"],
    )
}

fn moov(track: &StreamParameters) -> Vec<u8> {
    let SizePx { width, height } = track.size;
    let rate = RATE as u32;
    let mvhd = full(
        b"mvhd",
        0,
        0,
        &[
            &words(&[0, 0, 1000, 0, 0x1_0000, 0x0100_0000, 0, 0]),
            &words(&UNITY),
            &words(&[0; 6]),
            &words(&[2]),
        ],
    );
    let tkhd = full(
        b"tkhd",
        0,
        3,
        &[
            &words(&[0, 0, 1, 0, 0, 0, 0, 0, 0]),
            &words(&UNITY),
            &words(&[width << 16, height << 16]),
        ],
    );
    let mdhd = full(b"mdhd", 0, 0, &[&words(&[0, 0, rate, 0, 0x55c4_0000])]);
    let hdlr = full(
        b"hdlr",
        0,
        0,
        &[&words(&[0]), b"vide", &words(&[0; 3]), b"video\0"],
    );
    let dref = full(b"dref", 0, 0, &[&words(&[1]), &full(b"url ", 0, 1, &[])]);
    let empty = |kind| full(kind, 0, 0, &[&words(&[0])]);
    let stbl = part(
        b"stbl",
        &[
            &full(b"stsd", 0, 0, &[&words(&[1]), &avc1(track)]),
            &empty(b"stts"),
            &empty(b"stsc"),
            &full(b"stsz", 0, 0, &[&words(&[0, 0])]),
            &empty(b"stco"),
        ],
    );
    let minf = part(
        b"minf",
        &[
            &full(b"vmhd", 0, 1, &[&words(&[0, 0])]),
            &part(b"dinf", &[&dref]),
            &stbl,
        ],
    );
    let mdia = part(b"mdia", &[&mdhd, &hdlr, &minf]);
    let trex = full(b"trex", 0, 0, &[&words(&[1, 1, 0, 0, 0])]);
    part(
        b"moov",
        &[
            &mvhd,
            &part(b"trak", &[&tkhd, &mdia]),
            &part(b"mvex", &[&trex]),
        ],
    )
}

fn avc1(track: &StreamParameters) -> Vec<u8> {
    let SizePx { width, height } = track.size;
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX).to_be_bytes();
    let length = |nal: &[u8]| u16::try_from(nal.len()).unwrap_or(u16::MAX).to_be_bytes();
    let profile = track.sps.get(1..4).unwrap_or(&[66, 0xc0, 30]);
    let avcc = part(
        b"avcC",
        &[
            &[1],
            profile,
            &[0xff, 0xe1],
            &length(&track.sps),
            &track.sps,
            &[1],
            &length(&track.pps),
            &track.pps,
        ],
    );
    let (code, is_full) = match (track.colour.matrix, track.colour.range) {
        (YuvMatrix::Bt601, range) => (6_u16, range == YuvRange::Full),
        (YuvMatrix::Bt709, range) => (1, range == YuvRange::Full),
    };
    let code = code.to_be_bytes();
    let range = [u8::from(is_full) << 7];
    let colr = part(b"colr", &[b"nclx", &code, &code, &code, &range]);
    part(
        b"avc1",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 16],
            &side(width),
            &side(height),
            &words(&[0x48_0000, 0x48_0000, 0]),
            &[0, 1],
            &[0; 32],
            &[0, 24, 0xff, 0xff],
            &avcc,
            &colr,
        ],
    )
}

/// `moof` and `mdat` of samples, the last of which lasts until `end`.
fn fragment(sequence: u32, samples: &[(i64, EncodedFrame)], end: i64) -> Vec<u8> {
    let begin = samples.first().map_or(0, |(at, _)| *at);
    let ends = samples.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let mut entries = Vec::new();
    for ((at, sample), end) in samples.iter().zip(ends) {
        let duration = u32::try_from((end - at).max(1)).unwrap_or(u32::MAX);
        let size = u32::try_from(sample.data.len()).unwrap_or(u32::MAX);
        // Depends on others or not (8.8.3.1).
        let flags = if sample.is_key {
            0x0200_0000
        } else {
            0x0101_0000
        };
        entries.extend(words(&[duration, size, flags]));
    }
    let count = samples.len() as u32;
    let moof = |offset: u32| {
        let traf = part(
            b"traf",
            &[
                &full(b"tfhd", 0, 0x02_0000, &[&words(&[1])]),
                &full(b"tfdt", 1, 0, &[&begin.to_be_bytes()]),
                // Data offset, duration, size and flags of each.
                &full(b"trun", 0, 0x701, &[&words(&[count, offset]), &entries]),
            ],
        );
        part(
            b"moof",
            &[&full(b"mfhd", 0, 0, &[&words(&[sequence])]), &traf],
        )
    };
    let offset = u32::try_from(moof(0).len() + 8).unwrap_or(u32::MAX);
    let data: Vec<&[u8]> = samples.iter().map(|(_, sample)| &*sample.data).collect();
    [moof(offset), part(b"mdat", &data)].concat()
}

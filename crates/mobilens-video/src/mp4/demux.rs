//! From an MP4 file to coded frames in decoding order, with the times at which they are shown.
//!
//! Reads one frame at a time by its place in the file; only the index is kept in memory. Edit
//! lists are applied as ffmpeg does: a frame is shown when its presentation time lies in the
//! edit, the first one at 0 (or at the end of the empty edits before it).

use std::io::{Read, Seek, SeekFrom};

use super::boxes::{FileBox, letters};
use super::fragment::FragmentReader;
use super::movie::{Edit, VideoTrack};
use super::samples::{Sample, SampleCursor};
use crate::error::VideoError;

/// Largest index, in bytes.
const MAX_MOOV_BYTES: u64 = 64 << 20;
/// Largest coded frame, in bytes.
const MAX_SAMPLE_BYTES: u64 = 64 << 20;
/// Boxes looked at before the index.
const MAX_BOXES: u64 = 100_000;

/// A coded frame. Times are in ticks of the track, after edits.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodedFrame {
    /// When it is shown.
    pub pts: i64,
    /// Whether it is shown; others are only decoded, because shown ones refer to them.
    pub shown: bool,
    /// Whether the file says that decoding can begin here.
    pub sync: bool,
    /// Whether what came before is to be forgotten: a jump to another place of the media.
    pub restart: bool,
    /// Sample description.
    pub description: u32,
    /// No frame after this one is shown before this time.
    pub floor: i64,
}

/// A stretch of the media that is shown.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Where decoding begins.
    start: SampleCursor,
    /// First time that is shown, before edits.
    from: i64,
    /// First time that is not, before edits.
    to: i64,
    /// Added to times before edits to get times after edits.
    shift: i64,
}

/// What the index says of the frames that will be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// How many.
    pub frames: u64,
    /// Mean number a second.
    pub fps: Option<f64>,
}

/// Reads the coded frames of a file's video track.
#[derive(Debug)]
pub(super) struct Demuxer<F> {
    file: F,
    file_bytes: u64,
    /// Where fragments can begin.
    after_moov: u64,
    track: VideoTrack,
    segments: Vec<Segment>,
    extent: Option<Extent>,
    segment: usize,
    cursor: SampleCursor,
    fragments: Option<FragmentReader>,
    restart: bool,
    frames_read: u64,
}

impl<F: Read + Seek> Demuxer<F> {
    /// Reads the index of `file`.
    pub(super) fn open(mut file: F) -> Result<Self, VideoError> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        check_container(&mut file, file_bytes)?;
        let moov = find_moov(&mut file, file_bytes)?;
        let content = moov.content(&mut file, file_bytes, MAX_MOOV_BYTES)?;
        let track = VideoTrack::parse(&content)?;
        drop(content);
        let (segments, extent) = plan(&track);
        let mut demuxer = Self {
            file,
            file_bytes,
            after_moov: moov.end,
            track,
            segments,
            extent,
            segment: 0,
            cursor: SampleCursor::default(),
            fragments: None,
            restart: true,
            frames_read: 0,
        };
        demuxer.rewind();
        Ok(demuxer)
    }

    /// The track.
    pub(super) fn track(&self) -> &VideoTrack {
        &self.track
    }

    /// What will be shown; none where only reading to the end would tell.
    pub(super) fn extent(&self) -> Option<Extent> {
        self.extent
    }

    /// Goes back to the first frame.
    pub(super) fn rewind(&mut self) {
        self.frames_read = 0;
        self.enter(0);
    }

    fn enter(&mut self, segment: usize) {
        self.segment = segment;
        self.restart = true;
        self.fragments = None;
        if let Some(segment) = self.segments.get(segment) {
            self.cursor = segment.start;
        }
    }

    /// Reads the next coded frame into `bytes`; none at the end.
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> Result<Option<CodedFrame>, VideoError> {
        while let Some(&segment) = self.segments.get(self.segment) {
            let Some(sample) = self.next_sample()? else {
                self.enter(self.segment + 1);
                continue;
            };
            let least_offset = match &self.fragments {
                Some(fragments) => fragments.least_offset().min(self.least_offset()),
                None => self.least_offset(),
            };
            if sample.dts.saturating_add(least_offset) >= segment.to {
                self.enter(self.segment + 1);
                continue;
            }
            self.frames_read += 1;
            self.read_sample(&sample, bytes)?;
            let next_dts = sample.dts.saturating_add(i64::from(sample.duration));
            return Ok(Some(CodedFrame {
                pts: sample.pts.saturating_add(segment.shift),
                shown: (segment.from..segment.to).contains(&sample.pts),
                sync: sample.sync,
                restart: std::mem::take(&mut self.restart),
                description: sample.description,
                floor: next_dts
                    .saturating_add(least_offset)
                    .saturating_add(segment.shift),
            }));
        }
        Ok(None)
    }

    fn least_offset(&self) -> i64 {
        self.track.tables.least_offset()
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, VideoError> {
        if let Some(sample) = self.cursor.next(&self.track.tables) {
            return Ok(Some(sample));
        }
        let (frames, described) = (self.track.tables.count(), self.cursor.index());
        if described < frames {
            return Err(VideoError::IndexShort { frames, described });
        }
        let Some(defaults) = self.track.fragment_defaults else {
            return Ok(None);
        };
        let (id, first_box) = (self.track.id, self.after_moov);
        let dts = self.cursor.dts();
        self.fragments
            .get_or_insert_with(|| FragmentReader::new(id, defaults, first_box, dts))
            .next(&mut self.file, self.file_bytes)
    }

    fn read_sample(&mut self, sample: &Sample, bytes: &mut Vec<u8>) -> Result<(), VideoError> {
        let length = u64::from(sample.bytes);
        if sample.offset.saturating_add(length) > self.file_bytes {
            let frames = match self.track.fragment_defaults {
                None => Some(self.track.tables.count()),
                Some(_) => None,
            };
            return Err(VideoError::CutOff {
                frame: self.frames_read,
                frames,
            });
        }
        if length > MAX_SAMPLE_BYTES {
            return Err(VideoError::TooLarge {
                what: "a coded frame in bytes",
                got: length,
                limit: MAX_SAMPLE_BYTES,
            });
        }
        bytes.resize(sample.bytes as usize, 0);
        self.file.seek(SeekFrom::Start(sample.offset))?;
        self.file.read_exact(bytes)?;
        Ok(())
    }
}

/// Finds the index among the outermost boxes.
fn find_moov<F: Read + Seek>(file: &mut F, file_bytes: u64) -> Result<FileBox, VideoError> {
    let mut at = 0;
    for _ in 0..MAX_BOXES {
        let Some(found) = FileBox::read(file, at, file_bytes)? else {
            break;
        };
        if found.kind == *b"moov" {
            return Ok(found);
        }
        at = found.end;
    }
    Err(VideoError::NoIndex)
}

/// Looks at the first bytes: names what is not MP4.
fn check_container<F: Read + Seek>(file: &mut F, file_bytes: u64) -> Result<(), VideoError> {
    if file_bytes == 0 {
        return Err(VideoError::Empty);
    }
    let mut head = [0; 12];
    let have = file_bytes.min(12) as usize;
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut head[..have])?;
    let other = |name| Err(VideoError::OtherContainer { name });
    match &head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => {
            return other("an AVI file");
        }
        [0x1a, 0x45, 0xdf, 0xa3, ..] => return other("a Matroska or WebM file"),
        [b'F', b'L', b'V', 1, ..] => return other("a Flash video"),
        [b'O', b'g', b'g', b'S', ..] => return other("an Ogg file"),
        [0x30, 0x26, 0xb2, 0x75, ..] => return other("a Windows Media file"),
        [0, 0, 1, 0xba, ..] => return other("an MPEG program stream"),
        [0, 0, 0, 1, 0x67 | 0x27 | 0x09, ..] | [0, 0, 1, 0x67 | 0x27 | 0x09, ..] => {
            return other("a bare H.264 stream");
        }
        [0x47, ..] if is_transport_stream(file, file_bytes)? => {
            return other("an MPEG transport stream");
        }
        _ => {}
    }
    match &head[4..8] {
        b"ftyp" | b"styp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide" | b"pnot" | b"uuid"
        | b"sidx" | b"moof" => Ok(()),
        kind => {
            tracing::debug!(
                kind = letters([kind[0], kind[1], kind[2], kind[3]]),
                "unknown first box"
            );
            Err(VideoError::NotAMovie)
        }
    }
}

/// Whether packets of 188 bytes begin with the sync byte.
fn is_transport_stream<F: Read + Seek>(file: &mut F, file_bytes: u64) -> Result<bool, VideoError> {
    if file_bytes <= 188 {
        return Ok(false);
    }
    let mut sync = [0];
    file.seek(SeekFrom::Start(188))?;
    file.read_exact(&mut sync)?;
    Ok(sync == [0x47])
}

/// Works out what is shown, and how much that is where the index names all frames.
fn plan(track: &VideoTrack) -> (Vec<Segment>, Option<Extent>) {
    let mut segments = Vec::new();
    // Where the next edit begins on the timeline, and what of that is empty.
    let (mut timeline, mut empty) = (0i64, 0i64);
    for edit in &track.edits {
        match *edit {
            Edit::Empty { duration } => {
                timeline = timeline.saturating_add(duration);
                empty = empty.saturating_add(duration);
            }
            Edit::Media { from, duration } => {
                segments.push(Segment {
                    start: SampleCursor::default(),
                    from,
                    to: duration.map_or(i64::MAX, |d| from.saturating_add(d)),
                    shift: timeline.saturating_sub(from),
                });
                timeline = timeline.saturating_add(duration.unwrap_or(0));
            }
        }
    }
    if segments.is_empty() {
        segments.push(Segment {
            start: SampleCursor::default(),
            from: i64::MIN,
            to: i64::MAX,
            shift: timeline,
        });
        empty = i64::MIN; // without an edit, times are as the samples have them
    }
    let shown = survey(track, &mut segments);
    if empty != i64::MIN && shown.first_pts != i64::MAX {
        let late = shown.first_pts.saturating_sub(empty).max(0);
        for segment in &mut segments {
            segment.shift = segment.shift.saturating_sub(late);
        }
    }
    let extent = track.fragment_defaults.is_none().then(|| Extent {
        frames: shown.frames,
        fps: (shown.ticks > 0)
            .then(|| shown.frames as f64 * f64::from(track.timescale) / shown.ticks as f64),
    });
    (segments, extent)
}

/// What a walk over all samples found.
struct Shown {
    frames: u64,
    ticks: u64,
    first_pts: i64,
}

/// Walks over all samples once: finds where decoding of each segment begins, and counts.
fn survey(track: &VideoTrack, segments: &mut [Segment]) -> Shown {
    let mut shown = Shown {
        frames: 0,
        ticks: 0,
        first_pts: i64::MAX,
    };
    let mut cursor = SampleCursor::default();
    loop {
        let here = cursor;
        let Some(sample) = cursor.next(&track.tables) else {
            return shown;
        };
        for segment in &mut *segments {
            if sample.sync && sample.pts <= segment.from {
                segment.start = here;
            }
            if (segment.from..segment.to).contains(&sample.pts) {
                shown.frames += 1;
                shown.ticks += u64::from(sample.duration);
                let pts = sample.pts.saturating_add(segment.shift);
                shown.first_pts = shown.first_pts.min(pts);
            }
        }
    }
}

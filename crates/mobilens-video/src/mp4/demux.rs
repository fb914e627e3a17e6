//! MP4 demuxer: coded frames in decoding order, with their presentation times.
//!
//! Reads one frame at a time by its file offset; only the sample tables are kept in memory. Edit
//! lists are applied as ffmpeg does: a frame is shown when its presentation time lies within the
//! edit, the first one at 0 (or at the end of the empty edits before it).

use std::io::{Read, Seek, SeekFrom};

use super::boxes::{FileBox, printable_fourcc};
use super::fragment::FragmentReader;
use super::movie::{Edit, VideoTrack};
use super::samples::{Sample, SampleCursor, Step};
use crate::error::VideoError;

/// Largest `moov` box in bytes.
const MAX_MOOV_BYTES: u64 = 64 << 20;
/// Largest coded frame in bytes.
const MAX_SAMPLE_BYTES: u64 = 64 << 20;
/// Most top-level boxes before `moov`.
const MAX_BOXES: u64 = 100_000;

/// A coded frame. Times are in ticks of the track, after the edit list is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodedFrame {
    /// Presentation time.
    pub pts: i64,
    /// Whether it is shown; other frames are only decoded as reference frames (pre-roll).
    pub is_shown: bool,
    /// Whether it is a sync sample (keyframe).
    pub sync: bool,
    /// Whether it does not follow the previous frame in the media: start of a segment.
    pub discontinuity: bool,
    /// Index of its sample description, from 0.
    pub description: u32,
    /// Lower bound of the presentation times of all later frames.
    pub min_next_pts: i64,
}

/// A segment of the media that is shown: one edit.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Sync sample at which decoding starts.
    start: SampleCursor,
    /// Start in media time (before edits), inclusive.
    from: i64,
    /// End in media time, exclusive.
    to: i64,
    /// Presentation time minus media time.
    shift: i64,
}

/// Number and rate of the frames that are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TrackStats {
    /// Number of frames.
    pub frames: u64,
    /// Mean frame rate.
    pub fps: Option<f64>,
}

/// Reads the coded frames of the video track.
#[derive(Debug)]
pub(super) struct Demuxer<F> {
    file: F,
    file_bytes: u64,
    /// Offset after `moov`, where fragments can start.
    after_moov: u64,
    track: VideoTrack,
    segments: Vec<Segment>,
    stats: Option<TrackStats>,
    segment: usize,
    cursor: SampleCursor,
    fragments: Option<FragmentReader>,
    discontinuity: bool,
    frames_read: u64,
}

impl<F: Read + Seek> Demuxer<F> {
    /// Reads the `moov` box of `file`.
    pub(super) fn open(mut file: F) -> Result<Self, VideoError> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        check_container(&mut file, file_bytes)?;
        let moov = find_moov(&mut file, file_bytes)?;
        let content = moov.content(&mut file, file_bytes, MAX_MOOV_BYTES)?;
        let track = VideoTrack::parse(&content)?;
        drop(content);
        track.tables.check_count(file_bytes)?;
        let (segments, stats) = segments_from_edits(&track);
        let mut demuxer = Self {
            file,
            file_bytes,
            after_moov: moov.end,
            track,
            segments,
            stats,
            segment: 0,
            cursor: SampleCursor::default(),
            fragments: None,
            discontinuity: true,
            frames_read: 0,
        };
        demuxer.rewind();
        Ok(demuxer)
    }

    /// The video track.
    pub(super) fn track(&self) -> &VideoTrack {
        &self.track
    }

    /// Number and rate of frames; none for a fragmented file, which must be read to its end.
    pub(super) fn stats(&self) -> Option<TrackStats> {
        self.stats
    }

    /// Goes back to the first frame.
    pub(super) fn rewind(&mut self) {
        self.frames_read = 0;
        self.start_segment(0);
    }

    fn start_segment(&mut self, segment: usize) {
        self.segment = segment;
        self.discontinuity = true;
        self.fragments = None;
        if let Some(segment) = self.segments.get(segment) {
            self.cursor = segment.start;
        }
    }

    /// Reads the next coded frame into `bytes`, or goes a part of the way to it.
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> Result<Step<CodedFrame>, VideoError> {
        while let Some(&segment) = self.segments.get(self.segment) {
            let sample = match self.next_sample()? {
                Step::Item(sample) => sample,
                Step::Pending => return Ok(Step::Pending),
                Step::End => {
                    self.start_segment(self.segment + 1);
                    continue;
                }
            };
            let min_offset = match &self.fragments {
                Some(fragments) => fragments
                    .min_composition_offset()
                    .min(self.min_composition_offset()),
                None => self.min_composition_offset(),
            };
            if sample.dts.saturating_add(min_offset) >= segment.to {
                self.start_segment(self.segment + 1);
                continue;
            }
            self.frames_read += 1;
            self.read_sample(&sample, bytes)?;
            let next_dts = sample.dts.saturating_add(i64::from(sample.duration));
            return Ok(Step::Item(CodedFrame {
                pts: sample.pts.saturating_add(segment.shift),
                is_shown: (segment.from..segment.to).contains(&sample.pts),
                sync: sample.sync,
                discontinuity: std::mem::take(&mut self.discontinuity),
                description: sample.description,
                min_next_pts: next_dts
                    .saturating_add(min_offset)
                    .saturating_add(segment.shift),
            }));
        }
        Ok(Step::End)
    }

    fn min_composition_offset(&self) -> i64 {
        self.track.tables.min_composition_offset()
    }

    fn next_sample(&mut self) -> Result<Step<Sample>, VideoError> {
        if let Some(sample) = self.cursor.next(&self.track.tables) {
            return Ok(Step::Item(sample));
        }
        let (frames, described) = (self.track.tables.count(), self.cursor.index());
        if described < frames {
            return Err(VideoError::IncompleteSampleTables { frames, described });
        }
        let Some(defaults) = self.track.fragment_defaults else {
            return Ok(Step::End);
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
            return Err(VideoError::Truncated {
                frame: self.frames_read,
                frames,
            });
        }
        if length > MAX_SAMPLE_BYTES {
            return Err(VideoError::TooLarge {
                what: "the size of a coded frame in bytes",
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

/// Finds `moov` among the top-level boxes.
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
    Err(VideoError::MissingMoov)
}

/// Detects other containers by their magic bytes.
fn check_container<F: Read + Seek>(file: &mut F, file_bytes: u64) -> Result<(), VideoError> {
    if file_bytes == 0 {
        return Err(VideoError::Empty);
    }
    let mut head = [0; 12];
    let have = file_bytes.min(12) as usize;
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut head[..have])?;
    let other = |name| Err(VideoError::UnsupportedContainer { name });
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
            return other("a raw H.264 stream (Annex B)");
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
                kind = printable_fourcc([kind[0], kind[1], kind[2], kind[3]]),
                "unknown first box"
            );
            Err(VideoError::UnknownContainer)
        }
    }
}

/// Whether the second packet of 188 bytes starts with the sync byte.
fn is_transport_stream<F: Read + Seek>(file: &mut F, file_bytes: u64) -> Result<bool, VideoError> {
    if file_bytes <= 188 {
        return Ok(false);
    }
    let mut sync = [0];
    file.seek(SeekFrom::Start(188))?;
    file.read_exact(&mut sync)?;
    Ok(sync == [0x47])
}

/// Converts the edit list to segments, and counts the frames, where there are no fragments.
fn segments_from_edits(track: &VideoTrack) -> (Vec<Segment>, Option<TrackStats>) {
    let mut segments = Vec::new();
    // Start of the next edit on the timeline, and the length of the empty edits.
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
        empty = i64::MIN; // without an edit, the samples' times are kept
    }
    let shown = scan_samples(track, &mut segments);
    if empty != i64::MIN && shown.first_pts != i64::MAX {
        let late = shown.first_pts.saturating_sub(empty).max(0);
        for segment in &mut segments {
            segment.shift = segment.shift.saturating_sub(late);
        }
    }
    let stats = track.fragment_defaults.is_none().then(|| TrackStats {
        frames: shown.frames,
        fps: (shown.ticks > 0)
            .then(|| shown.frames as f64 * f64::from(track.timescale) / shown.ticks as f64),
    });
    (segments, stats)
}

/// Totals of the samples that are shown.
struct ScanTotals {
    frames: u64,
    ticks: u64,
    first_pts: i64,
}

/// Scans all samples once: finds the sync sample at which each segment starts, and counts.
fn scan_samples(track: &VideoTrack, segments: &mut [Segment]) -> ScanTotals {
    let mut shown = ScanTotals {
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

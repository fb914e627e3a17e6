//! Reads movie fragments (`moof`): fragmented MP4, in which each fragment has its own sample tables.
//!
//! ISO/IEC 14496-12, section 8.8.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use super::boxes::{BoxReader, FileBox, children, invalid_box};
use super::movie::FragmentDefaults;
use super::samples::{Sample, Step};
use crate::error::VideoError;

/// Largest `moof` box in bytes.
const MAX_MOOF_BYTES: u64 = 16 << 20;
/// Most samples of one fragment; more is taken for damage.
const MAX_SAMPLES: usize = 1_000_000;
/// Most boxes that one step of reading skips.
const MAX_SKIPPED_BOXES: u32 = 1000;

/// Iterates over the samples of one track, fragment by fragment.
#[derive(Debug)]
pub(super) struct FragmentReader {
    track: u32,
    defaults: FragmentDefaults,
    /// Offset of the next top-level box.
    next_box: u64,
    next_dts: i64,
    min_composition_offset: i64,
    /// Samples of the current fragment that were not returned yet.
    samples: VecDeque<Sample>,
}

impl FragmentReader {
    /// Searches for fragments from `start_offset` on. `dts`: decoding time at the end of the movie
    /// box's own samples.
    pub(super) fn new(track: u32, defaults: FragmentDefaults, start_offset: u64, dts: i64) -> Self {
        Self {
            track,
            defaults,
            next_box: start_offset,
            next_dts: dts,
            min_composition_offset: 0,
            samples: VecDeque::new(),
        }
    }

    /// The smallest composition offset (presentation minus decoding time) so far; at most 0.
    pub(super) fn min_composition_offset(&self) -> i64 {
        self.min_composition_offset
    }

    /// The next sample, or a part of the way to it.
    pub(super) fn next<F: Read + Seek>(
        &mut self,
        file: &mut F,
        file_bytes: u64,
    ) -> Result<Step<Sample>, VideoError> {
        if let Some(sample) = self.samples.pop_front() {
            return Ok(Step::Item(sample));
        }
        for _ in 0..MAX_SKIPPED_BOXES {
            let Some(found) = FileBox::read(file, self.next_box, file_bytes)? else {
                return Ok(Step::End);
            };
            self.next_box = found.end;
            if found.kind == *b"moof" {
                let moof = found.content(file, file_bytes, MAX_MOOF_BYTES)?;
                self.read_fragment(&moof, found.start)?;
                return Ok(self.samples.pop_front().map_or(Step::Pending, Step::Item));
            }
        }
        Ok(Step::Pending)
    }

    fn read_fragment(&mut self, moof: &[u8], moof_start: u64) -> Result<(), VideoError> {
        // Without a base offset, a track's data follows that of the previous track.
        let mut data_end = moof_start;
        for found in children(moof) {
            let (kind, body) = found?;
            if kind == *b"traf" {
                data_end = self.read_traf(body, moof_start, data_end)?;
            }
        }
        Ok(())
    }

    /// Reads a track fragment (`traf`); returns the offset after its data.
    fn read_traf(
        &mut self,
        traf: &[u8],
        moof_start: u64,
        data_end: u64,
    ) -> Result<u64, VideoError> {
        let mut header = None;
        let mut data_offset = data_end;
        for found in children(traf) {
            let (kind, body) = found?;
            let mut fields = BoxReader::new(kind, body);
            match &kind {
                b"tfhd" => {
                    let parsed =
                        TrackFragmentHeader::parse(fields, self.defaults, moof_start, data_end)?;
                    data_offset = parsed.base;
                    header = Some(parsed);
                }
                b"tfdt" => {
                    let (version, _) = fields.version_flags()?;
                    let dts = fields.u32_or_u64(version)?;
                    if header.is_some_and(|h| h.track == self.track) {
                        self.next_dts = i64::try_from(dts)
                            .map_err(|_| invalid_box(kind, "has a decoding time out of range"))?;
                    }
                }
                b"trun" => {
                    let header = header
                        .ok_or_else(|| invalid_box(kind, "precedes the `tfhd` of its track"))?;
                    data_offset = self.read_trun(fields, &header, data_offset)?;
                }
                _ => {}
            }
        }
        Ok(data_offset)
    }

    /// Reads a track run (`trun`); returns the offset after its data.
    fn read_trun(
        &mut self,
        mut fields: BoxReader<'_>,
        header: &TrackFragmentHeader,
        mut data_offset: u64,
    ) -> Result<u64, VideoError> {
        let (_, flags) = fields.version_flags()?;
        let has = |bit: u32| flags & bit != 0;
        let count = fields.u32()?;
        if has(0x1) {
            data_offset = header.base.saturating_add_signed(i64::from(fields.i32()?));
        }
        let mut first_flags = if has(0x4) { Some(fields.u32()?) } else { None };
        for _ in 0..count {
            let duration = field_or(&mut fields, has(0x100), header.defaults.duration)?;
            let bytes = field_or(&mut fields, has(0x200), header.defaults.bytes)?;
            let given = field_or(&mut fields, has(0x400), header.defaults.flags)?;
            let flags = first_flags.take().unwrap_or(given);
            let offset = if has(0x800) { fields.i32()? } else { 0 };
            if header.track == self.track {
                if self.samples.len() == MAX_SAMPLES {
                    return Err(VideoError::TooLarge {
                        what: "the number of frames in one fragment",
                        got: u64::from(count),
                        limit: MAX_SAMPLES as u64,
                    });
                }
                self.min_composition_offset = self.min_composition_offset.min(i64::from(offset));
                self.samples.push_back(Sample {
                    offset: data_offset,
                    bytes,
                    dts: self.next_dts,
                    pts: self.next_dts.saturating_add(i64::from(offset)),
                    duration,
                    sync: flags & 0x0001_0000 == 0, // sample_is_non_sync_sample
                    description: header.defaults.description.saturating_sub(1),
                });
                self.next_dts = self.next_dts.saturating_add(i64::from(duration));
            } else if !has(0xf00) {
                // Another track's run without per-sample fields: no need to iterate.
                let all = u64::from(bytes) * u64::from(count);
                return Ok(data_offset.saturating_add(all));
            }
            data_offset = data_offset.saturating_add(u64::from(bytes));
        }
        Ok(data_offset)
    }
}

/// An optional field, or its default.
fn field_or(fields: &mut BoxReader<'_>, present: bool, default: u32) -> Result<u32, VideoError> {
    if present { fields.u32() } else { Ok(default) }
}

/// Track fragment header (`tfhd`).
#[derive(Clone, Copy, Debug)]
struct TrackFragmentHeader {
    track: u32,
    /// Base data offset.
    base: u64,
    defaults: FragmentDefaults,
}

impl TrackFragmentHeader {
    fn parse(
        mut fields: BoxReader<'_>,
        mut defaults: FragmentDefaults,
        moof_start: u64,
        data_end: u64,
    ) -> Result<Self, VideoError> {
        let (_, flags) = fields.version_flags()?;
        let has = |bit: u32| flags & bit != 0;
        let track = fields.u32()?;
        let base = if has(0x1) {
            fields.u64()?
        } else if has(0x2_0000) {
            moof_start
        } else {
            data_end
        };
        defaults.description = field_or(&mut fields, has(0x2), defaults.description)?;
        defaults.duration = field_or(&mut fields, has(0x8), defaults.duration)?;
        defaults.bytes = field_or(&mut fields, has(0x10), defaults.bytes)?;
        defaults.flags = field_or(&mut fields, has(0x20), defaults.flags)?;
        Ok(Self {
            track,
            base,
            defaults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mp4::box_writer::{mp4_box, u32s};

    #[test]
    fn a_run_with_defaults_and_first_sample_flags() {
        let tfhd = mp4_box(b"tfhd", &[&u32s(&[0x2_0038, 7, 100, 10, 0x0001_0000])]);
        let tfdt = mp4_box(b"tfdt", &[&u32s(&[0, 5000])]);
        let trun = mp4_box(
            b"trun",
            &[&u32s(&[0x0100_0805, 2, 80, 0, 200, (-50i32) as u32])],
        );
        let moof = mp4_box(b"moof", &[&mp4_box(b"traf", &[&tfhd, &tfdt, &trun])]);
        let file_bytes = moof.len() as u64;
        let mut file = std::io::Cursor::new(moof);
        let mut reader = FragmentReader::new(7, FragmentDefaults::default(), 0, 0);
        let mut next = || match reader.next(&mut file, file_bytes).expect("valid") {
            Step::Item(sample) => Some(sample),
            Step::Pending | Step::End => None,
        };
        let first = next().expect("first");
        assert_eq!((first.offset, first.bytes, first.sync), (80, 10, true));
        assert_eq!((first.dts, first.pts), (5000, 5200));
        let second = next().expect("second");
        assert_eq!((second.offset, second.sync), (90, false));
        assert_eq!((second.dts, second.pts), (5100, 5050));
        assert_eq!(next(), None);
        assert_eq!(reader.min_composition_offset(), -50);
    }

    #[test]
    fn boxes_without_samples_are_skipped_in_steps() {
        let boxes = [mp4_box(b"free", &[]).repeat(2500), mp4_box(b"moof", &[])].concat();
        let file_bytes = boxes.len() as u64;
        let mut file = std::io::Cursor::new(boxes);
        let mut reader = FragmentReader::new(7, FragmentDefaults::default(), 0, 0);
        let mut next = || reader.next(&mut file, file_bytes).expect("valid");
        for _ in 0..3 {
            assert_eq!(next(), Step::Pending, "a stop is seen between steps");
        }
        assert_eq!(next(), Step::End);
    }

    #[test]
    fn a_sample_count_of_billions_is_rejected() {
        let tfhd = mp4_box(b"tfhd", &[&u32s(&[0x2_0038, 7, 100, 10, 0])]);
        let trun = mp4_box(b"trun", &[&u32s(&[0, u32::MAX])]);
        let moof = mp4_box(b"moof", &[&mp4_box(b"traf", &[&tfhd, &trun])]);
        let file_bytes = moof.len() as u64;
        let mut reader = FragmentReader::new(7, FragmentDefaults::default(), 0, 0);
        let got = reader.next(&mut std::io::Cursor::new(moof), file_bytes);
        assert!(matches!(got, Err(VideoError::TooLarge { .. })));
    }
}

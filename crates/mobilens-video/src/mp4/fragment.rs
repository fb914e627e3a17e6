//! Movie fragments: recordings that are written piece by piece, each with its own small index.
//!
//! ISO/IEC 14496-12, section 8.8.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use super::boxes::{Fields, FileBox, children, damaged};
use super::movie::FragmentDefaults;
use super::samples::Sample;
use crate::error::VideoError;

/// Largest index of one fragment, in bytes.
const MAX_MOOF_BYTES: u64 = 16 << 20;
/// More samples in one fragment are taken for damage.
const MAX_SAMPLES: usize = 1_000_000;

/// Reads the samples of one track, fragment after fragment.
#[derive(Debug)]
pub(super) struct FragmentReader {
    track: u32,
    defaults: FragmentDefaults,
    /// Where the next box of the file begins.
    next_box: u64,
    next_dts: i64,
    least_offset: i64,
    samples: VecDeque<Sample>,
}

impl FragmentReader {
    /// Looks for fragments from `first_box` on. `dts` is where the index before them ended.
    pub(super) fn new(track: u32, defaults: FragmentDefaults, first_box: u64, dts: i64) -> Self {
        Self {
            track,
            defaults,
            next_box: first_box,
            next_dts: dts,
            least_offset: 0,
            samples: VecDeque::new(),
        }
    }

    /// The least, so far, that a presentation time lies after its decoding time.
    pub(super) fn least_offset(&self) -> i64 {
        self.least_offset
    }

    /// The next sample; none at the end of the file.
    pub(super) fn next<F: Read + Seek>(
        &mut self,
        file: &mut F,
        file_bytes: u64,
    ) -> Result<Option<Sample>, VideoError> {
        while self.samples.is_empty() {
            let Some(found) = FileBox::read(file, self.next_box, file_bytes)? else {
                return Ok(None);
            };
            self.next_box = found.end;
            if found.kind == *b"moof" {
                let moof = found.content(file, file_bytes, MAX_MOOF_BYTES)?;
                self.read_fragment(&moof, found.start)?;
            }
        }
        Ok(self.samples.pop_front())
    }

    fn read_fragment(&mut self, moof: &[u8], moof_start: u64) -> Result<(), VideoError> {
        // Without a base of its own, a track's data follow those of the track before it.
        let mut data_end = moof_start;
        for found in children(moof) {
            let (kind, body) = found?;
            if kind == *b"traf" {
                data_end = self.read_track(body, moof_start, data_end)?;
            }
        }
        Ok(())
    }

    /// Reads one `traf`; gives the offset after its data.
    fn read_track(
        &mut self,
        traf: &[u8],
        moof_start: u64,
        data_end: u64,
    ) -> Result<u64, VideoError> {
        let mut header = None;
        let mut place = data_end;
        for found in children(traf) {
            let (kind, body) = found?;
            let mut fields = Fields::new(kind, body);
            match &kind {
                b"tfhd" => {
                    let parsed = TrackHeader::parse(fields, self.defaults, moof_start, data_end)?;
                    place = parsed.base;
                    header = Some(parsed);
                }
                b"tfdt" => {
                    let (version, _) = fields.version_flags()?;
                    let dts = fields.u32_or_u64(version)?;
                    if header.is_some_and(|h| h.track == self.track) {
                        self.next_dts = i64::try_from(dts)
                            .map_err(|_| damaged(kind, "names a time beyond all clocks"))?;
                    }
                }
                b"trun" => {
                    let header = header.ok_or_else(|| damaged(kind, "stands before its header"))?;
                    place = self.read_run(fields, &header, place)?;
                }
                _ => {}
            }
        }
        Ok(place)
    }

    /// Reads one `trun`; gives the offset after its data.
    fn read_run(
        &mut self,
        mut fields: Fields<'_>,
        header: &TrackHeader,
        mut place: u64,
    ) -> Result<u64, VideoError> {
        let (_, flags) = fields.version_flags()?;
        let has = |bit: u32| flags & bit != 0;
        let count = fields.u32()?;
        if has(0x1) {
            place = header.base.saturating_add_signed(i64::from(fields.i32()?));
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
                self.least_offset = self.least_offset.min(i64::from(offset));
                self.samples.push_back(Sample {
                    offset: place,
                    bytes,
                    dts: self.next_dts,
                    pts: self.next_dts.saturating_add(i64::from(offset)),
                    duration,
                    sync: flags & 0x0001_0000 == 0, // sample_is_non_sync_sample
                    description: header.defaults.description.saturating_sub(1),
                });
                self.next_dts = self.next_dts.saturating_add(i64::from(duration));
            } else if !has(0xf00) {
                // Another track's run without fields: no need to count it one by one.
                let all = u64::from(bytes) * u64::from(count);
                return Ok(place.saturating_add(all));
            }
            place = place.saturating_add(u64::from(bytes));
        }
        Ok(place)
    }
}

/// A field that a run has, or the default for all.
fn field_or(fields: &mut Fields<'_>, present: bool, default: u32) -> Result<u32, VideoError> {
    if present { fields.u32() } else { Ok(default) }
}

/// The content of `tfhd`.
#[derive(Clone, Copy, Debug)]
struct TrackHeader {
    track: u32,
    /// What offsets of data count from.
    base: u64,
    defaults: FragmentDefaults,
}

impl TrackHeader {
    fn parse(
        mut fields: Fields<'_>,
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

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut all = (content.len() as u32 + 8).to_be_bytes().to_vec();
        all.extend(kind);
        all.extend(content);
        all
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    #[test]
    fn a_run_with_defaults_and_a_first_flag() {
        let tfhd = boxed(b"tfhd", &words(&[0x2_0038, 7, 100, 10, 0x0001_0000]));
        let tfdt = boxed(b"tfdt", &words(&[0, 5000]));
        let trun = boxed(
            b"trun",
            &words(&[0x0100_0805, 2, 80, 0, 200, (-50i32) as u32]),
        );
        let moof = boxed(b"moof", &boxed(b"traf", &[tfhd, tfdt, trun].concat()));
        let file_bytes = moof.len() as u64;
        let mut file = std::io::Cursor::new(moof);
        let mut reader = FragmentReader::new(7, FragmentDefaults::default(), 0, 0);
        let mut next = || reader.next(&mut file, file_bytes).expect("sound");
        let first = next().expect("first");
        assert_eq!((first.offset, first.bytes, first.sync), (80, 10, true));
        assert_eq!((first.dts, first.pts), (5000, 5200));
        let second = next().expect("second");
        assert_eq!((second.offset, second.sync), (90, false));
        assert_eq!((second.dts, second.pts), (5100, 5050));
        assert_eq!(next(), None);
        assert_eq!(reader.least_offset(), -50);
    }

    #[test]
    fn a_run_that_claims_billions_of_samples_is_refused() {
        let tfhd = boxed(b"tfhd", &words(&[0x2_0038, 7, 100, 10, 0]));
        let trun = boxed(b"trun", &words(&[0, u32::MAX]));
        let moof = boxed(b"moof", &boxed(b"traf", &[tfhd, trun].concat()));
        let file_bytes = moof.len() as u64;
        let mut reader = FragmentReader::new(7, FragmentDefaults::default(), 0, 0);
        let got = reader.next(&mut std::io::Cursor::new(moof), file_bytes);
        assert!(matches!(got, Err(VideoError::TooLarge { .. })));
    }
}

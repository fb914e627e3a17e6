//! Sample tables of a track (`stbl`), and a cursor that iterates over them in decoding order.
//!
//! The tables stay run-length encoded, as in the file; the cursor expands one sample at a time, so a
//! recording of a day takes a few megabytes. ISO/IEC 14496-12, sections 8.6 and 8.7.

use super::boxes::{BoxReader, child, invalid_box, required_child};
use crate::error::VideoError;

/// Largest sample count (eleven days at 16 frames/s); more is taken for damage.
const MAX_SAMPLES: u64 = 16_000_000;
/// Largest sample count that is taken as it is where all samples have the same size: a table of no
/// entries declares any number.
const MAX_UNCHECKED_SAMPLES: u64 = 100_000;

/// One step of reading samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// The next one.
    Item(T),
    /// A part of the file without samples was skipped: call again.
    Pending,
    /// No more.
    End,
}

/// Location and timestamps of one coded frame. Times are in ticks of the track's timescale, before
/// the edit list is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Offset of its data in the file.
    pub offset: u64,
    /// Size of its data.
    pub bytes: u32,
    /// Decoding time.
    pub dts: i64,
    /// Presentation (composition) time.
    pub pts: i64,
    /// Ticks until the decoding time of the next sample.
    pub duration: u32,
    /// Whether it is a sync sample (keyframe).
    pub sync: bool,
    /// Index of its sample description, from 0.
    pub description: u32,
}

/// Sample sizes in bytes (`stsz`).
#[derive(Debug)]
enum SampleSizes {
    /// One size for all samples.
    Constant(u32),
    /// One size per sample.
    Each(Vec<u32>),
}

/// A run of chunks with the same number of samples (`stsc`).
#[derive(Clone, Copy, Debug)]
struct ChunkRun {
    /// Number of its first chunk, from 1.
    first_chunk: u32,
    /// Samples per chunk.
    samples: u32,
    /// Index of the sample description, from 1.
    description: u32,
}

/// The content of an `stbl` box.
#[derive(Debug)]
pub(super) struct SampleTables {
    /// Number of samples.
    count: u32,
    sizes: SampleSizes,
    /// Runs of (sample count, duration in ticks): `stts`.
    durations: Vec<(u32, u32)>,
    /// Runs of (sample count, composition offset: presentation minus decoding time): `ctts`; empty
    /// where all offsets are 0.
    offsets: Vec<(u32, i32)>,
    /// The smallest of them; 0 if there are none.
    min_offset: i32,
    chunk_runs: Vec<ChunkRun>,
    /// File offsets of the chunks: `stco` or `co64`.
    chunks: Vec<u64>,
    /// Numbers of the sync samples, from 1: `stss`; none where all samples are sync samples.
    sync_samples: Option<Vec<u32>>,
}

impl SampleTables {
    /// Parses the tables in the content of `stbl`.
    pub(super) fn parse(stbl: &[u8]) -> Result<Self, VideoError> {
        let (sizes, count) = parse_sizes(required_child(stbl, *b"stsz")?)?;
        if u64::from(count) > MAX_SAMPLES {
            return Err(VideoError::TooLarge {
                what: "the number of frames",
                got: u64::from(count),
                limit: MAX_SAMPLES,
            });
        }
        let durations = run_lengths(required_child(stbl, *b"stts")?, BoxReader::u32)?;
        let offsets = match child(stbl, *b"ctts")? {
            Some(fields) => run_lengths(fields, BoxReader::i32)?,
            None => Vec::new(),
        };
        let min_offset = offsets.iter().map(|&(_, offset)| offset).min().unwrap_or(0);
        let sync_samples = match child(stbl, *b"stss")? {
            Some(mut fields) => {
                fields.version_flags()?;
                let mut sync_samples = Vec::new();
                for mut entry in fields.entries::<4>()? {
                    sync_samples.push(entry.u32()?);
                }
                Some(sync_samples)
            }
            None => None,
        };
        let mut chunk_runs = Vec::new();
        let mut fields = required_child(stbl, *b"stsc")?;
        fields.version_flags()?;
        for mut entry in fields.entries::<12>()? {
            chunk_runs.push(ChunkRun {
                first_chunk: entry.u32()?,
                samples: entry.u32()?,
                description: entry.u32()?,
            });
        }
        Ok(Self {
            count,
            sizes,
            durations,
            offsets,
            min_offset,
            chunk_runs,
            chunks: parse_chunks(stbl)?,
            sync_samples,
        })
    }

    /// Number of samples.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The smallest composition offset (presentation minus decoding time); may be negative.
    pub(super) fn min_composition_offset(&self) -> i64 {
        i64::from(self.min_offset)
    }

    /// Checks a great number of samples of one size, which takes no room in the tables, against the
    /// size of the file that must hold them.
    pub(super) fn check_count(&self, file_bytes: u64) -> Result<(), VideoError> {
        let SampleSizes::Constant(bytes) = self.sizes else {
            return Ok(());
        };
        let limit = MAX_UNCHECKED_SAMPLES.max(file_bytes / u64::from(bytes.max(1)));
        if self.count() <= limit {
            return Ok(());
        }
        Err(VideoError::TooLarge {
            what: "the number of frames",
            got: self.count(),
            limit,
        })
    }
}

fn parse_sizes(mut fields: BoxReader<'_>) -> Result<(SampleSizes, u32), VideoError> {
    fields.version_flags()?;
    let constant = fields.u32()?;
    if constant != 0 {
        let count = fields.u32()?;
        return Ok((SampleSizes::Constant(constant), count));
    }
    let mut sizes = Vec::new();
    for mut entry in fields.entries::<4>()? {
        sizes.push(entry.u32()?);
    }
    let count = u32::try_from(sizes.len())
        .map_err(|_| invalid_box(*b"stsz", "has an entry count out of range"))?;
    Ok((SampleSizes::Each(sizes), count))
}

fn parse_chunks(stbl: &[u8]) -> Result<Vec<u64>, VideoError> {
    let mut chunks = Vec::new();
    if let Some(mut fields) = child(stbl, *b"stco")? {
        fields.version_flags()?;
        for mut entry in fields.entries::<4>()? {
            chunks.push(u64::from(entry.u32()?));
        }
    } else {
        let mut fields = required_child(stbl, *b"co64")?;
        fields.version_flags()?;
        for mut entry in fields.entries::<8>()? {
            chunks.push(entry.u64()?);
        }
    }
    Ok(chunks)
}

/// A table of runs: entries of a sample count and a value.
fn run_lengths<'a, T>(
    mut fields: BoxReader<'a>,
    value: fn(&mut BoxReader<'a>) -> Result<T, VideoError>,
) -> Result<Vec<(u32, T)>, VideoError> {
    fields.version_flags()?;
    let mut run_lengths = Vec::new();
    for mut entry in fields.entries::<8>()? {
        run_lengths.push((entry.u32()?, value(&mut entry)?));
    }
    Ok(run_lengths)
}

/// A position in a table of runs.
#[derive(Clone, Copy, Debug, Default)]
struct RunCursor {
    entry: usize,
    taken: u32,
}

impl RunCursor {
    /// The value for the next sample; none at the end of the table.
    fn next<T: Copy>(&mut self, runs: &[(u32, T)]) -> Option<T> {
        loop {
            let &(count, value) = runs.get(self.entry)?;
            if self.taken < count {
                self.taken += 1;
                return Some(value);
            }
            self.entry += 1;
            self.taken = 0;
        }
    }
}

/// Iterates over the samples in decoding order. Cheap to copy: a copy is a position to seek to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleCursor {
    /// Samples returned so far.
    index: u32,
    dts: i64,
    durations: RunCursor,
    offsets: RunCursor,
    sync: usize,
    chunk_run: usize,
    /// Chunks started so far.
    chunk: u32,
    left_in_chunk: u32,
    /// File offset of the next sample.
    offset: u64,
}

impl SampleCursor {
    /// Samples returned so far.
    pub(super) fn index(&self) -> u64 {
        u64::from(self.index)
    }

    /// Decoding time of the next sample.
    pub(super) fn dts(&self) -> i64 {
        self.dts
    }

    /// The next sample; none at the end, or where one of the tables ends early.
    pub(super) fn next(&mut self, tables: &SampleTables) -> Option<Sample> {
        if self.index >= tables.count {
            return None;
        }
        let bytes = match &tables.sizes {
            SampleSizes::Constant(bytes) => *bytes,
            SampleSizes::Each(all) => *all.get(self.index as usize)?,
        };
        while self.left_in_chunk == 0 {
            self.start_next_chunk(tables)?;
        }
        let description = tables.chunk_runs.get(self.chunk_run)?.description;
        // Some writers omit the last entries: repeat the last duration, without an offset.
        let duration = self
            .durations
            .next(&tables.durations)
            .or_else(|| tables.durations.last().map(|&(_, ticks)| ticks))
            .unwrap_or(0);
        let composition_offset = self.offsets.next(&tables.offsets).unwrap_or(0);
        self.index += 1;
        let sync = match &tables.sync_samples {
            None => true,
            Some(sync_samples) => {
                while sync_samples.get(self.sync).is_some_and(|&s| s < self.index) {
                    self.sync += 1;
                }
                sync_samples.get(self.sync) == Some(&self.index)
            }
        };
        let sample = Sample {
            offset: self.offset,
            bytes,
            dts: self.dts,
            pts: self.dts.saturating_add(i64::from(composition_offset)),
            duration,
            sync,
            description: description.saturating_sub(1),
        };
        self.dts = self.dts.saturating_add(i64::from(duration));
        self.offset = self.offset.saturating_add(u64::from(bytes));
        self.left_in_chunk -= 1;
        Some(sample)
    }

    fn start_next_chunk(&mut self, tables: &SampleTables) -> Option<()> {
        self.offset = *tables.chunks.get(self.chunk as usize)?;
        self.chunk += 1;
        while tables
            .chunk_runs
            .get(self.chunk_run + 1)
            .is_some_and(|run| run.first_chunk <= self.chunk)
        {
            self.chunk_run += 1;
        }
        self.left_in_chunk = tables.chunk_runs.get(self.chunk_run)?.samples;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> SampleTables {
        SampleTables {
            count: 5,
            sizes: SampleSizes::Each(vec![10, 20, 30, 40, 50]),
            durations: vec![(2, 100), (1, 50)],
            offsets: vec![(1, 200), (4, -10)],
            min_offset: -10,
            chunk_runs: vec![
                ChunkRun {
                    first_chunk: 1,
                    samples: 2,
                    description: 1,
                },
                ChunkRun {
                    first_chunk: 2,
                    samples: 3,
                    description: 2,
                },
            ],
            chunks: vec![1000, 5000],
            sync_samples: Some(vec![1, 4]),
        }
    }

    #[test]
    fn the_cursor_returns_offsets_and_timestamps() {
        let tables = tables();
        let mut cursor = SampleCursor::default();
        let mut all = Vec::new();
        while let Some(sample) = cursor.next(&tables) {
            all.push(sample);
        }
        let offsets: Vec<_> = all.iter().map(|s| s.offset).collect();
        assert_eq!(offsets, [1000, 1010, 5000, 5030, 5070]);
        let times: Vec<_> = all.iter().map(|s| (s.dts, s.pts)).collect();
        assert_eq!(
            times,
            [(0, 200), (100, 90), (200, 190), (250, 240), (300, 290)]
        );
        let sync_samples: Vec<_> = all.iter().map(|s| s.sync).collect();
        assert_eq!(sync_samples, [true, false, false, true, false]);
        assert_eq!(all[4].description, 1);
        assert_eq!(tables.min_composition_offset(), -10);
    }

    #[test]
    fn a_count_that_takes_no_room_is_held_to_the_size_of_the_file() {
        let mut tables = tables();
        assert!(tables.check_count(0).is_ok(), "each has its entry");
        tables.sizes = SampleSizes::Constant(10);
        tables.count = 16_000_000;
        assert!(tables.check_count(160_000_000).is_ok());
        let refused = tables.check_count(1_000_000_000 / 8);
        assert!(matches!(refused, Err(VideoError::TooLarge { .. })));
        tables.count = 100_000;
        assert!(tables.check_count(0).is_ok(), "a truncated file is read");
    }

    #[test]
    fn a_table_that_ends_early_ends_the_iteration() {
        let mut tables = tables();
        tables.chunks.pop();
        let mut cursor = SampleCursor::default();
        while cursor.next(&tables).is_some() {}
        assert_eq!(cursor.index(), 2);
        assert_eq!(tables.count(), 5);
    }
}

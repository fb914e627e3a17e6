//! The sample tables of a track, and a cursor that walks them in decoding order.
//!
//! The tables stay as run lengths, as the file has them; a sample is worked out when the cursor
//! reaches it, so a day of recording takes a few megabytes. ISO/IEC 14496-12, sections 8.6 and 8.7.

use super::boxes::{Fields, child, damaged, required};
use crate::error::VideoError;

/// More frames than this (eleven days at 16 frames/s) are taken for a damaged index.
const MAX_SAMPLES: u64 = 16_000_000;

/// One coded frame, where and when it is. Times are in ticks of the track, before edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Offset of its bytes in the file.
    pub offset: u64,
    /// Number of its bytes.
    pub bytes: u32,
    /// When it is decoded.
    pub dts: i64,
    /// When it is shown.
    pub pts: i64,
    /// Ticks until the next is decoded.
    pub duration: u32,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// Which sample description it follows, from 0.
    pub description: u32,
}

/// Bytes of each sample.
#[derive(Debug)]
enum Sizes {
    /// All the same.
    Constant(u32),
    /// One each.
    Each(Vec<u32>),
}

/// A run of chunks with equal numbers of samples.
#[derive(Clone, Copy, Debug)]
struct ChunkRun {
    /// First chunk, from 1.
    first_chunk: u32,
    /// Samples in each.
    samples: u32,
    /// Sample description, from 1.
    description: u32,
}

/// The content of an `stbl` box.
#[derive(Debug)]
pub(super) struct SampleTables {
    /// Number of samples.
    count: u32,
    sizes: Sizes,
    /// Runs of (samples, ticks).
    durations: Vec<(u32, u32)>,
    /// Runs of (samples, presentation minus decoding time); empty where they are equal.
    offsets: Vec<(u32, i32)>,
    chunk_runs: Vec<ChunkRun>,
    chunks: Vec<u64>,
    /// Numbers, from 1, of samples where decoding can begin; none where all are.
    syncs: Option<Vec<u32>>,
}

impl SampleTables {
    /// Reads the tables in the content of `stbl`.
    pub(super) fn parse(stbl: &[u8]) -> Result<Self, VideoError> {
        let (sizes, count) = parse_sizes(required(stbl, *b"stsz")?)?;
        if u64::from(count) > MAX_SAMPLES {
            return Err(VideoError::TooLarge {
                what: "the number of frames",
                got: u64::from(count),
                limit: MAX_SAMPLES,
            });
        }
        let durations = pairs(required(stbl, *b"stts")?, Fields::u32)?;
        let offsets = match child(stbl, *b"ctts")? {
            Some(fields) => pairs(fields, Fields::i32)?,
            None => Vec::new(),
        };
        let syncs = match child(stbl, *b"stss")? {
            Some(mut fields) => {
                fields.version_flags()?;
                let mut syncs = Vec::new();
                for mut row in fields.rows::<4>()? {
                    syncs.push(row.u32()?);
                }
                Some(syncs)
            }
            None => None,
        };
        let mut chunk_runs = Vec::new();
        let mut fields = required(stbl, *b"stsc")?;
        fields.version_flags()?;
        for mut row in fields.rows::<12>()? {
            chunk_runs.push(ChunkRun {
                first_chunk: row.u32()?,
                samples: row.u32()?,
                description: row.u32()?,
            });
        }
        Ok(Self {
            count,
            sizes,
            durations,
            offsets,
            chunk_runs,
            chunks: parse_chunks(stbl)?,
            syncs,
        })
    }

    /// Number of samples.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The least that a presentation time lies after its decoding time; may be negative.
    pub(super) fn least_offset(&self) -> i64 {
        let least = self.offsets.iter().map(|&(_, offset)| offset).min();
        i64::from(least.unwrap_or(0))
    }
}

fn parse_sizes(mut fields: Fields<'_>) -> Result<(Sizes, u32), VideoError> {
    fields.version_flags()?;
    let constant = fields.u32()?;
    if constant != 0 {
        let count = fields.u32()?;
        return Ok((Sizes::Constant(constant), count));
    }
    let mut sizes = Vec::new();
    for mut row in fields.rows::<4>()? {
        sizes.push(row.u32()?);
    }
    let count = u32::try_from(sizes.len()).map_err(|_| damaged(*b"stsz", "has too many rows"))?;
    Ok((Sizes::Each(sizes), count))
}

fn parse_chunks(stbl: &[u8]) -> Result<Vec<u64>, VideoError> {
    let mut chunks = Vec::new();
    if let Some(mut fields) = child(stbl, *b"stco")? {
        fields.version_flags()?;
        for mut row in fields.rows::<4>()? {
            chunks.push(u64::from(row.u32()?));
        }
    } else {
        let mut fields = required(stbl, *b"co64")?;
        fields.version_flags()?;
        for mut row in fields.rows::<8>()? {
            chunks.push(row.u64()?);
        }
    }
    Ok(chunks)
}

/// Rows of a count and a value.
fn pairs<'a, T>(
    mut fields: Fields<'a>,
    value: fn(&mut Fields<'a>) -> Result<T, VideoError>,
) -> Result<Vec<(u32, T)>, VideoError> {
    fields.version_flags()?;
    let mut pairs = Vec::new();
    for mut row in fields.rows::<8>()? {
        pairs.push((row.u32()?, value(&mut row)?));
    }
    Ok(pairs)
}

/// A place in a table of runs.
#[derive(Clone, Copy, Debug, Default)]
struct RunPlace {
    row: usize,
    taken: u32,
}

impl RunPlace {
    /// The value for the next sample; none once the table is used up.
    fn next<T: Copy>(&mut self, runs: &[(u32, T)]) -> Option<T> {
        loop {
            let &(count, value) = runs.get(self.row)?;
            if self.taken < count {
                self.taken += 1;
                return Some(value);
            }
            self.row += 1;
            self.taken = 0;
        }
    }
}

/// Walks the tables in decoding order. Cheap to copy: a copy is a place to come back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleCursor {
    /// Samples given so far.
    index: u32,
    dts: i64,
    durations: RunPlace,
    offsets: RunPlace,
    sync: usize,
    chunk_run: usize,
    /// Chunks entered so far.
    chunk: u32,
    left_in_chunk: u32,
    /// Where the next sample of the chunk lies.
    offset: u64,
}

impl SampleCursor {
    /// Samples given so far.
    pub(super) fn index(&self) -> u64 {
        u64::from(self.index)
    }

    /// When the next sample is decoded.
    pub(super) fn dts(&self) -> i64 {
        self.dts
    }

    /// The next sample; none at the end, or where the tables stop describing samples.
    pub(super) fn next(&mut self, tables: &SampleTables) -> Option<Sample> {
        if self.index >= tables.count {
            return None;
        }
        let bytes = match &tables.sizes {
            Sizes::Constant(bytes) => *bytes,
            Sizes::Each(all) => *all.get(self.index as usize)?,
        };
        while self.left_in_chunk == 0 {
            self.enter_next_chunk(tables)?;
        }
        let description = tables.chunk_runs.get(self.chunk_run)?.description;
        // Writers leave the last rows out: go on with the last duration, and without an offset.
        let duration = self
            .durations
            .next(&tables.durations)
            .or_else(|| tables.durations.last().map(|&(_, ticks)| ticks))
            .unwrap_or(0);
        let shift = self.offsets.next(&tables.offsets).unwrap_or(0);
        self.index += 1;
        let sync = match &tables.syncs {
            None => true,
            Some(syncs) => {
                while syncs.get(self.sync).is_some_and(|&s| s < self.index) {
                    self.sync += 1;
                }
                syncs.get(self.sync) == Some(&self.index)
            }
        };
        let sample = Sample {
            offset: self.offset,
            bytes,
            dts: self.dts,
            pts: self.dts.saturating_add(i64::from(shift)),
            duration,
            sync,
            description: description.saturating_sub(1),
        };
        self.dts = self.dts.saturating_add(i64::from(duration));
        self.offset = self.offset.saturating_add(u64::from(bytes));
        self.left_in_chunk -= 1;
        Some(sample)
    }

    fn enter_next_chunk(&mut self, tables: &SampleTables) -> Option<()> {
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
            sizes: Sizes::Each(vec![10, 20, 30, 40, 50]),
            durations: vec![(2, 100), (1, 50)],
            offsets: vec![(1, 200), (4, -10)],
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
            syncs: Some(vec![1, 4]),
        }
    }

    #[test]
    fn the_cursor_gives_places_and_times() {
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
        let syncs: Vec<_> = all.iter().map(|s| s.sync).collect();
        assert_eq!(syncs, [true, false, false, true, false]);
        assert_eq!(all[4].description, 1);
        assert_eq!(tables.least_offset(), -10);
    }

    #[test]
    fn tables_that_stop_early_end_the_walk() {
        let mut tables = tables();
        tables.chunks.pop();
        let mut cursor = SampleCursor::default();
        while cursor.next(&tables).is_some() {}
        assert_eq!(cursor.index(), 2);
        assert_eq!(tables.count(), 5);
    }
}

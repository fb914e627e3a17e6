//! The index of an MP4 file: which track holds the video, how it is coded, when it is shown.
//!
//! ISO/IEC 14496-12, sections 8.2 to 8.6, and 14496-15, section 5.3 (the `avcC` box).

use mobilens_image::{YuvColour, YuvRange};

use super::boxes::{Fields, FourCc, child, children, damaged, letters, required};
use super::samples::SampleTables;
use crate::error::VideoError;
use crate::h264::{CodecConfig, Rotation, matrix_from_code};

/// More edits than this are taken for a damaged index.
const MAX_EDITS: u64 = 64;

/// The video track of a file.
#[derive(Debug)]
pub(super) struct VideoTrack {
    /// Its id, the same in the fragments.
    pub id: u32,
    /// Ticks a second; not 0.
    pub timescale: u32,
    /// How its samples are coded; not empty.
    pub descriptions: Vec<CodecConfig>,
    /// Samples that the index itself names.
    pub tables: SampleTables,
    /// What is shown, in order; empty for all.
    pub edits: Vec<Edit>,
    /// How the picture is to be turned.
    pub rotation: Rotation,
    /// What fragments leave out; none in a file without fragments.
    pub fragment_defaults: Option<FragmentDefaults>,
}

/// A part of the timeline, in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Nothing is shown.
    Empty {
        /// How long.
        duration: i64,
    },
    /// A part of the media is shown.
    Media {
        /// Where it begins in the media.
        from: i64,
        /// How long it is; none for "to the end".
        duration: Option<i64>,
    },
}

/// The content of `trex`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FragmentDefaults {
    /// Sample description, from 1.
    pub description: u32,
    /// Ticks.
    pub duration: u32,
    /// Bytes.
    pub bytes: u32,
    /// Flags of a sample.
    pub flags: u32,
}

impl VideoTrack {
    /// Finds the video track in the content of `moov`: the first in H.264, else the first.
    pub(super) fn parse(moov: &[u8]) -> Result<Self, VideoError> {
        let mut mvhd = required(moov, *b"mvhd")?;
        let (version, _) = mvhd.version_flags()?;
        mvhd.take(if version == 1 { 16 } else { 8 })?;
        let movie_timescale = mvhd.u32()?;

        let mut other = None;
        for found in children(moov) {
            let (kind, trak) = found?;
            if kind != *b"trak" || !is_video(trak)? {
                continue;
            }
            let mut descriptions = parse_descriptions(trak)?;
            match descriptions.first_mut() {
                Some(CodecConfig::Avc { .. }) => {
                    let defaults = fragment_defaults(moov, track_header(trak)?.0)?;
                    return Self::parse_trak(trak, descriptions, movie_timescale, defaults);
                }
                Some(CodecConfig::Other(name)) => {
                    other.get_or_insert(std::mem::take(name));
                }
                None => return Err(damaged(*b"stsd", "is empty")),
            }
        }
        Err(other.map_or(VideoError::NoVideo, |name| VideoError::Codec { name }))
    }

    fn parse_trak(
        trak: &[u8],
        descriptions: Vec<CodecConfig>,
        movie_timescale: u32,
        fragment_defaults: Option<FragmentDefaults>,
    ) -> Result<Self, VideoError> {
        let (id, rotation) = track_header(trak)?;
        let mdia = required(trak, *b"mdia")?.rest();
        let mut mdhd = required(mdia, *b"mdhd")?;
        let (version, _) = mdhd.version_flags()?;
        mdhd.take(if version == 1 { 16 } else { 8 })?;
        let timescale = mdhd.u32()?;
        if timescale == 0 {
            return Err(damaged(*b"mdhd", "has a clock of 0 ticks a second"));
        }
        let edits = match child(trak, *b"edts")? {
            Some(edts) => match child(edts.rest(), *b"elst")? {
                Some(elst) => parse_edits(elst, timescale, movie_timescale)?,
                None => Vec::new(),
            },
            None => Vec::new(),
        };
        Ok(Self {
            id,
            timescale,
            descriptions,
            tables: SampleTables::parse(sample_table(trak)?)?,
            edits,
            rotation,
            fragment_defaults,
        })
    }
}

/// Whether a track's handler says video.
fn is_video(trak: &[u8]) -> Result<bool, VideoError> {
    let Some(mdia) = child(trak, *b"mdia")? else {
        return Ok(false);
    };
    let Some(mut hdlr) = child(mdia.rest(), *b"hdlr")? else {
        return Ok(false);
    };
    hdlr.version_flags()?;
    hdlr.u32()?;
    Ok(hdlr.four_cc()? == *b"vide")
}

/// The content of `stbl`.
fn sample_table(trak: &[u8]) -> Result<&[u8], VideoError> {
    let mdia = required(trak, *b"mdia")?.rest();
    let minf = required(mdia, *b"minf")?.rest();
    Ok(required(minf, *b"stbl")?.rest())
}

/// Id and rotation of a track.
fn track_header(trak: &[u8]) -> Result<(u32, Rotation), VideoError> {
    let mut tkhd = required(trak, *b"tkhd")?;
    let (version, _) = tkhd.version_flags()?;
    tkhd.take(if version == 1 { 16 } else { 8 })?;
    let id = tkhd.u32()?;
    // reserved, duration, reserved, layer, group, volume, reserved
    tkhd.take(4 + if version == 1 { 8 } else { 4 } + 8 + 8)?;
    let mut m = [0i32; 5];
    for value in &mut m {
        *value = tkhd.i32()?;
    }
    // The matrix is [a b u; c d v; x y w]: u stands between b and c.
    let [a, b, _, c, d] = m.map(i32::signum);
    let rotation = match (a, b, c, d) {
        (1, 0, 0, 1) => Rotation::None,
        (0, 1, -1, 0) => Rotation::Cw90,
        (-1, 0, 0, -1) => Rotation::Half,
        (0, -1, 1, 0) => Rotation::Cw270,
        _ => {
            tracing::warn!(matrix = ?m, "mirrored or slanted video is shown as it is stored");
            Rotation::None
        }
    };
    Ok((id, rotation))
}

fn parse_edits(
    mut elst: Fields<'_>,
    timescale: u32,
    movie_timescale: u32,
) -> Result<Vec<Edit>, VideoError> {
    let (version, _) = elst.version_flags()?;
    let count = elst.u32()?;
    if u64::from(count) > MAX_EDITS {
        return Err(VideoError::TooLarge {
            what: "the number of edits",
            got: u64::from(count),
            limit: MAX_EDITS,
        });
    }
    let mut edits = Vec::new();
    for _ in 0..count {
        let duration = elst.u32_or_u64(version)?;
        let from = if version == 1 {
            elst.u64()? as i64
        } else {
            i64::from(elst.i32()?)
        };
        elst.u32()?; // media rate
        let ticks = rescaled(duration, timescale, movie_timescale)?;
        edits.push(if from < 0 {
            Edit::Empty { duration: ticks }
        } else {
            Edit::Media {
                from,
                duration: (duration != 0).then_some(ticks),
            }
        });
    }
    Ok(edits)
}

/// `duration` of the movie's clock on the track's clock, to the nearest tick.
fn rescaled(duration: u64, timescale: u32, movie_timescale: u32) -> Result<i64, VideoError> {
    if movie_timescale == 0 {
        return Err(damaged(*b"mvhd", "has a clock of 0 ticks a second"));
    }
    let (to, from) = (u128::from(timescale), u128::from(movie_timescale));
    let ticks = (u128::from(duration) * to + from / 2) / from;
    Ok(i64::try_from(ticks).unwrap_or(i64::MAX))
}

/// The defaults for `track`; none where the file has no `mvex`, that is, no fragments.
fn fragment_defaults(moov: &[u8], track: u32) -> Result<Option<FragmentDefaults>, VideoError> {
    let Some(mvex) = child(moov, *b"mvex")? else {
        return Ok(None);
    };
    for found in children(mvex.rest()) {
        let (kind, body) = found?;
        if kind != *b"trex" {
            continue;
        }
        let mut trex = Fields::new(kind, body);
        trex.version_flags()?;
        if trex.u32()? == track {
            return Ok(Some(FragmentDefaults {
                description: trex.u32()?,
                duration: trex.u32()?,
                bytes: trex.u32()?,
                flags: trex.u32()?,
            }));
        }
    }
    Ok(Some(FragmentDefaults {
        description: 1,
        ..FragmentDefaults::default()
    }))
}

fn parse_descriptions(trak: &[u8]) -> Result<Vec<CodecConfig>, VideoError> {
    let mut stsd = required(sample_table(trak)?, *b"stsd")?;
    stsd.version_flags()?;
    stsd.u32()?; // number of entries
    let mut descriptions = Vec::new();
    for entry in children(stsd.rest()) {
        let (kind, body) = entry?;
        descriptions.push(match &kind {
            b"avc1" | b"avc3" => parse_avc(kind, body)?,
            _ => CodecConfig::Other(codec_name(kind)),
        });
    }
    Ok(descriptions)
}

fn parse_avc(kind: FourCc, entry: &[u8]) -> Result<CodecConfig, VideoError> {
    let mut head = Fields::new(kind, entry);
    head.take(78)?; // fixed fields of a visual sample entry
    let mut avcc = required(head.rest(), *b"avcC")?;
    avcc.take(4)?; // version, profile, compatibility, level
    let length_bytes = usize::from(avcc.u8()? & 3) + 1;
    let mut parameter_sets = Vec::new();
    for mask in [0x1f, 0xff] {
        for _ in 0..avcc.u8()? & mask {
            let bytes = avcc.u16()?;
            parameter_sets.push(avcc.take(usize::from(bytes))?.to_vec());
        }
    }
    let colour = match child(head.rest(), *b"colr")? {
        Some(colr) => parse_colour(colr)?,
        None => None,
    };
    Ok(CodecConfig::Avc {
        parameter_sets,
        length_bytes,
        colour,
    })
}

/// The content of `colr`; none where it says nothing of the matrix.
fn parse_colour(mut colr: Fields<'_>) -> Result<Option<YuvColour>, VideoError> {
    let kind = colr.four_cc()?;
    if kind != *b"nclx" && kind != *b"nclc" {
        return Ok(None);
    }
    colr.take(4)?; // primaries, transfer
    let matrix = colr.u16()?;
    let full = kind == *b"nclx" && colr.u8()? & 0x80 != 0;
    Ok(matrix_from_code(u32::from(matrix)).map(|matrix| YuvColour {
        matrix,
        range: if full {
            YuvRange::Full
        } else {
            YuvRange::Limited
        },
    }))
}

/// What a sample entry is called by people.
fn codec_name(kind: FourCc) -> String {
    let name = match &kind {
        b"hvc1" | b"hev1" => "H.265 (HEVC)",
        b"dvh1" | b"dvhe" => "Dolby Vision on H.265",
        b"vvc1" | b"vvi1" => "H.266 (VVC)",
        b"av01" => "AV1",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"mp4v" => "MPEG-4 Part 2",
        b"s263" | b"h263" => "H.263",
        b"jpeg" | b"mjpa" | b"mjpb" | b"mjpg" => "Motion JPEG",
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes",
        b"encv" => "encrypted",
        _ => return format!("`{}`", letters(kind)),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_to_the_nearest_tick() {
        assert_eq!(rescaled(1001, 30_000, 1000).ok(), Some(30_030));
        assert_eq!(rescaled(1, 3, 2).ok(), Some(2));
        assert!(rescaled(1, 3, 0).is_err());
    }

    #[test]
    fn codecs_are_named() {
        assert_eq!(codec_name(*b"hvc1"), "H.265 (HEVC)");
        assert_eq!(codec_name([b'x', 0, b'y', b'z']), "`x?yz`");
    }
}

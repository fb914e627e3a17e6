//! Parses the movie box (`moov`) of an MP4 file: the video track, its sample descriptions (codec),
//! edit list and rotation matrix.
//!
//! ISO/IEC 14496-12, sections 8.2 to 8.6, and 14496-15, section 5.3 (the `avcC` box).

use mobilens_image::{YuvColour, YuvRange};

use super::boxes::{
    BoxReader, FourCc, child, children, invalid_box, printable_fourcc, required_child,
};
use super::samples::SampleTables;
use crate::error::VideoError;
use crate::h264::{CodecConfig, Rotation, matrix_from_code};

/// Largest number of edits; more is taken for damage.
const MAX_EDITS: u64 = 64;
/// Largest number of sample descriptions; more is taken for damage.
const MAX_DESCRIPTIONS: usize = 256;

/// The video track of a file.
#[derive(Debug)]
pub(super) struct VideoTrack {
    /// Track id, which the fragments refer to.
    pub id: u32,
    /// Ticks per second; not 0.
    pub timescale: u32,
    /// Sample descriptions (`stsd`); not empty.
    pub descriptions: Vec<CodecConfig>,
    /// Samples of the movie box itself; fragments add theirs.
    pub tables: SampleTables,
    /// Edit list (`elst`); empty if all is shown.
    pub edits: Vec<Edit>,
    /// Rotation for display.
    pub rotation: Rotation,
    /// Defaults of the fragments (`trex`); none in a file without fragments.
    pub fragment_defaults: Option<FragmentDefaults>,
}

/// An entry of the edit list, in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// An empty edit: nothing is shown.
    Empty {
        /// Its length.
        duration: i64,
    },
    /// A part of the media is shown.
    Media {
        /// Start in media time.
        from: i64,
        /// Its length; none for "to the end".
        duration: Option<i64>,
    },
}

/// Default values for the samples of fragments (`trex`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FragmentDefaults {
    /// Index of the sample description, from 1.
    pub description: u32,
    /// Duration in ticks.
    pub duration: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Sample flags.
    pub flags: u32,
}

impl VideoTrack {
    /// Parses the content of `moov`; selects the first H.264 track.
    pub(super) fn parse(moov: &[u8]) -> Result<Self, VideoError> {
        let mut mvhd = required_child(moov, *b"mvhd")?;
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
                None => return Err(invalid_box(*b"stsd", "is empty")),
            }
        }
        Err(other.map_or(VideoError::NoVideoTrack, |name| {
            VideoError::UnsupportedCodec { name }
        }))
    }

    fn parse_trak(
        trak: &[u8],
        descriptions: Vec<CodecConfig>,
        movie_timescale: u32,
        fragment_defaults: Option<FragmentDefaults>,
    ) -> Result<Self, VideoError> {
        let (id, rotation) = track_header(trak)?;
        let mdia = required_child(trak, *b"mdia")?.remaining();
        let mut mdhd = required_child(mdia, *b"mdhd")?;
        let (version, _) = mdhd.version_flags()?;
        mdhd.take(if version == 1 { 16 } else { 8 })?;
        let timescale = mdhd.u32()?;
        if timescale == 0 {
            return Err(invalid_box(*b"mdhd", "has a timescale of 0"));
        }
        let edits = match child(trak, *b"edts")? {
            Some(edts) => match child(edts.remaining(), *b"elst")? {
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

/// Whether a track's handler is `vide`.
fn is_video(trak: &[u8]) -> Result<bool, VideoError> {
    let Some(mdia) = child(trak, *b"mdia")? else {
        return Ok(false);
    };
    let Some(mut hdlr) = child(mdia.remaining(), *b"hdlr")? else {
        return Ok(false);
    };
    hdlr.version_flags()?;
    hdlr.u32()?;
    Ok(hdlr.four_cc()? == *b"vide")
}

/// The content of `stbl`.
fn sample_table(trak: &[u8]) -> Result<&[u8], VideoError> {
    let mdia = required_child(trak, *b"mdia")?.remaining();
    let minf = required_child(mdia, *b"minf")?.remaining();
    Ok(required_child(minf, *b"stbl")?.remaining())
}

/// Track id, and rotation from the matrix of `tkhd`.
fn track_header(trak: &[u8]) -> Result<(u32, Rotation), VideoError> {
    let mut tkhd = required_child(trak, *b"tkhd")?;
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
            tracing::warn!(matrix = ?m, "unsupported matrix: mirrored or sheared video is shown as stored");
            Rotation::None
        }
    };
    Ok((id, rotation))
}

fn parse_edits(
    mut elst: BoxReader<'_>,
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
        let ticks = rescale(duration, timescale, movie_timescale)?;
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

/// Converts `duration` from the movie's to the track's timescale, rounded to the nearest tick.
fn rescale(duration: u64, timescale: u32, movie_timescale: u32) -> Result<i64, VideoError> {
    if movie_timescale == 0 {
        return Err(invalid_box(*b"mvhd", "has a timescale of 0"));
    }
    let (to, from) = (u128::from(timescale), u128::from(movie_timescale));
    let ticks = (u128::from(duration) * to + from / 2) / from;
    Ok(i64::try_from(ticks).unwrap_or(i64::MAX))
}

/// The fragment defaults of `track`; none where the file has no `mvex` box, that is, no fragments.
fn fragment_defaults(moov: &[u8], track: u32) -> Result<Option<FragmentDefaults>, VideoError> {
    let Some(mvex) = child(moov, *b"mvex")? else {
        return Ok(None);
    };
    for found in children(mvex.remaining()) {
        let (kind, body) = found?;
        if kind != *b"trex" {
            continue;
        }
        let mut trex = BoxReader::new(kind, body);
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
    let mut stsd = required_child(sample_table(trak)?, *b"stsd")?;
    stsd.version_flags()?;
    stsd.u32()?; // number of entries
    let mut descriptions = Vec::new();
    for entry in children(stsd.remaining()) {
        let (kind, body) = entry?;
        if descriptions.len() == MAX_DESCRIPTIONS {
            return Err(VideoError::TooLarge {
                what: "the number of sample descriptions",
                got: MAX_DESCRIPTIONS as u64 + 1,
                limit: MAX_DESCRIPTIONS as u64,
            });
        }
        descriptions.push(match &kind {
            b"avc1" | b"avc3" => parse_avc_sample_entry(kind, body)?,
            _ => CodecConfig::Other(codec_name(kind)),
        });
    }
    Ok(descriptions)
}

fn parse_avc_sample_entry(kind: FourCc, entry: &[u8]) -> Result<CodecConfig, VideoError> {
    let mut entry_reader = BoxReader::new(kind, entry);
    entry_reader.take(78)?; // fixed fields of a visual sample entry
    let mut avcc = required_child(entry_reader.remaining(), *b"avcC")?;
    avcc.take(4)?; // version, profile, compatibility, level
    let length_bytes = usize::from(avcc.u8()? & 3) + 1;
    let mut parameter_sets = Vec::new();
    for mask in [0x1f, 0xff] {
        for _ in 0..avcc.u8()? & mask {
            let bytes = avcc.u16()?;
            parameter_sets.push(avcc.take(usize::from(bytes))?.to_vec());
        }
    }
    let colour = match child(entry_reader.remaining(), *b"colr")? {
        Some(colr) => parse_colour(colr)?,
        None => None,
    };
    Ok(CodecConfig::Avc {
        parameter_sets,
        length_bytes,
        colour,
    })
}

/// Parses `colr`; none where it does not specify the matrix.
fn parse_colour(mut colr: BoxReader<'_>) -> Result<Option<YuvColour>, VideoError> {
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

/// Name of the codec of a sample entry.
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
        _ => return format!("`{}`", printable_fourcc(kind)),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_the_nearest_tick() {
        assert_eq!(rescale(1001, 30_000, 1000).ok(), Some(30_030));
        assert_eq!(rescale(1, 3, 2).ok(), Some(2));
        assert!(rescale(1, 3, 0).is_err());
    }

    #[test]
    fn codec_names() {
        assert_eq!(codec_name(*b"hvc1"), "H.265 (HEVC)");
        assert_eq!(codec_name([b'x', 0, b'y', b'z']), "`x?yz`");
    }
}

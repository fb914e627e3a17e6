//! Parses sequence and picture parameter sets (SPS, PPS) and the beginning of slice headers.
//!
//! Only the fields that cropping, reordering and loss detection need; the decoder parses the NAL
//! units again by itself. ITU-T H.264, sections 7.3.2.1, 7.3.2.2, 7.3.3 and annexes A and E.

use mobilens_image::{SizePx, YuvColour};

use super::bit_reader::BitReader;
use super::vui::{Vui, read_vui};
use crate::error::ParameterSetError;

/// Largest picture in macroblocks: 8192x4320.
const MAX_PICTURE_MBS: u64 = 138_240;
/// Most macroblocks in all reference frames together (16 of 3840x2160), about 200 MB.
const MAX_REFERENCE_MBS: u64 = 520_000;

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    /// `seq_parameter_set_id`.
    pub id: u32,
    /// Size of the decoded picture after cropping.
    pub size: SizePx,
    /// Size of the decoded picture before cropping.
    pub coded_size: SizePx,
    /// Columns and rows cropped at the left and at the top; even.
    pub crop_left_top: (u32, u32),
    /// Colour matrix and range, where the stream signals them.
    pub colour: Option<YuvColour>,
    /// Most frames that precede any frame in decoding order and follow it in output order, where
    /// the stream signals it.
    pub max_num_reorder_frames: Option<usize>,
    /// Log2 of `MaxFrameNum`: `frame_num` counts modulo two to this power.
    pub log2_max_frame_num: u32,
    /// `gaps_in_frame_num_value_allowed_flag`: a gap in `frame_num` is no loss.
    pub gaps_in_frame_num_allowed: bool,
    /// Capacity of the decoded picture buffer in frames: upper bound of the reorder depth.
    pub max_dpb_frames: usize,
    /// The NAL unit for the decoder: without cropping and VUI, so that the decoder returns its planes
    /// instead of a cropped copy.
    pub uncropped_nal: Vec<u8>,
}

impl Sps {
    /// Parses a NAL unit of type 7.
    pub(super) fn parse(nal: &[u8]) -> Result<Self, ParameterSetError> {
        let mut r = BitReader::new(nal, usize::MAX);
        let profile = r.bits(8)?;
        let constraints = r.bits(8)?;
        let level = r.bits(8)?;
        let id = r.ue()?;
        if id > 31 {
            return Err(ParameterSetError::Damaged);
        }
        if matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 134 | 135 | 138 | 139
        ) {
            high_profile_fields(&mut r)?;
        }
        let log2_max_frame_num = r.ue()?.saturating_add(4);
        if log2_max_frame_num > 16 {
            return Err(ParameterSetError::Damaged);
        }
        let is_output_order_decoding_order = pic_order_cnt_fields(&mut r)?;
        let references = r.ue()?;
        if references > 16 {
            return Err(ParameterSetError::Damaged);
        }
        let gaps_in_frame_num_allowed = r.bit()?;
        let width_mbs = u64::from(r.ue()?) + 1;
        let map_units = u64::from(r.ue()?) + 1;
        let frame_mbs_only = r.bit()?;
        if !frame_mbs_only && r.bit()? {
            return Err(ParameterSetError::Unsupported("interlaced coding (MBAFF)"));
        }
        let height_mbs = map_units * if frame_mbs_only { 1 } else { 2 };
        let too_large = ParameterSetError::TooLarge {
            width: width_mbs.saturating_mul(16),
            height: height_mbs.saturating_mul(16),
            references,
        };
        let mbs = width_mbs
            .checked_mul(height_mbs)
            .filter(|&mbs| mbs <= MAX_PICTURE_MBS);
        let Some(mbs) = mbs else {
            return Err(too_large);
        };
        if mbs * u64::from(references) > MAX_REFERENCE_MBS {
            return Err(too_large);
        }
        r.bit()?; // direct_8x8_inference_flag
        let uncropped_nal = r.nal_from_read_bits(nal, 0b001, 3); // no cropping, no VUI, stop bit
        let mut crop = [0; 4];
        if r.bit()? {
            for side in &mut crop {
                *side = u64::from(r.ue()?);
            }
        }
        let unit_y = if frame_mbs_only { 2 } else { 4 };
        let [left, right, top, bottom] = crop;
        let (cut_x, cut_y) = (2 * (left + right), unit_y * (top + bottom));
        let (coded_x, coded_y) = (16 * width_mbs, 16 * height_mbs);
        if cut_x >= coded_x || cut_y >= coded_y {
            return Err(ParameterSetError::Damaged);
        }
        // A damaged VUI costs only the colour information.
        let mut vui = Vui::default();
        let _ = read_vui(&mut r, &mut vui);
        let has_b_frames = profile != 66 && !is_output_order_decoding_order;
        Ok(Self {
            id,
            size: SizePx {
                width: (coded_x - cut_x) as u32,
                height: (coded_y - cut_y) as u32,
            },
            coded_size: SizePx {
                width: coded_x as u32,
                height: coded_y as u32,
            },
            crop_left_top: ((2 * left) as u32, (unit_y * top) as u32),
            colour: vui.colour,
            max_num_reorder_frames: if has_b_frames {
                vui.max_num_reorder_frames
            } else {
                Some(0)
            },
            log2_max_frame_num,
            gaps_in_frame_num_allowed,
            max_dpb_frames: max_dpb_frames(level, constraints, mbs).max(references as usize),
            uncropped_nal,
        })
    }
}

/// The fields of High profiles: chroma format to scaling lists (7.3.2.1.1).
fn high_profile_fields(r: &mut BitReader) -> Result<(), ParameterSetError> {
    match r.ue()? {
        1 => {}
        0 => return Err(ParameterSetError::Unsupported("monochrome video (4:0:0)")),
        2 => return Err(ParameterSetError::Unsupported("4:2:2 chroma subsampling")),
        3 => return Err(ParameterSetError::Unsupported("4:4:4 chroma subsampling")),
        _ => return Err(ParameterSetError::Damaged),
    }
    if r.ue()? != 0 || r.ue()? != 0 {
        return Err(ParameterSetError::Unsupported(
            "more than 8 bits per sample",
        ));
    }
    r.bit()?; // qpprime_y_zero_transform_bypass_flag
    if r.bit()? {
        for list in 0..8 {
            if r.bit()? {
                scaling_list(r, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(())
}

fn scaling_list(r: &mut BitReader, length: usize) -> Result<(), ParameterSetError> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..length {
        if next != 0 {
            next = (last + i64::from(r.se()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

/// Picture order count; returns whether output order is decoding order (type 2).
fn pic_order_cnt_fields(r: &mut BitReader) -> Result<bool, ParameterSetError> {
    let pic_order_cnt_type = r.ue()?;
    match pic_order_cnt_type {
        0 => {
            r.ue()?;
        }
        1 => {
            r.bit()?;
            r.se()?;
            r.se()?;
            let cycle = r.ue()?;
            if cycle > 255 {
                return Err(ParameterSetError::Damaged);
            }
            for _ in 0..cycle {
                r.se()?;
            }
        }
        2 => {}
        _ => return Err(ParameterSetError::Damaged),
    }
    Ok(pic_order_cnt_type == 2)
}

/// `MaxDpbFrames` of A.3.1 (table A-1).
fn max_dpb_frames(level: u32, constraints: u32, picture_mbs: u64) -> usize {
    let mbs = match level {
        11 if constraints & 0x10 != 0 => 396, // level 1b
        9 | 10 => 396,
        11 => 900,
        12 | 13 | 20 => 2376,
        21 => 4752,
        22 | 30 => 8100,
        31 => 18_000,
        32 => 20_480,
        40 | 41 => 32_768,
        42 => 34_816,
        50 => 110_400,
        51 | 52 => 184_320,
        _ => 696_320,
    };
    (mbs / picture_mbs).clamp(1, 16) as usize
}

/// A picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pps {
    /// `pic_parameter_set_id`.
    pub id: u32,
    /// Id of its sequence parameter set.
    pub sps: u32,
}

impl Pps {
    /// Parses a NAL unit of type 8.
    pub(super) fn parse(nal: &[u8]) -> Result<Self, ParameterSetError> {
        let mut r = BitReader::new(nal, 16);
        let (id, sps) = (r.ue()?, r.ue()?);
        if id > 255 || sps > 31 {
            return Err(ParameterSetError::Damaged);
        }
        Ok(Self { id, sps })
    }
}

/// The beginning of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SliceHeader {
    /// Whether it is an I slice (`slice_type` 2 or 7).
    pub intra: bool,
    /// Id of its picture parameter set.
    pub pps: u32,
    /// The bits from `frame_num` on; its length stands in the SPS.
    frame_num_bits: u32,
}

impl SliceHeader {
    /// Parses a NAL unit of type 1 or 5.
    pub(super) fn parse(nal: &[u8]) -> Result<Self, ParameterSetError> {
        let mut r = BitReader::new(nal, 24);
        r.ue()?; // first_mb_in_slice
        let slice_type = r.ue()?;
        Ok(Self {
            intra: matches!(slice_type, 2 | 7),
            pps: r.ue()?,
            frame_num_bits: r.bits(16)?,
        })
    }

    /// `frame_num`.
    pub(super) fn frame_num(&self, sps: &Sps) -> u32 {
        self.frame_num_bits >> (16 - sps.log2_max_frame_num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264, High, 640x360, level 3.0 (`ffmpeg -f lavfi -i testsrc=s=640x360`).
    const SPS_360: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];

    #[test]
    fn size_is_after_cropping() {
        let sps = Sps::parse(SPS_360).expect("valid");
        assert_eq!((sps.size.width, sps.size.height), (640, 360));
        assert_eq!((sps.coded_size.width, sps.coded_size.height), (640, 368));
        assert_eq!(sps.crop_left_top, (0, 0));
        assert_eq!(sps.colour, None);
        assert_eq!(sps.max_dpb_frames, 8);
        assert_eq!(sps.max_num_reorder_frames, Some(2));
        assert!(!sps.gaps_in_frame_num_allowed);
    }

    #[test]
    fn truncation_is_an_error_or_costs_only_the_vui() {
        for length in 0..SPS_360.len() {
            if let Ok(sps) = Sps::parse(&SPS_360[..length]) {
                assert_eq!(sps.size.width, 640);
            }
        }
        assert_eq!(Sps::parse(&[0x67]), Err(ParameterSetError::Damaged));
        assert_eq!(Sps::parse(&[0; 64]), Err(ParameterSetError::Damaged));
    }

    #[test]
    fn the_uncropped_sps_differs_in_nothing_else() {
        let sps = Sps::parse(SPS_360).expect("valid");
        let uncropped = Sps::parse(&sps.uncropped_nal).expect("valid");
        assert_eq!(uncropped.size, sps.coded_size);
        assert_eq!(uncropped.uncropped_nal, sps.uncropped_nal);
        let same = Sps {
            size: sps.size,
            max_num_reorder_frames: sps.max_num_reorder_frames,
            ..uncropped
        };
        assert_eq!(same, sps);
    }

    #[test]
    fn dpb_size_by_level() {
        assert_eq!(max_dpb_frames(31, 0, 3600), 5);
        assert_eq!(max_dpb_frames(11, 0x10, 99), 4);
        assert_eq!(max_dpb_frames(10, 0, 138_240), 1);
    }
}

//! Video usability information (VUI) of a sequence parameter set (ITU-T H.264, annex E).

use super::bit_reader::BitReader;
use super::config::matrix_from_code;
use crate::error::ParameterSetError;
use mobilens_image::{YuvColour, YuvRange};

/// The fields of the VUI (E.1.1) that are used, where present.
#[derive(Default)]
pub(super) struct Vui {
    /// Colour matrix and range.
    pub colour: Option<YuvColour>,
    /// Most frames that precede any frame in decoding order and follow it in output order.
    pub max_num_reorder_frames: Option<usize>,
}

/// Parses the VUI into `vui`; fields before a damaged one are kept.
pub(super) fn read_vui(r: &mut BitReader, vui: &mut Vui) -> Result<(), ParameterSetError> {
    if !r.bit()? {
        return Ok(());
    }
    if r.bit()? && r.bits(8)? == 255 {
        r.bits(32)?; // sample aspect ratio
    }
    if r.bit()? {
        r.bit()?; // overscan_appropriate_flag
    }
    if r.bit()? {
        vui.colour = Some(vui_colour(r)?);
    }
    if r.bit()? {
        r.ue()?; // chroma_sample_loc_type, of the top and the bottom field
        r.ue()?;
    }
    if r.bit()? {
        r.bits(32)?; // num_units_in_tick, time_scale, fixed_frame_rate_flag
        r.bits(32)?;
        r.bit()?;
    }
    let nal_hrd = r.bit()?;
    if nal_hrd {
        hrd_fields(r)?;
    }
    let vcl_hrd = r.bit()?;
    if vcl_hrd {
        hrd_fields(r)?;
    }
    if nal_hrd || vcl_hrd {
        r.bit()?; // low_delay_hrd_flag
    }
    r.bit()?; // pic_struct_present_flag
    if r.bit()? {
        r.bit()?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            r.ue()?;
        }
        vui.max_num_reorder_frames = Some(r.ue()?.min(16) as usize);
    }
    Ok(())
}

fn vui_colour(r: &mut BitReader) -> Result<YuvColour, ParameterSetError> {
    r.bits(3)?; // video_format
    let range = if r.bit()? {
        YuvRange::Full
    } else {
        YuvRange::Limited
    };
    let matrix = if r.bit()? {
        r.bits(16)?; // primaries, transfer
        matrix_from_code(r.bits(8)?)
    } else {
        None
    };
    Ok(YuvColour {
        matrix: matrix.unwrap_or(YuvColour::DEFAULT.matrix),
        range,
    })
}

/// HRD parameters (E.1.2): skipped.
fn hrd_fields(r: &mut BitReader) -> Result<(), ParameterSetError> {
    let count = r.ue()?;
    if count > 31 {
        return Err(ParameterSetError::Damaged);
    }
    r.bits(8)?;
    for _ in 0..=count {
        r.ue()?;
        r.ue()?;
        r.bit()?;
    }
    r.bits(20)?;
    Ok(())
}

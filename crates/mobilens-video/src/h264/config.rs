//! Codec configuration of a video track, as its container stores it.

use mobilens_image::{YuvColour, YuvMatrix};

/// Codec configuration of one sample description (MP4 `stsd` entry).
#[derive(Clone, Debug)]
pub(crate) enum CodecConfig {
    /// H.264.
    Avc {
        /// SPS and PPS, as NAL units.
        parameter_sets: Vec<Vec<u8>>,
        /// Bytes of the length prefix of each NAL unit, 1 to 4.
        length_bytes: usize,
        /// Colour matrix and range, where the container signals them.
        colour: Option<YuvColour>,
    },
    /// Another codec, by name.
    Other(String),
}

/// Clockwise rotation from the stored picture to the displayed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// As stored.
    None,
    /// 90 degrees.
    Cw90,
    /// 180 degrees.
    Half,
    /// 270 degrees.
    Cw270,
}

/// The matrix of a `matrix_coefficients` code (ITU-T H.273, table 4); none where unspecified.
/// BT.2020 and SMPTE 240M become BT.709, which is the nearest.
pub(crate) fn matrix_from_code(code: u32) -> Option<YuvMatrix> {
    match code {
        1 | 7 | 9 | 10 => Some(YuvMatrix::Bt709),
        4..=6 => Some(YuvMatrix::Bt601),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_codes() {
        assert_eq!(matrix_from_code(1), Some(YuvMatrix::Bt709));
        assert_eq!(matrix_from_code(6), Some(YuvMatrix::Bt601));
        assert_eq!(matrix_from_code(2), None);
    }
}

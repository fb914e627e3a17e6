//! What a container says of an H.264 track before any frame is decoded.

use mobilens_image::{YuvColour, YuvMatrix};

/// One way in which samples of the track are coded.
#[derive(Clone, Debug)]
pub(crate) enum CodecConfig {
    /// H.264.
    Avc {
        /// SPS and PPS, as NAL units.
        parameter_sets: Vec<Vec<u8>>,
        /// Bytes of the length before each NAL unit, 1 to 4.
        length_bytes: usize,
        /// What the container says of the colours.
        colour: Option<YuvColour>,
    },
    /// Anything else, by name.
    Other(String),
}

/// Clockwise turn that brings the stored picture upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// As stored.
    None,
    /// A quarter.
    Cw90,
    /// Upside down.
    Half,
    /// Three quarters.
    Cw270,
}

/// The matrix that a code of ITU-T H.273, table 4, stands for; none where unspecified. BT.2020 and
/// SMPTE 240M are read as BT.709, which is the nearest.
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

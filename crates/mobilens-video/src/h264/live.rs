//! Decodes the coded frames of a live stream (RTSP) as they arrive.

use super::config::{CodecConfig, Rotation};
use super::decode::{AvcDecoder, Decoded};
use mobilens_image::{Image, SizePx};

/// Decodes coded frames one by one, in decoding order. After a lost or damaged frame it skips to the
/// next keyframe (IDR).
pub struct LiveDecoder {
    decoder: AvcDecoder,
    /// The configuration record in use.
    avcc: Vec<u8>,
}

impl Default for LiveDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl LiveDecoder {
    /// A decoder without parameter sets; see [`Self::configure`].
    pub fn new() -> Self {
        Self {
            decoder: AvcDecoder::new(Rotation::None),
            avcc: Vec::new(),
        }
    }

    /// Applies an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, section 5.3.3) and waits for a
    /// keyframe; does nothing if it has not changed.
    ///
    /// # Errors
    /// When it is damaged or not supported.
    pub fn configure(&mut self, avcc: &[u8]) -> Result<(), String> {
        if self.avcc == avcc {
            return Ok(());
        }
        let sets = parameter_sets(avcc).ok_or("damaged AVCDecoderConfigurationRecord")?;
        let config = CodecConfig::Avc {
            parameter_sets: sets,
            length_bytes: 4,
            colour: None,
        };
        self.decoder.configure(&config).map_err(|e| e.to_string())?;
        self.avcc = avcc.to_vec();
        Ok(())
    }

    /// Size of the frames after cropping, once an SPS is known.
    pub fn size(&self) -> Option<SizePx> {
        self.decoder.size()
    }

    /// Reorder depth, where the stream signals it: most frames that precede any frame in decoding
    /// order and follow it in presentation order.
    pub fn max_num_reorder_frames(&self) -> Option<usize> {
        self.decoder.max_num_reorder_frames()
    }

    /// Skips frames until the next keyframe: packets or frames were lost.
    pub fn wait_for_keyframe(&mut self) {
        self.decoder.wait_for_keyframe();
    }

    /// Decodes a frame of NAL units with length prefixes of four bytes. `is_key`: it is a random
    /// access point. `None` for a frame without slices.
    ///
    /// # Errors
    /// When the frame is damaged or not supported, or skipped while waiting for a keyframe.
    pub fn decode(&mut self, mut frame: Vec<u8>, is_key: bool) -> Result<Option<Image>, String> {
        match self.decoder.decode(&mut frame, is_key) {
            Decoded::Picture(image) => Ok(Some(image)),
            Decoded::NoPicture => Ok(None),
            Decoded::Failed(why) => Err(why),
            Decoded::AwaitingKeyframe(why) => Err(why.to_owned()),
        }
    }
}

/// The parameter sets in an `AVCDecoderConfigurationRecord`; none if it is truncated.
fn parameter_sets(avcc: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = avcc.get(5..)?;
    let mut sets = Vec::new();
    for mask in [0x1f, 0xff] {
        let (count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (nal, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            sets.push(nal.to_vec());
            rest = after;
        }
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_are_extracted() {
        let avcc = [
            1, 100, 0, 31, 0xff, 0xe1, 0, 3, 0x67, 1, 2, 1, 0, 2, 0x68, 9,
        ];
        assert_eq!(
            parameter_sets(&avcc),
            Some(vec![vec![0x67, 1, 2], vec![0x68, 9]])
        );
        for end in 0..avcc.len() {
            assert_eq!(parameter_sets(&avcc[..end]), None, "{end}");
        }
    }
}

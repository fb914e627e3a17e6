//! Decodes the coded frames of a network camera as they come.

use super::config::{CodecConfig, Rotation};
use super::decode::{AvcDecoder, Decoded};
use mobilens_image::{Image, SizePx};

/// Decodes coded frames one by one, in the order in which they come. After a loss nothing is shown
/// before the next frame that needs no other.
pub struct LiveDecoder {
    decoder: AvcDecoder,
    parameters: Vec<u8>,
}

impl LiveDecoder {
    /// Waits for parameters.
    pub fn new() -> Self {
        Self {
            decoder: AvcDecoder::new(Rotation::None),
            parameters: Vec::new(),
        }
    }

    /// Takes an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 5.3.3), if it is another
    /// than before.
    ///
    /// # Errors
    /// When it is damaged, or needs what the decoder lacks.
    pub fn configure(&mut self, avcc: &[u8]) -> Result<(), String> {
        if self.parameters == avcc {
            return Ok(());
        }
        let sets = parameter_sets(avcc).ok_or("damaged parameter sets")?;
        let description = CodecConfig::Avc {
            parameter_sets: sets,
            length_bytes: 4,
            colour: None,
        };
        self.decoder
            .configure(&description)
            .map_err(|e| e.to_string())?;
        self.parameters = avcc.to_vec();
        Ok(())
    }

    /// The size of the frames, as far as known.
    pub fn size(&self) -> Option<SizePx> {
        self.decoder.size()
    }

    /// Most pictures that come before one which is shown earlier, if the camera says.
    pub fn reordered(&self) -> Option<usize> {
        self.decoder.max_num_reorder_frames()
    }

    /// Something is lost: what follows refers to it, until a keyframe comes.
    pub fn lose(&mut self) {
        self.decoder.begin();
    }

    /// Decodes a frame of NAL units with four bytes of length each. `None` for one without a
    /// picture.
    ///
    /// # Errors
    /// Why there is no picture.
    pub fn decode(&mut self, mut frame: Vec<u8>, is_key: bool) -> Result<Option<Image>, String> {
        match self.decoder.decode(&mut frame, is_key) {
            Decoded::Picture(image) => Ok(Some(image)),
            Decoded::Nothing => Ok(None),
            Decoded::Lost(why) => Err(why),
            Decoded::Skipped(why) => Err(why.to_owned()),
        }
    }
}

/// The NAL units in a configuration record.
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
    fn parameter_sets_are_taken_apart() {
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

//! H.264 encoder: one picture in, one access unit out. Baseline profile, no B-frames, no lookahead.

use std::sync::Arc;

use rusty_h264::{Encoder, EncoderConfig, Preset, YuvPlanes};

use mobilens_image::{Planar, SizePx, YuvColour};

/// Longest interval between keyframes (IDR) in microseconds.
const KEYFRAME_INTERVAL_US: i64 = 1_000_000;

/// One coded frame (access unit).
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    /// NAL units with length prefixes of four bytes.
    pub data: Arc<[u8]>,
    /// Presentation time in microseconds.
    pub at_us: i64,
    /// Whether it is a keyframe (IDR picture), at which decoding can start.
    pub is_key: bool,
}

/// Parameters of a stream that a decoder needs before its first frame; every file of it starts with
/// them (`avcC`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamParameters {
    /// Columns and rows.
    pub size: SizePx,
    /// Sequence parameter set.
    pub sps: Vec<u8>,
    /// Picture parameter set.
    pub pps: Vec<u8>,
    /// Colour matrix and range.
    pub colour: YuvColour,
}

/// Encodes the pictures of a stream in presentation order.
pub struct VideoEncoder {
    qp: u8,
    state: Option<EncoderState>,
}

struct EncoderState {
    encoder: Encoder,
    size: SizePx,
    colour: YuvColour,
    parameters: Option<StreamParameters>,
    last_keyframe_us: i64,
}

impl VideoEncoder {
    /// An encoder with the constant quantisation parameter `qp`, 0 (best quality) to 51.
    pub fn new(qp: u8) -> Self {
        Self { qp, state: None }
    }

    /// Encodes a picture with even sides. When its size or colour differs from the previous one, the
    /// encoder restarts: the parameters change, and the frame is a keyframe.
    ///
    /// # Errors
    /// The encoder's error, in one line.
    pub fn encode(
        &mut self,
        picture: &Planar,
        at_us: i64,
    ) -> Result<(StreamParameters, EncodedFrame), String> {
        let (size, colour) = (picture.size(), picture.colour());
        let is_same = |state: &EncoderState| state.size == size && state.colour == colour;
        if !self.state.as_ref().is_some_and(is_same) {
            self.state = None;
        }
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(EncoderState {
                encoder: new_encoder(size, self.qp)?,
                size,
                colour,
                parameters: None,
                last_keyframe_us: i64::MIN / 2,
            }),
        };
        if at_us - state.last_keyframe_us >= KEYFRAME_INTERVAL_US {
            state.encoder.request_keyframe();
        }
        let [y, u, v] = picture.planes();
        let (width, height) = (size.width as usize, size.height as usize);
        let planes = YuvPlanes {
            width,
            height,
            y,
            u,
            v,
            stride_y: width,
            stride_c: width / 2,
        };
        let coded = state.encoder.encode_planes(&planes);
        let coded = coded.map_err(|e| format!("H.264 encoder: {e:?}"))?;
        let (mut data, mut is_key) = (Vec::new(), false);
        let (mut sps, mut pps) = (None, None);
        for nal in nal_units(&coded) {
            match nal.first().map(|head| head & 31) {
                Some(7) => sps = Some(nal.to_vec()),
                Some(8) => pps = Some(nal.to_vec()),
                Some(kind) => {
                    is_key |= kind == 5;
                    data.extend((nal.len() as u32).to_be_bytes());
                    data.extend(nal);
                }
                None => {}
            }
        }
        if is_key {
            state.last_keyframe_us = at_us;
        }
        if let (Some(sps), Some(pps)) = (sps, pps) {
            state.parameters = Some(StreamParameters {
                size,
                sps,
                pps,
                colour,
            });
        }
        let parameters = state
            .parameters
            .clone()
            .ok_or("the encoder returned no SPS and PPS")?;
        let frame = EncodedFrame {
            data: data.into(),
            at_us,
            is_key,
        };
        Ok((parameters, frame))
    }
}

fn new_encoder(size: SizePx, qp: u8) -> Result<Encoder, String> {
    // No lookahead and no B-frames: each picture is output at once.
    let mut config = EncoderConfig::baseline(size.width as usize, size.height as usize);
    // As fast as the fast preset with 16x16 partitions only, and 14 % smaller at a better quality.
    config.preset = Preset::Balanced;
    rusty_h264::set_turbo(true);
    config.qp = qp;
    // Keyframes are requested by time.
    config.gop_size = 100_000;
    Encoder::new(config).map_err(|e| format!("H.264 encoder: {e:?}"))
}

/// Splits a byte stream at its start codes (Annex B).
fn nal_units(coded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = coded
        .get(at..)
        .and_then(|rest| rest.windows(3).position(|w| w == [0, 0, 1]))
    {
        starts.push(at + found);
        at += found + 3;
    }
    starts.push(coded.len());
    (1..starts.len()).map(move |i| {
        let nal = &coded[starts[i - 1] + 3..starts[i]];
        // Zeros before a start code of four bytes, or trailing_zero_8bits.
        let end = nal
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        &nal[..end]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_lie_between_start_codes() {
        let coded = [
            0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 3, 4,
        ];
        let nals: Vec<&[u8]> = nal_units(&coded).collect();
        assert_eq!(nals, [&[0x67, 1][..], &[0x68, 2], &[0x65, 3, 4]]);
        assert_eq!(nal_units(&[]).count(), 0);
    }
}

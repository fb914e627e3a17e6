//! H.264 encoder: one picture in, one access unit out.

use std::sync::Arc;

use rusty_h264::{Encoder, EncoderConfig, Preset, YuvPlanes};

use mobilens_image::{Planar, SizePx, YuvColour};

/// A picture that needs no other comes at least so often.
const KEY_EVERY_US: i64 = 1_000_000;

/// One encoded picture, an access unit.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    /// NAL units, each after its length in four bytes.
    pub data: Arc<[u8]>,
    /// Its time in microseconds.
    pub at_us: i64,
    /// Whether it is an IDR picture, at which decoding can begin.
    pub is_key: bool,
}

/// What a decoder must know before the first frame, and every file of a stream begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamParameters {
    /// Columns and rows.
    pub size: SizePx,
    /// Sequence parameter set.
    pub sps: Vec<u8>,
    /// Picture parameter set.
    pub pps: Vec<u8>,
    /// How samples are to be read as colours.
    pub colour: YuvColour,
}

/// Encodes the pictures of a stream, one by one and in order.
pub struct VideoEncoder {
    qp: u8,
    inner: Option<Inner>,
}

struct Inner {
    encoder: Encoder,
    size: SizePx,
    colour: YuvColour,
    track: Option<StreamParameters>,
    key_us: i64,
}

impl VideoEncoder {
    /// Quantises with `qp`, 0 (best) to 51.
    pub fn new(qp: u8) -> Self {
        Self { qp, inner: None }
    }

    /// Encodes a picture, whose sides are even. Where its size or colours are others than before, a
    /// new track begins.
    ///
    /// # Errors
    /// In one line, when the encoder does not take it.
    pub fn encode(
        &mut self,
        picture: &Planar,
        at_us: i64,
    ) -> Result<(StreamParameters, EncodedFrame), String> {
        let (size, colour) = (picture.size(), picture.colour());
        let is_same = |inner: &Inner| inner.size == size && inner.colour == colour;
        if !self.inner.as_ref().is_some_and(is_same) {
            self.inner = None;
        }
        let inner = match &mut self.inner {
            Some(inner) => inner,
            none => none.insert(Inner {
                encoder: encoder(size, self.qp)?,
                size,
                colour,
                track: None,
                key_us: i64::MIN / 2,
            }),
        };
        if at_us - inner.key_us >= KEY_EVERY_US {
            inner.encoder.request_keyframe();
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
        let coded = inner.encoder.encode_planes(&planes);
        let coded = coded.map_err(|e| format!("the encoder: {e:?}"))?;
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
            inner.key_us = at_us;
        }
        if let (Some(sps), Some(pps)) = (sps, pps) {
            inner.track = Some(StreamParameters {
                size,
                sps,
                pps,
                colour,
            });
        }
        let track = inner
            .track
            .clone()
            .ok_or("the encoder gives no parameters")?;
        let sample = EncodedFrame {
            data: data.into(),
            at_us,
            is_key,
        };
        Ok((track, sample))
    }
}

fn encoder(size: SizePx, qp: u8) -> Result<Encoder, String> {
    // No lookahead and no B-frames: each picture comes out as it goes in.
    let mut config = EncoderConfig::baseline(size.width as usize, size.height as usize);
    // As fast as the fast preset with whole macroblocks only, and 14 % smaller at a better quality.
    config.preset = Preset::Balanced;
    rusty_h264::set_turbo(true);
    config.qp = qp;
    // Keyframes are asked for by time.
    config.gop_size = 100_000;
    Encoder::new(config).map_err(|e| format!("the encoder: {e:?}"))
}

/// The NAL units between start codes (Annex B).
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
        // A longer start code, or padding, leaves zeros behind.
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

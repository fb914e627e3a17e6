//! H.264 decoder: coded frames (access units) to pictures, in decoding order.
//!
//! Knows neither files nor timestamps. After a lost or damaged frame it skips to the next keyframe
//! (IDR): pictures predicted from a missing reference frame show smeared artifacts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusty_h264::{DecodeError, Decoder, YuvFrame};

use mobilens_image::{Image, SizePx, YuvColour};

use super::config::{CodecConfig, Rotation};
use super::params::{Pps, SliceHeader, Sps};
use super::picture::image_from_yuv;
use crate::error::ParameterSetError;

/// Why frames are skipped at the beginning, and after a loss that the caller reports.
const NO_KEYFRAME: &str = "waiting for a keyframe (IDR)";

/// Header byte of a filler data NAL unit (type 12), which decoders ignore.
const FILLER_DATA: u8 = 12;

/// Largest parameter set in bytes; real ones have a hundred. All are kept, and given to the decoder
/// again whenever one changes.
const MAX_PARAMETER_SET_BYTES: usize = 8192;

/// Most frames skipped while waiting for a keyframe: a stream without further keyframes (gradual
/// intra refresh) has recovered by then.
const MAX_SKIPPED: u32 = 1500;

/// Result of decoding a coded frame.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The picture.
    Picture(Image),
    /// The frame has no slices, only parameter sets or SEI messages.
    NoPicture,
    /// The frame is damaged or uses an unsupported coding tool.
    Failed(String),
    /// The frame was skipped while waiting for a keyframe.
    AwaitingKeyframe(&'static str),
}

/// Decodes the frames of one track or stream.
pub(crate) struct AvcDecoder {
    decoder: Decoder,
    rotation: Rotation,
    length_bytes: usize,
    container_colour: Option<YuvColour>,
    /// The latest parameter sets by NAL unit type and id, to configure a new decoder.
    parameter_sets_by_id: BTreeMap<(u8, u32), Vec<u8>>,
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
    /// Set while frames are skipped until the next keyframe: why.
    waiting_for_keyframe: Option<&'static str>,
    skipped: u32,
    /// `frame_num` of the last reference frame.
    last_frame_num: Option<u32>,
    scratch: Vec<u8>,
}

/// Summary of the NAL units of a frame.
#[derive(Debug, Default)]
struct FrameHeader {
    slice: Option<SliceHeader>,
    has_slices: bool,
    /// Whether it is an IDR picture.
    idr: bool,
    /// Whether all slices are intra.
    intra: bool,
    /// Whether later frames may refer to it (`nal_ref_idc` is not 0).
    reference: bool,
    /// Whether it brings a new or changed SPS.
    new_sps: bool,
}

impl AvcDecoder {
    /// A decoder without parameter sets; see [`Self::configure`].
    pub(crate) fn new(rotation: Rotation) -> Self {
        Self {
            decoder: Decoder::new(),
            rotation,
            length_bytes: 4,
            container_colour: None,
            parameter_sets_by_id: BTreeMap::new(),
            sps: BTreeMap::new(),
            pps: BTreeMap::new(),
            waiting_for_keyframe: Some(NO_KEYFRAME),
            skipped: 0,
            last_frame_num: None,
            scratch: Vec::new(),
        }
    }

    /// Applies a codec configuration, and waits for a keyframe.
    ///
    /// # Errors
    /// When a parameter set is not supported. Damaged ones are ignored: the stream may repeat them
    /// in-band.
    pub(crate) fn configure(&mut self, config: &CodecConfig) -> Result<(), ParameterSetError> {
        let CodecConfig::Avc {
            parameter_sets,
            length_bytes,
            colour,
        } = config
        else {
            return Ok(());
        };
        self.length_bytes = *length_bytes;
        self.container_colour = *colour;
        for nal in parameter_sets {
            match self.store_parameter_set(nal) {
                Err(ParameterSetError::Damaged) => {
                    tracing::debug!("damaged parameter set in the codec configuration");
                }
                stored => {
                    stored?;
                }
            }
        }
        self.wait_for_keyframe();
        Ok(())
    }

    /// Size of the pictures after cropping and before rotation, once an SPS is known.
    pub(crate) fn size(&self) -> Option<SizePx> {
        self.first_sps().map(|sps| sps.size)
    }

    /// Reorder depth, where the stream signals it (`max_num_reorder_frames`).
    pub(crate) fn max_num_reorder_frames(&self) -> Option<usize> {
        self.first_sps()?.max_num_reorder_frames
    }

    /// The SPS with the lowest id.
    fn first_sps(&self) -> Option<&Sps> {
        self.sps.values().next()
    }

    /// Capacity of the decoded picture buffer in frames: upper bound of the reorder depth.
    pub(crate) fn max_dpb_frames(&self) -> usize {
        let most = self.sps.values().map(|sps| sps.max_dpb_frames).max();
        most.unwrap_or(16)
    }

    /// Skips frames until the next keyframe: after a seek or a loss.
    pub(crate) fn wait_for_keyframe(&mut self) {
        self.waiting_for_keyframe = Some(NO_KEYFRAME);
    }

    /// Discards all reference frames; the parameter sets are kept.
    fn reset(&mut self) {
        self.decoder = Decoder::new();
        self.skipped = 0;
        self.last_frame_num = None;
        self.feed_parameter_sets();
    }

    fn feed_parameter_sets(&mut self) {
        self.scratch.clear();
        for nal in self.parameter_sets_by_id.values() {
            self.scratch.extend([0, 0, 0, 1]);
            self.scratch.extend(nal);
        }
        let result = decode_guarded(&mut self.decoder, &self.scratch);
        if let Err(why) = result {
            tracing::debug!(why, "the decoder rejects the parameter sets");
        }
    }

    /// Whether frames are skipped until the next keyframe.
    pub(crate) fn is_waiting_for_keyframe(&self) -> bool {
        self.waiting_for_keyframe.is_some()
    }

    /// Decodes one frame of length-prefixed NAL units. `sync`: the container marks it as a keyframe
    /// (sync sample).
    pub(crate) fn decode(&mut self, sample: &mut Vec<u8>, sync: bool) -> Decoded {
        match self.try_decode(sample, sync) {
            Ok(decoded) => decoded,
            Err(why) => {
                self.waiting_for_keyframe
                    .get_or_insert("a reference frame is missing");
                Decoded::Failed(why)
            }
        }
    }

    fn try_decode(&mut self, sample: &mut Vec<u8>, sync: bool) -> Result<Decoded, String> {
        let header = self.parse_nal_units(sample)?;
        if !header.has_slices {
            return Ok(Decoded::NoPicture);
        }
        let slice = header.slice.ok_or("damaged slice header")?;
        let sps_id = self.pps.get(&slice.pps).map(|pps| pps.sps);
        let sps = sps_id
            .and_then(|id| self.sps.get(&id))
            .ok_or("a parameter set is missing")?
            .clone();
        if let Some(why) = self.waiting_for_keyframe {
            if header.idr || sync && header.intra {
                self.reset();
                self.waiting_for_keyframe = None;
            } else if self.skipped < MAX_SKIPPED {
                self.skipped += 1;
                self.last_frame_num = None;
                return Ok(Decoded::AwaitingKeyframe(why));
            }
        }
        if self.waiting_for_keyframe.is_none() {
            self.check_frame_num(&header, slice.frame_num(&sps), &sps)?;
        }

        match decode_guarded(&mut self.decoder, sample) {
            Ok(Some(yuv)) => {
                self.waiting_for_keyframe = None;
                self.skipped = 0;
                let colour = sps.colour.or(self.container_colour);
                let colour = colour.unwrap_or(YuvColour::DEFAULT);
                image_from_yuv(yuv, &sps, colour, self.rotation).map(Decoded::Picture)
            }
            Ok(None) => Err("slices of the picture are missing".to_owned()),
            Err(why) => Err(why),
        }
    }

    /// Detects missing reference frames by a gap in `frame_num` (7.4.3).
    fn check_frame_num(&mut self, header: &FrameHeader, num: u32, sps: &Sps) -> Result<(), String> {
        let modulus = 1 << sps.log2_max_frame_num;
        let fits = match self.last_frame_num {
            // 0 and 1 also follow a memory management control operation 5 (all references reset).
            Some(last) => num == last || num == (last + 1) % modulus || num <= 1,
            None => true,
        };
        if !(header.idr || sps.gaps_in_frame_num_allowed || fits) {
            return Err("reference frames before it are missing (gap in frame_num)".to_owned());
        }
        if header.reference {
            self.last_frame_num = Some(num);
        }
        Ok(())
    }

    /// Parses the NAL units of a sample: replaces length prefixes by start codes (Annex B), stores
    /// parameter sets, and parses the first slice header.
    fn parse_nal_units(&mut self, sample: &mut Vec<u8>) -> Result<FrameHeader, String> {
        if self.length_bytes < 3 {
            self.widen_length_prefixes(sample)?;
        }
        let mut header = FrameHeader {
            intra: true,
            ..FrameHeader::default()
        };
        let parsed = self.parse_each_nal_unit(sample, &mut header);
        // Once a frame, whatever number of them it brings.
        if header.new_sps {
            self.feed_parameter_sets();
        }
        parsed.map(|()| header)
    }

    fn parse_each_nal_unit(
        &mut self,
        sample: &mut [u8],
        header: &mut FrameHeader,
    ) -> Result<(), String> {
        let length_bytes = self.length_bytes.max(3);
        let mut at = 0;
        while at < sample.len() {
            let (prefix, rest) = sample[at..]
                .split_at_mut_checked(length_bytes)
                .ok_or("damaged: truncated NAL unit length")?;
            let length = prefix.iter().fold(0, |n, &b| n << 8 | usize::from(b));
            let nal = rest
                .get_mut(..length)
                .ok_or("damaged: a NAL unit is longer than the frame")?;
            prefix.fill(0);
            if let Some(last) = prefix.last_mut() {
                *last = 1;
            }
            at += length_bytes + length;
            self.parse_nal_unit(nal, header)?;
        }
        Ok(())
    }

    fn parse_nal_unit(&mut self, nal: &mut [u8], header: &mut FrameHeader) -> Result<(), String> {
        let Some(&first) = nal.first() else {
            return Ok(());
        };
        match first & 0x1f {
            kind @ (1..=5) => {
                header.has_slices = true;
                header.idr |= kind == 5;
                header.reference |= first & 0x60 != 0;
                let slice = SliceHeader::parse(nal).map_err(|e| e.to_string())?;
                header.intra &= slice.intra;
                header.slice.get_or_insert(slice);
            }
            7 => {
                header.new_sps |= self.store_parameter_set(nal).map_err(|e| e.to_string())?;
                // The decoder is given the uncropped version: this one becomes filler data.
                if let Some(first) = nal.first_mut() {
                    *first = FILLER_DATA;
                }
            }
            8 => {
                self.store_parameter_set(nal).map_err(|e| e.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Stores a parameter set; returns whether it is new or changed.
    fn store_parameter_set(&mut self, nal: &[u8]) -> Result<bool, ParameterSetError> {
        let kind = nal.first().map_or(0, |b| b & 0x1f);
        if nal.len() > MAX_PARAMETER_SET_BYTES {
            return Err(ParameterSetError::Damaged);
        }
        let (id, for_decoder) = match kind {
            7 => {
                let sps = Sps::parse(nal)?;
                let stored = (sps.id, sps.uncropped_nal.clone());
                self.sps.insert(sps.id, sps);
                stored
            }
            8 => {
                let pps = Pps::parse(nal)?;
                self.pps.insert(pps.id, pps);
                (pps.id, nal.to_vec())
            }
            _ => return Ok(false),
        };
        let before = self.parameter_sets_by_id.insert((kind, id), for_decoder);
        Ok(before.as_ref() != self.parameter_sets_by_id.get(&(kind, id)))
    }

    /// Rewrites length prefixes of 1 or 2 bytes to 3, so that a start code fits in their place.
    fn widen_length_prefixes(&mut self, sample: &mut Vec<u8>) -> Result<(), String> {
        let short = self.length_bytes;
        self.scratch.clear();
        let mut rest = sample.as_slice();
        while !rest.is_empty() {
            let (prefix, after) = rest
                .split_at_checked(short)
                .ok_or("damaged: truncated NAL unit length")?;
            let length = prefix.iter().fold(0, |n, &b| n << 8 | u32::from(b));
            let (nal, after) = after
                .split_at_checked(length as usize)
                .ok_or("damaged: a NAL unit is longer than the frame")?;
            self.scratch.extend(&length.to_be_bytes()[1..]);
            self.scratch.extend(nal);
            rest = after;
        }
        std::mem::swap(sample, &mut self.scratch);
        Ok(())
    }
}

/// Decodes an Annex B frame; a panic of the decoder becomes an error.
fn decode_guarded(decoder: &mut Decoder, annex_b: &[u8]) -> Result<Option<YuvFrame>, String> {
    match catch_unwind(AssertUnwindSafe(|| decoder.decode(annex_b))) {
        Ok(Ok(yuv)) => Ok(yuv),
        Ok(Err(DecodeError::Truncated)) => Err("damaged: the data is truncated".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            *decoder = Decoder::new();
            Err("the decoder panicked".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264, High, 640x360; its PPS follows.
    const SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];
    const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

    fn frame(nals: &[&[u8]]) -> Vec<u8> {
        let length = |nal: &&[u8]| u32::try_from(nal.len()).expect("short").to_be_bytes();
        let prefixed = nals.iter().map(|nal| [&length(nal)[..], nal].concat());
        prefixed.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_parameter_set_of_megabytes_is_not_kept() {
        let mut decoder = AvcDecoder::new(Rotation::None);
        let padded = [PPS, &vec![0xff; MAX_PARAMETER_SET_BYTES]].concat();
        let got = decoder.decode(&mut frame(&[SPS, &padded]), false);
        assert!(matches!(got, Decoded::Failed(_)), "{got:?}");
        assert_eq!(decoder.parameter_sets_by_id.len(), 1);
        let got = decoder.decode(&mut frame(&[PPS]), false);
        assert!(matches!(got, Decoded::NoPicture), "{got:?}");
        assert_eq!(decoder.parameter_sets_by_id.len(), 2);
    }
}

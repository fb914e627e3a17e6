//! From coded frames to pictures, in decoding order.
//!
//! The pure decoder: knows neither files nor times. After a loss nothing is shown before the next
//! frame that needs no other, since pictures that refer to a lost one are smeared.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusty_h264::{DecodeError, Decoder, YuvFrame};

use mobilens_image::{Image, SizePx, YuvColour};

use super::config::{CodecConfig, Rotation};
use super::params::{Pps, SliceHead, Sps};
use super::picture::image_from_yuv;
use crate::error::ParamError;

/// Why nothing is decoded at the beginning.
const NO_KEYFRAME: &str = "the stream does not begin with a keyframe";

/// The header of a NAL unit that decoders pass over (type 12).
const FILLER: u8 = 12;

/// Frames that are skipped at most: a stream without further keyframes (it refreshes its pictures
/// bit by bit) is clean again by then.
const MAX_SKIPPED: u32 = 1500;

/// What became of a coded frame.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// A picture.
    Picture(Image),
    /// The frame holds no picture (parameter sets or messages only).
    Nothing,
    /// The frame is damaged or uses what the decoder lacks.
    Lost(String),
    /// The frame was not tried, since what it refers to is lost.
    Skipped(&'static str),
}

/// Decodes the frames of one track.
pub(crate) struct AvcDecoder {
    decoder: Decoder,
    rotation: Rotation,
    length_bytes: usize,
    container_colour: Option<YuvColour>,
    /// The latest parameter sets by NAL type and id, for a fresh decoder.
    sets: BTreeMap<(u8, u32), Vec<u8>>,
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
    /// Why nothing is shown before the next frame that needs no other.
    waits: Option<&'static str>,
    skipped: u32,
    /// `frame_num` of the last reference frame.
    last_frame_num: Option<u32>,
    scratch: Vec<u8>,
}

/// The NAL units of a frame, by what they mean for the source.
#[derive(Debug, Default)]
struct FrameHead {
    slice: Option<SliceHead>,
    has_slices: bool,
    idr: bool,
    /// Whether all slices are intra.
    intra: bool,
    reference: bool,
}

impl AvcDecoder {
    /// A decoder that waits for its first [`Self::configure`].
    pub(crate) fn new(rotation: Rotation) -> Self {
        Self {
            decoder: Decoder::new(),
            rotation,
            length_bytes: 4,
            container_colour: None,
            sets: BTreeMap::new(),
            sps: BTreeMap::new(),
            pps: BTreeMap::new(),
            waits: Some(NO_KEYFRAME),
            skipped: 0,
            last_frame_num: None,
            scratch: Vec::new(),
        }
    }

    /// Takes the parameter sets of a sample description.
    ///
    /// # Errors
    /// When a set needs what the decoder lacks; damaged ones are left out, since the stream may
    /// bring its own.
    pub(crate) fn configure(&mut self, description: &CodecConfig) -> Result<(), ParamError> {
        let CodecConfig::Avc {
            parameter_sets,
            length_bytes,
            colour,
        } = description
        else {
            return Ok(());
        };
        self.length_bytes = *length_bytes;
        self.container_colour = *colour;
        for nal in parameter_sets {
            match self.take_parameter_set(nal) {
                Err(ParamError::Damaged) => {
                    tracing::debug!("damaged parameter set in the index");
                }
                taken => {
                    taken?;
                }
            }
        }
        self.begin();
        Ok(())
    }

    /// Size of the pictures as stored, before rotation, as far as known.
    pub(crate) fn size(&self) -> Option<SizePx> {
        self.first_sps().map(|sps| sps.size)
    }

    /// Most pictures that precede one which is shown earlier, where the stream says it.
    pub(crate) fn max_num_reorder_frames(&self) -> Option<usize> {
        self.first_sps()?.reordered
    }

    /// The first parameter set, as far as known.
    fn first_sps(&self) -> Option<&Sps> {
        self.sps.values().next()
    }

    /// Pictures that the stream may hold back for reordering.
    pub(crate) fn max_dpb_frames(&self) -> usize {
        let most = self.sps.values().map(|sps| sps.max_dpb_frames).max();
        most.unwrap_or(16)
    }

    /// Goes on at another place of the stream, where a keyframe is due.
    pub(crate) fn begin(&mut self) {
        self.waits = Some(NO_KEYFRAME);
    }

    /// Forgets all pictures, not the parameter sets: the next frame begins anew.
    fn restart(&mut self) {
        self.decoder = Decoder::new();
        self.skipped = 0;
        self.last_frame_num = None;
        self.feed_parameter_sets();
    }

    fn feed_parameter_sets(&mut self) {
        self.scratch.clear();
        for nal in self.sets.values() {
            self.scratch.extend([0, 0, 0, 1]);
            self.scratch.extend(nal);
        }
        let fed = guarded(&mut self.decoder, &self.scratch);
        if let Err(why) = fed {
            tracing::debug!(why, "parameter sets refused");
        }
    }

    /// Whether frames are being skipped until one that needs no other.
    pub(crate) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    /// Decodes one frame of the file. `sync` says that the file calls it a keyframe.
    pub(crate) fn decode(&mut self, sample: &mut Vec<u8>, sync: bool) -> Decoded {
        match self.try_decode(sample, sync) {
            Ok(decoded) => decoded,
            Err(why) => {
                self.waits
                    .get_or_insert("a frame that this one refers to is lost");
                Decoded::Lost(why)
            }
        }
    }

    fn try_decode(&mut self, sample: &mut Vec<u8>, sync: bool) -> Result<Decoded, String> {
        let head = self.read_head(sample)?;
        if !head.has_slices {
            return Ok(Decoded::Nothing);
        }
        let slice = head.slice.ok_or("damaged slice")?;
        let sps_id = self.pps.get(&slice.pps).map(|pps| pps.sps);
        let sps = sps_id
            .and_then(|id| self.sps.get(&id))
            .ok_or("a parameter set is missing")?
            .clone();
        if let Some(why) = self.waits {
            if head.idr || sync && head.intra {
                self.restart();
                self.waits = None;
            } else if self.skipped < MAX_SKIPPED {
                self.skipped += 1;
                self.last_frame_num = None;
                return Ok(Decoded::Skipped(why));
            }
        }
        if self.waits.is_none() {
            self.check_frame_num(&head, slice.frame_num(&sps), &sps)?;
        }

        match guarded(&mut self.decoder, sample) {
            Ok(Some(yuv)) => {
                self.waits = None;
                self.skipped = 0;
                let colour = sps.colour.or(self.container_colour);
                let colour = colour.unwrap_or(YuvColour::DEFAULT);
                image_from_yuv(yuv, &sps, colour, self.rotation).map(Decoded::Picture)
            }
            Ok(None) => Err("parts of the picture are missing".to_owned()),
            Err(why) => Err(why),
        }
    }

    /// Refuses a frame whose number says that reference frames before it are missing.
    fn check_frame_num(&mut self, head: &FrameHead, num: u32, sps: &Sps) -> Result<(), String> {
        let modulus = 1 << sps.log2_max_frame_num;
        let fits = match self.last_frame_num {
            // 0 and 1 also follow a frame that resets all references (MMCO 5).
            Some(last) => num == last || num == (last + 1) % modulus || num <= 1,
            None => true,
        };
        if !(head.idr || sps.gaps_allowed || fits) {
            return Err("frames before it are missing from the stream".to_owned());
        }
        if head.reference {
            self.last_frame_num = Some(num);
        }
        Ok(())
    }

    /// Walks over the NAL units of a sample: puts start codes where their lengths were, takes
    /// parameter sets, and reads the head of the first slice.
    fn read_head(&mut self, sample: &mut Vec<u8>) -> Result<FrameHead, String> {
        if self.length_bytes < 3 {
            self.widen_lengths(sample)?;
        }
        let length_bytes = self.length_bytes.max(3);
        let mut head = FrameHead {
            intra: true,
            ..FrameHead::default()
        };
        let mut at = 0;
        while at < sample.len() {
            let (prefix, rest) = sample[at..]
                .split_at_mut_checked(length_bytes)
                .ok_or("damaged: its parts do not fill it")?;
            let length = prefix.iter().fold(0, |n, &b| n << 8 | usize::from(b));
            let nal = rest
                .get_mut(..length)
                .ok_or("damaged: its parts are longer than it is")?;
            prefix.fill(0);
            if let Some(last) = prefix.last_mut() {
                *last = 1;
            }
            at += length_bytes + length;
            self.read_nal(nal, &mut head)?;
        }
        Ok(head)
    }

    fn read_nal(&mut self, nal: &mut [u8], head: &mut FrameHead) -> Result<(), String> {
        let Some(&first) = nal.first() else {
            return Ok(());
        };
        match first & 0x1f {
            kind @ (1..=5) => {
                head.has_slices = true;
                head.idr |= kind == 5;
                head.reference |= first & 0x60 != 0;
                let slice = SliceHead::parse(nal).map_err(|e| e.to_string())?;
                head.intra &= slice.intra;
                head.slice.get_or_insert(slice);
            }
            7 => {
                if self.take_parameter_set(nal).map_err(|e| e.to_string())? {
                    self.feed_parameter_sets();
                }
                // The decoder has its own version of it: this one becomes filler.
                if let Some(first) = nal.first_mut() {
                    *first = FILLER;
                }
            }
            8 => {
                self.take_parameter_set(nal).map_err(|e| e.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps a parameter set; tells whether it is another than was kept.
    fn take_parameter_set(&mut self, nal: &[u8]) -> Result<bool, ParamError> {
        let kind = nal.first().map_or(0, |b| b & 0x1f);
        let (id, for_decoder) = match kind {
            7 => {
                let sps = Sps::parse(nal)?;
                let kept = (sps.id, sps.uncropped.clone());
                self.sps.insert(sps.id, sps);
                kept
            }
            8 => {
                let pps = Pps::parse(nal)?;
                self.pps.insert(pps.id, pps);
                (pps.id, nal.to_vec())
            }
            _ => return Ok(false),
        };
        let before = self.sets.insert((kind, id), for_decoder);
        Ok(before.as_ref() != self.sets.get(&(kind, id)))
    }

    /// Rewrites lengths of 1 or 2 bytes as 4, so that a start code fits in their place.
    fn widen_lengths(&mut self, sample: &mut Vec<u8>) -> Result<(), String> {
        let short = self.length_bytes;
        self.scratch.clear();
        let mut rest = sample.as_slice();
        while !rest.is_empty() {
            let (prefix, after) = rest
                .split_at_checked(short)
                .ok_or("damaged: its parts do not fill it")?;
            let length = prefix.iter().fold(0, |n, &b| n << 8 | u32::from(b));
            let (nal, after) = after
                .split_at_checked(length as usize)
                .ok_or("damaged: its parts are longer than it is")?;
            self.scratch.extend(&length.to_be_bytes()[1..]);
            self.scratch.extend(nal);
            rest = after;
        }
        std::mem::swap(sample, &mut self.scratch);
        Ok(())
    }
}

/// Runs the decoder over a frame with start codes; a panic in it becomes an error.
fn guarded(decoder: &mut Decoder, annex_b: &[u8]) -> Result<Option<YuvFrame>, String> {
    match catch_unwind(AssertUnwindSafe(|| decoder.decode(annex_b))) {
        Ok(Ok(yuv)) => Ok(yuv),
        Ok(Err(DecodeError::Truncated)) => Err("damaged: its data end too early".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            *decoder = Decoder::new();
            Err("the decoder failed on it".to_owned())
        }
    }
}

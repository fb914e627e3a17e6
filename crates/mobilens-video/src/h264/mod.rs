//! H.264: parameter sets, decoder, reorder buffer, encoder.
//!
//! `params` and `vui` parse the parameter sets (`bit_reader` their Exp-Golomb codes), `decode` turns
//! coded frames into pictures (`picture` crops and rotates them), `order` restores presentation
//! order. [`LiveDecoder`] decodes the frames of a network camera as they arrive, [`VideoEncoder`]
//! encodes.

mod bit_reader;
mod config;
mod decode;
mod encoder;
mod live;
mod order;
mod params;
mod picture;
mod vui;

pub(crate) use config::{CodecConfig, Rotation, matrix_from_code};
pub(crate) use decode::{AvcDecoder, Decoded};
pub use encoder::{EncodedFrame, StreamParameters, VideoEncoder};
pub use live::LiveDecoder;
pub(crate) use order::PresentationQueue;

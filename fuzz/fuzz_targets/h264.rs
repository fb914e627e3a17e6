//! H.264 pictures. The input: a configuration record, then frames of NAL units with length prefixes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens_video::h264::LiveDecoder;

/// Pixels of a picture: larger ones take long, and reach nothing more.
const PIXELS: u64 = 1 << 19;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let mut parts = mobilens_fuzz::parts(input);
    let mut decoder = LiveDecoder::new();
    if parts.next().is_none_or(|avcc| decoder.configure(avcc).is_err()) {
        return;
    }
    for (i, frame) in parts.take(16).enumerate() {
        let is_small = decoder
            .size()
            .is_none_or(|size| u64::from(size.width) * u64::from(size.height) <= PIXELS);
        if !is_small {
            return;
        }
        let _ = decoder.decode(frame.to_vec(), i == 0);
    }
});

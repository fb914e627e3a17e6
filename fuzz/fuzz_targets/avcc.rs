//! `AVCDecoderConfigurationRecord`: SPS with VUI, and PPS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens_video::h264::LiveDecoder;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let mut decoder = LiveDecoder::new();
    if decoder.configure(input).is_ok() {
        let _ = (decoder.size(), decoder.max_num_reorder_frames());
        // A frame of an SPS and a PPS only.
        let _ = decoder.decode(vec![0, 0, 0, 2, 0x68, 0xee], true);
    }
});

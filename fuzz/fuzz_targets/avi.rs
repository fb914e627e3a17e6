//! Motion JPEG in AVI.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mobilens_video::avi::{AviRead, AviReader};

/// Steps of reading, of which each decodes at most one picture.
const STEPS: u32 = 50;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let Ok(Some(mut reader)) = AviReader::new(Cursor::new(input)) else {
        return;
    };
    let _ = (reader.rate(), reader.frames());
    for _ in 0..STEPS {
        if !matches!(reader.read(), Ok(AviRead::Frame(_) | AviRead::Pending)) {
            break;
        }
    }
});

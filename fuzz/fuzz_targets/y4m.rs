//! Y4M files and pipes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens_video::y4m::Y4mReader;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let Ok(mut reader) = Y4mReader::new(input) else {
        return;
    };
    for _ in 0..50 {
        if !matches!(reader.next_frame(), Ok(Some(_))) {
            break;
        }
    }
});

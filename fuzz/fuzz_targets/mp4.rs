//! MP4 and MOV: boxes, sample tables, edit lists, fragments, and the pictures in them.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mobilens_video::mp4::{Mp4Reader, ReadFrame};

/// Steps of reading, of which each decodes at most one frame.
const STEPS: u32 = 200;
/// Pixels of all pictures together.
const PIXELS: u64 = 1 << 23;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let Ok(mut reader) = Mp4Reader::open(Cursor::new(input)) else {
        return;
    };
    let _ = (reader.fps(), reader.frames(), reader.size());
    let mut pixels = 0;
    for _ in 0..STEPS {
        match reader.read() {
            Ok(ReadFrame::Frame { image: Ok(image), .. }) => {
                let size = image.size();
                pixels += u64::from(size.width) * u64::from(size.height);
                if pixels > PIXELS {
                    break;
                }
            }
            Ok(ReadFrame::Frame { .. } | ReadFrame::Pending) => {}
            Ok(ReadFrame::End) | Err(_) => break,
        }
    }
    reader.rewind();
    let _ = reader.read();
});

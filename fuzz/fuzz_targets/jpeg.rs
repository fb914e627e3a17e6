//! JPEG frames of cameras. The first two bytes are the expected size in blocks of 8 pixels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens_image::SizePx;
use mobilens_video::jpeg::decode_jpeg;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let [columns, rows, jpeg @ ..] = input else {
        return;
    };
    let size = SizePx {
        width: u32::from(*columns) * 8,
        height: u32::from(*rows) * 8,
    };
    if let Ok(image) = decode_jpeg(jpeg, size) {
        assert_eq!(image.size(), size);
    }
});

//! A pipeline, and the card of its model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens::config::{self, RunArguments};

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let mut parts = mobilens_fuzz::parts(input);
    let pipeline = mobilens_fuzz::write("pipeline.yaml", parts.next().unwrap_or_default());
    mobilens_fuzz::write("card.yaml", parts.next().unwrap_or_default());
    mobilens_fuzz::write("clip.mp4", b"");
    mobilens_fuzz::write("tiny.onnx", b"");
    match config::load_all(&pipeline, &[], &RunArguments::default()) {
        Ok(streams) => {
            let _ = config::effective_yaml(&streams);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            let _ = errors.to_string();
        }
    }
});

//! A network and its card. The input: the card in YAML, then the ONNX file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens::config;
use mobilens::pipeline::Model;

const PIPELINE: &[u8] = b"source: { video: { path: clip.mp4 } }\nmodel: card.yaml\n";

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let mut parts = mobilens_fuzz::parts(input);
    let pipeline = mobilens_fuzz::write("pipeline.yaml", PIPELINE);
    mobilens_fuzz::write("clip.mp4", b"");
    mobilens_fuzz::write("card.yaml", parts.next().unwrap_or_default());
    let network: Vec<u8> = parts.collect::<Vec<_>>().join(mobilens_fuzz::SEPARATOR);
    mobilens_fuzz::write("tiny.onnx", &network);
    if let Ok(loaded) = config::load(&pipeline, &[]) {
        let _ = Model::load(&loaded);
    }
});

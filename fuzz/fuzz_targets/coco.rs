//! COCO: annotations and results.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens::eval::{CocoGroundTruth, CocoInstances, GroundTruth, read_results};
use mobilens::postprocess::Labels;
use mobilens_image::SizePx;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    // Everything is compared with everything: longer inputs take long, and reach nothing more.
    if input.len() > 8192 {
        return;
    }
    let mut parts = mobilens_fuzz::parts(input);
    let annotations = mobilens_fuzz::write("annotations.json", parts.next().unwrap_or_default());
    let results = mobilens_fuzz::write("results.json", parts.next().unwrap_or_default());
    let mut truth = CocoGroundTruth::default();
    if truth.add(&annotations).is_ok()
        && let Ok(results) = read_results(&results)
    {
        let _ = truth.figures(&results);
    }
    let labels = Labels::new(vec![(1, "person".to_owned()), (2, "car".to_owned())]);
    if let Ok(instances) = CocoInstances::open([annotations.as_path()], &labels) {
        let size = SizePx {
            width: 16,
            height: 12,
        };
        let _ = instances.of("a.jpg", size);
    }
});

//! Files of the MOTChallenge: ground truth and result.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens::eval::{evaluate_tracking, read_mot};

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    // Everything is compared with everything: longer inputs take long, and reach nothing more.
    if input.len() > 8192 {
        return;
    }
    let mut parts = mobilens_fuzz::parts(input);
    let truth = mobilens_fuzz::write("gt.txt", parts.next().unwrap_or_default());
    let result = mobilens_fuzz::write("result.txt", parts.next().unwrap_or_default());
    if let (Ok(truth), Ok(result)) = (read_mot(&truth, true), read_mot(&result, false)) {
        let figures = evaluate_tracking(&truth, &result);
        let _ = (figures.mota(), figures.idf1());
    }
});

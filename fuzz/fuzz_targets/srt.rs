//! Drones' subtitles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobilens::telemetry::TelemetryLog;

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    if let Some(log) = TelemetryLog::parse(&text) {
        let _ = (log.len(), log.truncated());
        let log = log.with_offset(-500.0);
        for ms in [0.0, 1.0, 999.5, 60_000.0, 1e9, -1e9] {
            let _ = log.at(ms);
        }
    }
});

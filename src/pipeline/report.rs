//! The summary of a run: frame counts, failures, latencies, and its text form.

use std::fmt;
use std::time::Duration;

use super::stages::classify_tracks::TrackClassifierCounts;
use crate::flow::{Failure, Latency};
use crate::records::EndRecord;
use mobilens_nn::Network;

/// The summary of a run.
#[derive(Debug)]
pub struct RunReport {
    /// The last record.
    pub end: EndRecord,
    /// Failures in the order in which they occurred; empty for a run that succeeded.
    pub failures: Vec<Failure>,
    /// How much each kind of sink missed, because it was too slow or could not write.
    pub sink_drops: Vec<(String, u64)>,
    /// Latency of each stage and from end to end, in the order of the stages.
    pub latencies: Vec<Latency>,
    /// From the first thread's start to the last one's end.
    pub elapsed: Duration,
    /// The network that ran, if one did.
    pub network: Option<Network>,
    /// Those of the stream's further models, with their names.
    pub others: Vec<(String, Network)>,
    /// What second networks did, in the order of their names.
    pub track_classifiers: Vec<TrackClassifierCounts>,
}

impl RunReport {
    /// What became of the frames, in one line.
    pub fn frames_line(&self) -> String {
        let EndRecord { reason, frames, .. } = &self.end;
        let dropped = &frames.dropped;
        format!(
            "{} frames captured, {} emitted, {} dropped (queue {}, stale {}, decode_error {}, shutdown {}); \
             ended: {reason}",
            frames.captured,
            frames.emitted,
            dropped.total(),
            dropped.queue,
            dropped.stale,
            dropped.decode_error,
            dropped.shutdown
        )
    }

    /// Frames with a record per second.
    pub fn frames_per_second(&self) -> f64 {
        self.end.frames.emitted as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.end.stream, self.frames_line())?;
        for (sink, missed) in self.sink_drops.iter().filter(|(_, missed)| *missed > 0) {
            writeln!(
                f,
                "sink {sink}: {missed} missed (too slow, or could not write)"
            )?;
        }
        for counts in &self.track_classifiers {
            let TrackClassifierCounts {
                name,
                classified,
                skipped,
            } = counts;
            writeln!(
                f,
                "classify_tracks {name}: {classified} crops classified, {skipped} skipped for lack of time"
            )?;
        }
        write!(
            f,
            "{:.1} frames/s over {:.2} s",
            self.frames_per_second(),
            self.elapsed.as_secs_f64()
        )?;
        if let Some(network) = &self.network {
            write!(f, ", {network}")?;
        }
        for (name, network) in &self.others {
            write!(f, "; {name}: {network}")?;
        }
        writeln!(f)?;
        let names = self.latencies.iter().map(|latency| latency.name().len());
        let width = names.max().unwrap_or(0).max(12);
        writeln!(
            f,
            "{:<width$} {:>8} {:>8} {:>8} {:>8}",
            "ms", "mean", "p50", "p95", "p99"
        )?;
        for latency in &self.latencies {
            if let Some(p) = latency.percentiles() {
                writeln!(
                    f,
                    "{:<width$} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                    latency.name(),
                    p.mean_ms,
                    p.p50_ms,
                    p.p95_ms,
                    p.p99_ms
                )?;
            }
        }
        Ok(())
    }
}

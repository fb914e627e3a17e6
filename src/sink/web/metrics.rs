//! Counters and latency histograms in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::flow::Latency;
use crate::records::{EventRecord, FrameCounts, FrameRecord};

/// Upper bounds of the histograms in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// Tells what became of the frames so far.
type Counts = Box<dyn Fn() -> FrameCounts + Send>;

/// What is counted and measured of a stream.
#[derive(Default)]
pub struct Metrics {
    latencies: Mutex<Vec<Latency>>,
    counts: Mutex<Option<Counts>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    detections: BTreeMap<String, u64>,
    events: BTreeMap<String, u64>,
}

impl Metrics {
    /// Has latencies shown.
    pub fn add_latencies(&self, latencies: impl IntoIterator<Item = Latency>) {
        lock(&self.latencies).extend(latencies);
    }

    /// Has frames counted by `counts`.
    pub fn set_counts(&self, counts: impl Fn() -> FrameCounts + Send + 'static) {
        *lock(&self.counts) = Some(Box::new(counts));
    }

    /// Takes in a frame's record.
    pub(super) fn count(&self, record: &FrameRecord) {
        let mut seen = lock(&self.seen);
        for detection in &record.detections {
            *seen.detections.entry(detection.label.clone()).or_default() += 1;
        }
        drop(seen);
        for event in &record.events {
            self.count_event(event);
        }
    }

    /// Takes in an event.
    pub(super) fn count_event(&self, event: &EventRecord) {
        *lock(&self.seen)
            .events
            .entry(event.kind.clone())
            .or_default() += 1;
    }

    /// All of it as text.
    pub(super) fn render(&self, stream: &str) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(
                text,
                "# HELP mobilens_{name} {help}\n# TYPE mobilens_{name} {kind}"
            );
        };
        if let Some(counts) = &*lock(&self.counts) {
            let FrameCounts {
                captured,
                emitted,
                dropped,
            } = counts();
            head(
                &mut text,
                "frames_total",
                "counter",
                "Frames by what became of them.",
            );
            for (fate, n) in [
                ("captured", captured),
                ("emitted", emitted),
                ("dropped_queue", dropped.queue),
                ("dropped_stale", dropped.stale),
                ("dropped_decode_error", dropped.decode_error),
            ] {
                let _ = writeln!(
                    text,
                    "mobilens_frames_total{{stream=\"{stream}\",fate=\"{fate}\"}} {n}"
                );
            }
        }
        let seen = lock(&self.seen);
        for (name, label, counts, help) in [
            (
                "detections_total",
                "class",
                &seen.detections,
                "Detections by class.",
            ),
            ("events_total", "kind", &seen.events, "Events by kind."),
        ] {
            head(&mut text, name, "counter", help);
            for (value, n) in counts {
                let value = value
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                let _ = writeln!(
                    text,
                    "mobilens_{name}{{stream=\"{stream}\",{label}=\"{value}\"}} {n}"
                );
            }
        }
        head(
            &mut text,
            "latency_seconds",
            "histogram",
            "Time of each stage.",
        );
        for latency in &*lock(&self.latencies) {
            let labels = format!("stream=\"{stream}\",stage=\"{}\"", latency.name());
            let (below, count, sum_s) = latency.cumulative(&BOUNDS_MS);
            for (bound, n) in BOUNDS_MS.iter().zip(below) {
                let bound = *bound as f64 / 1000.0;
                let _ = writeln!(
                    text,
                    "mobilens_latency_seconds_bucket{{{labels},le=\"{bound}\"}} {n}"
                );
            }
            let _ = writeln!(
                text,
                "mobilens_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n\
                 mobilens_latency_seconds_sum{{{labels}}} {sum_s}\n\
                 mobilens_latency_seconds_count{{{labels}}} {count}"
            );
        }
        text
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_reads_as_prometheus_wants() {
        let metrics = Metrics::default();
        let latency = Latency::new("infer");
        for ms in [3, 15, 15, 700] {
            latency.record(Duration::from_millis(ms));
        }
        metrics.add_latencies([latency]);
        metrics.set_counts(|| FrameCounts {
            captured: 9,
            emitted: 7,
            ..FrameCounts::default()
        });
        let text = metrics.render("gate");
        for line in [
            "mobilens_frames_total{stream=\"gate\",fate=\"captured\"} 9",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"0.005\"} 1",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"0.02\"} 3",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"+Inf\"} 4",
            "mobilens_latency_seconds_count{stream=\"gate\",stage=\"infer\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}

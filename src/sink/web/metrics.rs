//! Counters and latency histograms in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::flow::Latency;
use crate::records::{EventRecord, FrameCounts, FrameRecord};

/// Upper bounds of the histograms in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// Returns the frame counts and the number of source losses so far.
type FrameCountsFn = Box<dyn Fn() -> (FrameCounts, u64) + Send>;

/// Returns how much each kind of sink missed so far.
type SinkDropsFn = Box<dyn Fn() -> Vec<(String, u64)> + Send>;

/// What is counted and measured of a stream.
#[derive(Default)]
pub struct Metrics {
    latencies: Mutex<Vec<Latency>>,
    counts: Mutex<Option<FrameCountsFn>>,
    sink_drops: Mutex<Option<SinkDropsFn>>,
    counters: Mutex<RecordCounters>,
}

#[derive(Default)]
struct RecordCounters {
    detections: BTreeMap<String, u64>,
    events: BTreeMap<String, u64>,
}

impl Metrics {
    /// Has latencies shown.
    pub fn add_latencies(&self, latencies: impl IntoIterator<Item = Latency>) {
        lock(&self.latencies).extend(latencies);
    }

    /// Has frames, and losses of the source, counted by `counts`.
    pub fn set_counts(&self, counts: impl Fn() -> (FrameCounts, u64) + Send + 'static) {
        *lock(&self.counts) = Some(Box::new(counts));
    }

    /// Has what sinks miss counted by `drops`.
    pub fn set_sink_drops(&self, drops: impl Fn() -> Vec<(String, u64)> + Send + 'static) {
        *lock(&self.sink_drops) = Some(Box::new(drops));
    }

    /// Takes in a frame's record.
    pub(super) fn count(&self, record: &FrameRecord) {
        let mut counters = lock(&self.counters);
        for detection in &record.detections {
            *counters
                .detections
                .entry(detection.label.clone())
                .or_default() += 1;
        }
        drop(counters);
        for event in &record.events {
            self.count_event(event);
        }
    }

    /// Takes in an event.
    pub(super) fn count_event(&self, event: &EventRecord) {
        *lock(&self.counters)
            .events
            .entry(event.kind.clone())
            .or_default() += 1;
    }

    fn frames(&self, text: &mut String, stream: &str) {
        let Some((counts, _)) = lock(&self.counts).as_ref().map(|counts| counts()) else {
            return;
        };
        let FrameCounts {
            captured,
            emitted,
            dropped,
        } = counts;
        for (fate, n) in [
            ("captured", captured),
            ("emitted", emitted),
            ("dropped_queue", dropped.queue),
            ("dropped_stale", dropped.stale),
            ("dropped_decode_error", dropped.decode_error),
        ] {
            let labels = format!("stream=\"{stream}\",fate=\"{fate}\"");
            let _ = writeln!(text, "mobilens_frames_total{{{labels}}} {n}");
        }
    }

    fn losses(&self, text: &mut String, stream: &str) {
        if let Some((_, lost)) = lock(&self.counts).as_ref().map(|counts| counts()) {
            let _ = writeln!(
                text,
                "mobilens_source_lost_total{{stream=\"{stream}\"}} {lost}"
            );
        }
    }

    fn sink_drops(&self, text: &mut String, stream: &str) {
        let drops = lock(&self.sink_drops).as_ref().map(|drops| drops());
        for (sink, n) in drops.into_iter().flatten() {
            let labels = format!("stream=\"{stream}\",sink=\"{}\"", escaped(&sink));
            let _ = writeln!(text, "mobilens_sink_dropped_total{{{labels}}} {n}");
        }
    }

    fn latencies(&self, text: &mut String, stream: &str) {
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
    }
}

/// The metrics of all streams as text, family by family.
pub(super) fn render<'a>(streams: impl Iterator<Item = (&'a str, &'a Metrics)> + Clone) -> String {
    let mut text = String::new();
    let mut family =
        |name: &str, kind: &str, help: &str, of: &dyn Fn(&mut String, &str, &Metrics)| {
            let _ = writeln!(
                text,
                "# HELP mobilens_{name} {help}\n# TYPE mobilens_{name} {kind}"
            );
            for (stream, metrics) in streams.clone() {
                of(&mut text, &escaped(stream), metrics);
            }
        };
    family(
        "frames_total",
        "counter",
        "Frames by outcome.",
        &|text, stream, metrics| metrics.frames(text, stream),
    );
    family(
        "source_lost_total",
        "counter",
        "How often the source was lost.",
        &|text, stream, metrics| metrics.losses(text, stream),
    );
    family(
        "sink_dropped_total",
        "counter",
        "Records and pictures that a sink missed: too slow, or could not write.",
        &|text, stream, metrics| metrics.sink_drops(text, stream),
    );
    family(
        "detections_total",
        "counter",
        "Detections by class.",
        &|text, stream, metrics| {
            for (class, n) in &lock(&metrics.counters).detections {
                let labels = format!("stream=\"{stream}\",class=\"{}\"", escaped(class));
                let _ = writeln!(text, "mobilens_detections_total{{{labels}}} {n}");
            }
        },
    );
    family(
        "events_total",
        "counter",
        "Events by kind.",
        &|text, stream, metrics| {
            for (kind, n) in &lock(&metrics.counters).events {
                let labels = format!("stream=\"{stream}\",kind=\"{}\"", escaped(kind));
                let _ = writeln!(text, "mobilens_events_total{{{labels}}} {n}");
            }
        },
    );
    family(
        "latency_seconds",
        "histogram",
        "Time of each stage.",
        &|text, stream, metrics| metrics.latencies(text, stream),
    );
    text
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
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
        metrics.set_counts(|| {
            let counts = FrameCounts {
                captured: 9,
                emitted: 7,
                ..FrameCounts::default()
            };
            (counts, 2)
        });
        metrics.set_sink_drops(|| vec![("jsonl".to_owned(), 4)]);
        let other = Metrics::default();
        let text = render([("gate", &metrics), ("ya\"rd", &other)].into_iter());
        assert_eq!(text.matches("# TYPE mobilens_frames_total").count(), 1);
        for line in [
            "mobilens_frames_total{stream=\"gate\",fate=\"captured\"} 9",
            "mobilens_source_lost_total{stream=\"gate\"} 2",
            "mobilens_sink_dropped_total{stream=\"gate\",sink=\"jsonl\"} 4",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"0.005\"} 1",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"0.02\"} 3",
            "mobilens_latency_seconds_bucket{stream=\"gate\",stage=\"infer\",le=\"+Inf\"} 4",
            "mobilens_latency_seconds_count{stream=\"gate\",stage=\"infer\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}

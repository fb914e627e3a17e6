//! Latency histograms in constant memory (HDR histogram).

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// One minute; longer latencies are recorded as this.
const MAX_US: u64 = 60_000_000;

/// The latencies of one stage, shared by the threads that run it.
#[derive(Clone, Debug)]
pub struct Latency {
    name: Cow<'static, str>,
    histogram: Arc<Mutex<Histogram<u64>>>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Number of measurements.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl Latency {
    /// An empty histogram.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let histogram =
            Histogram::new_with_bounds(1, MAX_US, 3).expect("constant bounds are valid");
        Self {
            name: name.into(),
            histogram: Arc::new(Mutex::new(histogram)),
        }
    }

    /// The stage's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds one measurement.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(MAX_US);
        self.histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_record(us);
    }

    /// Runs `work` and records how long it took.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.record(start.elapsed());
        result
    }

    /// Cumulative counts for the upper bounds `bounds_ms`, the total count, and the sum in seconds.
    pub fn cumulative(&self, bounds_ms: &[u64]) -> (Vec<u64>, u64, f64) {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let below = bounds_ms
            .iter()
            .map(|bound| histogram.count_between(0, bound * 1000));
        let count = histogram.len();
        let sum_s = if count == 0 {
            0.0
        } else {
            histogram.mean() * count as f64 / 1e6
        };
        (below.collect(), count, sum_s)
    }

    /// The percentiles so far; `None` without measurements.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = |q| histogram.value_at_quantile(q) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Percentiles {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: at(0.50),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_latencies() {
        let latency = Latency::new("test");
        assert_eq!(latency.percentiles(), None);
        for ms in 1..=100 {
            latency.record(Duration::from_millis(ms));
        }
        let got = latency.percentiles().expect("has measurements");
        assert_eq!(got.count, 100);
        assert!((got.p50_ms - 50.0).abs() < 0.1, "{got:?}");
        assert!((got.p99_ms - 99.0).abs() < 0.1, "{got:?}");
    }
}

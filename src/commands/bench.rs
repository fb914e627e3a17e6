//! `mobilens bench`: the latency of a model, or the cost of each stage of a pipeline.

use std::path::Path;
use std::time::Instant;

use mobilens::app::{self, RunOptions, RunReport};
use mobilens::config;
use mobilens::flow::StopSignal;
use mobilens::nn::{LoadOptions, Network, NnError};
use serde_json::json;

use super::{DONE, FAILED, USAGE, exit_code_of, print, say};

/// Measured runs of a model, where nobody says.
const ITERATIONS: u32 = 50;
/// Runs before them, until caches and clocks have settled.
const WARM_UP: u32 = 5;

/// Measures an ONNX model, or a pipeline if `target` is YAML.
pub fn bench(target: &Path, threads: Option<usize>, iters: Option<u32>, json: bool) -> u8 {
    let is_yaml = target
        .extension()
        .is_some_and(|e| e == "yaml" || e == "yml");
    if is_yaml {
        bench_pipeline(target, threads, iters, json)
    } else {
        bench_model(
            target,
            threads.unwrap_or(1),
            iters.unwrap_or(ITERATIONS),
            json,
        )
    }
}

fn bench_model(path: &Path, threads: usize, iters: u32, json: bool) -> u8 {
    match measure(path, threads, iters) {
        Ok(times_ms) => {
            let at = |share: f64| times_ms[((times_ms.len() - 1) as f64 * share).round() as usize];
            let (median, p90) = (at(0.5), at(0.9));
            let model = path.file_stem().unwrap_or_default().to_string_lossy();
            if json {
                let line = json!({
                    "model": model, "threads": threads, "iters": iters,
                    "median_ms": median, "p90_ms": p90,
                });
                print(&line.to_string());
            } else {
                print(&format!(
                    "{model}: median {median:.2} ms, p90 {p90:.2} ms ({threads} threads, {iters} runs)"
                ));
            }
            DONE
        }
        Err(error) => {
            say(&error.to_string());
            match error {
                NnError::Run { .. } => FAILED,
                _ => USAGE,
            }
        }
    }
}

/// Milliseconds of each run, sorted.
fn measure(path: &Path, threads: usize, iters: u32) -> Result<Vec<f64>, NnError> {
    let network = Network::load(path, &LoadOptions::default())?;
    let mut session = network.session(threads)?;
    for (i, value) in session.input_mut().iter_mut().enumerate() {
        // Anything but zeros, and the same each time.
        *value = ((i * 7919) % 255) as f32 / 127.5 - 1.0;
    }
    for _ in 0..WARM_UP {
        session.run()?;
    }
    let mut times_ms = Vec::new();
    for _ in 0..iters {
        let start = Instant::now();
        session.run()?;
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times_ms.sort_by(f64::total_cmp);
    Ok(times_ms)
}

fn bench_pipeline(path: &Path, threads: Option<usize>, frames: Option<u32>, json: bool) -> u8 {
    let mut config = match config::load(path, &[]) {
        Ok(config) => config,
        Err(faults) => {
            say(&faults.to_string());
            return USAGE;
        }
    };
    config.spec.inference.threads = threads.or(config.spec.inference.threads);
    let options = RunOptions {
        frames: frames.map(u64::from),
        progress: true,
        discard: true,
    };
    match app::run(config, &options, &StopSignal::new()) {
        Ok(report) => {
            if json {
                print(&report_json(&report).to_string());
            } else {
                print(report.to_string().trim_end());
            }
            for failure in &report.failures {
                say(&format!("failed: {failure}"));
            }
            if report.failures.is_empty() {
                DONE
            } else {
                FAILED
            }
        }
        Err(error) => {
            say(&error.to_string());
            exit_code_of(&error)
        }
    }
}

fn report_json(report: &RunReport) -> serde_json::Value {
    let stages: serde_json::Map<_, _> = report
        .latencies
        .iter()
        .filter_map(|latency| {
            let p = latency.percentiles()?;
            let figures = json!({
                "mean_ms": p.mean_ms, "p50_ms": p.p50_ms, "p95_ms": p.p95_ms, "p99_ms": p.p99_ms,
            });
            Some((latency.name().replace(' ', "_"), figures))
        })
        .collect();
    json!({
        "frames": report.end.frames, "frames_per_second": report.frames_per_second(),
        "stages": stages,
    })
}

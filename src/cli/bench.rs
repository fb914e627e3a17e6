//! `mobilens bench`: the latency of a model, or the cost of each stage of a pipeline.

use std::path::Path;
use std::time::Instant;

use mobilens::config::{self, ConfigError, PrecisionConfig};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{self, RunOptions, RunReport};
use mobilens_nn::{KeptClasses, LoadOptions, Network, NnError, Session};
use serde_json::json;

use crate::cli::arguments::BenchArgs;

use super::{DONE, FAILED, USAGE, data_dir, exit_code_of, print, print_error};

/// Default number of measured runs of a model.
const ITERATIONS: u32 = 50;
/// Runs before them, until caches and clocks have settled.
const WARM_UP: u32 = 5;

/// Measures an ONNX model, or a pipeline if the target is YAML.
pub fn bench(arguments: &BenchArgs) -> u8 {
    let target = match data_dir::find(&arguments.target) {
        Ok(target) => target,
        Err(fault) => {
            print_error(&fault.to_string());
            return USAGE;
        }
    };
    let is_yaml = target
        .extension()
        .is_some_and(|e| e == "yaml" || e == "yml");
    if is_yaml {
        let only_models =
            !arguments.classes.is_empty() || arguments.layers || arguments.shape.is_some();
        if only_models {
            print_error(
                "--classes, --layers and --shape are for models; a pipeline names these itself",
            );
            return USAGE;
        }
        return bench_pipeline(&target, arguments);
    }
    match bench_model(&target, arguments) {
        Ok(()) => DONE,
        Err(ModelBenchError::Network(error @ NnError::Run { .. })) => {
            print_error(&error.to_string());
            FAILED
        }
        Err(error) => {
            print_error(&error.to_string());
            USAGE
        }
    }
}

/// Why a model cannot be measured.
#[derive(Debug, thiserror::Error)]
enum ModelBenchError {
    #[error(transparent)]
    Network(#[from] NnError),
    #[error(transparent)]
    Card(#[from] ConfigError),
    #[error("{card}: no class \"{name}\"; it has {known}")]
    NoSuchClass {
        card: String,
        name: String,
        known: String,
    },
    #[error("{card}: its classes cannot be cut out: each score depends on all of them")]
    NotPruned { card: String },
}

fn bench_model(path: &Path, arguments: &BenchArgs) -> Result<(), ModelBenchError> {
    let threads = usize::from(arguments.threads.unwrap_or(1));
    let iters = arguments.iters.unwrap_or(ITERATIONS);
    let options = LoadOptions {
        kernels: arguments.kernels.into(),
        precision: PrecisionConfig::from(arguments.precision.unwrap_or_default()).into(),
        keep: wanted_classes(path, &arguments.classes)?,
        shape: arguments.shape.as_ref().map(|shape| shape.0.clone()),
        replace_shape: true,
        ..LoadOptions::default()
    };
    let network = Network::load(path, &options)?;
    if options.keep.is_some() && network.pruned_classes().is_none() {
        let card = path.display().to_string();
        return Err(ModelBenchError::NotPruned { card });
    }
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
    let (median, p90) = (share_of(&mut times_ms, 0.5), share_of(&mut times_ms, 0.9));
    let model = path.file_stem().unwrap_or_default().to_string_lossy();
    if arguments.json {
        let line = json!({
            "model": model, "precision": network.precision(),
            "instruction_set": network.instruction_set(), "threads": threads, "iters": iters,
            "median_ms": median, "p90_ms": p90,
        });
        print(&line.to_string());
        return Ok(());
    }
    if arguments.layers {
        print_steps(&network, &mut session, iters);
    }
    print(&format!(
        "{model}: median {median:.2} ms, p90 {p90:.2} ms ({network}, {threads} threads, {iters} runs)"
    ));
    Ok(())
}

/// The scores of these labels, by the card beside the model.
fn wanted_classes(model: &Path, names: &[String]) -> Result<Option<KeptClasses>, ModelBenchError> {
    if names.is_empty() {
        return Ok(None);
    }
    let file = model.with_extension("yaml");
    let (card, _) = config::load_card(&file)?;
    let labels = || card.labels.iter().map(|label| label.name.as_str());
    if let Some(name) = names.iter().find(|name| labels().all(|l| l != *name)) {
        return Err(ModelBenchError::NoSuchClass {
            card: file.display().to_string(),
            name: name.clone(),
            known: labels().collect::<Vec<_>>().join(", "),
        });
    }
    let keep = pipeline::classes_to_keep(&card, &|label| names.iter().any(|name| name == label));
    keep.map(Some).ok_or(ModelBenchError::NotPruned {
        card: file.display().to_string(),
    })
}

/// A line for each step: its median time, its rate, and the layers that it consists of.
fn print_steps(network: &Network, session: &mut Session, iters: u32) {
    let mut steps: Vec<Vec<f64>> = Vec::new();
    for _ in 0..iters {
        for (step, seconds) in session.run_timed().into_iter().enumerate() {
            if steps.len() <= step {
                steps.push(Vec::new());
            }
            steps[step].push(seconds * 1e3);
        }
    }
    for (step, times_ms) in steps.iter_mut().enumerate() {
        let layers = || network.layers().iter().filter(|layer| layer.step == step);
        let macs: u64 = layers().map(|layer| layer.macs).sum();
        let parts: Vec<String> = layers()
            .map(|layer| format!("{} {:?}", layer.op, layer.output_shape))
            .collect();
        let median = share_of(times_ms, 0.5);
        print(&format!(
            "{median:8.3} ms {:6.1} GMAC/s  {}",
            macs as f64 / median / 1e6,
            parts.join(", ")
        ));
    }
}

/// The value below which `share` of the values lie.
fn share_of(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

fn bench_pipeline(path: &Path, arguments: &BenchArgs) -> u8 {
    let mut config = match config::load(path, &[]) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&faults.to_string());
            return USAGE;
        }
    };
    let inference = &mut config.config.inference;
    inference.threads = arguments.threads.map(usize::from).or(inference.threads);
    if let Some(precision) = arguments.precision {
        inference.precision = precision.into();
    }
    let options = RunOptions {
        expect: None,
        frames: arguments.iters.map(u64::from),
        progress: true,
        kernels: arguments.kernels.into(),
        discard: true,
        ..RunOptions::default()
    };
    match pipeline::run(config, &options, &StopSignal::new()) {
        Ok(report) => {
            if arguments.json {
                print(&report_json(&report).to_string());
            } else {
                print(report.to_string().trim_end());
            }
            for failure in &report.failures {
                print_error(&format!("failed: {failure}"));
            }
            if report.failures.is_empty() {
                DONE
            } else {
                FAILED
            }
        }
        Err(error) => {
            print_error(&error.to_string());
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
        "precision": report.network.as_ref().map(Network::precision),
        "instruction_set": report.network.as_ref().map(Network::instruction_set),
        "frames": report.end.frames, "frames_per_second": report.frames_per_second(),
        "stages": stages,
    })
}

//! Commands of the program; maps errors to messages and exit codes.

mod analyze;
mod arguments;
mod bench;
mod card;
mod compare;
mod data_dir;
mod descriptors;
mod devices;
mod eval;
#[cfg(feature = "store")]
mod events;
mod generate;
mod init;
mod inspect;
mod label;
#[cfg(feature = "onvif")]
mod onvif;
mod plot;
mod quantize;
mod reload;
#[cfg(target_os = "linux")]
mod service;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mobilens::config::{self, CardConfig, ConfigError, LoadedPipeline, Override, RunArguments};
use mobilens::flow::{StopReason, StopSignal, panic_message};
use mobilens::pipeline::{self, LoadedModels, Outcome, RunError, RunOptions, TrackModels};
use mobilens::records::Record;
use mobilens::sandbox::{Folders, restrict_process};
use mobilens_nn::KernelChoice;

pub use arguments::Cli;
use arguments::{CheckArgs, CliPace, Command, Format, RunArgs};
use reload::{ControlSocket, Hangup, Reloads, Selection, on_signals, socket_dir};

/// Done.
pub const DONE: u8 = 0;
/// The run failed.
pub const FAILED: u8 = 1;
/// Usage or configuration.
pub const USAGE: u8 = 2;
/// Exit code on a second Ctrl-C (128 + SIGINT).
const INTERRUPTED_TWICE: i32 = 130;

/// Runs the command and returns its exit code.
pub fn dispatch(cli: Cli) -> ExitCode {
    // Threads report panics of their own as failures; what a hook would print is for developers.
    std::panic::set_hook(Box::new(|info| tracing::debug!("{info}")));
    let code = catch_unwind(AssertUnwindSafe(|| command(cli))).unwrap_or_else(|panic| {
        print_error(&format!("internal error: {}", panic_message(&*panic)));
        FAILED
    });
    ExitCode::from(code)
}

fn command(cli: Cli) -> u8 {
    match cli.command {
        None => run(cli.run),
        Some(Command::Run(arguments)) => card::run_model(&arguments),
        Some(Command::Card(arguments)) => card::card(&arguments),
        Some(Command::Check(arguments)) => check(&arguments),
        Some(Command::Schema {
            records,
            card,
            markdown,
        }) => print_schema(records, card, markdown),
        Some(Command::Devices(arguments)) => devices::devices(&arguments),
        Some(Command::Init(arguments)) => init::init(&arguments),
        Some(Command::Reload(arguments)) => reload::reload(&arguments),
        Some(Command::Bench(arguments)) => bench::bench(&arguments),
        Some(Command::Analyze(arguments)) => analyze::analyze(&arguments),
        Some(Command::Plot(arguments)) => plot::plot(&arguments),
        Some(Command::Compare(arguments)) => compare::compare(&arguments),
        Some(Command::Label(arguments)) => label::label(&arguments),
        Some(Command::Eval(command)) => eval::eval(&command),
        #[cfg(feature = "store")]
        Some(Command::Events(arguments)) => events::events(&arguments),
        #[cfg(not(feature = "store"))]
        Some(Command::Events { .. }) => no_event_store(),
        Some(Command::Inspect(arguments)) => inspect::inspect(&arguments),
        Some(Command::Quantize(arguments)) => quantize::quantize_model(&arguments),
        Some(Command::Completions { shell }) => generate::completions(shell),
        Some(Command::Man { dir }) => generate::man(dir.as_deref()),
    }
}

/// Prints lines on standard error, each with the program's name.
pub fn print_error(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr(), "mobilens: {line}");
    }
}

/// Prints text on standard output; a broken pipe is ignored.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Exit code of an error: 2 for configuration, 1 for the machine or files.
pub fn exit_code_of(error: &RunError) -> u8 {
    match error {
        RunError::Model(_)
        | RunError::Network(_)
        | RunError::Feature(_)
        | RunError::Plan { .. } => USAGE,
        RunError::Capture(_) | RunError::Sink(_) | RunError::Thread(_) | RunError::Panicked(_) => {
            FAILED
        }
    }
}

fn run(args: RunArgs) -> u8 {
    let options = RunOptions {
        frames: args.frames,
        expect: args.expect.clone(),
        progress: true,
        kernels: args.kernels.into(),
        ..RunOptions::default()
    };
    let selected = select(args).and_then(|selection| {
        let configs = selection.load()?;
        Ok((selection, configs))
    });
    match selected {
        Ok((selection, configs)) => run_pipelines(configs, Some(selection), &options),
        Err(error) => {
            print_error(&error.to_string());
            USAGE
        }
    }
}

/// Runs pipelines that are loaded and valid, and prints their reports. What was loaded by a `selection` can be
/// reloaded.
pub fn run_pipelines(
    configs: Vec<LoadedPipeline>,
    selection: Option<Selection>,
    options: &RunOptions,
) -> u8 {
    let socket = selection.as_ref().and_then(|_| ControlSocket::bind());
    let mut allowed = None;
    // Before any other thread is started: each has the restrictions of the one that starts it.
    if configs.iter().all(|loaded| loaded.config.sandbox) {
        let mut folders = Folders::of(&configs);
        folders.add_read(options.expect.as_deref());
        folders.add_read(selection.as_ref().map(|selection| selection.file.as_path()));
        if socket.is_some() {
            // Its file is removed at the end.
            folders.write.extend(socket_dir());
        }
        if restrict_process(&folders) {
            allowed = Some(folders);
        }
    }
    let stop = StopSignal::new();
    let reloads = selection
        .map(|selection| Reloads::new(selection, &configs, allowed, options.reloader.clone()));
    stop_on_signals(&stop, reloads.clone());
    if let Some(reloads) = &reloads {
        reloads.watch();
        if let Some(socket) = &socket {
            socket.serve(reloads);
        }
    }
    descriptors::raise_limit();
    #[cfg(target_os = "linux")]
    let _notifier = service::Notifier::start(&options.health, &stop);
    let outcomes = match pipeline::run_streams(configs, options, &stop) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            print_error(&error.to_string());
            return exit_code_of(&error);
        }
    };
    let several = outcomes.len() > 1;
    let mut code = DONE;
    for Outcome { stream, result } in outcomes {
        let prefix = if several {
            format!("{stream}: ")
        } else {
            String::new()
        };
        match result {
            Ok(report) => {
                let _ = write!(std::io::stderr(), "{report}");
                for failure in &report.failures {
                    print_error(&format!("{prefix}failed: {failure}"));
                    code = code.max(FAILED);
                }
            }
            Err(error) => {
                print_error(&format!("{prefix}{error}"));
                code = code.max(exit_code_of(&error));
            }
        }
    }
    code
}

/// The pipeline and everything that the command line says of it.
fn select(args: RunArgs) -> Result<Selection, ConfigError> {
    let overrides = parse_overrides(&args.overrides)?;
    let file = data_dir::find(&args.pipeline.unwrap_or_default())?;
    let mut arguments = RunArguments {
        input: args.input,
        headless: args.headless,
        output: args.output,
        format: args.format.map(|format| match format {
            Format::Jsonl => config::JsonFormat::Jsonl,
            Format::Coco => config::JsonFormat::Coco,
            Format::Mot => config::JsonFormat::Mot,
        }),
        pace: args.pace.map(|pace| match pace {
            CliPace::Fast => config::PaceConfig::Fast,
            CliPace::Realtime => config::PaceConfig::Realtime,
        }),
    };
    if arguments.output.as_deref() == Some("".as_ref()) {
        arguments.output = None;
    }
    Ok(Selection {
        file,
        overrides,
        arguments,
    })
}

fn parse_overrides(texts: &[String]) -> Result<Vec<Override>, ConfigError> {
    texts.iter().map(|text| Override::parse(text)).collect()
}

/// The first Ctrl-C or SIGTERM asks for the end, a second one leaves at once; SIGHUP reloads what can be reloaded.
fn stop_on_signals(stop: &StopSignal, reloads: Option<Arc<Reloads>>) {
    let (stop, asked) = (stop.clone(), AtomicBool::new(false));
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED_TWICE);
        }
        stop.stop(StopReason::Interrupted);
        // Leaves even if what says so is stalled, too: standard error that nobody reads.
        std::thread::spawn(|| {
            std::thread::sleep(2 * pipeline::SHUTDOWN_DEADLINE);
            std::process::exit(FAILED.into());
        });
    };
    on_signals(reloads.map_or(Hangup::End, Hangup::Reload), handler);
}

fn check(arguments: &CheckArgs) -> u8 {
    if arguments.effective && arguments.pipelines.len() > 1 {
        print_error("--effective is for one pipeline");
        return USAGE;
    }
    let mut code = DONE;
    for pipeline in &arguments.pipelines {
        match validate(pipeline, &arguments.overrides) {
            Ok((configs, _)) if arguments.effective => match config::effective_yaml(&configs) {
                Ok(text) => print(text.trim_end()),
                Err(error) => {
                    print_error(&format!("{}: {error}", pipeline.display()));
                    code = FAILED;
                }
            },
            Ok((_, network)) => print(&format!("{}: ok ({network})", pipeline.display())),
            Err(errors) => {
                print_error(&errors);
                code = USAGE;
            }
        }
    }
    code
}

/// Loads a pipeline and its model; gives it with what the model runs on, or all errors, one a line.
pub fn validate(
    pipeline: &Path,
    overrides: &[String],
) -> Result<(Vec<LoadedPipeline>, String), String> {
    let file = data_dir::find(pipeline).map_err(|error| error.to_string())?;
    let configs = parse_overrides(overrides)
        .and_then(|o| config::load_all(&file, &o, &RunArguments::default()))
        .map_err(|error| error.to_string())?;
    for loaded in &configs {
        pipeline::ensure_built(&loaded.config)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let models = LoadedModels::load(&configs, KernelChoice::default())
        .map_err(|error| format!("{}: {error}", file.display()))?;
    TrackModels::load(&configs, KernelChoice::default())
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let mut described: Vec<String> = Vec::new();
    for (loaded, models) in configs.iter().zip(&models.streams) {
        let of_stream = models.describe(loaded);
        if !described.contains(&of_stream) {
            described.push(of_stream);
        }
    }
    Ok((configs, described.join("; ")))
}

fn print_schema(records: bool, card: bool, markdown: bool) -> u8 {
    let schema = match (records, card) {
        (true, _) => config::schema_of::<Record>(),
        (_, true) => config::schema_of::<CardConfig>(),
        _ => config::pipeline_schema(),
    };
    if markdown {
        let reference = if card {
            config::markdown_reference(&schema)
        } else {
            config::pipeline_reference()
        };
        print(reference.trim_end());
        return DONE;
    }
    match serde_json::to_string_pretty(&schema) {
        Ok(text) => {
            print(&text);
            DONE
        }
        Err(error) => {
            print_error(&error.to_string());
            FAILED
        }
    }
}

/// Refuses what needs the event store.
#[cfg(not(feature = "store"))]
pub fn no_event_store() -> u8 {
    print_error("this build has no event store: build it with the Cargo feature `store`");
    USAGE
}

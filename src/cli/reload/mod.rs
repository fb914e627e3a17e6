//! `mobilens reload`, and what a run does when its pipeline file is to be read again: the file is loaded and
//! validated as at the start, and given to the running pipeline.

mod signals;
#[cfg(unix)]
mod socket;
#[cfg(not(unix))]
#[path = "no_socket.rs"]
mod socket;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueHint};
use mobilens::config::{self, ConfigError, LoadedPipeline, Override, RunArguments};
use mobilens::pipeline::Reloader;
use mobilens::sandbox::Folders;

use super::{DONE, USAGE, print, print_error};
pub use signals::{Hangup, on_signals};
pub use socket::{ControlSocket, socket_dir};

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The pipeline file of the run; not needed where there is one run.
    #[arg(value_name = "PIPELINE.yaml", value_hint = ValueHint::FilePath)]
    pub pipeline: Option<PathBuf>,
    /// The process id of the run.
    #[arg(long, value_name = "N", conflicts_with = "pipeline")]
    pub pid: Option<u32>,
}

/// A pipeline and the command line of its run.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The pipeline file.
    pub file: PathBuf,
    /// Keys that the command line sets.
    pub overrides: Vec<Override>,
    /// What else it changes.
    pub arguments: RunArguments,
}

impl Selection {
    /// Loads the file as it is now.
    ///
    /// # Errors
    /// All errors that were found.
    pub fn load(&self) -> Result<Vec<LoadedPipeline>, ConfigError> {
        config::load_all(&self.file, &self.overrides, &self.arguments)
    }
}

/// Gives a run its pipeline file again.
#[derive(Debug)]
pub struct Reloads {
    selection: Selection,
    /// What the sandbox allows, if there is one.
    allowed: Option<Folders>,
    reloader: Reloader,
    /// One at a time.
    turn: Mutex<()>,
    watch: AtomicBool,
}

impl Reloads {
    /// Of a run of `configs`, which were loaded from `selection`.
    pub fn new(
        selection: Selection,
        configs: &[LoadedPipeline],
        allowed: Option<Folders>,
        reloader: Reloader,
    ) -> Arc<Self> {
        Arc::new(Self {
            selection,
            allowed,
            reloader,
            turn: Mutex::new(()),
            watch: AtomicBool::new(is_watched(configs)),
        })
    }

    /// The pipeline file.
    pub fn file(&self) -> &Path {
        &self.selection.file
    }

    /// Whether a change of the file is a reason to read it.
    pub fn is_watched(&self) -> bool {
        self.watch.load(Ordering::SeqCst)
    }

    /// Reads the file again, because of `reason`; what changed, or why it was refused.
    ///
    /// # Errors
    /// When it was refused; nothing has changed then.
    pub fn reload(&self, reason: &str) -> Result<String, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.try_reload();
        match &reloaded {
            Ok(changed) => tracing::info!("reloaded ({reason}): {}", one_line(changed)),
            Err(why) => tracing::error!(
                "reload refused ({reason}), the run goes on as before: {}",
                one_line(why)
            ),
        }
        reloaded
    }

    fn try_reload(&self) -> Result<String, String> {
        let configs = self.selection.load().map_err(|errors| {
            let errors = errors.to_string();
            if self.allowed.is_some() && errors.contains("Permission denied") {
                return format!(
                    "{errors}\nthe sandbox allows the folders that were named when the run was started: others \
                     need a restart"
                );
            }
            errors
        })?;
        if let Some(allowed) = &self.allowed {
            let outside = allowed.lacks(&Folders::named_by(&configs));
            if !outside.is_empty() {
                let outside: Vec<_> = outside.iter().map(|p| p.display().to_string()).collect();
                return Err(format!(
                    "{}: outside of the folders that the sandbox allows since the start: restart the run",
                    outside.join(", ")
                ));
            }
        }
        let watch = is_watched(&configs);
        let reloaded = self.reloader.reload(configs);
        let reloaded = reloaded.map_err(|error| error.to_string())?;
        self.watch.store(watch, Ordering::SeqCst);
        Ok(reloaded.to_string())
    }

    /// Reads the file again whenever it changes, if it says so.
    pub fn watch(self: &Arc<Self>) {
        watch::start(self);
    }
}

fn is_watched(configs: &[LoadedPipeline]) -> bool {
    configs.iter().any(|loaded| loaded.config.watch)
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// Has a run read its pipeline file again, and prints what it answers.
pub fn reload(arguments: &ReloadArgs) -> u8 {
    let file = arguments.pipeline.as_deref();
    match socket::ask(file, arguments.pid) {
        Ok(changed) => {
            print(&changed);
            DONE
        }
        Err(why) => {
            print_error(&why);
            USAGE
        }
    }
}

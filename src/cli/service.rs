//! Tells a service manager (systemd, `Type=notify`) that the program has started, that it goes on, and that
//! it ends.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use mobilens::flow::health::SourceState;
use mobilens::flow::{Health, StopSignal};
use sd_notify::NotifyState;

/// How often the state is looked at, where the watchdog does not want it more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A thread that tells the service manager how the run is, until it is dropped.
pub struct Notifier {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Starts it, if a service manager started this process.
    pub fn start(health: &Health, stop: &StopSignal) -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let (end, ended) = channel();
        let mut told = Told {
            health: health.clone(),
            stop: stop.clone(),
            watchdog: sd_notify::watchdog_enabled().filter(|watchdog| !watchdog.is_zero()),
            is_ready: false,
            is_stopping: false,
            status: String::new(),
            stuck: Vec::new(),
        };
        let interval = told
            .watchdog
            .map_or(INTERVAL, |watchdog| INTERVAL.min(watchdog / 4));
        let thread = Builder::new()
            .name("service-notify".to_owned())
            .spawn(move || {
                while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    told.tell(false);
                }
                // A run that ends at once must not end unsaid.
                told.tell(true);
            });
        let thread = thread.inspect_err(|error| {
            tracing::warn!("the service manager is told nothing: no thread: {error}");
        });
        Some(Self {
            end: Some(end),
            thread: thread.ok(),
        })
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the service manager was told last.
struct Told {
    health: Health,
    stop: StopSignal,
    /// The service manager ends a process that is silent for so long.
    watchdog: Option<Duration>,
    is_ready: bool,
    is_stopping: bool,
    status: String,
    stuck: Vec<String>,
}

impl Told {
    fn tell(&mut self, has_ended: bool) {
        let mut states = Vec::new();
        if !self.is_ready && self.health.is_ready() {
            self.is_ready = true;
            states.push(NotifyState::Ready);
        }
        if !self.is_stopping && (has_ended || self.stop.is_stopped()) {
            self.is_stopping = true;
            states.push(NotifyState::Stopping);
        }
        if let Some(watchdog) = self.watchdog {
            let stuck = self.health.stuck_stages(watchdog / 2);
            if stuck.is_empty() {
                states.push(NotifyState::Watchdog);
            } else if stuck != self.stuck {
                let stages = stuck.join(", ");
                tracing::warn!("stuck: {stages}; the watchdog gets no sign of life meanwhile");
            }
            self.stuck = stuck;
        }
        let status = self.status();
        if status != self.status {
            states.push(NotifyState::Status(&status));
        }
        if !states.is_empty()
            && let Err(error) = sd_notify::notify(&states)
        {
            tracing::debug!("the service manager cannot be told: {error}");
        }
        self.status = status;
    }

    /// The line that `systemctl status` shows.
    fn status(&self) -> String {
        let streams = self.health.report().streams;
        let states = [
            (SourceState::Opening, "opening"),
            (SourceState::Running, "running"),
            (SourceState::Reconnecting, "reconnecting"),
            (SourceState::Ended, "ended"),
        ];
        let counts = states.map(|(state, name)| {
            let n = streams
                .iter()
                .filter(|stream| stream.source == state)
                .count();
            (n > 0).then(|| format!("{n} {name}"))
        });
        let counts: Vec<_> = counts.into_iter().flatten().collect();
        format!("Streams: {}", counts.join(", "))
    }
}

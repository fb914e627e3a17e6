//! The thread on which the sources of a stream are opened, so that whoever waits for one hears the stop
//! signal and keeps a deadline, whatever a device, a server or a named pipe does.
//!
//! It lives as long as its stream: what opening starts (processes, sessions) may depend on the thread that
//! started it, and threads that must not open anything themselves leave it to this one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::source::{CaptureError, Source};
use crate::flow::{StopSignal, panic_message};

/// Interval at which a wait checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// How long an attempt may take before it counts as failed, whatever it waits for.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long an attempt has to end once the stop signal is given.
const GRACE: Duration = Duration::from_secs(1);

/// A task of the thread.
type Task = Box<dyn FnOnce(&StopSignal) + Send>;

/// A thread that opens sources, one after another. It ends with the last of its handles.
#[derive(Clone)]
pub struct OpenThread {
    tasks: Sender<Task>,
    stop: StopSignal,
}

impl OpenThread {
    /// Starts it. What it opens is given `stop`.
    ///
    /// # Errors
    /// When the operating system cannot create a thread.
    pub fn start(stop: &StopSignal) -> std::io::Result<Self> {
        let (tasks, received) = channel::<Task>();
        let of_thread = stop.clone();
        std::thread::Builder::new()
            .name("0-open".to_owned())
            .spawn(move || {
                for task in received {
                    task(&of_thread);
                }
            })?;
        Ok(Self {
            tasks,
            stop: stop.clone(),
        })
    }

    /// Begins to open something.
    pub fn open<T: Send + 'static>(
        &self,
        open: impl FnOnce(&StopSignal) -> Result<T, CaptureError> + Send + 'static,
    ) -> Attempt<T> {
        let (sender, result) = sync_channel(1);
        let task = move |stop: &StopSignal| {
            // Unwind safe: everything the closure owns is dropped and not used afterwards.
            let opened = catch_unwind(AssertUnwindSafe(|| open(stop))).unwrap_or_else(|panic| {
                let why = panic_message(&*panic);
                Err(CaptureError::Panicked { why })
            });
            let _ = sender.send(opened);
        };
        // A thread that has ended drops the task, and the attempt has failed.
        let _ = self.tasks.send(Box::new(task));
        Attempt {
            result,
            since: Instant::now(),
            is_done: false,
            stop: self.stop.clone(),
        }
    }
}

/// Something that is being opened.
pub struct Attempt<T> {
    result: Receiver<Result<T, CaptureError>>,
    since: Instant,
    is_done: bool,
    stop: StopSignal,
}

impl<T> Attempt<T> {
    /// Waits a moment; `None` while it is not done.
    pub fn poll(&mut self) -> Option<Result<T, CaptureError>> {
        let result = match self.result.recv_timeout(POLL) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => Err(CaptureError::Panicked {
                why: "the thread that opens sources has ended".to_owned(),
            }),
        };
        self.is_done = true;
        // Whatever it says, it was made to give up.
        let is_interrupted = result.is_err() && self.is_stopped();
        Some(if is_interrupted {
            Err(CaptureError::Interrupted)
        } else {
            result
        })
    }

    /// Whether the stop signal is given.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Whether it has taken too long.
    pub fn is_overdue(&self) -> bool {
        self.since.elapsed() > DEADLINE
    }

    /// Waits until it is done or the stop signal is given; calls `idle` again and again meanwhile.
    ///
    /// # Errors
    /// [`CaptureError::Interrupted`] for a stop, else why it could not be opened.
    pub fn wait(mut self, idle: &mut dyn FnMut()) -> Result<T, CaptureError> {
        loop {
            idle();
            if self.is_stopped() {
                return Err(CaptureError::Interrupted);
            }
            if let Some(result) = self.poll() {
                return result;
            }
        }
    }
}

impl<T> Drop for Attempt<T> {
    /// Lets what was started be ended (a process, a session) before the program does.
    fn drop(&mut self) {
        if !self.is_done && self.stop.is_stopped() {
            let _ = self.result.recv_timeout(GRACE);
        }
    }
}

/// Opens a source; called for each attempt to connect. It gives up when the stop signal is given.
pub type Opener =
    std::sync::Arc<dyn Fn(&StopSignal) -> Result<Box<dyn Source>, CaptureError> + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::StopReason;

    #[test]
    fn a_panic_is_the_error_of_its_attempt_and_the_thread_goes_on() {
        let thread = OpenThread::start(&StopSignal::new()).expect("a thread");
        let panics = thread.open::<()>(|_| panic!("lost my head"));
        let error = panics.wait(&mut || {}).expect_err("it panicked");
        assert!(error.to_string().ends_with("lost my head"), "{error}");
        let opened = thread.open(|_| Ok(7)).wait(&mut || {});
        assert_eq!(opened.expect("opens"), 7);
    }

    #[test]
    fn the_stop_signal_ends_a_wait_for_what_never_opens() {
        let stop = StopSignal::new();
        let thread = OpenThread::start(&stop).expect("a thread");
        let (_never, waits) = channel::<()>();
        let attempt = thread.open(move |_| {
            let _ = waits.recv();
            Ok(())
        });
        let mut idle = || stop.stop(StopReason::Interrupted);
        let error = attempt.wait(&mut idle).expect_err("it is interrupted");
        assert!(matches!(error, CaptureError::Interrupted), "{error}");
    }
}

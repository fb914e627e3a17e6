//! Waiting for the threads of a run; at the end of a live one, or after Ctrl-C, for so long only.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::flow::{EdgeCounts, Failures, StopReason, StopSignal};

/// How long what is under way may take to be written once a run is stopped.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// How often a thread is looked at.
const POLL: Duration = Duration::from_millis(5);

/// When the threads of a run are not waited for any longer.
pub struct Shutdown {
    stop: StopSignal,
    is_live: bool,
    until: Option<Instant>,
}

impl Shutdown {
    /// Of a run that `stop` stops. A replay, which loses nothing, has all the time that its sinks
    /// take, unless somebody stops it.
    pub fn new(stop: &StopSignal, is_live: bool) -> Self {
        Self {
            stop: stop.clone(),
            is_live,
            until: None,
        }
    }

    /// The source has ended.
    pub fn source_ended(&mut self) {
        if self.is_live {
            self.begin();
        }
    }

    /// Gives those that were not the late ones a moment for their last record and their last fragment.
    pub fn allow(&mut self, more: Duration) {
        self.until = self.until.map(|until| until.max(Instant::now() + more));
    }

    fn begin(&mut self) {
        self.until
            .get_or_insert_with(|| Instant::now() + SHUTDOWN_DEADLINE);
    }

    fn is_over(&mut self) -> bool {
        let is_asked = self.stop.reason().is_some_and(|reason| {
            let by_person = [StopReason::Interrupted, StopReason::WindowClosed];
            self.is_live || by_person.contains(&reason)
        });
        if is_asked {
            self.begin();
        }
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn has_ended<T>(&mut self, thread: &JoinHandle<T>) -> bool {
        while !thread.is_finished() {
            if self.is_over() {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// Threads that are waited for together.
pub struct Threads<T> {
    running: Vec<Running<T>>,
    /// Of those that have ended and are forgotten.
    results: Vec<T>,
}

struct Running<T> {
    name: String,
    /// Of the edge that it reads, if what waits there is lost without it.
    edge: Option<EdgeCounts>,
    thread: JoinHandle<Option<T>>,
}

impl<T> Default for Threads<T> {
    fn default() -> Self {
        Self {
            running: Vec::new(),
            results: Vec::new(),
        }
    }
}

impl<T> Threads<T> {
    /// Adds a thread.
    pub fn push(&mut self, name: &str, thread: JoinHandle<Option<T>>) {
        self.add(name, None, thread);
    }

    /// Adds a thread that stores what it reads from an edge.
    pub fn push_sink(&mut self, name: &str, edge: EdgeCounts, thread: JoinHandle<Option<T>>) {
        self.add(name, Some(edge), thread);
    }

    fn add(&mut self, name: &str, edge: Option<EdgeCounts>, thread: JoinHandle<Option<T>>) {
        self.running.push(Running {
            name: name.to_owned(),
            edge,
            thread,
        });
    }

    /// Forgets those that have ended, but for the results that `matter`. Their failures are known.
    pub fn reap(&mut self, matters: impl Fn(&T) -> bool) {
        let ended = self.running.extract_if(.., |r| r.thread.is_finished());
        let results = ended.filter_map(|running| running.thread.join().ok().flatten());
        self.results.extend(results.filter(matters));
    }

    /// Waits for the first thread alone.
    pub fn wait_for_first(&self, shutdown: &mut Shutdown) {
        if let Some(first) = self.running.first() {
            shutdown.has_ended(&first.thread);
        }
    }

    /// The results of those that succeeded. Panics were caught on the threads themselves. What does
    /// not end before the deadline is left behind, and is a failure that says what was lost.
    pub fn join(self, shutdown: &mut Shutdown, failures: &Failures) -> Vec<T> {
        let mut results = self.results;
        for Running { name, edge, thread } in self.running {
            if shutdown.has_ended(&thread) {
                results.extend(thread.join().ok().flatten());
                continue;
            }
            let seconds = SHUTDOWN_DEADLINE.as_secs();
            let lost = match edge.map(|edge| edge.waiting()) {
                // The one in its hands, and what waits.
                Some(waiting) => format!("; lost: {} that were not written", waiting + 1),
                None => String::new(),
            };
            failures.add(&name, format!("did not end within {seconds} s{lost}"));
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Policy, edge};

    #[test]
    fn a_replay_is_waited_for_until_somebody_stops_it() {
        let stop = StopSignal::new();
        let mut replay = Shutdown::new(&stop, false);
        replay.source_ended();
        stop.stop(StopReason::FrameLimit);
        assert!(!replay.is_over() && replay.until.is_none());
        let mut live = Shutdown::new(&stop, true);
        assert!(!live.is_over() && live.until.is_some());
        let stop = StopSignal::new();
        let mut replay = Shutdown::new(&stop, false);
        stop.stop(StopReason::Interrupted);
        assert!(!replay.is_over() && replay.until.is_some());
        replay.until = Some(Instant::now());
        assert!(replay.is_over());
    }

    #[test]
    fn what_does_not_end_is_named_with_what_it_loses() {
        let stop = StopSignal::new();
        let failures = Failures::new(stop.clone());
        let mut shutdown = Shutdown::new(&stop, true);
        shutdown.until = Some(Instant::now());
        let (tx, rx) = edge("t", 4, Policy::Leaky);
        let counts = tx.counts();
        for i in 0..3 {
            tx.send(i).expect("open");
        }
        let (held, hold) = std::sync::mpsc::channel::<()>();
        let (taken, took) = std::sync::mpsc::channel::<()>();
        let mut threads = Threads::default();
        let stuck = failures.spawn("4-jsonl", move || {
            let _ = rx.recv();
            let _ = taken.send(());
            let _ = hold.recv();
            Ok::<_, String>(())
        });
        threads.push_sink("4-jsonl", counts, stuck.expect("a thread"));
        took.recv().expect("it takes one");
        assert_eq!(threads.join(&mut shutdown, &failures), []);
        let said = failures.all()[0].to_string();
        let expected = "4-jsonl: did not end within 10 s; lost: 3 that were not written";
        assert_eq!(said, expected);
        drop(held);
    }
}

//! The threads inside one inference.
//!
//! A [`Team`] of `n` is the calling thread and `n - 1` more, which live as long as the team. Work
//! comes many times a millisecond, so a helper first spins for it and only then sleeps. Each
//! thread begins with its own share of a round's tasks, the same from round to round so that
//! what it wrote lies in its own cache, and takes over from the others' shares when it is done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a helper spins before it sleeps.
const SPIN: Duration = Duration::from_micros(300);

/// A round's work: the function, and how many tasks there are.
#[derive(Clone, Copy)]
struct Round {
    work: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

// SAFETY: the function behind the pointer is `Sync`, and `Team::run` outlives its use.
unsafe impl Send for Round {}

/// A counter on a cache line of its own.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// Counts rounds; a helper waits for it to change.
    round: Line<AtomicUsize>,
    /// Helpers that have not yet finished the round.
    busy: Line<AtomicUsize>,
    /// Next task of each thread's share.
    next: Vec<Line<AtomicUsize>>,
    /// Helpers asleep; guarded, with what they wait on.
    asleep: Mutex<usize>,
    wake: Condvar,
    work: Mutex<Option<Round>>,
    /// A task of this round panicked.
    failed: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    /// Takes tasks until none is left, its own share first.
    fn take_tasks(&self, me: usize, round: Round) {
        let threads = self.next.len();
        // SAFETY: `Team::run` waits for all threads before the function goes.
        let work = unsafe { &*round.work };
        for step in 0..threads {
            let owner = (me + step) % threads;
            let end = round.tasks * (owner + 1) / threads;
            loop {
                let task = self.next[owner].0.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                work(task, me);
            }
        }
    }

    fn help(&self, me: usize) {
        let mut seen = 0;
        loop {
            let waiting = Instant::now();
            let mut turns = 0_u32;
            while self.round.0.load(Ordering::Acquire) == seen {
                turns += 1;
                if turns.is_multiple_of(64) && waiting.elapsed() > SPIN {
                    let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
                    *asleep += 1;
                    while self.round.0.load(Ordering::Acquire) == seen {
                        asleep = self
                            .wake
                            .wait(asleep)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                    *asleep -= 1;
                } else {
                    std::hint::spin_loop();
                }
            }
            seen = self.round.0.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let round = *self.work.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(round) = round {
                let tasks = std::panic::AssertUnwindSafe(|| self.take_tasks(me, round));
                if std::panic::catch_unwind(tasks).is_err() {
                    self.failed.store(true, Ordering::Release);
                }
            }
            self.busy.0.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The calling thread and its helpers.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads`, at least one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            round: Line(AtomicUsize::new(0)),
            busy: Line(AtomicUsize::new(0)),
            next: (0..threads).map(|_| Line(AtomicUsize::new(0))).collect(),
            asleep: Mutex::new(0),
            wake: Condvar::new(),
            work: Mutex::new(None),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut team = Self {
            shared,
            helpers: Vec::new(),
        };
        for me in 1..threads {
            let shared = Arc::clone(&team.shared);
            let helper = std::thread::Builder::new()
                .name(format!("2-infer.{me}"))
                .spawn(move || shared.help(me))?;
            team.helpers.push(helper);
        }
        Ok(team)
    }

    /// Number of threads, the caller's own among them.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work(task, thread)` once for each task below `tasks`, on all threads, and returns
    /// when all are done. `thread` is below [`Team::threads`] and names one thread at a time.
    pub fn run(&mut self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        if self.helpers.is_empty() || tasks <= 1 {
            for task in 0..tasks {
                work(task, 0);
            }
            return;
        }
        let shared = &*self.shared;
        let threads = self.threads();
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(tasks * thread / threads, Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes; no helper uses the function after `busy` is zero,
        // which is waited for below, also when this thread's own tasks panic.
        let work: *const (dyn Fn(usize, usize) + Sync) = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync + 'static),
            >(work)
        };
        let round = Round { work, tasks };
        *shared.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
        shared.busy.0.store(self.helpers.len(), Ordering::Relaxed);
        {
            let asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.round.0.fetch_add(1, Ordering::Release);
            if *asleep > 0 {
                shared.wake.notify_all();
            }
        }
        let own = std::panic::AssertUnwindSafe(|| shared.take_tasks(0, round));
        let own = std::panic::catch_unwind(own);
        let mut turns = 0_u32;
        while shared.busy.0.load(Ordering::Acquire) > 0 {
            turns = turns.wrapping_add(1);
            // With fewer processors than threads the helper may need this one.
            if turns.is_multiple_of(4096) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(
            !shared.failed.swap(false, Ordering::AcqRel),
            "a kernel failed on a helper thread"
        );
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        {
            let _asleep = self
                .shared
                .asleep
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.shared.round.0.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        for helper in self.helpers.drain(..) {
            // A helper only ends by `stop`; its panics were caught.
            let _ = helper.join();
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({} threads)", self.threads())
    }
}

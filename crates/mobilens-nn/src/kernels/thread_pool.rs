//! The intra-op thread pool: the threads that share the work of one inference.
//!
//! A [`ThreadPool`] of `n` is the calling thread and `n - 1` workers, which live as long as the
//! pool. Work comes many times a millisecond, so an idle worker first spins and only then sleeps.
//! Each thread begins with its own share of the tasks, the same from call to call so that what it
//! wrote lies in its own cache, and steals from the others' shares when it is done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(300);

/// One parallel loop: the function, and the number of tasks.
#[derive(Clone, Copy)]
struct ParallelLoop {
    body: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

// SAFETY: the function behind the pointer is `Sync`, and `ThreadPool::parallel_for` outlives its
// use.
unsafe impl Send for ParallelLoop {}

/// A value on a cache line of its own, against false sharing.
#[repr(align(128))]
struct CacheAligned<T>(T);

/// What the threads of a pool share.
struct PoolState {
    /// Counts parallel loops; an idle worker waits for it to change.
    generation: CacheAligned<AtomicUsize>,
    /// Workers that have not yet finished the current loop.
    active: CacheAligned<AtomicUsize>,
    /// Next task of each thread's share.
    next_task: Vec<CacheAligned<AtomicUsize>>,
    /// Number of sleeping workers, and what they wait on.
    sleeping: Mutex<usize>,
    wake: Condvar,
    current: Mutex<Option<ParallelLoop>>,
    /// A task of the current loop panicked on a worker.
    panicked: AtomicBool,
    stop: AtomicBool,
}

impl PoolState {
    /// Runs tasks until none is left, the thread's own share first.
    fn run_tasks(&self, thread: usize, parallel_loop: ParallelLoop) {
        let threads = self.next_task.len();
        // SAFETY: `ThreadPool::parallel_for` waits for all threads before the function goes.
        let body = unsafe { &*parallel_loop.body };
        for step in 0..threads {
            let owner = (thread + step) % threads;
            let end = parallel_loop.tasks * (owner + 1) / threads;
            loop {
                let task = self.next_task[owner].0.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    break;
                }
                body(task, thread);
            }
        }
    }

    fn worker_main(&self, thread: usize) {
        let mut last_generation = 0;
        loop {
            let idle_since = Instant::now();
            let mut spins = 0_u32;
            while self.generation.0.load(Ordering::Acquire) == last_generation {
                spins += 1;
                if spins.is_multiple_of(64) && idle_since.elapsed() > SPIN {
                    let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
                    *sleeping += 1;
                    while self.generation.0.load(Ordering::Acquire) == last_generation {
                        sleeping = self
                            .wake
                            .wait(sleeping)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                    *sleeping -= 1;
                } else {
                    std::hint::spin_loop();
                }
            }
            last_generation = self.generation.0.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(current) = current {
                let tasks = std::panic::AssertUnwindSafe(|| self.run_tasks(thread, current));
                if std::panic::catch_unwind(tasks).is_err() {
                    self.panicked.store(true, Ordering::Release);
                }
            }
            self.active.0.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The calling thread and its workers.
pub struct ThreadPool {
    state: Arc<PoolState>,
    workers: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller's own among them; at least one.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let counter = || CacheAligned(AtomicUsize::new(0));
        let state = Arc::new(PoolState {
            generation: counter(),
            active: counter(),
            next_task: (0..threads).map(|_| counter()).collect(),
            sleeping: Mutex::new(0),
            wake: Condvar::new(),
            current: Mutex::new(None),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self {
            state,
            workers: Vec::new(),
        };
        for thread in 1..threads {
            let state = Arc::clone(&pool.state);
            let worker = std::thread::Builder::new()
                .name(format!("nn-worker-{thread}"))
                .spawn(move || state.worker_main(thread))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's own among them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(task, thread)` once for each task below `tasks`, on all threads, and returns
    /// when all are done. `thread` is below [`ThreadPool::threads`]; no two calls at the same time
    /// get the same one.
    ///
    /// # Panics
    /// When a call of `body` panics, after all threads have finished.
    pub fn parallel_for(&mut self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        if self.workers.is_empty() || tasks <= 1 {
            for task in 0..tasks {
                body(task, 0);
            }
            return;
        }
        let state = &*self.state;
        let threads = self.threads();
        for (thread, next) in state.next_task.iter().enumerate() {
            next.0.store(tasks * thread / threads, Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes; no worker uses the function after `active` is zero,
        // which is waited for below, also when this thread's own tasks panic.
        let body: *const (dyn Fn(usize, usize) + Sync) = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync + 'static),
            >(body)
        };
        let parallel_loop = ParallelLoop { body, tasks };
        *state.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(parallel_loop);
        state.active.0.store(self.workers.len(), Ordering::Relaxed);
        {
            let sleeping = state
                .sleeping
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            state.generation.0.fetch_add(1, Ordering::Release);
            if *sleeping > 0 {
                state.wake.notify_all();
            }
        }
        let own = std::panic::AssertUnwindSafe(|| state.run_tasks(0, parallel_loop));
        let own = std::panic::catch_unwind(own);
        let mut spins = 0_u32;
        while state.active.0.load(Ordering::Acquire) > 0 {
            spins = spins.wrapping_add(1);
            // With fewer processors than threads the worker may need this one.
            if spins.is_multiple_of(4096) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(
            !state.panicked.swap(false, Ordering::AcqRel),
            "a kernel panicked on a worker thread"
        );
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        {
            let _sleeping = self
                .state
                .sleeping
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.state.generation.0.fetch_add(1, Ordering::Release);
            self.state.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker only ends by `stop`; its panics were caught.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThreadPool({} threads)", self.threads())
    }
}

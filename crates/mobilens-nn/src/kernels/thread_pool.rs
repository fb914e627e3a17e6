//! The intra-op thread pool: the threads that share the work of one inference.
//!
//! A [`ThreadPool`] of `n` is the calling thread and `n - 1` workers, which live as long as the
//! pool. Each thread begins with its own share of the tasks, the same from call to call so that
//! what it wrote lies in its own cache, and steals from the others' shares when it is done.
//!
//! Other processes may hold a processor that a worker needs, for milliseconds. So nothing waits
//! for a worker but the tasks that it has begun: to claim a task is to join the loop, and a worker
//! that comes late finds nothing left to claim. If a worker has lost its processor in
//! the middle of a task, the caller gives it its own, and then keeps workers away from there for
//! some time: the system would else leave the two on one processor, or wait with the move.
//!
//! Work comes many times a millisecond, so an idle thread spins before it sleeps. Where processors
//! are contended it hardly does: a spinning thread uses up the time that it will need for its next
//! task, and keeps the processor from a thread that has one.
//!
//! What did not help: several tasks for each thread (3 % slower by themselves, no faster beside a
//! busy process), and offering the processor to others between two tasks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::affinity::{CpuSet, ThreadId, current_cpu};

/// How long an idle worker, or the caller that waits for the last tasks, spins before it sleeps.
const SPIN: Duration = Duration::from_micros(200);
/// The same where processors are contended; also how long a worker is watched before it is held to
/// have lost its processor.
const SHORT_SPIN: Duration = Duration::from_micros(20);
/// The caller's longest sleep before it looks again whether workers run.
const LONGEST_SLEEP: Duration = Duration::from_micros(200);
/// Loops for which processors are held to be contended after a worker has lost one: about ten
/// inferences.
const CONTENDED_LOOPS: usize = 1024;

/// One parallel loop: what a task calls.
struct ParallelLoop<'a> {
    body: &'a (dyn Fn(usize, usize) + Sync),
}

/// A value on a cache line of its own, against false sharing.
#[repr(align(128))]
struct CacheAligned<T>(T);

/// The tasks of one thread's share that nobody has claimed: a range of task numbers in one word,
/// so that a claim is one compare-and-swap.
struct Share(AtomicU64);

impl Share {
    const fn empty() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Hands out the tasks `first..end`, and publishes what was written before.
    fn publish(&self, first: u32, end: u32) {
        let range = u64::from(first) | u64::from(end) << 32;
        self.0.store(range, Ordering::Release);
    }

    /// Claims the first task, or the last one for a thief, so that the owner goes on in order.
    fn claim(&self, thief: bool) -> Option<usize> {
        let mut range = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (range & u64::from(u32::MAX), range >> 32);
            if first >= end {
                return None;
            }
            let (task, left) = if thief {
                (end - 1, first | (end - 1) << 32)
            } else {
                (first, (first + 1) | end << 32)
            };
            // A range that has the same value again is a range of the current loop, whichever
            // that is: the claim is then one of its tasks.
            match self
                .0
                .compare_exchange_weak(range, left, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return usize::try_from(task).ok(),
                Err(now) => range = now,
            }
        }
    }
}

/// What the caller knows of a worker.
#[derive(Default)]
struct Worker {
    id: OnceLock<ThreadId>,
    /// It has begun a task.
    in_task: AtomicBool,
    /// For how long processors had run it when it was last asked, in nanoseconds.
    cpu_time: AtomicU64,
}

/// What the threads of a pool share.
struct PoolState {
    /// Counts parallel loops; an idle worker waits for it to change.
    generation: CacheAligned<AtomicUsize>,
    /// Tasks of the current loop that have not yet ended. The loop's function lives until this
    /// is zero, so it may be used by whoever has claimed a task.
    pending: CacheAligned<AtomicUsize>,
    shares: Vec<CacheAligned<Share>>,
    /// Workers that sleep, or are about to.
    asleep: Vec<CacheAligned<AtomicBool>>,
    /// The current loop; dangling between two loops.
    current: AtomicPtr<ParallelLoop<'static>>,
    /// The caller sleeps, or is about to, until `pending` is zero.
    caller_asleep: AtomicBool,
    caller: Mutex<Option<Thread>>,
    workers: Vec<CacheAligned<Worker>>,
    /// Loops for which processors are held to be contended.
    contended: AtomicUsize,
    /// The processor that then ran the caller, from which workers are kept away.
    caller_cpu: AtomicUsize,
    /// The processors that may run the pool's threads, where there are enough for all.
    allowed: Option<CpuSet>,
    /// What the first task that panicked panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

impl PoolState {
    fn new(threads: usize) -> Self {
        Self {
            generation: CacheAligned(AtomicUsize::new(0)),
            pending: CacheAligned(AtomicUsize::new(0)),
            shares: (0..threads).map(|_| CacheAligned(Share::empty())).collect(),
            asleep: (0..threads)
                .map(|_| CacheAligned(AtomicBool::new(false)))
                .collect(),
            current: AtomicPtr::new(std::ptr::null_mut()),
            caller_asleep: AtomicBool::new(false),
            caller: Mutex::new(None),
            workers: (0..threads)
                .map(|_| CacheAligned(Worker::default()))
                .collect(),
            contended: AtomicUsize::new(0),
            caller_cpu: AtomicUsize::new(0),
            allowed: CpuSet::allowed().filter(|cpus| cpus.count() >= threads),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
        }
    }

    /// How long to spin.
    fn spin(&self) -> Duration {
        if self.contended.load(Ordering::Relaxed) > 0 {
            SHORT_SPIN
        } else {
            SPIN
        }
    }

    /// Runs tasks until none is left to claim, the thread's own share first.
    fn run_tasks(&self, thread: usize) {
        let threads = self.shares.len();
        for step in 0..threads {
            let share = &self.shares[(thread + step) % threads].0;
            while let Some(task) = share.claim(step > 0) {
                self.run_task(task, thread);
            }
        }
    }

    /// Runs a task that this thread has claimed.
    fn run_task(&self, task: usize, thread: usize) {
        let in_task = &self.workers[thread].0.in_task;
        in_task.store(true, Ordering::Relaxed);
        // SAFETY: `parallel_for` stored the pointer before it published the share that the task
        // was claimed from, and waits for the task before the loop goes.
        let body = unsafe { (*self.current.load(Ordering::Acquire)).body };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(task, thread))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
        in_task.store(false, Ordering::Relaxed);
        // The last to end wakes the caller. One of the two sees what the other wrote first.
        if self.pending.0.fetch_sub(1, Ordering::SeqCst) == 1
            && thread != 0
            && self.caller_asleep.load(Ordering::SeqCst)
        {
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(caller) = &*caller {
                caller.unpark();
            }
        }
    }

    fn worker_main(&self, thread: usize) {
        self.workers[thread].0.id.get_or_init(ThreadId::current);
        let mut generation = 0;
        loop {
            let changed = || self.generation.0.load(Ordering::SeqCst) != generation;
            if !spin_until(self.spin(), changed) {
                // One of the two, this thread and the caller, sees what the other wrote first.
                self.asleep[thread].0.store(true, Ordering::SeqCst);
                while !changed() {
                    std::thread::park();
                }
                self.asleep[thread].0.store(false, Ordering::SeqCst);
            }
            generation = self.generation.0.load(Ordering::SeqCst);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.run_tasks(thread);
        }
    }

    /// Waits for the tasks that workers have begun.
    fn wait_for_pending(&self) {
        let done = || self.pending.0.load(Ordering::SeqCst) == 0;
        if spin_until(SHORT_SPIN, done) {
            return;
        }
        self.note_cpu_times();
        if spin_until(SHORT_SPIN, done) {
            return;
        }
        let mut helped = self.help_stalled();
        if !helped && spin_until(self.spin(), done) {
            return;
        }
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.caller_asleep.store(true, Ordering::SeqCst);
        while !done() {
            self.note_cpu_times();
            std::thread::park_timeout(LONGEST_SLEEP);
            if !done() {
                helped |= self.help_stalled();
            }
        }
        self.caller_asleep.store(false, Ordering::SeqCst);
        if helped {
            self.contended.store(CONTENDED_LOOPS, Ordering::Relaxed);
            self.spread();
        }
    }

    /// The workers that have begun a task.
    fn in_task(&self) -> impl Iterator<Item = (&Worker, ThreadId)> {
        self.workers[1..]
            .iter()
            .map(|worker| &worker.0)
            .filter(|worker| worker.in_task.load(Ordering::Relaxed))
            .filter_map(|worker| Some((worker, *worker.id.get()?)))
    }

    /// Notes for how long processors have run the workers that have begun a task.
    fn note_cpu_times(&self) {
        if self.allowed.is_some() {
            for (worker, id) in self.in_task() {
                worker.cpu_time.store(nanoseconds(id), Ordering::Relaxed);
            }
        }
    }

    /// Gives workers that have not run since then, in the middle of a task, this thread's
    /// processor, on which they run when it sleeps. Returns whether there are any.
    fn help_stalled(&self) -> bool {
        let Some(cpu) = current_cpu().filter(|_| self.allowed.is_some()) else {
            return false;
        };
        let mut any = false;
        for (worker, id) in self.in_task() {
            if nanoseconds(id) == worker.cpu_time.load(Ordering::Relaxed) {
                id.restrict(&CpuSet::only(cpu));
                any = true;
            }
        }
        any
    }

    /// Keeps the workers from this thread's processor while processors are contended, and lets
    /// them run anywhere afterwards.
    fn spread(&self) {
        let (Some(allowed), Some(cpu)) = (self.allowed, current_cpu()) else {
            return;
        };
        let apart = self.contended.load(Ordering::Relaxed) > 0 && allowed.count() > 1;
        let cpus = if apart { allowed.without(cpu) } else { allowed };
        self.caller_cpu.store(cpu, Ordering::Relaxed);
        for worker in &self.workers[1..] {
            if let Some(id) = worker.0.id.get() {
                id.restrict(&cpus);
            }
        }
    }

    /// Counts a loop while processors are contended.
    fn end_loop(&self) {
        let contended = self.contended.load(Ordering::Relaxed);
        if contended > 0 {
            self.contended.store(contended - 1, Ordering::Relaxed);
            let moved = current_cpu() != Some(self.caller_cpu.load(Ordering::Relaxed));
            if contended == 1 || moved {
                self.spread();
            }
        }
    }
}

/// For how long processors have run a thread.
fn nanoseconds(thread: ThreadId) -> u64 {
    let time = thread.cpu_time().map_or(0, |time| time.as_nanos());
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// Spins for a limited time; returns whether the condition came true.
fn spin_until(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let mut spins = 0_u32;
    let mut since = None;
    while !condition() {
        std::hint::spin_loop();
        spins += 1;
        if spins.is_multiple_of(32) {
            let since = *since.get_or_insert_with(Instant::now);
            if since.elapsed() > limit {
                return condition();
            }
        }
    }
    true
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
        let mut pool = Self {
            state: Arc::new(PoolState::new(threads)),
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
        self.state.shares.len()
    }

    /// A pool whose workers have not come yet.
    #[cfg(test)]
    pub(super) fn without_workers(threads: usize) -> Self {
        Self {
            state: Arc::new(PoolState::new(threads)),
            workers: Vec::new(),
        }
    }

    /// Takes this thread for the first worker of such a pool, and processors for contended.
    #[cfg(test)]
    pub(super) fn contend(&self, loops: usize) {
        self.state.workers[1].0.id.get_or_init(ThreadId::current);
        self.state.contended.store(loops, Ordering::Relaxed);
        self.state.spread();
    }

    /// Starts the workers of such a pool, which nobody wakes.
    #[cfg(test)]
    pub(super) fn start_late_workers(&self) -> Vec<JoinHandle<()>> {
        (1..self.threads())
            .map(|thread| {
                let state = Arc::clone(&self.state);
                std::thread::spawn(move || state.worker_main(thread))
            })
            .collect()
    }

    /// Calls `body(task, thread)` once for each task below `tasks`, on all threads, and returns
    /// when all are done. `thread` is below [`ThreadPool::threads`]; no two calls at the same time
    /// get the same one.
    ///
    /// # Panics
    /// When a call of `body` panics, with what it panicked with, after all tasks have ended; or
    /// when there are more than `u32::MAX` tasks.
    pub fn parallel_for(&mut self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        if self.threads() == 1 || tasks <= 1 {
            for task in 0..tasks {
                body(task, 0);
            }
            return;
        }
        let state = &*self.state;
        let count = u32::try_from(tasks).expect("fewer tasks than 2^32");
        let sharers = u32::try_from(self.threads()).map_or(count, |threads| threads.min(count));
        let bound = |share: u32| {
            let first = u64::from(count) * u64::from(share) / u64::from(sharers);
            u32::try_from(first).unwrap_or(count)
        };
        let parallel_loop = ParallelLoop { body };
        let current: *const ParallelLoop<'_> = &raw const parallel_loop;
        state.pending.0.store(tasks, Ordering::SeqCst);
        // Only the lifetime changes: nobody uses the loop after `pending` is zero, which is waited
        // for below; no task's panic comes in between.
        state
            .current
            .store(current.cast_mut().cast(), Ordering::Release);
        for (share, place) in (0..sharers).zip(&state.shares) {
            place.0.publish(bound(share), bound(share + 1));
        }
        state.generation.0.fetch_add(1, Ordering::SeqCst);
        self.wake(sharers as usize - 1);
        state.run_tasks(0);
        state.wait_for_pending();
        state.end_loop();
        let panic = state
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Wakes the first `count` workers, where they sleep.
    fn wake(&self, count: usize) {
        for (worker, asleep) in self.workers.iter().zip(&self.state.asleep[1..]).take(count) {
            if asleep.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        self.state.generation.0.fetch_add(1, Ordering::SeqCst);
        self.wake(self.workers.len());
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

//! Fair scheduling of inference between streams.
//!
//! A bounded number of frames may be in inference at once; each needs a permit. Permits are given
//! round-robin to the streams that wait, so that one that always has work gets no more than the others.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Permits for a number of streams, given round-robin.
#[derive(Debug)]
pub struct FairScheduler {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Waiting threads per stream.
    waiting: Vec<usize>,
    /// Permits granted per stream and not yet picked up.
    granted: Vec<usize>,
    /// The stream that is served next.
    next: usize,
}

/// One stream's place in the round-robin.
#[derive(Clone, Debug)]
pub struct StreamSlot {
    scheduler: Arc<FairScheduler>,
    stream: usize,
}

/// Permission to run inference on one frame; returned on drop.
#[derive(Debug)]
pub struct Permit(Arc<FairScheduler>);

impl FairScheduler {
    /// A scheduler with `max_concurrent` permits (at least one).
    pub fn new(max_concurrent: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: max_concurrent.max(1),
                waiting: Vec::new(),
                granted: Vec::new(),
                next: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// Adds a stream.
    pub fn slot(self: &Arc<Self>) -> StreamSlot {
        let mut state = self.lock();
        state.waiting.push(0);
        state.granted.push(0);
        StreamSlot {
            scheduler: Arc::clone(self),
            stream: state.waiting.len() - 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Grants free permits to waiting streams, round-robin.
    fn grant(&mut self) {
        let streams = self.waiting.len();
        while self.free > 0 {
            let order = (0..streams).map(|i| (self.next + i) % streams);
            let Some(stream) = order.into_iter().find(|i| self.waiting[*i] > 0) else {
                return;
            };
            self.free -= 1;
            self.waiting[stream] -= 1;
            self.granted[stream] += 1;
            self.next = (stream + 1) % streams;
        }
    }
}

impl StreamSlot {
    /// Waits for this stream's next permit.
    pub fn acquire(&self) -> Permit {
        let mut state = self.scheduler.lock();
        state.waiting[self.stream] += 1;
        state.grant();
        if state.granted.iter().any(|granted| *granted > 0) {
            self.scheduler.changed.notify_all();
        }
        while state.granted[self.stream] == 0 {
            state = self
                .scheduler
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.granted[self.stream] -= 1;
        Permit(Arc::clone(&self.scheduler))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.free += 1;
        state.grant();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// Waits until `count` threads wait for a permit.
    fn until_waiting(scheduler: &FairScheduler, count: usize) {
        while scheduler.lock().waiting.iter().sum::<usize>() < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_busy_stream_gets_no_more_than_its_share() {
        let scheduler = FairScheduler::new(1);
        let (flood, quiet) = (scheduler.slot(), scheduler.slot());
        let held = flood.acquire();
        let (done, order) = channel();
        let mut threads = Vec::new();
        // Four of one stream wait before one of the other comes.
        for (i, slot) in [&flood, &flood, &flood, &flood, &quiet]
            .into_iter()
            .enumerate()
        {
            let (slot, done) = (slot.clone(), done.clone());
            threads.push(std::thread::spawn(move || {
                let permit = slot.acquire();
                done.send(slot.stream).expect("the test reads");
                drop(permit);
            }));
            until_waiting(&scheduler, i + 1);
        }
        drop(held);
        let order: Vec<usize> = (0..5).map(|_| order.recv().expect("all come")).collect();
        assert_eq!(order, [1, 0, 0, 0, 0]);
        for thread in threads {
            thread.join().expect("no panic");
        }
    }

    #[test]
    fn concurrency_is_limited_by_the_permits() {
        let scheduler = FairScheduler::new(2);
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let threads: Vec<_> = (0..6)
            .map(|_| {
                let slot = scheduler.slot();
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let _permit = slot.acquire();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_micros(50));
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert_eq!(scheduler.lock().free, 2);
    }
}

//! Ordered worker pool: jobs run on several threads, results come out in input order.
//!
//! An [`OrderedPool`] numbers items in the order of the edge. Each item needs a credit, which is
//! returned when its result leaves in order, so that a slow item stalls the others instead of letting
//! results pile up behind it. There are more credits than workers, so the oldest job always has one:
//! no deadlock. A worker that fails (or panics) drops its [`Job`], which counts as lost, so that later
//! results are not held back.
//!
//! Where several streams share the machine, an item is handed out together with its stream's
//! [`Permit`], which is held until the result is there. On a newest-wins edge, an item that arrived
//! during the wait for the permit replaces the older one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::edge::{Aged, Policy, Receiver, Sender, edge};
use super::scheduler::{Permit, StreamSlot};

/// The workers' side; each worker takes jobs from a clone.
pub struct OrderedPool<In, Out> {
    queue: Arc<Queue<In>>,
    results: Sender<(u64, Option<Out>)>,
    max_age: Option<Duration>,
    slot: Option<StreamSlot>,
}

/// The result side: results in input order.
pub struct OrderedReceiver<Out> {
    results: Receiver<(u64, Option<Out>)>,
    waiting: BTreeMap<u64, Option<Out>>,
    next: u64,
    credits: Arc<Credits>,
}

/// An item's position in the order. Dropped without a result, the item counts as lost.
pub struct Job<Out> {
    number: u64,
    results: Sender<(u64, Option<Out>)>,
    open: bool,
    permit: Option<Permit>,
}

struct Queue<In> {
    input: Mutex<(Receiver<In>, u64)>,
    credits: Arc<Credits>,
}

struct Credits {
    free: Mutex<FreeCredits>,
    changed: Condvar,
}

struct FreeCredits {
    count: usize,
    reader_gone: bool,
}

/// Creates a pool for `workers` threads that reads from `input`, and the receiver of its results.
/// Items older than `max_age` are dropped. With a `slot`, each job waits for its stream's permit.
pub fn ordered_pool<In, Out>(
    input: Receiver<In>,
    workers: usize,
    max_age: Option<Duration>,
    slot: Option<StreamSlot>,
) -> (OrderedPool<In, Out>, OrderedReceiver<Out>) {
    let window = 2 * workers.max(1);
    let credits = Arc::new(Credits {
        free: Mutex::new(FreeCredits {
            count: window,
            reader_gone: false,
        }),
        changed: Condvar::new(),
    });
    let (tx, rx) = edge("results", window, Policy::Block);
    let pool = OrderedPool {
        queue: Arc::new(Queue {
            input: Mutex::new((input, 0)),
            credits: Arc::clone(&credits),
        }),
        results: tx,
        max_age,
        slot,
    };
    let ordered = OrderedReceiver {
        results: rx,
        waiting: BTreeMap::new(),
        next: 0,
        credits,
    };
    (pool, ordered)
}

impl<In, Out> Clone for OrderedPool<In, Out> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            results: self.results.clone(),
            max_age: self.max_age,
            slot: self.slot.clone(),
        }
    }
}

impl<In: Aged, Out> OrderedPool<In, Out> {
    /// Waits for the next job; `None` when the input has ended or the receiver was dropped.
    pub fn take(&self) -> Option<(In, Job<Out>)> {
        if !self.queue.credits.acquire() {
            return None;
        }
        // The lock is held while waiting, so that numbers follow the order of the items.
        let mut input = self
            .queue
            .input
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (item, permit) = loop {
            let Some(item) = input.0.recv_fresh(self.max_age) else {
                drop(input);
                self.queue.credits.release();
                return None;
            };
            // What does not grow old asks for no work, and waits for no turn.
            let Some(slot) = self.slot.as_ref().filter(|_| item.captured_at().is_some()) else {
                break (item, None);
            };
            let permit = slot.acquire();
            // During the wait it may have become too old or been replaced by a newer one.
            if let Some(item) = input.0.refresh(item, self.max_age) {
                break (item, Some(permit));
            }
        };
        let number = input.1;
        input.1 += 1;
        let job = Job {
            number,
            results: self.results.clone(),
            open: true,
            permit,
        };
        Some((item, job))
    }
}

impl<Out> Job<Out> {
    /// Delivers the result.
    pub fn finish(mut self, result: Out) {
        self.open = false;
        drop(self.permit.take());
        // If the receiver is gone, the next `take` tells the worker.
        let _ = self.results.send((self.number, Some(result)));
    }
}

impl<Out> Drop for Job<Out> {
    fn drop(&mut self) {
        if self.open {
            let _ = self.results.send((self.number, None));
        }
    }
}

impl<Out> OrderedReceiver<Out> {
    /// Waits for the next result in order, passing over lost ones; `None` when all workers are gone.
    pub fn recv(&mut self) -> Option<Out> {
        loop {
            while let Some(result) = self.waiting.remove(&self.next) {
                self.next += 1;
                self.credits.release();
                if result.is_some() {
                    return result;
                }
            }
            let (number, result) = self.results.recv()?;
            self.waiting.insert(number, result);
        }
    }
}

impl<Out> Drop for OrderedReceiver<Out> {
    fn drop(&mut self) {
        self.credits.close();
    }
}

impl Credits {
    fn acquire(&self) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if free.reader_gone {
                return false;
            }
            if free.count > 0 {
                free.count -= 1;
                return true;
            }
            free = self
                .changed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn release(&self) {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count += 1;
        self.changed.notify_one();
    }

    fn close(&self) {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reader_gone = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Instant;

    use super::*;

    struct Item(u64);
    impl Aged for Item {
        fn captured_at(&self) -> Option<Instant> {
            Some(Instant::now())
        }
    }

    /// Runs `items` through `workers` threads; each calls `work`, `None` loses the job.
    fn run(
        items: u64,
        workers: usize,
        work: impl Fn(u64) -> Option<u64> + Send + Sync + 'static,
    ) -> Vec<u64> {
        let (tx, rx) = edge::<Item>("work", 1, Policy::Block);
        let (pool, mut ordered) = ordered_pool(rx, workers, None, None);
        let work = Arc::new(work);
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let (pool, work) = (pool.clone(), Arc::clone(&work));
                std::thread::spawn(move || {
                    while let Some((item, job)) = pool.take() {
                        if let Some(result) = work(item.0) {
                            job.finish(result);
                        }
                    }
                })
            })
            .collect();
        drop(pool);
        let producer = std::thread::spawn(move || (0..items).try_for_each(|i| tx.send(Item(i))));
        let mut got = Vec::new();
        while let Some(result) = ordered.recv() {
            got.push(result);
        }
        producer.join().expect("no panic").expect("open");
        for thread in threads {
            thread.join().expect("no panic");
        }
        got
    }

    #[test]
    fn results_keep_the_order_of_the_work() {
        for workers in [1, 2, 4] {
            let got = run(500, workers, |i| {
                if i % 7 == 0 {
                    std::thread::yield_now();
                }
                Some(i)
            });
            assert_eq!(got, (0..500).collect::<Vec<_>>(), "{workers} workers");
        }
    }

    #[test]
    fn later_results_wait_for_an_earlier_one() {
        // Both jobs meet at the barrier, so either may finish first.
        let barrier = Barrier::new(2);
        let got = run(2, 2, move |i| {
            barrier.wait();
            Some(i)
        });
        assert_eq!(got, vec![0, 1]);
    }

    #[test]
    fn lost_jobs_do_not_block_later_results() {
        let got = run(200, 3, |i| (i % 5 != 0).then_some(i));
        assert_eq!(got, (0..200).filter(|i| i % 5 != 0).collect::<Vec<_>>());
    }

    #[test]
    fn workers_stop_when_the_receiver_is_dropped() {
        let (tx, rx) = edge("work", 1, Policy::Block);
        let (pool, ordered) = ordered_pool::<Item, u64>(rx, 1, None, None);
        let worker = std::thread::spawn(move || {
            let mut taken = 0;
            while let Some((item, job)) = pool.take() {
                taken += 1;
                job.finish(item.0);
            }
            taken
        });
        drop(ordered);
        let mut sent = 0;
        while tx.send(Item(sent)).is_ok() {
            sent += 1;
        }
        assert!(worker.join().expect("no panic") <= 3);
    }
}

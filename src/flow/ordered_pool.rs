//! Work shared by several threads, with results in the order of the work.
//!
//! A [`OrderedPool`] hands out items with a ticket, in the order of the edge. A permit is needed for
//! each, and comes back when the result leaves in order, so that a slow item holds the others up
//! instead of piling up results behind it. Permits are at least as many as workers, so the holder
//! of the oldest ticket always has one: no deadlock. A worker that fails hands in its ticket as
//! lost (also when it unwinds), so that nobody waits for it.
//!
//! Where several streams share the machine, an item is handed out when it is its stream's turn, and
//! with it the turn, until the result is there. On an edge where the newest wins, what came
//! meanwhile takes its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::edge::{Aged, Policy, Receiver, Sender, edge};
use super::scheduler::{Permit, StreamSlot};

/// The work side: clones go to the workers.
pub struct OrderedPool<In, Out> {
    queue: Arc<Queue<In>>,
    results: Sender<(u64, Option<Out>)>,
    max_age: Option<Duration>,
    slot: Option<StreamSlot>,
}

/// The result side: gives results in the order of the work.
pub struct OrderedReceiver<Out> {
    results: Receiver<(u64, Option<Out>)>,
    waiting: BTreeMap<u64, Option<Out>>,
    next: u64,
    permits: Arc<Permits>,
}

/// An item with its place in the order. Dropped without a result, it counts as lost.
pub struct Job<Out> {
    number: u64,
    results: Sender<(u64, Option<Out>)>,
    open: bool,
    permit: Option<Permit>,
}

struct Queue<In> {
    input: Mutex<(Receiver<In>, u64)>,
    permits: Arc<Permits>,
}

struct Permits {
    free: Mutex<Free>,
    changed: Condvar,
}

struct Free {
    count: usize,
    reader_gone: bool,
}

/// Joins an edge of work to `workers` threads and to one ordered reader. With `turns`, work waits for
/// its stream's.
pub fn ordered_pool<In, Out>(
    input: Receiver<In>,
    workers: usize,
    max_age: Option<Duration>,
    slot: Option<StreamSlot>,
) -> (OrderedPool<In, Out>, OrderedReceiver<Out>) {
    let window = 2 * workers.max(1);
    let permits = Arc::new(Permits {
        free: Mutex::new(Free {
            count: window,
            reader_gone: false,
        }),
        changed: Condvar::new(),
    });
    let (tx, rx) = edge("results", window, Policy::Block);
    let ordered_pool = OrderedPool {
        queue: Arc::new(Queue {
            input: Mutex::new((input, 0)),
            permits: Arc::clone(&permits),
        }),
        results: tx,
        max_age,
        slot,
    };
    let ordered = OrderedReceiver {
        results: rx,
        waiting: BTreeMap::new(),
        next: 0,
        permits,
    };
    (ordered_pool, ordered)
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
    /// Waits for the next item; `None` when there is no more, or nobody wants results.
    pub fn take(&self) -> Option<(In, Job<Out>)> {
        if !self.queue.permits.acquire() {
            return None;
        }
        // The lock is held while waiting: the one who gets the item also gets the number.
        let mut input = self
            .queue
            .input
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (item, permit) = loop {
            let Some(item) = input.0.recv_fresh(self.max_age) else {
                drop(input);
                self.queue.permits.release();
                return None;
            };
            // What does not grow old asks for no work, and waits for no turn.
            let Some(slot) = self.slot.as_ref().filter(|_| item.captured_at().is_some()) else {
                break (item, None);
            };
            let permit = slot.acquire();
            // It may have grown old, or been overtaken, in the wait.
            if let Some(item) = input.0.renew(item, self.max_age) {
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
    /// Hands in the result.
    pub fn finish(mut self, result: Out) {
        self.open = false;
        drop(self.permit.take());
        // A reader that is gone wants no result; the next `take` says so to the worker.
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
                self.permits.release();
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
        self.permits.close();
    }
}

impl Permits {
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

    struct Job(u64);
    impl Aged for Job {
        fn captured_at(&self) -> Option<Instant> {
            Some(Instant::now())
        }
    }

    /// Runs `jobs` through `workers` threads; each calls `work`, `None` loses the ticket.
    fn run(
        jobs: u64,
        workers: usize,
        work: impl Fn(u64) -> Option<u64> + Send + Sync + 'static,
    ) -> Vec<u64> {
        let (tx, rx) = edge::<Job>("work", 1, Policy::Block);
        let (shop, mut ordered) = ordered_pool(rx, workers, None, None);
        let work = Arc::new(work);
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let (shop, work) = (shop.clone(), Arc::clone(&work));
                std::thread::spawn(move || {
                    while let Some((job, ticket)) = shop.take() {
                        if let Some(result) = work(job.0) {
                            ticket.finish(result);
                        }
                    }
                })
            })
            .collect();
        drop(shop);
        let feeder = std::thread::spawn(move || (0..jobs).try_for_each(|i| tx.send(Job(i))));
        let mut got = Vec::new();
        while let Some(result) = ordered.recv() {
            got.push(result);
        }
        feeder.join().expect("no panic").expect("open");
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
        // Job 0 ends only after job 1 did: both workers meet at the barrier.
        let barrier = Barrier::new(2);
        let got = run(2, 2, move |i| {
            barrier.wait();
            Some(i)
        });
        assert_eq!(got, vec![0, 1]);
    }

    #[test]
    fn lost_tickets_hold_nobody_up() {
        let got = run(200, 3, |i| (i % 5 != 0).then_some(i));
        assert_eq!(got, (0..200).filter(|i| i % 5 != 0).collect::<Vec<_>>());
    }

    #[test]
    fn workers_stop_when_nobody_reads() {
        let (tx, rx) = edge("work", 1, Policy::Block);
        let (shop, ordered) = ordered_pool::<Job, u64>(rx, 1, None, None);
        let worker = std::thread::spawn(move || {
            let mut taken = 0;
            while let Some((job, ticket)) = shop.take() {
                taken += 1;
                ticket.finish(job.0);
            }
            taken
        });
        drop(ordered);
        let mut sent = 0;
        while tx.send(Job(sent)).is_ok() {
            sent += 1;
        }
        assert!(worker.join().expect("no panic") <= 3);
    }
}

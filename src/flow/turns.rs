//! Fair shares of the machine between streams.
//!
//! So many pieces of work may be under way at once; whoever wants to do one waits for a turn. Turns go
//! round the streams that wait, so that one that always has work gets no more than the others do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Turns for a number of streams.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// How many wait in each stream.
    waiting: Vec<usize>,
    /// How many in each stream have been called and have not come yet.
    called: Vec<usize>,
    /// The stream that is asked next.
    next: usize,
}

/// One stream's place in the round.
#[derive(Clone, Debug)]
pub struct TurnTaker {
    turns: Arc<Turns>,
    stream: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Turns>);

impl Turns {
    /// `at_once` turns (at least one).
    pub fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: at_once.max(1),
                waiting: Vec::new(),
                called: Vec::new(),
                next: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// A place for one more stream.
    pub fn taker(self: &Arc<Self>) -> TurnTaker {
        let mut state = self.lock();
        state.waiting.push(0);
        state.called.push(0);
        TurnTaker {
            turns: Arc::clone(self),
            stream: state.waiting.len() - 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives what is free to those who wait, stream by stream.
    fn call(&mut self) {
        let streams = self.waiting.len();
        while self.free > 0 {
            let order = (0..streams).map(|i| (self.next + i) % streams);
            let Some(stream) = order.into_iter().find(|i| self.waiting[*i] > 0) else {
                return;
            };
            self.free -= 1;
            self.waiting[stream] -= 1;
            self.called[stream] += 1;
            self.next = (stream + 1) % streams;
        }
    }
}

impl TurnTaker {
    /// Waits for this stream's turn.
    pub fn wait(&self) -> Turn {
        let mut state = self.turns.lock();
        state.waiting[self.stream] += 1;
        state.call();
        if state.called.iter().any(|called| *called > 0) {
            self.turns.changed.notify_all();
        }
        while state.called[self.stream] == 0 {
            state = self
                .turns
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.called[self.stream] -= 1;
        Turn(Arc::clone(&self.turns))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.free += 1;
        state.call();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// Waits until so many threads wait for a turn.
    fn until_waiting(turns: &Turns, count: usize) {
        while turns.lock().waiting.iter().sum::<usize>() < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_flood_takes_no_more_than_its_turn() {
        let turns = Turns::new(1);
        let (flood, quiet) = (turns.taker(), turns.taker());
        let held = flood.wait();
        let (done, order) = channel();
        let mut threads = Vec::new();
        // Four of one stream wait before one of the other comes.
        for (i, taker) in [&flood, &flood, &flood, &flood, &quiet]
            .into_iter()
            .enumerate()
        {
            let (taker, done) = (taker.clone(), done.clone());
            threads.push(std::thread::spawn(move || {
                let turn = taker.wait();
                done.send(taker.stream).expect("the test reads");
                drop(turn);
            }));
            until_waiting(&turns, i + 1);
        }
        drop(held);
        let order: Vec<usize> = (0..5).map(|_| order.recv().expect("all come")).collect();
        assert_eq!(order, [1, 0, 0, 0, 0]);
        for thread in threads {
            thread.join().expect("no panic");
        }
    }

    #[test]
    fn no_more_are_at_work_than_there_are_turns() {
        let turns = Turns::new(2);
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let threads: Vec<_> = (0..6)
            .map(|_| {
                let taker = turns.taker();
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let _turn = taker.wait();
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
        assert_eq!(turns.lock().free, 2);
    }
}

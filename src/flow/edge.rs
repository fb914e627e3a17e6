//! Edge: a bounded channel with a name, an overflow policy and drop counts.
//!
//! The only user of crossbeam. crossbeam-channel has no drop-oldest mode, so a newest-wins sender
//! holds a receiver clone to evict with. That clone would keep the channel connected after all readers
//! are gone, hence the separate count of readers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};

use super::health::while_idle;

/// How long a send may block before one warning is logged.
const BLOCKED_WARNING: Duration = Duration::from_secs(5);

/// Least time between two warnings about the drops of a leaky edge.
const DROP_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Overflow policy: what happens when the edge is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The sender blocks; nothing is lost.
    Block,
    /// The oldest item is dropped and counted: the reader gets the newest.
    NewestWins,
    /// As [`NewestWins`](Self::NewestWins), for a reader that should get everything: drops are also
    /// warned about, once a minute at most.
    Leaky,
}

/// All receivers of an edge were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edge closed: all receivers were dropped")]
pub struct Closed;

/// An item that grows old, and of which a part may have to go on when the rest is dropped.
pub trait Aged: Sized {
    /// When it reached this process; `None` if it does not grow old.
    fn captured_at(&self) -> Option<Instant>;

    /// Takes the place of an older item that is dropped for it, with what of that must go on. Returns
    /// whether the drop counts.
    fn supersede(&mut self, older: Self) -> bool {
        drop(older);
        true
    }

    /// What must go on of an item that is too old.
    fn expire(self) -> Option<Self> {
        None
    }
}

#[derive(Debug)]
struct EdgeState {
    name: String,
    policy: Policy,
    readers: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
    evicted: AtomicU64,
    stale: AtomicU64,
    /// When drops were last warned about.
    warned: Mutex<Option<Instant>>,
}

/// Drop counts of an edge; readable after its sender and receivers are dropped.
#[derive(Clone, Debug)]
pub struct EdgeCounts(Arc<EdgeState>);

impl EdgeCounts {
    /// Items evicted by a newer one.
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::SeqCst)
    }

    /// Items dropped because they were too old when received.
    pub fn stale(&self) -> u64 {
        self.0.stale.load(Ordering::SeqCst)
    }

    /// Whether the edge is gone, with all that counts.
    pub fn is_final(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Items that were sent and not yet received.
    pub fn waiting(&self) -> u64 {
        let gone = self.0.received.load(Ordering::SeqCst) + self.evicted();
        self.0.sent.load(Ordering::SeqCst).saturating_sub(gone)
    }
}

/// The sending end of an edge.
#[derive(Debug)]
pub struct Sender<T> {
    tx: crossbeam_channel::Sender<T>,
    evict: Option<crossbeam_channel::Receiver<T>>,
    /// [`Aged::supersede`], where items are aged.
    supersede: fn(&mut T, T) -> bool,
    shared: Arc<EdgeState>,
}

/// The receiving end of an edge; each item goes to one of its clones.
#[derive(Debug)]
pub struct Receiver<T> {
    rx: crossbeam_channel::Receiver<T>,
    shared: Arc<EdgeState>,
}

/// Creates an edge that holds `capacity` items (at least 1).
pub fn edge<T>(name: &str, capacity: usize, policy: Policy) -> (Sender<T>, Receiver<T>) {
    edge_with(name, capacity, policy, |_, _| true)
}

/// Makes an edge that holds `capacity` items (at least 1) of which a part may have to go on when the
/// rest is dropped.
pub fn aged_edge<T: Aged>(name: &str, capacity: usize, policy: Policy) -> (Sender<T>, Receiver<T>) {
    edge_with(name, capacity, policy, T::supersede)
}

fn edge_with<T>(
    name: &str,
    capacity: usize,
    policy: Policy,
    supersede: fn(&mut T, T) -> bool,
) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = crossbeam_channel::bounded(capacity.max(1));
    let shared = Arc::new(EdgeState {
        name: name.to_owned(),
        policy,
        readers: AtomicUsize::new(1),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        evicted: AtomicU64::new(0),
        stale: AtomicU64::new(0),
        warned: Mutex::new(None),
    });
    let evict = (policy != Policy::Block).then(|| rx.clone());
    let sender = Sender {
        tx,
        evict,
        supersede,
        shared: Arc::clone(&shared),
    };
    (sender, Receiver { rx, shared })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            tx: self.tx.clone(),
            evict: self.evict.clone(),
            supersede: self.supersede,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.readers.fetch_add(1, Ordering::SeqCst);
        Self {
            rx: self.rx.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T> Sender<T> {
    /// Sends `item` under the edge's policy.
    ///
    /// # Errors
    /// [`Closed`] when no receiver is left; the item is lost.
    pub fn send(&self, item: T) -> Result<(), Closed> {
        match &self.evict {
            None => self.send_blocking(item)?,
            Some(evict) => self.send_evicting(item, evict)?,
        }
        self.shared.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The drop counts; they outlive the edge.
    pub fn counts(&self) -> EdgeCounts {
        EdgeCounts(Arc::clone(&self.shared))
    }

    fn send_blocking(&self, item: T) -> Result<(), Closed> {
        match self.tx.send_timeout(item, BLOCKED_WARNING) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Disconnected(_)) => Err(Closed),
            Err(SendTimeoutError::Timeout(item)) => {
                tracing::warn!(
                    edge = self.shared.name,
                    "send blocked for 5 s: the receiver takes nothing; still waiting"
                );
                self.tx.send(item).map_err(|_| Closed)
            }
        }
    }

    fn send_evicting(
        &self,
        mut item: T,
        evict: &crossbeam_channel::Receiver<T>,
    ) -> Result<(), Closed> {
        loop {
            if self.shared.readers.load(Ordering::SeqCst) == 0 {
                return Err(Closed);
            }
            match self.tx.try_send(item) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Closed),
                Err(TrySendError::Full(back)) => {
                    item = back;
                    if let Ok(older) = evict.try_recv()
                        && (self.supersede)(&mut item, older)
                    {
                        self.shared.evicted.fetch_add(1, Ordering::SeqCst);
                        self.shared.warn_dropped();
                    }
                }
            }
        }
    }
}

impl EdgeState {
    /// Warns about the drops of a leaky edge, unless that was done a moment ago.
    fn warn_dropped(&self) {
        if self.policy != Policy::Leaky {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= DROP_WARNING_INTERVAL) {
            *warned = Some(Instant::now());
            drop(warned);
            tracing::warn!(
                edge = self.name,
                dropped = self.evicted.load(Ordering::SeqCst),
                "the sink is stalled or too slow: it misses the oldest"
            );
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the next item; `None` when all senders were dropped and the edge is empty.
    pub fn recv(&self) -> Option<T> {
        while_idle(|| self.rx.recv().ok()).inspect(|_| self.count())
    }

    fn count(&self) {
        self.shared.received.fetch_add(1, Ordering::SeqCst);
    }

    /// The next item, without waiting.
    pub fn try_recv(&self) -> Received<T> {
        match self.rx.try_recv() {
            Ok(item) => {
                self.count();
                Received::Item(item)
            }
            Err(TryRecvError::Empty) => Received::Nothing,
            Err(TryRecvError::Disconnected) => Received::Closed,
        }
    }

    /// Waits for the next item for at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Received<T> {
        match self.rx.recv_timeout(timeout) {
            Ok(item) => {
                self.count();
                Received::Item(item)
            }
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }
}

impl<T: Aged> Receiver<T> {
    /// Like [`recv`](Self::recv), but drops and counts items older than `max_age`.
    pub fn recv_fresh(&self, max_age: Option<Duration>) -> Option<T> {
        loop {
            let fresh = self.without_stale(self.recv()?, max_age);
            if fresh.is_some() {
                return fresh;
            }
        }
    }

    /// Replaces `item`, which was received a while ago, by the newest one under
    /// [`Policy::NewestWins`]; `None` if the result is older than `max_age`. Drops are counted.
    pub fn refresh(&self, mut item: T, max_age: Option<Duration>) -> Option<T> {
        if self.shared.policy == Policy::NewestWins {
            while let Received::Item(mut newer) = self.try_recv() {
                if newer.supersede(item) {
                    self.shared.evicted.fetch_add(1, Ordering::SeqCst);
                }
                item = newer;
            }
        }
        self.without_stale(item, max_age)
    }

    /// The item, or what of it must go on if it is too old.
    fn without_stale(&self, item: T, max_age: Option<Duration>) -> Option<T> {
        let limits = item.captured_at().zip(max_age);
        if limits.is_none_or(|(at, limit)| at.elapsed() <= limit) {
            return Some(item);
        }
        self.shared.stale.fetch_add(1, Ordering::SeqCst);
        item.expire()
    }
}

/// Result of a receive with a time limit.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// An item.
    Item(T),
    /// No item within the time limit.
    Nothing,
    /// All senders were dropped and the edge is empty.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(Instant);
    impl Aged for Item {
        fn captured_at(&self) -> Option<Instant> {
            Some(self.0)
        }
    }

    #[test]
    fn newest_wins_evicts_the_oldest_and_counts() {
        let (tx, rx) = edge("t", 2, Policy::NewestWins);
        for i in 0..10 {
            tx.send(i).expect("open");
        }
        assert_eq!(tx.counts().evicted(), 8);
        assert_eq!((rx.recv(), rx.recv()), (Some(8), Some(9)));
        assert_eq!(rx.try_recv(), Received::Nothing);
    }

    #[test]
    fn what_waits_is_known() {
        for policy in [Policy::Block, Policy::Leaky] {
            let (tx, rx) = edge("t", 3, policy);
            let counts = tx.counts();
            for i in 0..3 {
                tx.send(i).expect("open");
            }
            assert_eq!((rx.recv(), counts.waiting()), (Some(0), 2));
            tx.send(3).expect("open");
            if policy == Policy::Leaky {
                tx.send(4).expect("open");
            }
            assert_eq!(counts.waiting(), 3);
        }
    }

    #[test]
    fn a_newest_wins_sender_sees_its_reader_go() {
        let (tx, rx) = edge("t", 1, Policy::NewestWins);
        let second = rx.clone();
        drop(rx);
        assert_eq!(tx.send(1), Ok(()));
        drop(second);
        assert_eq!(tx.send(2), Err(Closed));
    }

    #[test]
    fn a_blocked_sender_sees_its_reader_go() {
        let (tx, rx) = edge("t", 1, Policy::Block);
        tx.send(1).expect("room for one");
        let sender = std::thread::spawn(move || tx.send(2));
        drop(rx);
        assert_eq!(sender.join().expect("no panic"), Err(Closed));
    }

    #[test]
    fn blocking_loses_nothing_and_keeps_order() {
        let (tx, rx) = edge("t", 1, Policy::Block);
        let counts = tx.counts();
        let sender = std::thread::spawn(move || (0..1000).try_for_each(|i| tx.send(i)));
        let got: Vec<i32> = std::iter::from_fn(|| rx.recv()).collect();
        sender.join().expect("no panic").expect("open");
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
        assert_eq!(counts.evicted(), 0);
    }

    #[test]
    fn what_waited_makes_room_for_what_came_meanwhile() {
        let now = Instant::now();
        let old = now.checked_sub(Duration::from_secs(60)).expect("uptime");
        let limit = Some(Duration::from_secs(30));
        for policy in [Policy::NewestWins, Policy::Block] {
            let (tx, rx) = edge("t", 1, policy);
            tx.send(Item(now)).expect("open");
            let renewed = rx.refresh(Item(old), limit);
            let takes_newest = policy == Policy::NewestWins;
            assert_eq!(renewed.is_some_and(|item| item.0 == now), takes_newest);
            let counts = (tx.counts().evicted(), tx.counts().stale());
            assert_eq!(counts, if takes_newest { (1, 0) } else { (0, 1) });
        }
    }

    #[test]
    fn what_is_too_old_is_dropped_as_stale() {
        let (tx, rx) = edge("t", 3, Policy::Block);
        let now = Instant::now();
        let old = now.checked_sub(Duration::from_secs(60)).expect("uptime");
        tx.send(Item(old)).expect("open");
        tx.send(Item(old)).expect("open");
        tx.send(Item(now)).expect("open");
        let counts = tx.counts();
        drop(tx);
        let fresh = rx.recv_fresh(Some(Duration::from_secs(30)));
        assert!(fresh.is_some_and(|item| item.0 == now));
        assert_eq!(counts.stale(), 2);
        assert!(rx.recv_fresh(None).is_none());
    }
}

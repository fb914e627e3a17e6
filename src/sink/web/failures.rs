//! Failed logins by client: a few are free, after that each makes the next attempt wait twice as long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::address::ClientKey;

/// Failures of a client before it has to wait.
const FREE_FAILURES: u32 = 10;
/// The first wait; it doubles with each further failure.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// A client that has not failed for so long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// Clients that are remembered; the one that failed longest ago makes room.
const MOST_CLIENTS: usize = 4096;

/// The failures of all clients.
#[derive(Default)]
pub struct FailureBudget(Mutex<HashMap<ClientKey, ClientFailures>>);

#[derive(Clone, Copy)]
struct ClientFailures {
    count: u32,
    last: Instant,
    delay: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The token was right.
    Admitted,
    /// It was wrong.
    Wrong {
        /// How often the client has failed by now.
        failures: u32,
        /// How long its next attempt has to wait.
        delay: Duration,
    },
    /// The client has to wait; whether the token was right is not said.
    TooEarly {
        /// How long.
        wait: Duration,
    },
}

impl FailureBudget {
    /// Judges an attempt of `client` at `now`. There is no time between the look at the budget and
    /// the count of a failure, in which another attempt could be made.
    pub fn attempt(&self, client: ClientKey, now: Instant, is_right: bool) -> Attempt {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |failures: &ClientFailures| now.saturating_duration_since(failures.last);
        let before = clients.get(&client).filter(|f| age(f) < FORGET_AFTER);
        let before = before.copied();
        if let Some(failures) = before {
            let wait = failures.delay.saturating_sub(age(&failures));
            if !wait.is_zero() {
                return Attempt::TooEarly { wait };
            }
        }
        if is_right {
            return Attempt::Admitted;
        }
        if !clients.contains_key(&client) && clients.len() >= MOST_CLIENTS {
            clients.retain(|_, failures| age(failures) < FORGET_AFTER);
            let oldest = clients
                .iter()
                .min_by_key(|(_, f)| f.last)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| clients.len() >= MOST_CLIENTS) {
                clients.remove(&oldest);
            }
        }
        let count = before
            .map_or(0, |failures| failures.count)
            .saturating_add(1);
        let delay = delay_after(count);
        let failures = ClientFailures {
            count,
            last: now,
            delay,
        };
        clients.insert(client, failures);
        Attempt::Wrong {
            failures: count,
            delay,
        }
    }
}

/// How long a client waits after so many failures.
fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(more) => MIN_DELAY.saturating_mul(1 << more.min(16)).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(n: u32) -> ClientKey {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    #[test]
    fn guesses_wait_longer_and_longer_and_others_do_not() {
        let (budget, mut now) = (FailureBudget::default(), Instant::now());
        for n in 1..=FREE_FAILURES {
            let Attempt::Wrong { failures, delay } = budget.attempt(client(1), now, false) else {
                panic!("failure {n} is free");
            };
            assert_eq!((failures, delay.is_zero()), (n, n < FREE_FAILURES));
        }
        // Not even the right token is looked at before its time.
        let early = budget.attempt(client(1), now, true);
        assert_eq!(early, Attempt::TooEarly { wait: MIN_DELAY });
        assert_eq!(budget.attempt(client(2), now, true), Attempt::Admitted);
        let mut guesses = 0;
        let hour = now + Duration::from_secs(3600);
        while now < hour {
            now += Duration::from_millis(500);
            guesses += u32::from(matches!(
                budget.attempt(client(1), now, false),
                Attempt::Wrong { .. }
            ));
        }
        assert!((10..40).contains(&guesses), "{guesses} guesses in an hour");
        now += MAX_DELAY;
        assert_eq!(budget.attempt(client(1), now, true), Attempt::Admitted);
        let Attempt::Wrong { failures, .. } = budget.attempt(client(1), now + FORGET_AFTER, false)
        else {
            panic!("it starts anew");
        };
        assert_eq!(failures, 1);
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let (budget, now) = (FailureBudget::default(), Instant::now());
        for n in 0..2 * MOST_CLIENTS as u32 {
            budget.attempt(client(n), now + Duration::from_millis(n.into()), false);
        }
        let kept = budget.0.lock().expect("no panic").len();
        assert_eq!(kept, MOST_CLIENTS);
    }
}

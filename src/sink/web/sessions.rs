//! Sessions of browsers: a random identifier in a cookie, so that the token itself is kept nowhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::fingerprint;

/// How long a browser stays logged in.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Sessions that are open at once; the oldest makes room.
const MOST_SESSIONS: usize = 1000;

/// The sessions that are open: fingerprints of their identifiers, and when they began.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Instant>>);

impl Sessions {
    /// Begins a session; its identifier, 256 random bits in hexadecimal.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn begin(&self, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, began| is_open(*began, now));
        if open.len() >= MOST_SESSIONS
            && let Some(oldest) = open.iter().min_by_key(|(_, began)| **began)
        {
            let oldest = *oldest.0;
            open.remove(&oldest);
        }
        open.insert(fingerprint(&id), now);
        Ok(id)
    }

    /// Whether `id` is that of an open session. The fingerprint is looked up, so that the time it
    /// takes says nothing of other identifiers.
    pub fn admits(&self, id: &str, now: Instant) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&fingerprint(id))
            .is_some_and(|began| is_open(*began, now))
    }
}

fn is_open(began: Instant, now: Instant) -> bool {
    now.saturating_duration_since(began) < LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_open_for_its_time_and_no_other_is() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let id = sessions.begin(now).expect("random numbers");
        let other = sessions.begin(now).expect("random numbers");
        assert!(id.len() == 64 && id != other);
        assert!(sessions.admits(&id, now) && sessions.admits(&other, now));
        assert!(!sessions.admits("", now) && !sessions.admits(&id[1..], now));
        assert!(!sessions.admits(&id, now + LIFETIME));
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.begin(now).expect("random numbers");
        let later = now + Duration::from_secs(1);
        for _ in 0..MOST_SESSIONS {
            sessions.begin(later).expect("random numbers");
        }
        assert!(!sessions.admits(&first, later));
        assert_eq!(sessions.0.lock().expect("no panic").len(), MOST_SESSIONS);
    }
}
